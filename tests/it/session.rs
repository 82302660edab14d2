//! Sessions that go on: refreshed in time, by one rig for all, and under a stream.

use crate::harness::{Max, Rig, signal, wait_for};
use crate::relay::Relay;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::Stdio;

/// rig logged in through a relay, which counts its refreshes.
fn world(flags: &[&str]) -> (Max, Relay, Rig) {
    let max = Max::with(flags);
    let relay = Relay::new(&max.url);
    let rig = Rig::new();
    let args = ["login", "--url", &relay.url, "--token-stdin", "--store", "file", "--context", "it"];
    let ran = rig.run_with(&args, &max.token("ada"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    (max, relay, rig)
}

fn refreshes(relay: &Relay) -> usize {
    relay.asked("POST /api/v1/auth/refresh")
}

/// The kept session.
struct Kept(PathBuf);

impl Kept {
    fn of(rig: &Rig) -> Kept {
        Kept(rig.home.path().join(".config/rig/sessions/it.json"))
    }

    fn read(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(&self.0).unwrap()).unwrap()
    }

    /// Changes one of the tokens' members.
    fn set(&self, member: &str, text: &str) {
        let mut value = self.read();
        value["tokens"][member] = text.into();
        fs::write(&self.0, value.to_string()).unwrap();
    }
}

#[test]
fn twenty_rigs_at_once_on_an_expired_session_refresh_it_once() {
    let (_max, relay, rig) = world(&[]);
    let kept = Kept::of(&rig);
    let before = kept.read();
    kept.set("access_expires_at", "2020-01-01T00:00:00.000Z");
    let children: Vec<_> = (0..20)
        .map(|_| {
            let mut command = rig.command(&["whoami", "-o", "json", "--timeout", "60s"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", crate::harness::text(&out.stderr));
    }
    assert_ne!(before["tokens"]["refresh_token"], kept.read()["tokens"]["refresh_token"]);
    assert_eq!(refreshes(&relay), 1);
    rig.ok(&["whoami"]);
    assert_eq!(refreshes(&relay), 1);
}

#[test]
fn a_stream_goes_on_while_the_session_is_refreshed_under_it() {
    let (_max, relay, rig) = world(&["--access-lifetime", "2s"]);
    rig.ok(&["create", "network", "blue"]);
    let mut command = rig.command(&["logs", "network", "blue", "--follow", "-o", "json"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("network blue created")));
    let first = refreshes(&relay);
    // The session outlives several access tokens, and the stream hears nothing of it.
    wait_for("three refreshes", || (refreshes(&relay) >= first + 3).then_some(()));
    rig.ok(&["create", "app", "web.blue"]);
    assert!(lines.any(|line| line.contains("app web created")));
    signal(child.id(), "INT");
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert_eq!(
        crate::harness::text(&out.stderr),
        "{\"code\":\"interrupted\",\"message\":\"interrupted\",\"hint\":null,\"exit_code\":130}\n"
    );
}

#[test]
fn revoking_a_session_ends_its_open_streams_at_once() {
    let (_max, _relay, rig) = world(&[]);
    rig.ok(&["create", "network", "blue"]);
    let mut command = rig.command(&["logs", "network", "blue", "--follow"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("network blue created")));
    // The same session, ended by another rig.
    rig.ok(&["logout"]);
    let status = wait_for("rig to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(4));
    let stderr = crate::harness::text(&child.wait_with_output().unwrap().stderr);
    assert!(stderr.contains("connection to Max lost (the session was revoked); reconnecting\n"), "{stderr}");
    assert!(stderr.ends_with("rig: your session has ended\n  run `rig login`\n"), "{stderr}");
}

#[test]
fn an_access_token_that_max_refuses_is_renewed() {
    let (_max, relay, rig) = world(&[]);
    // As on a machine whose clock is far behind: an ended token looks good.
    Kept::of(&rig).set("access_token", "acc_ended");
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    assert_eq!(refreshes(&relay), 1);
}

#[test]
fn an_answer_to_a_refresh_that_never_arrived_costs_no_session() {
    let (_max, relay, rig) = world(&[]);
    let kept = Kept::of(&rig);
    let before = fs::read_to_string(&kept.0).unwrap();
    kept.set("access_expires_at", "2020-01-01T00:00:00.000Z");
    // Somebody else refreshes, and what he got is lost.
    let refresh = format!("{{\"refresh_token\":{}}}", kept.read()["tokens"]["refresh_token"]);
    let host = relay.url.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST /api/v1/auth/refresh HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{refresh}",
        refresh.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    // But once the new pair was used, the old token is a stolen one.
    fs::write(&kept.0, before).unwrap();
    kept.set("access_expires_at", "2020-01-01T00:00:00.000Z");
    rig.run(&["whoami"]).fails(4, "rig: your session has ended\n  run `rig login`\n");
}

/// What `RIG_TOKEN` opens ends soon after its command, which says goodbye to nobody.
#[test]
fn a_session_for_one_command_is_brief() {
    let max = Max::start();
    let mut rig = Rig::new();
    rig.set("RIG_URL", &max.url);
    rig.set("RIG_TOKEN", &max.token("ada"));
    let until = |rig: &Rig| {
        let who = rig.json(&["whoami"]);
        rig::time::parse_rfc3339(who["expires_at"].as_str().unwrap()).unwrap()
    };
    let hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3700);
    assert!(until(&rig) < hour);
    assert!(until(&crate::login::logged_in(&max, "ada")) > hour);
}

/// Stopped and continued, as by Ctrl-Z and `fg`, a stream goes on without a word.
#[test]
fn a_stop_does_not_cost_the_connection() {
    let (_max, relay, rig) = world(&[]);
    rig.ok(&["create", "network", "blue"]);
    let mut command = rig.command(&["logs", "network", "blue", "--follow"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("network blue created")));
    let sockets = relay.asked("/socket/websocket");
    for _ in 0..20 {
        signal(child.id(), "STOP");
        signal(child.id(), "CONT");
    }
    rig.ok(&["create", "app", "web.blue"]);
    assert!(lines.any(|line| line.contains("app web created")));
    // The one of `create`, and no other.
    assert_eq!(relay.asked("/socket/websocket"), sockets + 1);
    signal(child.id(), "TERM");
    let out = child.wait_with_output().unwrap();
    assert_eq!(
        (out.status.code(), crate::harness::text(&out.stderr).as_str()),
        (Some(143), "rig: interrupted\n")
    );
}

//! Logs: what is shown, in which order, and when it ends.

use crate::harness::{Max, Rig, project, site, wait_for};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use tempfile::TempDir;

/// An app that writes `lines` numbered lines at its start, then serves.
fn writer(max: &Max, lines: u32) -> (Rig, TempDir) {
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let server = include_str!("../apps/hello/server.c");
    let run = format!("seq -f 'line %g' 1 {lines}; echo oops >&2; exec ./server");
    let settings = format!(r#"{{"build":"cc -o server server.c","run":"{run}"}}"#);
    let dir = project(&[("server.c", server), ("message.txt", "hi\n"), ("rig.json", &settings)]);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    (rig, dir)
}

#[test]
fn the_newest_lines_come_in_order_and_end_without_a_terminal() {
    let max = Max::start();
    let (rig, _dir) = writer(&max, 5000);
    let all = wait_for("all lines", || {
        let out = rig.ok(&["logs", "app", "web.blue", "--tail", "10000"]);
        out.contains("\noops\n").then_some(out)
    });
    let numbered: Vec<&str> = all.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=5000).map(|n| format!("line {n}")).collect();
    assert_eq!(numbered, expected);
    assert_eq!(rig.ok(&["logs", "app", "web.blue"]).lines().count(), 100);
    assert_eq!(rig.ok(&["logs", "app", "web.blue", "--tail", "7"]).lines().count(), 7);
    assert_eq!(rig.ok(&["logs", "app", "web.blue", "--tail", "0"]), "");

    let json = rig.json(&["logs", "app", "web.blue", "--tail", "10000"]);
    let lines = json["lines"].as_array().unwrap();
    assert!(lines.windows(2).all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64()));
    let oops = lines.iter().find(|line| line["text"] == "oops").unwrap();
    assert_eq!((oops["source"].as_str(), oops["app"].as_str()), (Some("stderr"), Some("web")));
    assert_eq!(oops["release"], 1);
}

#[test]
fn build_and_network_logs_show_their_own() {
    let max = Max::start();
    let (rig, _dir) = writer(&max, 3);
    assert_eq!(max.get("web.blue.localhost", "/some/path").0, 200);
    let build = rig.ok(&["logs", "build", "web.blue"]);
    assert!(build.contains("cc -o server server.c") && !build.contains("line 1"), "{build}");
    assert_eq!(rig.ok(&["logs", "build", "app", "web.blue"]), build);
    wait_for("the access line", || {
        let network = rig.ok(&["logs", "network", "blue"]);
        let access = network.lines().any(|line| line.starts_with("web GET /some/path 200 "));
        (access && network.contains("web line 1\n") && !network.contains("cc -o")).then_some(())
    });
    let json = rig.json(&["logs", "network", "blue"]);
    let sources: Vec<_> =
        json["lines"].as_array().unwrap().iter().map(|line| line["source"].as_str().unwrap()).collect();
    assert!(
        sources.contains(&"access") && sources.contains(&"event") && sources.contains(&"stdout"),
        "{sources:?}"
    );
}

#[test]
fn following_goes_on_until_the_app_is_deleted() {
    let max = Max::start();
    let (rig, _dir) = writer(&max, 3);
    let mut command = rig.command(&["logs", "app", "web.blue", "--follow", "-o", "json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let text = |line: String| {
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["text"].as_str().unwrap().to_owned()
    };
    assert!(lines.by_ref().map(text).any(|line| line == "oops"));
    assert_eq!(max.get("web.blue.localhost", "/now").0, 200);
    assert!(lines.by_ref().map(text).any(|line| line.contains("/now")));
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_that_stops_in_order_keeps_what_has_happened() {
    let mut max = Max::start();
    let rig = max.rig("ada");
    let dir = site("hi");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    let paths: Vec<String> = (0..200).map(|number| format!("/page/{number}")).collect();
    for path in &paths {
        assert_eq!(max.get("web.blue.localhost", path).0, 404);
    }
    assert_eq!(max.stop(), Some(0));
    max.serve();
    let network = rig.ok(&["logs", "network", "blue", "--tail", "1000"]);
    let asked: Vec<&str> = network
        .lines()
        .filter_map(|line| line.strip_prefix("web GET ")?.split_once(" 404 ").map(|(path, _)| path))
        .collect();
    assert_eq!(asked, paths);
}

#[test]
fn following_outlives_a_restart_of_the_server_without_repeating_a_line() {
    let mut max = Max::start();
    let (rig, _dir) = writer(&max, 3);
    let mut command = rig.command(&["logs", "app", "web.blue", "--follow", "-o", "json"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut last = 0;
    let mut until = |wanted: &str| {
        for line in lines.by_ref() {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let seq = line["seq"].as_u64().unwrap();
            assert!(seq > last, "{line}");
            last = seq;
            if line["text"].as_str().unwrap().contains(wanted) {
                return;
            }
        }
        panic!("the stream ended");
    };
    until("oops");
    max.kill();
    max.serve();
    until("oops");
    // And over one that stops in order.
    assert_eq!(max.stop(), Some(0));
    max.serve();
    until("oops");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let max = Max::start();
    let (rig, _dir) = writer(&max, 2000);
    let mut command = rig.command(&["logs", "app", "web.blue", "--follow", "--tail", "5000"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    // The reader is gone; the next line written finds that out.
    wait_for("rig to end", || {
        max.get("web.blue.localhost", "/poke");
        child.try_wait().unwrap()
    });
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(crate::harness::text(&out.stderr), "");
}

#[test]
fn what_an_app_writes_can_not_drive_the_terminal() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let run = r"printf 'a\\033[2Jb\\233c\\001\\n'; exit 1";
    let dir = project(&[("rig.json", &format!(r#"{{"run":"{run}"}}"#))]);
    rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    let out = wait_for("the line", || {
        let out = rig.ok(&["logs", "app", "web.blue"]);
        out.contains("[2Jb").then_some(out)
    });
    assert!(out.contains("a\\u{1b}[2Jb\u{fffd}c\\u{1}"), "{out:?}");
    assert!(!out.contains('\u{1b}'));
}

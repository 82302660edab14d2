//! `rig command --detach`: it goes on without a client, and its log tells everything of it.

use crate::command::world;
use crate::harness::{Max, Rig, text, wait_for};
use crate::relay::Relay;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

/// Begins it; its number.
fn detached(rig: &Rig, args: &[&str]) -> String {
    let ran = rig.run(&[&["command", "web.blue", "--detach"], args].concat());
    let id = ran.stdout.trim().to_owned();
    assert!(ran.code == 0 && id.parse::<u64>().is_ok(), "{ran:?}");
    assert_eq!(ran.stderr, format!("see `rig logs command {id}`; `rig delete session {id}` ends it\n"));
    id
}

/// Begins one that goes on for long, and waits until it is there.
fn long(rig: &Rig, args: &[&str]) -> String {
    let id = detached(rig, &[args, &["echo ready; exec sleep 1000"]].concat());
    wait_for("it to run", || (rig.ok(&["logs", "command", &id]) == "ready\n").then_some(()));
    id
}

fn follow(rig: &Rig, args: &[&str]) -> Child {
    let mut command = rig.command(&[&["logs", "command", "--follow", "--tail", "10000000"], args].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the audit says of it.
fn entry(rig: &Rig, id: &str) -> serde_json::Value {
    let (audit, id) = (rig.json(&["list", "audit"]), id.parse::<u64>().unwrap());
    audit["entries"].as_array().unwrap().iter().find(|entry| entry["id"] == id).unwrap().clone()
}

/// The log of a command that has ended: all but the last line, and that.
fn ended(rig: &Rig, id: &str, args: &[&str]) -> (String, String) {
    let out = follow(rig, &[&[id], args].concat()).wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let all = text(&out.stdout);
    let (before, last) = all.trim_end().rsplit_once('\n').unwrap_or(("", all.trim_end()));
    (before.to_owned(), last.to_owned())
}

#[test]
fn it_goes_on_without_rig_and_its_log_ends_with_it() {
    let max = Max::start();
    let rig = world(&max);
    let line = "cat; echo out; echo err >&2; until [ -e go ]; do sleep 0.02; done; printf last; exit 7";
    let id = detached(&rig, &[line]);
    let sessions = rig.json(&["list", "sessions"]);
    let session = &sessions["sessions"][0];
    assert_eq!((&session["detached"], &session["attached"]), (&true.into(), &false.into()));
    assert_eq!(session["id"].to_string(), id);
    let mut child = follow(&rig, &[&id]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = [String::new(), String::new()];
    for line in &mut said {
        out.read_line(line).unwrap();
    }
    said.sort();
    assert_eq!(said, ["err\n", "out\n"]);
    rig.ok(&["command", "web.blue", "--", "touch", "go"]);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("last\nended with exit code 7 after "), "{rest}");
    assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(0));
    // It is there afterwards too, with the same filters, and in no other log.
    assert_eq!(ended(&rig, &id, &["--stream", "stderr"]).1, "err");
    let json = rig.json(&["logs", "command", &id]);
    let lines = json["lines"].as_array().unwrap();
    let told = |at: usize, name: &str| lines[at][name].clone();
    assert_eq!(
        (told(2, "text"), told(2, "source"), told(2, "instance")),
        ("last".into(), "stdout".into(), serde_json::Value::Null)
    );
    assert_eq!(
        (told(3, "source"), told(3, "app"), told(3, "release")),
        ("event".into(), "web".into(), 1.into())
    );
    assert_eq!(lines.len(), 4);
    for log in [["logs", "app", "web.blue"], ["logs", "network", "blue"]] {
        let all = rig.ok(&log);
        assert!(!all.contains("last\n") && !all.contains("ended with"), "{all}");
    }
    let entry = entry(&rig, &id);
    assert_eq!((&entry["code"], &entry["detached"]), (&7.into(), &true.into()));
    assert_eq!(rig.json(&["list", "sessions"])["sessions"], serde_json::json!([]));
}

#[test]
fn two_commands_of_an_app_have_logs_of_their_own() {
    let max = Max::start();
    let rig = world(&max);
    let ids: Vec<String> =
        ["a", "b", "c"].map(|name| detached(&rig, &[&format!("seq -f '{name}%g' 1 2000")])).into();
    for (id, name) in ids.iter().zip(["a", "b", "c"]) {
        let (lines, last) = ended(&rig, id, &[]);
        let expected: Vec<String> = (1..=2000).map(|n| format!("{name}{n}")).collect();
        assert!(lines.lines().eq(expected), "{id}: {lines}");
        assert!(last.starts_with("ended with exit code 0 after "), "{last}");
    }
}

#[test]
fn it_ends_by_its_time_by_its_owner_and_with_max() {
    let mut max = Max::start();
    let rig = world(&max);
    let reason = |id: &str| entry(&rig, id)["reason"].clone();
    let id = long(&rig, &["--timeout", "2s"]);
    let last = ended(&rig, &id, &[]).1;
    assert!(last.starts_with("ended with exit code 143 after ") && last.ends_with(" (timeout)"), "{last}");
    assert_eq!(reason(&id), "timeout");
    let id = long(&rig, &[]);
    rig.ok(&["delete", "session", &id]);
    assert!(ended(&rig, &id, &[]).1.ends_with(" (deleted)"));
    let id = long(&rig, &[]);
    assert_eq!(max.stop(), Some(0));
    max.serve();
    let last = ended(&rig, &id, &[]).1;
    assert!(last.starts_with("ended with exit code 143 after ") && last.ends_with(" (stopping)"), "{last}");
    let id = long(&rig, &[]);
    max.kill();
    max.serve();
    assert_eq!(ended(&rig, &id, &[]).1, "ended because Max was killed");
    assert_eq!(reason(&id), "killed");
    let id = detached(&rig, &["--", "no-such-program"]);
    let (before, last) = ended(&rig, &id, &[]);
    assert!(before.contains("no-such-program") && last.starts_with("ended with exit code 127"), "{before}");
}

#[test]
fn its_log_is_its_owners_alone_and_goes_with_the_app() {
    let max = Max::start();
    let rig = world(&max);
    let id = detached(&rig, &["echo secret; exec sleep 1000"]);
    let eve = max.rig("eve");
    let missing = format!("rig: session {id} does not exist\n  see `rig list audit`\n");
    eve.run(&["logs", "command", &id]).fails(3, &missing);
    rig.run(&["logs", "command", "999"])
        .fails(3, "rig: session 999 does not exist\n  see `rig list audit`\n");
    rig.run(&["logs", "command", "x"]).fails(2, "rig: 'x' is no session's number\n  see `rig list audit`\n");
    rig.ok(&["command", "web.blue", "true"]);
    let other = rig.json(&["list", "audit", "--limit", "1"])["entries"][0]["id"].to_string();
    let said = format!(
        "rig: session {other} was not detached: what it writes is not kept\n  begin it with `rig command \
         --detach`\n"
    );
    rig.run(&["logs", "command", &other]).fails(6, &said);
    let ran = rig.run(&["api", "--topic", &format!("exec:{id}"), "--listen", r#"{"out":0,"err":0}"#]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    let mut child = follow(&rig, &[&id]);
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 7]).unwrap();
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let said =
        format!("rig: the app of session {id} was deleted, and its log with it\n  see `rig list audit`\n");
    rig.run(&["logs", "command", &id]).fails(3, &said);
    rig.run(&["command", "web.blue", "--detach", "true"]).fails(
        255,
        "rig: app 'web' does not exist in network 'blue'\n  see `rig list apps --network blue`\n",
    );
}

#[test]
fn its_lines_come_once_and_in_order_over_cuts() {
    let max = Max::start();
    let rig = world(&max);
    let relay = Relay::new(&max.url);
    let line = "until [ -e go ]; do sleep 0.02; done; seq -f 'line %g of the import' 1 100000; exit 3";
    let id = detached(&rig, &[line]);
    let mut child = follow(&rig, &["--url", &relay.url, &id]);
    rig.ok(&["command", "web.blue", "--", "touch", "go"]);
    let (mut expected, mut last) = (1, String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("line ") {
            assert_eq!(line, format!("line {expected} of the import"));
            expected += 1;
            if expected % 20_000 == 0 {
                relay.cut();
            }
        }
        last = line;
    }
    assert_eq!(expected, 100_001);
    assert!(last.starts_with("ended with exit code 3 after "), "{last}");
    assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn it_keeps_its_files_over_any_number_of_deploys() {
    let max = Max::start();
    let rig = world(&max);
    let id = detached(&rig, &["until [ -e go ]; do sleep 0.02; done; cat data.txt"]);
    let site = crate::harness::site("new");
    for _ in 0..12 {
        rig.ok(&["deploy", site.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    }
    let releases = max.data().join("apps/1");
    assert!(!releases.join("2").exists());
    std::fs::write(releases.join("1/go"), "").unwrap();
    let (lines, last) = ended(&rig, &id, &[]);
    assert_eq!(lines, "one\ntwo");
    assert!(last.starts_with("ended with exit code 0 after "), "{last}");
    // The next deploy removes what nobody uses any more.
    rig.ok(&["deploy", site.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    wait_for("the release to be removed", || (!releases.join("1").exists()).then_some(()));
}

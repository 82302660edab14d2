//! `rig command --instance N` and `--all-instances`: beside one instance of an app, or beside
//! each.

use crate::harness::{Max, Rig, project, signal, text, wait_for};
use crate::relay::Relay;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

/// An app with three instances.
fn world(max: &Max) -> Rig {
    let rig = max.rig("ann");
    let server = include_str!("../apps/hello/server.c");
    let settings = r#"{"build":"cc -o server server.c","run":"exec ./server"}"#;
    let dir = project(&[("server.c", server), ("message.txt", "hi\n"), ("rig.json", settings)]);
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    rig.ok(&["scale", "app", "web.blue", "3"]);
    let running = || {
        let status = rig.json(&["status", "app", "web.blue"]);
        status["instances"].as_array().unwrap().iter().filter(|one| one["state"] == "running").count() == 3
    };
    wait_for("three instances", || running().then_some(()));
    rig
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn begin(rig: &Rig, args: &[&str]) -> Child {
    let mut command = rig.command(&[&["command", "web.blue", "--all-instances"], args].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn one_instance_is_named_by_its_port() {
    let max = Max::start();
    let rig = world(&max);
    let port = |number: &str| rig.ok(&["command", "web.blue", "--instance", number, "echo $HOST:$PORT"]);
    let ports = [port("1"), port("2"), port("3")];
    let all = rig.ok(&["command", "web.blue", "--all-instances", "echo $HOST:$PORT"]);
    let expected: String = ports.iter().enumerate().map(|(at, port)| format!("{}: {port}", at + 1)).collect();
    assert_eq!(sorted(&all), sorted(&expected));
    assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")) && ports[0] != ports[1], "{ports:?}");
    assert_eq!(rig.ok(&["command", "web.blue", "echo -$PORT-"]), "--\n");
    let ran = rig.run(&["command", "web.blue", "--instance", "4", "true"]);
    ran.fails(255, "rig: app 'web' has no instance 4\n  see `rig status app web.blue`\n");
    let ran = rig.run(&["command", "web.blue", "--instance", "x", "true"]);
    ran.fails(255, "rig: --instance takes a number, not 'x'\n  for instance `--instance 2`\n");
    let ran = rig.run(&["command", "web.blue", "--all-instances", "--detach", "true"]);
    let said = "rig: --all-instances and --detach exclude each other\n  leave one of them out\n";
    ran.fails(255, said);
}

#[test]
fn each_line_has_its_instance_in_front_and_the_worst_code_counts() {
    let max = Max::start();
    let rig = world(&max);
    let first = rig.ok(&["command", "web.blue", "--instance", "1", "echo $PORT"]);
    let second = rig.ok(&["command", "web.blue", "--instance", "2", "echo $PORT"]);
    let line = format!(
        "cat; echo one; echo wrong >&2; printf 'no end'; case $PORT in {}) exit 3;; {}) exit 9;; esac",
        first.trim(),
        second.trim()
    );
    let ran = rig.run_with(&["command", "web.blue", "--all-instances", &line], "not given");
    assert_eq!(ran.code, 9);
    let expected: Vec<String> = (1..=3).flat_map(|n| [format!("{n}: no end"), format!("{n}: one")]).collect();
    assert_eq!(sorted(&ran.stdout), expected);
    assert!(ran.stdout.ends_with('\n'));
    assert_eq!(sorted(&ran.stderr), ["1: wrong", "2: wrong", "3: wrong"]);
    let ran = rig.run(&["command", "web.blue", "--all-instances", "-o", "json", &line]);
    assert_eq!((ran.code, ran.stderr.as_str()), (9, ""));
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    crate::json::check("Commands", &document);
    let instances = document["instances"].as_array().unwrap();
    for (number, (one, code)) in instances.iter().zip([3, 9, 0]).enumerate() {
        crate::json::check("Command", one);
        assert_eq!((&one["instance"], &one["exit_code"]), (&(number + 1).into(), &code.into()));
        assert_eq!((&one["stdout"], &one["stderr"]), (&"one\nno end".into(), &"wrong\n".into()));
    }
    assert_eq!(instances.len(), 3);
}

#[test]
fn they_run_at_the_same_time_and_hear_signals_together() {
    let max = Max::start();
    let rig = world(&max);
    // None ends before all are there: they meet in the directory of the release.
    let meet = "mkdir -p met; touch met/$PORT; until [ $(ls met | wc -l) = 3 ]; do sleep 0.02; done";
    let line = format!("trap 'exit 7' TERM; {meet}; echo met; while :; do sleep 0.05; done");
    let mut child = begin(&rig, &[&line]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.ends_with(": met\n"), "{line}");
    }
    signal(child.id(), "TERM");
    assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(7));
    let ran = rig.run(&["command", "web.blue", "--all-instances", "--timeout", "500ms", "--", "sleep", "60"]);
    let late = |n| format!("warning: instance {n}: it was ended: it took longer than --timeout");
    assert_eq!((ran.code, sorted(&ran.stderr)), (143, vec![&*late(1), &*late(2), &*late(3)]));
}

#[test]
fn nothing_is_lost_or_doubled_over_cuts() {
    let max = Max::start();
    let rig = world(&max);
    let relay = Relay::new(&max.url);
    let mut child = begin(&rig, &["--url", &relay.url, "seq -f 'line %g of many' 1 50000; exit 4"]);
    let mut expected = [1; 3];
    let mut count = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let (number, rest) = line.split_once(": ").unwrap();
        let next = &mut expected[number.parse::<usize>().unwrap() - 1];
        assert_eq!(rest, format!("line {next} of many"));
        *next += 1;
        count += 1;
        if count % 30_000 == 0 {
            relay.cut();
        }
    }
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), expected), (Some(4), [50_001; 3]), "{}", text(&out.stderr));
}

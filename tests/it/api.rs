//! `rig api`: the escape hatch for scripts.

use crate::harness::{Max, Rig};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn a_request_prints_the_answer_or_the_error_of_max() {
    let max = Max::start();
    let rig = max.rig("ada");
    let made: serde_json::Value =
        serde_json::from_str(&rig.ok(&["api", "network:create", r#"{"name":"blue"}"#])).unwrap();
    assert_eq!((made["name"].as_str(), made["apps"].as_u64()), (Some("blue"), Some(0)));
    let ran = rig.run_with(&["api", "app:create", "-"], "{\"network\":\"blue\",\n \"app\":\"web\"}\n");
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    rig.run(&["api", "network:status", r#"{"network":"none"}"#])
        .fails(3, "rig: network 'none' does not exist\n  see `rig list networks`\n");
    rig.run(&["api", "make:coffee"]).fails(
        2,
        "rig: this server knows no request 'make:coffee'\n  rig and Max may be of different versions\n",
    );
}

#[test]
fn a_key_of_ones_own_makes_a_request_happen_once() {
    let max = Max::start();
    let rig = max.rig("ada");
    let create = ["api", "network:create", r#"{"idempotency_key":"mine"}"#];
    let first = rig.ok(&create);
    assert_eq!(rig.ok(&create), first);
    assert_eq!(rig.json(&["list", "networks"])["networks"].as_array().unwrap().len(), 1);
    // Without it, it is another request.
    assert_ne!(rig.ok(&["api", "network:create"]), first);
    // Somebody else's key is another one too.
    assert_ne!(max.rig("bob").ok(&create), first);
}

#[test]
fn what_can_not_be_sent_is_said_before_it_is() {
    let rig = Rig::new();
    let table: &[(&[&str], &str)] = &[
        (&["api"], "rig: which request?\n  for instance `rig api app:list`; docs/protocol.md has the list\n"),
        (
            &["api", "--listen"],
            "rig: --topic and --listen go together\n  requests are made on the topic `control`, without either\n",
        ),
        (
            &["api", "--topic", "x", "--listen", "{}", "{}"],
            "rig: with --listen only the join's JSON is taken, not '{}'\n",
        ),
    ];
    for (args, stderr) in table {
        rig.run(args).fails(2, stderr);
    }
    let max = Max::start();
    let rig = max.rig("ada");
    for payload in ["", "nonsense", "[]", "{", "{}{}"] {
        rig.run(&["api", "app:list", payload])
            .fails(2, "rig: the payload is no JSON object\n  write for instance '{\"network\":\"blue\"}'\n");
    }
}

#[test]
fn listening_prints_the_joins_answer_and_the_events() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let args = ["api", "--topic", "logs:network:blue", "--listen", r#"{"follow":true,"credit":1000}"#];
    let mut child = rig.command(&args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let joined = lines.next().unwrap();
    assert_eq!(joined["event"], "phx_reply");
    assert!(joined["payload"]["newest"].as_u64().is_some());
    rig.ok(&["create", "app", "web.blue"]);
    let told = lines.by_ref().find(|event| event.to_string().contains("app web created by ada")).unwrap();
    assert_eq!(told["event"], "lines");
    rig.ok(&["delete", "network", "blue", "--yes"]);
    assert!(lines.any(|event| event["event"] == "end"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    rig.run(&["api", "--topic", "nonsense", "--listen"]).fails(3, "rig: this server has no such topic\n");
}

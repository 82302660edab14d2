//! `rig list audit`: who ran something, when, and how it ended; never what.

use crate::command::{running, world};
use crate::harness::{Max, Rig, wait_for};
use serde_json::{Value, json};

fn entries(rig: &Rig, args: &[&str]) -> Vec<Value> {
    rig.json(&[&["list", "audit", "--what", "command"], args].concat())["entries"].as_array().unwrap().clone()
}

fn ids(entries: &[Value]) -> Vec<u64> {
    entries.iter().map(|entry| entry["id"].as_u64().unwrap()).collect()
}

#[test]
fn who_ran_something_is_told_and_what_is_not() {
    let max = Max::start();
    let rig = world(&max);
    assert_eq!(rig.run(&["command", "web.blue", "exit 3"]).code, 3);
    assert_eq!(rig.run(&["command", "web.blue", "echo secret-word; kill -9 $$"]).code, 137);
    let mut child = running(&rig, "echo ready; exec sleep 1000");
    let all = entries(&rig, &[]);
    let brief = |entry: &Value| {
        json!([entry["app"], entry["network"], entry["user"], entry["tty"], entry["code"], entry["reason"]])
    };
    let expected = [
        json!(["web", "blue", "ann", false, null, null]),
        json!(["web", "blue", "ann", false, 137, null]),
        json!(["web", "blue", "ann", false, 3, null]),
    ];
    assert_eq!(all.iter().map(brief).collect::<Vec<_>>(), expected);
    assert!(all[0]["ended_at"].is_null() && all[1]["ended_at"].is_string());
    rig.ok(&["delete", "session", &all[0]["id"].to_string()]);
    wait_for("rig to end", || child.try_wait().unwrap());
    // Also when the app is gone, and over a restart.
    rig.ok(&["delete", "network", "blue", "--yes"]);
    let table = rig.ok(&["list", "audit", "--what", "command"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let header =
        ["ID", "WHAT", "USER", "TOKEN", "NETWORK", "APP", "ABOUT", "WHEN", "ENDED", "CODE", "REASON"];
    assert_eq!(rows[0], header);
    assert_eq!(rows[1].last(), Some(&"deleted"), "{table}");
    assert!(!table.contains("secret-word"), "{table}");
}

#[test]
fn pages_and_filters_restrict_what_is_shown() {
    let max = Max::start();
    let rig = world(&max);
    rig.ok(&["create", "network", "green"]);
    let site = crate::harness::site("x");
    rig.ok(&["deploy", site.path().to_str().unwrap(), "-a", "web", "-n", "green", "--create"]);
    for app in ["web.blue", "web.green", "web.blue", "web.green", "web.blue"] {
        rig.ok(&["command", app, "true"]);
    }
    let all = ids(&entries(&rig, &[]));
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted_by(|a, b| a > b));
    let blue: Vec<u64> = [0, 2, 4].map(|at| all[at]).into();
    for args in [["--app", "web.blue"], ["--network", "blue"]] {
        assert_eq!(ids(&entries(&rig, &args)), blue);
    }
    assert_eq!(ids(&entries(&rig, &["--app", "web", "-n", "blue", "--since", "1h"])), blue);
    assert!(entries(&rig, &["--since", "2100-01-01T00:00:00Z"]).is_empty());
    assert_eq!(ids(&entries(&rig, &["--app", "web"])), all);
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let mut args = vec!["list", "audit", "--what", "command", "--limit", "2"];
        let named: String = before.map_or(String::new(), |before: u64| before.to_string());
        if before.is_some() {
            args.extend(["--before", &named]);
        }
        let page = rig.json(&args);
        pages.push(ids(page["entries"].as_array().unwrap()));
        before = page["before"].as_u64();
        if before.is_none() {
            break;
        }
    }
    assert_eq!(pages, [all[..2].to_vec(), all[2..4].to_vec(), all[4..].to_vec()]);
    let ran = rig.run(&["list", "audit", "--what", "command", "--limit", "4"]);
    assert_eq!(ran.stderr, format!("there are older ones: add `--before {}`\n", all[3]));
    for (args, stderr) in [
        (["--limit", "0"], "rig: --limit takes 1 to 1000, not 0\n  for instance `--limit 200`\n"),
        (["--limit", "x"], "rig: --limit takes a number, not 'x'\n  for instance `--limit 200`\n"),
        (
            ["--since", "soon"],
            "rig: --since takes a time, not 'soon'\n  for instance `--since 5m`, `2h30m` or \
             `2026-11-24T10:00:00Z`\n",
        ),
    ] {
        rig.run(&[&["list", "audit"], &args[..]].concat()).fails(2, stderr);
    }
    let ran = rig.run(&["list", "audit", "-a", "web.blue", "-n", "green"]);
    ran.fails(2, "rig: is the network 'blue' or 'green'?\n");
}

#[test]
fn anothers_sessions_look_as_if_there_were_none() {
    let max = Max::start();
    let rig = world(&max);
    rig.ok(&["command", "web.blue", "true"]);
    let eve = max.rig("eve");
    let ran = eve.run(&["list", "audit", "--app", "web.blue"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "nothing was found\n"));
    // Nor when she has an app of that name afterwards.
    rig.ok(&["delete", "network", "blue", "--yes"]);
    let site = crate::harness::site("x");
    eve.ok(&["create", "network", "blue"]);
    eve.ok(&["deploy", site.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    eve.ok(&["command", "web.blue", "true"]);
    assert_eq!(entries(&eve, &[]).len(), 1);
    assert_eq!(entries(&rig, &[]).len(), 1);
}

#[test]
fn what_ran_when_max_was_stopped_or_killed_is_said_to_have_ended_so() {
    let mut max = Max::start();
    let rig = world(&max);
    for reason in ["stopping", "killed"] {
        let mut child = running(&rig, "echo ready; exec sleep 1000");
        match reason {
            "killed" => max.kill(),
            _ => assert_eq!(max.stop(), Some(0)),
        }
        max.serve();
        let newest = entries(&rig, &["--limit", "1"]).remove(0);
        assert_eq!(newest["reason"], reason, "{newest}");
        assert!(newest["ended_at"].is_string());
        wait_for("rig to end", || child.try_wait().unwrap());
    }
}

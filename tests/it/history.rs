//! Histories of configurations: every change is told, none is lost, and each can be gone back to.

use crate::harness::{Max, Rig};
use crate::terminal::Terminal;
use crate::visitor::{deploy, lab_with};
use serde_json::{Value, json};
use std::thread;

const RUNS: &str =
    r#"{"build":"cc -O1 -pthread -o server server.c","run":"test -n \"$BAD\" && exit 5; exec ./server"}"#;

/// An app that has no release.
fn app() -> (Max, Rig) {
    let max = Max::start();
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    (max, rig)
}

fn entries(rig: &Rig, of: &[&str]) -> Vec<Value> {
    rig.json(&[&["list", "history"], of].concat())["entries"].as_array().unwrap().clone()
}

fn numbers(entries: &[Value]) -> Vec<u64> {
    entries.iter().map(|one| one["number"].as_u64().unwrap()).collect()
}

/// Kind, name, before and after of each of a document's changes.
fn changes(document: &Value) -> Vec<Value> {
    let all = document["changes"].as_array().unwrap().iter();
    all.map(|one| json!([one["kind"], one["name"], one["before"], one["after"]])).collect()
}

fn variables(rig: &Rig, args: &[&str]) -> Vec<String> {
    let details = rig.json(&[&["details", "app", "web.blue"], args].concat());
    let all = details["variables"].as_array().unwrap().iter();
    all.map(|one| format!("{}={}", one["name"].as_str().unwrap(), one["value"].as_str().unwrap())).collect()
}

#[test]
fn every_change_is_told_with_who_what_before_and_after() {
    let (max, rig) = app();
    let bob = max.rig("bob");
    rig.ok(&["create", "member", "bob", "-n", "blue", "--role", "deployer"]);
    rig.ok(&["create", "var", "A=1", "B=2", "-a", "web.blue"]);
    bob.ok(&["create", "var", "A=one", "C=\u{1b}[31m", "-a", "web.blue"]);
    rig.ok(&["create", "secret", "S", "--value", "hidden-value", "-a", "web.blue"]);
    rig.ok(&["scale", "app", "web.blue", "3"]);
    rig.ok(&["delete", "var", "B", "-a", "web.blue"]);
    // What is as it was is no change.
    rig.ok(&["create", "var", "A=one", "-a", "web.blue"]);
    rig.ok(&["scale", "app", "web.blue", "3"]);
    let all = entries(&rig, &["-a", "web.blue"]);
    assert_eq!(numbers(&all), [6, 5, 4, 3, 2, 1]);
    let told: Vec<_> =
        all.iter().map(|one| (one["what"].as_str().unwrap(), one["user"].as_str().unwrap())).collect();
    let expected = [
        ("variables", "ann"),
        ("scaled", "ann"),
        ("secrets", "ann"),
        ("variables", "bob"),
        ("variables", "ann"),
        ("created", "ann"),
    ];
    assert_eq!(told, expected);
    assert_eq!(changes(&all[0]), [json!(["variable", "B", "2", null])]);
    assert_eq!(changes(&all[1]), [json!(["instances", "", "1", "3"])]);
    let fingerprint = &rig.json(&["list", "secrets", "-a", "web.blue"])["secrets"][0]["fingerprint"];
    assert_eq!(changes(&all[2]), [json!(["secret", "S", null, fingerprint])]);
    assert_eq!(
        changes(&all[3]),
        [json!(["variable", "A", "1", "one"]), json!(["variable", "C", null, "\u{1b}[31m"])]
    );
    assert_eq!(changes(&all[5]), [json!(["instances", "", null, "1"]), json!(["name", "", null, "web"])]);
    let text = rig.ok(&["list", "history", "-a", "web.blue"]);
    assert!(text.contains("variable A changed from '1' to 'one', variable C added: '\\u{1b}[31m'"), "{text}");
    assert!(!text.contains("hidden-value") && !text.contains('\u{1b}'));
    let page = rig.json(&["list", "history", "-a", "web.blue", "--limit", "2", "--before", "5"]);
    assert_eq!((numbers(page["entries"].as_array().unwrap()), &page["before"]), (vec![4, 3], &json!(3)));
    let page = rig.run(&["list", "history", "-a", "web.blue", "--limit", "5"]);
    assert_eq!(page.stderr, "there are older ones: add `--before 2`\n");
    let page = rig.run(&["list", "history", "-a", "web.blue", "--limit", "6"]);
    assert_eq!(page.stderr, "");
    rig.run(&["list", "history", "-a", "web.blue", "--limit", "0"])
        .fails(2, "rig: --limit takes 1 to 1000, not 0\n  for instance `--limit 200`\n");
}

#[test]
fn a_network_has_a_history_of_its_own() {
    let (_max, rig) = app();
    rig.ok(&["create", "var", "A=1", "-n", "blue"]);
    rig.ok(&["create", "var", "A=2", "-a", "web.blue"]);
    rig.ok(&["create", "secret", "S", "--value", "x", "-n", "blue"]);
    rig.ok(&["rotate", "key", "-n", "blue"]);
    let all = entries(&rig, &["-n", "blue"]);
    let told: Vec<_> = all.iter().rev().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(told, ["created", "variables", "secrets", "key_rotated"]);
    assert_eq!(changes(&all[0]), [json!(["key", "", null, "2"])]);
    let details = rig.json(&["details", "network", "blue"]);
    assert_eq!(
        (&details["version"]["number"], &details["version"]["what"]),
        (&json!(4), &json!("key_rotated"))
    );
    assert_eq!(rig.json(&["details", "network", "blue", "--at", "1"])["variables"], json!([]));
    // What the app had from it is what there was at that time.
    assert_eq!(variables(&rig, &["--at", "1"]), Vec::<String>::new());
    assert_eq!(variables(&rig, &["--at", "2"]), ["A=2"]);
    rig.ok(&["delete", "var", "A", "-a", "web.blue"]);
    rig.ok(&["create", "var", "A=3", "-n", "blue"]);
    assert_eq!(variables(&rig, &["--at", "3"]), ["A=1"]);
    assert_eq!(variables(&rig, &[]), ["A=3"]);
}

#[test]
fn details_tell_what_was_behind_every_change() {
    let (_max, rig) = app();
    let mut told = vec![Vec::new()];
    for n in 0..12 {
        let (name, value) = (format!("V{}", n % 4), n.to_string());
        match n % 5 {
            3 => drop(rig.ok(&["delete", "var", &format!("V{}", (n - 1) % 4), "-a", "web.blue"])),
            _ => drop(rig.ok(&["create", "var", &format!("{name}={value}"), "-a", "web.blue"])),
        }
        told.push(variables(&rig, &[]));
    }
    for (at, then) in told.iter().enumerate() {
        assert_eq!(&variables(&rig, &["--at", &(at + 1).to_string()]), then, "{at}");
    }
    rig.run(&["details", "app", "web.blue", "--at", "14"])
        .fails(3, "rig: there is no change 14, or it is not kept any more\n  see `rig list history`\n");
}

#[test]
fn a_write_from_an_older_version_changes_nothing_and_shows_both_sides() {
    let (_max, rig) = app();
    rig.ok(&["create", "var", "A=1", "-a", "web.blue"]);
    let version = rig.json(&["list", "vars", "-a", "web.blue"])["version"].to_string();
    assert_eq!(version, "2");
    rig.ok(&["create", "var", "A=2", "-a", "web.blue", "--if-version", &version]);
    rig.run(&["create", "var", "A=3", "-a", "web.blue", "--if-version", &version]).fails(
        6,
        "rig: app 'web' of network 'blue' has version 3 now, and not 2: 3 by ann: variable A changed from '1' to '2'\n  \
         yours was: variable A changed from '2' to '3'; look at what there is, then try again\n",
    );
    for args in [
        &["create", "secret", "S", "--value", "x", "-a", "web.blue"][..],
        &["delete", "var", "A", "-a", "web.blue"],
        &["scale", "app", "web.blue", "2"],
        &["rollback", "config", "-a", "web.blue", "--to", "1", "--yes"],
    ] {
        let ran = rig.run(&[args, &["--if-version", "2", "-o", "json"]].concat());
        let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
        assert_eq!((ran.code, ran.stdout.as_str(), &error["code"]), (6, "", &json!("conflict")), "{args:?}");
    }
    assert_eq!(variables(&rig, &[]), ["A=2"]);
    assert_eq!(entries(&rig, &["-a", "web.blue"]).len(), 3);
    rig.run(&["create", "var", "A=3", "-a", "web.blue", "--if-version", "x"])
        .fails(2, "rig: --if-version takes a version's number, not 'x'\n  for instance `--if-version 7`\n");
}

#[test]
fn what_was_looked_at_is_what_an_import_changes() {
    let (_max, rig) = app();
    rig.ok(&["create", "var", "A=1", "-a", "web.blue"]);
    let dir = crate::harness::project(&[(".env", "A=2\n")]);
    let file = dir.path().join(".env");
    let mut terminal = Terminal::spawn(&rig, &["import", "vars", file.to_str().unwrap(), "-a", "web.blue"]);
    terminal.wait("make 1 change for app web of network blue?");
    rig.ok(&["create", "var", "A=3", "-a", "web.blue"]);
    terminal.type_in("y\r");
    terminal.wait("has version 3 now, and not 2");
    assert_eq!(terminal.end(), 6);
    assert_eq!(variables(&rig, &[]), ["A=3"]);
}

#[test]
fn fifty_writers_at_once_lose_nothing() {
    let (_max, rig) = app();
    let rig = &rig;
    thread::scope(|scope| {
        for n in 0..50 {
            scope.spawn(move || rig.ok(&["create", "var", &format!("V{n}={n}"), "-a", "web.blue"]));
        }
    });
    assert_eq!(variables(rig, &[]).len(), 50);
    let all = entries(rig, &["-a", "web.blue", "--limit", "100"]);
    assert_eq!(numbers(&all), (1..=51).rev().collect::<Vec<_>>());
    // And those who read before they write: each tries until its own is made from the newest.
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(move || {
                loop {
                    let list = rig.json(&["list", "vars", "-a", "web.blue"]);
                    let mine = list["variables"].as_array().unwrap().iter().find(|one| one["name"] == "V0");
                    let next = mine.unwrap()["value"].as_str().unwrap().parse::<u64>().unwrap() + 1;
                    let (set, version) = (format!("V0={next}"), list["version"].to_string());
                    let ran = rig.run(&["create", "var", &set, "-a", "web.blue", "--if-version", &version]);
                    match ran.code {
                        0 => break,
                        code => assert_eq!(code, 6, "{}", ran.stderr),
                    }
                }
            });
        }
    });
    assert!(variables(rig, &[]).contains(&"V0=10".to_owned()));
    assert_eq!(entries(rig, &["-a", "web.blue", "--limit", "100"]).len(), 61);
}

#[test]
fn a_rollback_brings_back_variables_secrets_and_instances_and_can_be_taken_back() {
    let max = Max::start();
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    deploy(&max, &rig, &lab_with("one\n", RUNS));
    rig.ok(&["create", "var", "A=1", "-a", "lab.blue"]);
    rig.ok(&["create", "secret", "S", "--value", "first", "-a", "lab.blue"]);
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    rig.ok(&["rotate", "key", "-n", "blue"]);
    rig.ok(&["create", "var", "A=2", "B=3", "-a", "lab.blue"]);
    rig.ok(&["create", "secret", "S", "--value", "second", "-a", "lab.blue"]);
    rig.ok(&["scale", "app", "lab.blue", "1"]);
    let script = "printf %s,%s,%s \"$A\" \"$B\" \"$S\"";
    let found = || rig.ok(&["command", "lab.blue", "--", "sh", "-c", script]);
    let running = || rig.json(&["status", "app", "lab.blue"])["app"]["running"].clone();
    assert_eq!((found(), running()), ("2,3,second".to_owned(), json!(1)));
    let said = rig.ok(&["rollback", "config", "-a", "lab.blue", "--to", "4", "--yes"]);
    assert_eq!(said, "rolled back app lab of network blue to change 4\nrestarted app lab of network blue\n");
    assert_eq!((found(), running()), ("1,,first".to_owned(), json!(2)));
    rig.ok(&["rollback", "config", "-a", "lab.blue", "--to", "7", "--yes"]);
    assert_eq!((found(), running()), ("2,3,second".to_owned(), json!(1)));
    let said = rig.ok(&["rollback", "config", "-a", "lab.blue", "--to", "9", "--yes"]);
    assert_eq!(said, "nothing is different for app lab of network blue\n");
    // Nothing but the number of instances.
    rig.ok(&["scale", "app", "lab.blue", "3"]);
    let said = rig.ok(&["rollback", "config", "-a", "lab.blue", "--to", "9", "--yes"]);
    assert_eq!(said, "rolled back app lab of network blue to change 9\nscaled app lab of network blue\n");
    assert_eq!(running(), json!(1));
    // What does not run like that is staged, and told.
    rig.ok(&["create", "var", "BAD=1", "--stage", "-a", "lab.blue"]);
    rig.ok(&["delete", "var", "BAD", "--stage", "-a", "lab.blue"]);
    let ran = rig.run(&["rollback", "config", "-a", "lab.blue", "--to", "12", "--yes"]);
    assert_eq!((ran.code, found()), (1, "2,3,second".to_owned()), "{}", ran.stderr);
    assert!(ran.stderr.contains("app 'lab' does not run with its variables"), "{}", ran.stderr);
}

#[test]
fn a_rollback_shows_what_it_changes_and_asks() {
    let (_max, rig) = app();
    rig.ok(&["create", "var", "A=1", "-a", "web.blue"]);
    rig.ok(&["create", "var", "A=2", "-a", "web.blue"]);
    rig.ok(&["scale", "app", "web.blue", "2"]);
    rig.run(&["rollback", "config", "-a", "web.blue", "--to", "2"])
        .fails(2, "rig: this needs a yes, and there is no terminal to ask at\n  add --yes\n");
    rig.run(&["rollback", "config", "-a", "web.blue", "--yes"])
        .fails(2, "rig: `rig rollback config` needs --to N\n  see `rig list history --app web.blue`\n");
    let mut terminal = Terminal::spawn(&rig, &["rollback", "config", "-a", "web.blue", "--to", "2"]);
    terminal.wait("~ instances: 2 -> 1");
    terminal.wait("~ variable A: 2 -> 1");
    terminal.wait("make 2 changes for app web of network blue?");
    terminal.type_in("n\r");
    terminal.wait("nothing was changed");
    assert_eq!(terminal.end(), 1);
    assert_eq!(variables(&rig, &[]), ["A=2"]);
    let mut terminal = Terminal::spawn(&rig, &["rollback", "config", "-a", "web.blue", "--to", "2"]);
    terminal.wait("make 2 changes");
    terminal.type_in("y\r");
    terminal.wait("rolled back app web of network blue to change 2");
    assert_eq!((terminal.end(), variables(&rig, &[])), (0, vec!["A=1".to_owned()]));
    // To before there was anything, in both kinds of scope.
    rig.ok(&["create", "var", "N=1", "-n", "blue"]);
    rig.ok(&["rollback", "config", "-n", "blue", "--to", "1", "--yes"]);
    rig.ok(&["rollback", "config", "-a", "web.blue", "--to", "1", "--yes"]);
    assert_eq!(variables(&rig, &[]), Vec::<String>::new());
}

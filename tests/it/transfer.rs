//! Configurations as documents: what an export holds an import brings back, all of it or nothing.

use crate::harness::{Max, Ran, Rig, project};
use crate::receiver::Receiver;
use crate::terminal::Terminal;
use crate::visitor::{deploy, lab};
use nanorand::{Rng, WyRand};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// A file with this document.
fn file(document: &str) -> (TempDir, String) {
    let dir = project(&[("export.json", document)]);
    let path: PathBuf = dir.path().join("export.json");
    (dir, path.to_str().unwrap().to_owned())
}

/// Details without what another network has other ones of: numbers and times.
fn timeless(mut details: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|name, _| {
                    !name.ends_with("_at") && !["version", "updated_by", "id"].contains(&name.as_str())
                });
                object.values_mut().for_each(strip);
            }
            Value::Array(all) => all.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut details);
    details
}

/// The details of a network and of each of its apps.
fn details(rig: &Rig, network: &str) -> Vec<Value> {
    let of_network = rig.json(&["details", "network", network]);
    let names = of_network["apps"].as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap());
    let names: Vec<String> = names.map(|name| format!("{name}.{network}")).collect();
    let apps = names.iter().map(|name| rig.json(&["details", "app", name]));
    std::iter::once(of_network.clone()).chain(apps).map(timeless).collect()
}

/// A document of a network with so many apps, without secrets.
fn network(name: &str, apps: usize) -> Value {
    let app = |n: usize| {
        let variables: serde_json::Map<_, _> =
            (0..n % 7).map(|v| (format!("V{v}"), json!(format!("{n}\n'\"$ é {v}")))).collect();
        (format!("app-{n}"), json!({"instances": 1 + n % 20, "variables": variables}))
    };
    let all: serde_json::Map<_, _> = (0..apps).map(app).collect();
    json!({"schema": 1, "kind": "network", "name": name, "variables": {"REGION": "north"}, "apps": all})
}

#[test]
fn a_network_of_twenty_apps_comes_back_as_it_was() {
    let max = Max::with(&["--webhook-private"]);
    let (rig, receiver) = (max.rig("ann"), Receiver::start());
    let mut document = network("blue", 20);
    document["webhooks"] = json!([receiver.url()]);
    let (_dir, path) = file(&document.to_string());
    let said = rig.ok(&["import", &path, "--yes"]);
    assert!(
        said.contains("created webhook 1, to http") && said.contains("shown this once: whsec_"),
        "{said}"
    );
    rig.ok(&["create", "secret", "SHARED", "--value", "value-of-shared", "-n", "blue"]);
    for n in [0, 3, 19] {
        let app = format!("app-{n}.blue");
        rig.ok(&["create", "secret", "OWN", "--value", &format!("value-of-{n}"), "-a", &app]);
    }
    rig.ok(&["rotate", "key", "-n", "blue"]);
    let before = details(&rig, "blue");
    assert_eq!(before.len(), 21);
    let export = rig.ok(&["export", "network", "blue"]);
    assert!(!export.contains("value-of") && export.contains("\"wrapped\""), "{export}");
    rig.ok(&["delete", "network", "blue", "--yes"]);
    let (_dir, path) = file(&export);
    rig.ok(&["import", &path, "--yes"]);
    assert_eq!(details(&rig, "blue"), before);
    // The secrets open, also of a network that has a key of its own.
    let dir = lab("one\n");
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "app-0", "-n", "blue"]);
    let found = rig.ok(&["command", "app-0.blue", "--", "sh", "-c", "printf %s,%s \"$OWN\" \"$SHARED\""]);
    assert_eq!(found, "value-of-0,value-of-shared");
    // And once more, into another one.
    rig.ok(&["import", &path, "--yes", "-n", "green"]);
    let renamed = |value: &[Value]| serde_json::to_string(value).unwrap().replace("blue", "green");
    let green = details(&rig, "green");
    assert_eq!(serde_json::to_string(&green).unwrap(), renamed(&before));
    let again = rig.json(&["import", &path, "--yes", "-n", "green", "--prune"]);
    assert_eq!((&again["changes"], &again["apps"]), (&json!([]), &json!([])));
}

#[test]
fn a_document_survives_the_round_trip_whatever_the_values() {
    let max = Max::start();
    let rig = max.rig("ann");
    let hard = "\u{1}\n\r\t\"'\\$`é漢🦀\u{7f}\u{85}\u{2028}\u{feff} #=";
    let mut document = network("blue", 1);
    document["apps"]["app-0"]["variables"] = json!({"HARD": hard, "EMPTY": "", "LONG": "x".repeat(64 << 10)});
    let (_dir, path) = file(&document.to_string());
    rig.ok(&["import", &path, "--yes"]);
    let export = rig.ok(&["export", "app", "app-0.blue"]);
    assert!(!export.chars().any(|c| c.is_control() && c != '\n'));
    assert_eq!(rig.ok(&["export", "app", "app-0.blue", "-o", "json"]), export);
    let read: Value = serde_json::from_str(&export).unwrap();
    assert_eq!(read["variables"], document["apps"]["app-0"]["variables"]);
    let (_dir, path) = file(&export);
    assert_eq!(rig.ok(&["diff", &path]), "");
}

#[test]
fn a_kill_or_a_cut_at_any_moment_leaves_before_or_after() {
    let mut max = Max::start();
    let mut rig = max.rig("ann");
    let mut random = WyRand::new_seed(20_261_126);
    let (_one, first) = file(&network("blue", 20).to_string());
    let mut other = network("blue", 25);
    for app in other["apps"].as_object_mut().unwrap().values_mut() {
        app["variables"] = json!({"ROUND": "two"});
        app["instances"] = json!(2);
    }
    let (_two, second) = file(&other.to_string());
    rig.ok(&["import", &first, "--yes"]);
    let export = |rig: &Rig| rig.ok(&["export", "network", "blue"]);
    let mut states = [export(&rig), String::new()];
    rig.ok(&["import", &second, "--prune", "--yes"]);
    states[1] = export(&rig);
    assert_ne!(states[0], states[1]);
    let mut seen = [0, 0];
    for round in 0..24 {
        let (now, next) = (round % 2, if round % 2 == 0 { &first } else { &second });
        let mut command = rig.command(&["import", next, "--prune", "--yes"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::park_timeout(Duration::from_micros(random.generate_range(2_000..60_000u64)));
        // Either end is the one that goes.
        let maxd = round % 4 < 2;
        if maxd {
            max.kill();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if maxd {
            max.serve();
            rig = max.rig("ann");
        }
        let found = export(&rig);
        let state = states.iter().position(|state| *state == found);
        let state = state.unwrap_or_else(|| panic!("round {round}: between\n{found}"));
        seen[usize::from(state == now)] += 1;
        // From here the next one has to change something.
        rig.ok(&["import", next, "--prune", "--yes"]);
        assert_eq!(export(&rig), states[now]);
    }
    eprintln!("before {}, after {}", seen[0], seen[1]);
}

#[test]
fn nothing_happens_unless_all_of_it_can() {
    let max = Max::start();
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    rig.ok(&["create", "var", "A=1", "-a", "web.blue"]);
    let before = (rig.ok(&["export", "network", "blue"]), rig.json(&["list", "history", "-a", "web.blue"]));
    let many: serde_json::Map<_, _> = (0..501).map(|n| (format!("V{n}"), json!("x"))).collect();
    let document = json!({"schema": 1, "kind": "network", "name": "blue", "variables": {"B": "2"},
        "apps": {"api": {"instances": 3}, "web": {"variables": {"A": "2"}}, "zoo": {"variables": many}}});
    let (_dir, path) = file(&document.to_string());
    for args in [&["import", &path, "--yes"][..], &["import", &path, "--dry-run"], &["validate", &path]] {
        rig.run(args).fails(1, "rig: there would be 501 variables; at most 500 are taken\n  keep what is large in a file of the app\n");
    }
    let after = (rig.ok(&["export", "network", "blue"]), rig.json(&["list", "history", "-a", "web.blue"]));
    assert_eq!(before, after);
    assert_eq!(rig.json(&["list", "apps"])["apps"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_not_in_a_document_stays_unless_it_is_pruned() {
    let max = Max::with(&["--webhook-private"]);
    let (rig, receiver) = (max.rig("ann"), Receiver::start());
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    rig.ok(&["create", "app", "old.blue"]);
    rig.ok(&["create", "var", "A=1", "B=2", "-a", "web.blue"]);
    rig.ok(&["create", "var", "N=1", "-n", "blue"]);
    rig.ok(&["create", "secret", "S", "--value", "x", "-a", "web.blue"]);
    rig.ok(&["create", "secret", "KEPT", "--value", "x", "-n", "blue"]);
    rig.ok(&["create", "webhook", &receiver.url(), "-n", "blue"]);
    // A name that is a variable there, and in the document a secret.
    let secret = json!({"fingerprint": "0123456789abcdef", "sealed": null});
    let document = json!({"schema": 1, "kind": "network", "name": "blue", "variables": {"N": "2"}, "webhooks": [],
        "apps": {"web": {"variables": {"A": "3", "S": "plain"}, "secrets": {"T": secret}}}});
    let (_dir, path) = file(&document.to_string());
    let ran = rig.run(&["import", &path, "--dry-run"]);
    let fingerprint = rig.json(&["list", "secrets", "-a", "web.blue"])["secrets"][1]["fingerprint"].clone();
    let fingerprint = fingerprint.as_str().unwrap();
    let plan = format!(
        "~ variable N: 1 -> 2\n- secret S of app web: {fingerprint}\n~ variable A of app web: 1 -> 3\n+ variable S of app web: plain\n"
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (0, plan.as_str()), "{}", ran.stderr);
    assert_eq!(
        ran.stderr,
        "warning: the document does not hold the value of secret T of app web: set it yourself\n"
    );
    let diff = rig.run(&["diff", &path]);
    let url = receiver.url();
    assert_eq!(diff.code, 1);
    assert!(
        diff.stdout.starts_with(&format!("- app old\n~ variable N: 1 -> 2\n- webhook {url}\n")),
        "{}",
        diff.stdout
    );
    assert!(diff.stdout.contains("- variable B of app web: 2\n"), "{}", diff.stdout);
    rig.ok(&["import", &path, "--yes"]);
    let names = |of: &[&str], path: &str| {
        let list = rig.json(&[&["list"], of].concat());
        let all = list[path].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        all.collect::<Vec<_>>().join(",")
    };
    assert_eq!(names(&["vars", "-a", "web.blue"], "variables"), "A,B,N,S");
    assert_eq!(names(&["secrets", "-a", "web.blue"], "secrets"), "KEPT");
    assert_eq!(names(&["apps"], "apps"), "old,web");
    rig.ok(&["import", &path, "--yes", "--prune"]);
    assert_eq!(names(&["vars", "-a", "web.blue"], "variables"), "A,N,S");
    // The document says nothing of the network's secrets.
    assert_eq!(names(&["secrets", "-n", "blue"], "secrets"), "KEPT");
    assert_eq!(names(&["apps"], "apps"), "web");
    assert_eq!(rig.json(&["list", "webhooks"])["webhooks"], json!([]));
    assert_eq!(rig.json(&["list", "trash"])["items"][0]["name"], "old");
    let last = &rig.json(&["list", "history", "-a", "web.blue"])["entries"][0];
    assert_eq!((&last["what"], &last["about"]), (&json!("imported"), &json!("variable B removed")));
}

#[test]
fn secrets_open_for_who_exported_them_alone() {
    let max = Max::start();
    let (ann, bob) = (max.rig("ann"), max.rig("bob"));
    ann.ok(&["create", "network", "blue"]);
    ann.ok(&["create", "app", "web.blue"]);
    ann.ok(&["create", "secret", "S", "--value", "x", "-a", "web.blue"]);
    let export = ann.ok(&["export", "app", "web.blue"]);
    let (_dir, path) = file(&export);
    bob.ok(&["create", "network", "red"]);
    let refused = format!(
        "rig: '{path}': its secrets open for user 'ann' alone, who exported it\n  leave secrets as they are with --no-secrets\n"
    );
    bob.run(&["import", &path, "-a", "web.red", "--yes"]).fails(1, &refused);
    // Nor when it says that he did.
    let (_dir, forged) = file(&export.replace("\"user\": \"ann\"", "\"user\": \"bob\""));
    let ran = bob.run(&["import", &forged, "-a", "web.red", "--yes"]);
    assert!(ran.code == 1 && ran.stderr.contains("this server has another master key"), "{}", ran.stderr);
    bob.ok(&["import", &path, "-a", "web.red", "--no-secrets", "--yes"]);
    assert_eq!(bob.json(&["list", "secrets", "-a", "web.red"])["secrets"], json!([]));
    // He sees nothing of the network that it is from.
    bob.run(&["diff", &path]).fails(3, "rig: network 'blue' does not exist\n  see `rig list networks`\n");
    ann.ok(&["create", "member", "bob", "-n", "blue", "--role", "viewer"]);
    let ran = bob.run(&["export", "app", "web.blue"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let plain = bob.ok(&["export", "app", "web.blue", "--no-secrets"]);
    assert!(plain.contains("\"sealed\": null") && !plain.contains("wrapped"), "{plain}");
    assert_eq!(bob.run(&["diff", &path]).code, 0);
    assert_eq!(bob.run(&["import", &path, "--yes"]).code, 4);
    // Another server knows another master key.
    let other = Max::start();
    let elsewhere = other.rig("ann");
    elsewhere.ok(&["create", "network", "blue"]);
    let ran = elsewhere.run(&["validate", &path]);
    assert!(ran.code == 1 && ran.stderr.contains("this server has another master key"), "{}", ran.stderr);
    // What was cut out of another document opens for nothing else.
    let mut swapped: Value = serde_json::from_str(&export).unwrap();
    let sealed = swapped["secrets"]["S"].take();
    swapped["secrets"] = json!({"OTHER": sealed});
    let (_dir, path) = file(&swapped.to_string());
    let ran = ann.run(&["import", &path, "--yes"]);
    assert!(ran.code == 1 && ran.stderr.contains("the secret 'OTHER' does not open"), "{}", ran.stderr);
}

#[test]
fn an_import_asks_and_changes_only_what_was_shown() {
    let max = Max::start();
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    let document = json!({"schema": 1, "kind": "app", "network": "blue", "name": "web", "instances": 2, "variables": {"A": "1"}});
    let (_dir, path) = file(&document.to_string());
    rig.run(&["import", &path])
        .fails(2, "rig: this needs a yes, and there is no terminal to ask at\n  add --yes\n");
    let mut terminal = Terminal::spawn(&rig, &["import", &path]);
    terminal.wait("~ instances of app web: 1 -> 2");
    terminal.wait("+ variable A of app web: 1");
    terminal.wait("make 2 changes for app web of network blue?");
    rig.ok(&["create", "var", "A=0", "-a", "web.blue"]);
    terminal.type_in("y\r");
    terminal.wait("it was changed since this was looked at: app 'web' of network 'blue': 2 by ann");
    assert_eq!(terminal.end(), 6);
    assert_eq!(rig.json(&["details", "app", "web.blue"])["app"]["instances"], 1);
    let mut terminal = Terminal::spawn(&rig, &["import", &path]);
    terminal.wait("make 2 changes");
    terminal.type_in("y\r");
    terminal.wait("imported 2 changes for app web of network blue");
    assert_eq!((terminal.end(), rig.run(&["diff", &path]).code), (0, 0));
}

#[test]
fn an_import_brings_running_apps_to_it() {
    let max = Max::start();
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    deploy(&max, &rig, &lab("one\n"));
    let document = |instances: u64, value: &str| {
        let app = json!({"instances": instances, "variables": {"A": value}});
        file(&json!({"schema": 1, "kind": "network", "name": "blue", "variables": {"N": value}, "apps": {"lab": app}}).to_string())
    };
    let found = || rig.ok(&["command", "lab.blue", "--", "sh", "-c", "printf %s,%s \"$A\" \"$N\""]);
    let running = || rig.json(&["status", "app", "lab.blue"])["app"]["running"].clone();
    let (_dir, path) = document(3, "one");
    let said = rig.ok(&["import", &path, "--yes"]);
    assert_eq!(said, "imported 3 changes for network blue\nrestarted app lab of network blue\n");
    assert_eq!((found(), running()), ("one,one".to_owned(), json!(3)));
    let (_dir, path) = document(1, "one");
    let said = rig.ok(&["import", &path, "--yes"]);
    assert_eq!(said, "imported 1 change for network blue\nscaled app lab of network blue\n");
    let (_dir, path) = document(1, "two");
    let said = rig.ok(&["import", &path, "--yes", "--stage"]);
    assert!(said.ends_with("staged for app lab: `rig apply lab.blue`, or the next deploy\n"), "{said}");
    assert_eq!(found(), "one,one");
    rig.ok(&["apply", "lab.blue"]);
    assert_eq!((found(), running()), ("two,two".to_owned(), json!(1)));
}

#[test]
fn two_apps_are_compared_with_all_that_decides_how_they_run() {
    let max = Max::start();
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "network", "red"]);
    deploy(&max, &rig, &lab("one\n"));
    for app in ["lab.red", "web.blue"] {
        rig.ok(&["create", "app", app]);
    }
    rig.ok(&["create", "var", "SAME=1", "MODE=fast", "-a", "lab.blue"]);
    rig.ok(&["create", "var", "SAME=1", "MODE=slow", "ONLY=1", "-a", "lab.red"]);
    rig.ok(&["create", "var", "REGION=north", "-n", "blue"]);
    rig.ok(&["create", "secret", "S", "--value", "x", "-a", "lab.blue"]);
    rig.ok(&["create", "secret", "S", "--value", "y", "-a", "lab.red"]);
    rig.ok(&["scale", "app", "lab.red", "2"]);
    let ran: Ran = rig.run(&["diff", "lab.blue", "lab.red"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    for line in [
        "~ instances: 1 -> 2",
        "~ variable MODE: fast -> slow",
        "+ variable ONLY: 1",
        "- variable REGION: north",
        "- kind: rig.json",
    ] {
        assert!(ran.stdout.lines().any(|found| found == line), "{line}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("SAME") && !ran.stdout.contains("secret"), "{}", ran.stdout);
    assert_eq!(rig.run(&["diff", "lab.blue", "lab.blue"]).code, 0);
    let ran = rig.run(&["diff", "lab.blue", "lab.red", "-o", "json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, document["changes"].as_array().unwrap().len() > 4), (1, true));
    rig.run(&["diff", "lab.blue", "nope.red"])
        .fails(3, "rig: app 'nope' does not exist in network 'red'\n  see `rig list apps --network red`\n");
}

#[test]
fn a_file_is_checked_without_max_and_with() {
    let max = Max::start();
    let rig = max.rig("ann");
    let (_dir, good) = file(&network("blue", 2).to_string());
    let (_dir2, bad) = file(
        "{\"schema\": 1, \"kind\": \"network\",\n\"name\": \"blue\", \"apps\": {\"web\": {\"instances\": 0}}}",
    );
    assert_eq!(rig.ok(&["validate", &good]), format!("'{good}' is valid\n"));
    assert_eq!(rig.json(&["validate", &good]), json!({"file": good, "complete": true}));
    let part = format!("'{good}' is valid, as far as that can be told without Max\n");
    assert_eq!(rig.ok(&["validate", &good, "--offline"]), part);
    // Nobody is logged in, and there is no server.
    let alone = Rig::new();
    assert_eq!(alone.ok(&["validate", &good]), part);
    assert_eq!(alone.json(&["validate", &good])["complete"], false);
    let wrong =
        format!("rig: '{bad}': line 2: 'apps.web.instances' takes 1 to 20\n  see `rig import --help`\n");
    for rig in [&rig, &alone] {
        rig.run(&["validate", &bad]).fails(2, &wrong);
        rig.run(&["import", &bad, "--yes"]).fails(2, &wrong);
        rig.run(&["diff", &bad]).fails(2, &wrong);
    }
    rig.run(&["import", "/nowhere/x.json"])
        .fails(1, "rig: cannot read '/nowhere/x.json': no such file or directory\n");
    rig.run(&["import", &good, "-a", "web.blue", "--yes"])
        .fails(2, "rig: this is the document of a network, and goes to no app\n  name a network alone\n");
    let ran = rig.run_with(&["import", "-", "--yes"], &fs::read_to_string(&good).unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "imported 6 changes for network blue\n"));
    // A name that is somebody else's.
    let ran = max.rig("bob").run(&["import", &good, "--yes"]);
    assert_eq!((ran.code, ran.stderr.contains("network 'blue' already exists")), (6, true), "{}", ran.stderr);
}

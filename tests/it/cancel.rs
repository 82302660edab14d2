//! Deploys that nobody waits for, and such as are ended before they serve.

use crate::harness::{Max, Ran, Rig, project, site, wait_for};
use crate::terminal::Terminal;
use serde_json::{Value, json};
use std::fs;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A page whose build takes until the file `go` is in its release.
fn slow(text: &str) -> TempDir {
    let build = r#"{"build":"echo begun; until test -e go; do sleep 0.02; done"}"#;
    project(&[("index.html", text), ("rig.json", build)])
}

/// A server with a page of this user's.
fn world() -> (Max, Rig) {
    let max = Max::start();
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["deploy", site("first").path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    (max, rig)
}

fn args<'a>(dir: &'a TempDir, more: &[&'a str]) -> Vec<&'a str> {
    [&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"], more].concat()
}

fn begin(rig: &Rig, dir: &TempDir) -> Child {
    let mut command = rig.command(&args(dir, &[]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn state(rig: &Rig, id: u64) -> Value {
    rig.json(&["status", "deploy", &id.to_string()])["state"].clone()
}

fn reaches(rig: &Rig, id: u64, wanted: &str) {
    let look = || {
        let ran = rig.run(&["status", "deploy", &id.to_string(), "-o", "json"]);
        let now: Value = serde_json::from_str(&ran.stdout).ok()?;
        (now["state"] == wanted).then_some(())
    };
    wait_for(&format!("deploy {id} to be {wanted}"), look);
}

fn ended(child: Child) -> Ran {
    Ran::new(child.wait_with_output().unwrap())
}

fn served(max: &Max) -> (u16, String) {
    max.get("web.blue.localhost", "/")
}

#[test]
fn a_detached_deploy_goes_on_and_is_looked_at_by_its_number() {
    let (max, rig) = world();
    let dir = slow("second");
    let ran = rig.run(&args(&dir, &["--detach"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "2\n"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("see `rig status deploy 2`\n"), "{}", ran.stderr);
    reaches(&rig, 2, "building");
    let shown = rig.ok(&["status", "deploy", "2"]);
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["state", "building"])), "{shown}");
    // What is printed is a deploy, wherever it is by then.
    let third = site("third");
    let document = rig.json(&args(&third, &["--detach"]));
    crate::json::check("Deploy", &document);
    assert_eq!((&document["id"], &document["state"]), (&json!(3), &json!("queued")));
    assert_eq!(served(&max).1, "first");
    fs::write(max.data().join("apps/1/2/go"), "").unwrap();
    reaches(&rig, 3, "live");
    assert_eq!((state(&rig, 2), served(&max).1), (json!("live"), "third".to_owned()));
    rig.run(&["status", "deploy", "9"]).fails(3, "rig: deploy 9 does not exist\n");
}

#[test]
fn what_is_cancelled_ends_at_once_and_what_served_goes_on() {
    let (max, rig) = world();
    let (one, two) = (slow("second"), slow("third"));
    let building = begin(&rig, &one);
    reaches(&rig, 2, "building");
    let queued = begin(&rig, &two);
    reaches(&rig, 3, "queued");
    // Who is behind another one does not wait for it.
    assert_eq!(rig.ok(&["delete", "deploy", "3"]), "cancelled deploy 3 of app web\n");
    let ran = ended(queued);
    let said = "rig: deploy 3 failed while waiting for the app's previous deploy: cancelled by ann\n  see `rig logs build web.blue`\n";
    assert!(ran.code == 7 && ran.stderr.ends_with(said), "{}", ran.stderr);
    assert_eq!(state(&rig, 2), "building");
    // Somebody else.
    let bob = max.rig("bob");
    rig.ok(&["create", "member", "bob", "-n", "blue", "--role", "deployer"]);
    let document = bob.json(&["delete", "deploy", "2"]);
    assert_eq!((&document["state"], &document["phase"]), (&json!("failed"), &json!("building")));
    let ran = ended(building);
    assert!(
        ran.code == 7 && ran.stderr.contains("failed while building: cancelled by bob\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(served(&max), (200, "first".to_owned()));
    wait_for("its files to go", || (!max.data().join("apps/1/2").exists()).then_some(()));
    assert_eq!(rig.json(&["list", "alerts"])["alerts"], json!([]));
    rig.run(&["delete", "deploy", "1"])
        .fails(6, "rig: deploy 1 serves already\n  see `rig status deploy 1`\n");
    // Whoever asks again learns what came of it.
    assert_eq!(rig.json(&["delete", "deploy", "2"])["error"], "cancelled by bob");
    // One whose source never came.
    let create = r#"{"network":"blue","app":"web","create":false,"source_bytes":1,"files":1}"#;
    assert_eq!(rig.json(&["api", "deploy:create", create])["id"], 4);
    let document = rig.json(&["delete", "deploy", "4"]);
    assert_eq!((&document["phase"], &document["error"]), (&json!("uploading"), &json!("cancelled by ann")));
}

#[test]
fn a_deploy_that_replaces_cancels_what_is_under_way() {
    let (max, rig) = world();
    let (one, two, three) = (slow("second"), slow("third"), site("fourth"));
    let children = [begin(&rig, &one)];
    reaches(&rig, 2, "building");
    let queued = begin(&rig, &two);
    reaches(&rig, 3, "queued");
    let create = r#"{"network":"blue","app":"web","create":false,"source_bytes":1,"files":1}"#;
    rig.json(&["api", "deploy:create", create]);
    rig.ok(&args(&three, &["--replace"]));
    assert_eq!(served(&max).1, "fourth");
    for child in children.into_iter().chain([queued]) {
        let ran = ended(child);
        assert!(ran.code == 7, "{}", ran.stderr);
        assert!(ran.stderr.contains(": cancelled by ann, whose deploy 5 replaces it\n"), "{}", ran.stderr);
    }
    assert_eq!((state(&rig, 4), state(&rig, 5)), (json!("failed"), json!("live")));
}

#[test]
fn ctrl_c_on_a_terminal_asks_what_becomes_of_it() {
    let (max, rig) = world();
    let dir = slow("second");
    let mut terminal = Terminal::spawn(&rig, &args(&dir, &[]));
    terminal.wait("begun");
    terminal.type_in("\x03");
    terminal.wait("cancel deploy 2? else it goes on [y/N]");
    terminal.type_in("n\r");
    terminal.wait("deploy 2 goes on in Max; see `rig logs build web.blue`");
    assert_eq!(terminal.end(), 130);
    assert_eq!(state(&rig, 2), "building");
    fs::write(max.data().join("apps/1/2/go"), "").unwrap();
    reaches(&rig, 2, "live");
    let mut terminal = Terminal::spawn(&rig, &args(&dir, &[]));
    terminal.wait("begun");
    terminal.type_in("\x03");
    terminal.wait("cancel deploy 3?");
    terminal.type_in("y\r");
    terminal.wait("deploy 3 was cancelled");
    assert_eq!(terminal.end(), 130);
    assert_eq!(rig.json(&["status", "deploy", "3"])["error"], "cancelled by ann");
    // Twice ends rig, as without a terminal.
    let mut terminal = Terminal::spawn(&rig, &args(&dir, &[]));
    terminal.wait("begun");
    terminal.type_in("\x03");
    terminal.wait("cancel deploy 4?");
    terminal.type_in("\x03");
    terminal.wait("interrupted; deploy 4 goes on in Max");
    assert_eq!(terminal.end(), 130);
    rig.ok(&["delete", "deploy", "4"]);
    // No answer is none, and what is said then stands on a line of its own.
    let mut terminal = Terminal::spawn(&rig, &args(&dir, &[]));
    terminal.wait("begun");
    terminal.type_in("\x03");
    terminal.wait("cancel deploy 5? else it goes on [y/N]");
    terminal.type_in("\x04");
    terminal.wait("[y/N] \r\nrig: interrupted");
    assert_eq!(terminal.end(), 130);
    rig.run(&["delete", "deploy", "x"]).fails(2, "rig: 'x' is no deploy's number\n  see `rig status app`\n");
    rig.ok(&["delete", "deploy", "5"]);
}

//! New names: the new URL answers at once and the old one no more, without a failed request,
//! and all that there is goes on.

use crate::harness::{Max, Rig, project, site, wait_for};
use crate::lifecycle::pids;
use crate::terminal::Terminal;
use crate::visitor::{HOST, Visitor, lab, lab_with, started};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Asks an app by one of its names, on a connection that is kept.
fn ask(visitor: &mut Visitor, host: &str) -> (u16, String) {
    visitor.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let (head, body) = visitor.answer();
    (head.status, body)
}

/// Renames while visitors ask all the time: who is not answered under the old name any more
/// is at once under the new one.
fn under_load(max: &Max, old: &str, new: &str, text: &str, rename: impl FnOnce()) {
    let (asked, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..4)
            .map(|n| {
                let (asked, done) = (&asked, &done);
                scope.spawn(move || {
                    let mut visitor = Visitor::new(max);
                    loop {
                        let renamed = done.load(Ordering::SeqCst) > 0;
                        if n % 2 == 0 {
                            visitor = Visitor::new(max);
                        }
                        let (status, _) = ask(&mut visitor, old);
                        assert!(status == 404 || status == 200 && !renamed, "{status}");
                        if status == 404 {
                            assert_eq!(ask(&mut visitor, new), (200, text.to_owned()));
                        }
                        asked.fetch_add(1, Ordering::SeqCst);
                        if renamed {
                            return;
                        }
                    }
                })
            })
            .collect();
        let renamed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("answers", || (asked.load(Ordering::SeqCst) > 50).then_some(()));
            rename();
        }));
        done.store(1, Ordering::SeqCst);
        visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        renamed.unwrap();
    });
}

fn follow(rig: &Rig, args: &[&str]) -> Child {
    let mut command = rig.command(&[args, &["--follow"]].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a program in the app finds.
fn found(rig: &Rig, app: &str, name: &str) -> String {
    rig.ok(&["command", app, "--", "sh", "-c", &format!("printf %s \"${name}\"")])
}

fn secret(rig: &Rig, args: &[&str], value: &str) {
    let ran = rig.run_with(&[&["create", "secret"], args].concat(), value);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn renaming_under_load_loses_no_request_and_what_runs_goes_on() {
    let (mut max, rig, dir) = started();
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    secret(&rig, &["KEY", "-a", "lab.blue"], "of-app");
    secret(&rig, &["SHARED", "-n", "blue"], "of-network");
    let ran = pids(&rig);
    let mut log = follow(&rig, &["logs", "app", "lab.blue"]);
    let mut all = follow(&rig, &["logs", "network", "blue"]);
    let read = |child: &mut Child| BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut log_lines, mut all_lines) = (read(&mut log), read(&mut all));
    assert!(log_lines.next().is_some() && all_lines.next().is_some());
    // A request that takes longer than that.
    let mut slow = Visitor::new(&max);
    slow.ask("GET /stream/go", &[]);
    assert_eq!(slow.head().unwrap().status, 200);

    under_load(&max, HOST, "shop.blue.localhost", "one\n", || {
        let said = rig.ok(&["rename", "app", "lab.blue", "shop"]);
        let url = max.apps_url.replace("localhost", "shop.blue.localhost");
        assert_eq!(said, format!("app lab is shop now\n{url}/\n"));
    });
    under_load(&max, "shop.blue.localhost", "shop.green.localhost", "one\n", || {
        assert_eq!(rig.ok(&["rename", "network", "blue", "green"]), "network blue is green now\n");
    });
    fs::write(dir.join("go"), "").unwrap();
    assert_eq!(std::iter::from_fn(|| slow.chunk()).collect::<String>(), "first\nsecond\n");
    assert!(log_lines.any(|line| line.contains("renamed from lab to shop by ada")));
    assert!(all_lines.any(|line| line.contains("network renamed from blue to green by ada")));
    let status = rig.json(&["status", "app", "shop.green"]);
    let now: Vec<u64> =
        status["instances"].as_array().unwrap().iter().filter_map(|one| one["pid"].as_u64()).collect();
    assert_eq!((now, &status["app"]["hostname"]), (ran, &json!("shop.green.localhost")));
    assert_eq!(rig.run(&["status", "app", "lab.blue"]).code, 3);
    // What was there stays: lines, releases, secrets, in what runs, what starts, and behind a restart.
    assert!(rig.ok(&["logs", "app", "shop.green", "--tail", "1000"]).contains("started release 1"));
    let opens = |when: &str| {
        assert_eq!(found(&rig, "shop.green", "KEY"), "of-app", "{when}");
        assert_eq!(found(&rig, "shop.green", "SHARED"), "of-network", "{when}");
    };
    opens("now");
    rig.ok(&["restart", "app", "shop.green"]);
    opens("behind a restart of the app");
    assert_eq!(max.stop(), Some(0));
    max.serve();
    wait_for("it to run", || (max.get("shop.green.localhost", "/").0 == 200).then_some(()));
    opens("behind a restart of Max");
    assert_eq!(max.get(HOST, "/").0, 404);
    let dir = lab("two\n");
    let next = rig.json(&["deploy", dir.path().to_str().unwrap(), "-a", "shop", "-n", "green"]);
    assert_eq!((&next["state"], &next["release"]), (&json!("live"), &json!(2)));
    opens("in the next release");
    rig.ok(&["rotate", "key", "-n", "green"]);
    drop((log_lines, all_lines));
    for mut child in [log, all] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_new_name_is_in_the_history_and_former_secrets_open_under_it() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = site("x");
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    secret(&rig, &["KEY", "-a", "web.blue"], "former");
    secret(&rig, &["KEY", "-a", "web.blue"], "present");
    rig.ok(&["rename", "app", "web.blue", "shop"]);
    rig.ok(&["rename", "network", "blue", "green"]);
    rig.ok(&["rename", "network", "green", "green"]);
    let newest = |of: &[&str]| {
        let entry = rig.json(&[&["list", "history"], of].concat())["entries"][0].clone();
        (entry["number"].clone(), entry["what"].clone(), entry["about"].clone())
    };
    let renamed = |number: u64, about: &str| (json!(number), json!("renamed"), json!(about));
    assert_eq!(newest(&["-a", "shop.green"]), renamed(4, "name changed from 'web' to 'shop'"));
    assert_eq!(newest(&["-n", "green"]), renamed(2, "name changed from 'blue' to 'green'"));
    rig.ok(&["rollback", "config", "-a", "shop.green", "--to", "2", "--yes"]);
    assert_eq!(found(&rig, "shop.green", "KEY"), "former");
    // Under another name out of the trash, too.
    rig.ok(&["delete", "app", "shop.green", "--yes"]);
    rig.ok(&["restore", "app", "shop.green", "--as", "web"]);
    assert_eq!(newest(&["-a", "web.green"]), renamed(6, "name changed from 'shop' to 'web'"));
    rig.ok(&["rollback", "config", "-a", "web.green", "--to", "3", "--yes"]);
    assert_eq!(found(&rig, "web.green", "KEY"), "present");
}

#[test]
fn a_deploy_under_way_ends_under_the_new_name() {
    let (max, rig, _dir) = started();
    let slow = r#"{"build":"cc -O1 -pthread -o server server.c; touch begun; until [ -e go ]; do sleep 0.01; done",
        "run":"exec ./server","health":{"path":"/"}}"#;
    let dir = lab_with("two\n", slow);
    let args = ["deploy", dir.path().to_str().unwrap(), "-a", "lab", "-n", "blue", "-o", "json"];
    let mut command = rig.command(&args);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let release = max.data().join("apps/1/2");
    wait_for("the build", || release.join("begun").exists().then_some(()));
    rig.ok(&["rename", "app", "lab.blue", "shop"]);
    rig.ok(&["rename", "network", "blue", "green"]);
    fs::write(release.join("go"), "").unwrap();
    let out = child.wait_with_output().unwrap();
    let deploy: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&deploy["state"], &deploy["app"], &deploy["network"]),
        (&json!("live"), &json!("shop"), &json!("green"))
    );
    assert_eq!(max.get("shop.green.localhost", "/"), (200, "two\n".to_owned()));
}

#[test]
fn a_name_that_is_taken_is_refused_and_the_same_changes_nothing() {
    let max = Max::start();
    let (rig, eve) = (max.rig("ada"), max.rig("eve"));
    rig.ok(&["create", "network", "blue"]);
    eve.ok(&["create", "network", "red"]);
    for app in ["web", "api"] {
        let dir = site(app);
        rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", app, "-n", "blue", "--create"]);
    }
    rig.run(&["rename", "app", "web.blue", "api"])
        .fails(6, "rig: app 'api' already exists in network 'blue'\n  choose another name\n");
    rig.run(&["rename", "network", "blue", "red"])
        .fails(6, "rig: network 'red' already exists\n  choose another name\n");
    rig.run(&["rename", "app", "web.blue", "a_b"])
        .fails(2, "rig: 'a_b' is no valid app name: only a-z, 0-9 and - are allowed\n  try 'a-b'\n");
    assert_eq!(eve.run(&["rename", "network", "blue", "mine"]).code, 3);
    let log = rig.ok(&["logs", "network", "blue", "--tail", "1000"]);
    rig.ok(&["rename", "app", "web.blue", "web"]);
    rig.ok(&["rename", "network", "blue", "blue"]);
    assert_eq!(rig.ok(&["logs", "network", "blue", "--tail", "1000"]), log);
    // What another one was called is free, and leads to who has it.
    rig.ok(&["rename", "app", "web.blue", "old"]);
    rig.ok(&["rename", "app", "api.blue", "web"]);
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "api".to_owned()));
    assert_eq!(max.get("old.blue.localhost", "/"), (200, "web".to_owned()));
    let renamed = rig.json(&["rename", "app", "web.blue", "api"]);
    assert_eq!(renamed["name"], "api");
    assert_eq!(rig.json(&["rename", "network", "blue", "green"])["name"], "green");
    // What is in the trash is called by the network's new name, and comes back there.
    rig.ok(&["delete", "app", "old.green", "--yes"]);
    rig.ok(&["rename", "network", "green", "blue"]);
    rig.ok(&["restore", "app", "old.blue"]);
    assert_eq!(max.get("old.blue.localhost", "/"), (200, "web".to_owned()));
}

#[test]
fn sessions_alerts_and_the_dashboard_have_the_new_names() {
    let (max, rig, _dir) = started();
    let broken = project(&[("rig.json", r#"{"run":"exit 3"}"#)]);
    let path = broken.path().to_str().unwrap();
    assert_eq!(rig.run(&["deploy", path, "-a", "lab", "-n", "blue"]).code, 7);
    let alert = |network: &str| {
        let alerts = rig.json(&["list", "alerts", "-n", network])["alerts"].clone();
        alerts[0]["app"].as_str().map(str::to_owned)
    };
    wait_for("the alert", || alert("blue"));
    rig.ok(&["command", "lab.blue", "--detach", "sleep 1000"]);
    let mut console = Terminal::spawn(&rig, &["shell", "--network", "blue"]);
    console.shows("blue>");
    let mut board = rig.command(&["status", "dashboard", "--watch", "--network", "blue", "-o", "json"]);
    let mut board = board.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(board.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    assert_eq!(lines.next().unwrap()["apps"][0]["app"], "lab");
    rig.ok(&["rename", "app", "lab.blue", "shop"]);
    rig.ok(&["rename", "network", "blue", "green"]);
    let shown = lines.any(|tick| {
        let new = tick["apps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|app| app["network"] == "green" && app["app"] == "shop");
        new && tick["gone"].as_array().unwrap().iter().any(|gone| gone["network"] == "blue")
    });
    assert!(shown, "the dashboard ended");
    board.kill().unwrap();
    board.wait().unwrap();
    let sessions = rig.json(&["list", "sessions"])["sessions"].clone();
    assert_eq!((&sessions[0]["network"], &sessions[0]["app"]), (&json!("green"), &json!("shop")));
    assert_eq!(sessions[1]["network"], "green");
    assert_eq!(alert("green").as_deref(), Some("shop"));
    assert_eq!(rig.json(&["status", "network", "green"])["alerts"][0]["network"], "green");
    console.type_in("apps\r");
    console.shows("shop");
    console.shows("green>");
    console.type_in("exit\r");
    assert_eq!(console.end(), 0);
    drop(max);
}

#[test]
fn a_rig_json_that_names_it_is_changed_and_keeps_the_rest() {
    let max = Max::start();
    let mut rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    let text = "{\n  \"app\": \"web\",   \"network\": \"blue\",\n  \"run\": \"web\"\n}\n";
    let dir = project(&[("rig.json", text)]);
    rig.enter(dir.path());
    let file = || fs::read_to_string(dir.path().join("rig.json")).unwrap();
    let ran = rig.run(&["rename", "app", "web", "shop"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "rig.json names it so too\n"));
    assert_eq!(file(), text.replace("\"app\": \"web\"", "\"app\": \"shop\""));
    let ran = rig.run(&["rename", "network", "blue", "green", "-o", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(rig.json(&["status", "app"])["app"]["hostname"], "shop.green.localhost");
    // Another one is not this directory's.
    rig.ok(&["create", "app", "other.green"]);
    let before = file();
    let ran = rig.run(&["rename", "app", "other.green", "web"]);
    assert_eq!((ran.code, ran.stderr.as_str(), file()), (0, "", before));
}

//! The trash: what is deleted ends and its name is free, and all of it can be brought back for
//! a while; then, or at once with --purge, nothing of it is left.

use crate::harness::{Max, Rig, site, wait_for};
use crate::lifecycle::{moody, pids};
use crate::roles::World;
use crate::terminal::Terminal;
use crate::visitor::{HOST, deploy, lab, lab_with};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

fn started() -> (Max, Rig) {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    (max, rig)
}

/// Deploys files alone.
fn deploy_site(rig: &Rig, app: &str, network: &str, text: &str) {
    let dir = site(text);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", app, "-n", network, "--create"]);
}

fn secret(rig: &Rig, args: &[&str], value: &str) {
    let ran = rig.run_with(&[&["create", "secret"], args].concat(), value);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// What a program in the app finds.
fn found(rig: &Rig, app: &str, name: &str) -> String {
    rig.ok(&["command", app, "--", "sh", "-c", &format!("printf %s \"${name}\"")])
}

fn trash(rig: &Rig) -> Vec<Value> {
    rig.json(&["list", "trash"])["items"].as_array().unwrap().clone()
}

/// `app 1 web.blue` for each item.
fn brief(rig: &Rig) -> Vec<String> {
    let brief =
        |item: &Value| format!("{} {} {}.{}", item["kind"], item["id"], item["name"], item["network"]);
    trash(rig).iter().map(|item| brief(item).replace('"', "")).collect()
}

/// How many rows of each table are left that belong to an app or a network.
fn rows(max: &Max) -> BTreeMap<String, u64> {
    let mut left = BTreeMap::new();
    let state = rusqlite::Connection::open(max.data().join("state.db")).unwrap();
    let logs = rusqlite::Connection::open(max.data().join("logs.db")).unwrap();
    for (database, tables) in [
        (
            &state,
            &[
                "all_networks",
                "all_apps",
                "deploys",
                "members",
                "alerts",
                "webhooks",
                "deliveries",
                "variables",
                "applied",
                "network_keys",
            ][..],
        ),
        (&logs, &["blocks", "dropped"]),
    ] {
        for table in tables {
            let count = format!("SELECT count(*) FROM {table}");
            let count = database.query_row(&count, [], |row| row.get(0)).unwrap();
            left.insert((*table).to_owned(), count);
        }
    }
    left
}

#[track_caller]
fn nothing_is_left(max: &Max) {
    let left = || rows(max).into_iter().filter(|row| row.1 > 0).collect::<Vec<_>>();
    wait_for("everything to go", || left().is_empty().then_some(()));
    let apps: Vec<_> = fs::read_dir(max.data().join("apps")).unwrap().flatten().collect();
    assert!(apps.is_empty(), "{apps:?}");
}

#[test]
fn a_restored_app_has_all_it_had() {
    let (max, rig) = started();
    deploy(&max, &rig, &lab("one\n"));
    rig.ok(&["create", "var", "LEVEL=high", "-a", "lab.blue"]);
    secret(&rig, &["KEY", "-a", "lab.blue"], "of-app");
    secret(&rig, &["SHARED", "-n", "blue"], "of-network");
    rig.ok(&["create", "var", "LATER=1", "-a", "lab.blue", "--stage"]);
    deploy(&max, &rig, &lab("two\n"));
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    rig.ok(&["create", "var", "STAGED=1", "-a", "lab.blue", "--stage"]);
    let before = rig.json(&["status", "app", "lab.blue"]);
    let ran = pids(&rig);
    let lines = |rig: &Rig| rig.ok(&["logs", "app", "lab.blue", "--tail", "1000"]);
    let said = lines(&rig);

    let told = rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    let item = trash(&rig).remove(0);
    let until = item["expires_at"].as_str().unwrap();
    let expected =
        format!("deleted app lab of network blue\n`rig restore app lab.blue` brings it back until {until}\n");
    assert_eq!(told, expected);
    assert!(ran.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()), "{ran:?}");
    assert_eq!(max.get(HOST, "/").0, 404);
    assert_eq!(rig.run(&["status", "app", "lab.blue"]).code, 3);
    assert_eq!(rig.json(&["list", "apps"])["apps"], json!([]));
    let table = rig.ok(&["list", "trash"]);
    let table: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(table[0], ["KIND", "ID", "NAME", "NETWORK", "DELETED", "BY", "EXPIRES"]);
    assert_eq!(table[1][..4], ["app", "1", "lab", "blue"]);
    assert_eq!(table[1].iter().filter(|cell| ["ada", "in", "6d"].contains(cell)).count(), 3, "{table:?}");

    let told = rig.ok(&["restore", "app", "lab.blue"]);
    let url = before["app"]["url"].as_str().unwrap();
    assert_eq!(told, format!("restored app lab of network blue\n{url}\n"));
    // At once: it is answered when all is healthy.
    assert_eq!(max.get(HOST, "/"), (200, "two\n".to_owned()));
    let after = rig.json(&["status", "app", "lab.blue"]);
    for member in ["app", "deploy", "staged"] {
        assert_eq!(after[member], before[member]);
    }
    assert_eq!(after["app"]["running"], 2);
    for (name, value) in [("LEVEL", "high"), ("KEY", "of-app"), ("SHARED", "of-network"), ("STAGED", "")] {
        assert_eq!(found(&rig, "lab.blue", name), value, "{name}");
    }
    assert!(lines(&rig).starts_with(&said), "{said}");
    assert!(lines(&rig).contains("app 'lab' of network 'blue' restored by ada"));
    assert_eq!(trash(&rig), Vec::<Value>::new());
    assert!(deploy(&max, &rig, &lab("three\n")).ends_with("3"));
    assert_eq!(found(&rig, "lab.blue", "STAGED"), "1");
    // What was stopped stays so.
    rig.ok(&["stop", "app", "lab.blue"]);
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    rig.ok(&["restore", "app", "1"]);
    let now = rig.json(&["status", "app", "lab.blue"])["app"].clone();
    assert_eq!(
        (&now["state"], &now["instances"], &now["release"]),
        (&json!("stopped"), &json!(2), &json!(3))
    );
    assert_eq!(max.get(HOST, "/").0, 503);
    rig.ok(&["start", "app", "lab.blue"]);
    assert_eq!(max.get(HOST, "/"), (200, "three\n".to_owned()));
}

#[test]
fn a_network_comes_back_with_the_apps_that_went_with_it() {
    let (max, rig) = started();
    let eve = max.rig("eve");
    for app in ["web", "api", "old"] {
        deploy_site(&rig, app, "blue", app);
    }
    secret(&rig, &["KEY", "-n", "blue"], "of-network");
    secret(&rig, &["KEY2", "-a", "web.blue"], "of-app");
    secret(&rig, &["KEY2", "-a", "old.blue"], "of-old");
    rig.ok(&["create", "member", "eve", "-n", "blue"]);
    let bound = rig.ok(&["create", "token", "-n", "blue"]);
    rig.ok(&["delete", "app", "old.blue", "--yes"]);
    let told = rig.ok(&["delete", "network", "blue", "--yes"]);
    assert!(
        told.starts_with("deleted network blue\n`rig restore network blue` brings it back until "),
        "{told}"
    );
    assert_eq!(brief(&rig), ["network 1 blue.blue", "app 3 old.blue"]);
    let hint = "  restore that first: `rig restore network blue`\n";
    rig.run(&["restore", "app", "old.blue"])
        .fails(3, &format!("rig: network 'blue' is in the trash too\n{hint}"));
    rig.run(&["restore", "app", "3"])
        .fails(3, &format!("rig: network 'blue' of app 'old' is in the trash too\n{hint}"));
    // What went with its network comes back with it alone.
    rig.run(&["restore", "app", "1"]).fails(3, "rig: app 1 is not in the trash\n  see `rig list trash`\n");
    let mut other = Rig::new();
    other.set("RIG_URL", &max.url);
    other.set("RIG_TOKEN", bound.trim());
    assert_eq!(other.run(&["list", "apps"]).code, 4);

    // The name is free, and another's now.
    max.rig("mia").ok(&["create", "network", "blue"]);
    rig.run(&["restore", "network", "blue"])
        .fails(6, "rig: network 'blue' already exists\n  give it another name: --as NAME\n");
    assert_eq!(rig.ok(&["restore", "network", "blue", "--as", "green"]), "restored network green\n");
    assert_eq!(max.get("web.green.localhost", "/"), (200, "web".to_owned()));
    assert_eq!(max.get("api.green.localhost", "/"), (200, "api".to_owned()));
    assert_eq!(max.get("web.blue.localhost", "/").0, 404);
    assert_eq!(found(&rig, "web.green", "KEY"), "of-network");
    assert_eq!(found(&rig, "web.green", "KEY2"), "of-app");
    assert_eq!(eve.json(&["list", "apps"])["apps"].as_array().unwrap().len(), 2);
    assert_eq!(other.run(&["list", "apps"]).code, 4);
    // The one that went before stays, and its secrets open under all new names.
    assert_eq!(brief(&rig), ["app 3 old.green"]);
    rig.ok(&["restore", "app", "old.green", "--as", "older"]);
    assert_eq!(found(&rig, "older.green", "KEY2"), "of-old");
    assert_eq!(max.get("older.green.localhost", "/"), (200, "old".to_owned()));
    assert_eq!(brief(&rig), Vec::<String>::new());
}

#[test]
fn of_several_of_one_name_the_newest_comes_back_and_the_others_by_their_numbers() {
    let (max, rig) = started();
    for text in ["first", "second", "third"] {
        deploy_site(&rig, "web", "blue", text);
        if text != "third" {
            rig.ok(&["delete", "app", "web.blue", "--yes"]);
        }
    }
    assert_eq!(brief(&rig), ["app 2 web.blue", "app 1 web.blue"]);
    let taken = "rig: app 'web' already exists in network 'blue'\n  give it another name: --as NAME\n";
    rig.run(&["restore", "app", "web.blue"]).fails(6, taken);
    rig.run(&["restore", "app", "web.blue", "--as", "Web"])
        .fails(2, "rig: 'Web' is no valid app name: only lower-case letters are allowed\n  try 'web'\n");
    rig.ok(&["restore", "app", "web.blue", "--as", "newest"]);
    rig.ok(&["restore", "app", "1", "--as", "oldest"]);
    for (app, text) in [("web", "third"), ("newest", "second"), ("oldest", "first")] {
        assert_eq!(max.get(&format!("{app}.blue.localhost"), "/"), (200, text.to_owned()));
    }
    rig.run(&["restore", "app", "web.blue"])
        .fails(3, "rig: app 'web' of network 'blue' is not in the trash\n  see `rig list trash`\n");
    rig.run(&["restore", "network", "red"])
        .fails(3, "rig: network 'red' is not in the trash\n  see `rig list trash`\n");
    let ran = rig.run(&["list", "trash"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "the trash is empty\n"));
}

#[test]
fn a_purge_leaves_nothing() {
    let (max, rig) = started();
    let fill = || {
        deploy_site(&rig, "web", "blue", "x");
        rig.ok(&["create", "var", "A=1", "-a", "web.blue"]);
        secret(&rig, &["KEY", "-a", "web.blue"], "x");
        assert_eq!(max.get("web.blue.localhost", "/").0, 200);
        wait_for("the request to be in the log", || {
            rig.ok(&["logs", "network", "blue"]).contains("GET / 200").then_some(())
        });
    };
    let of_apps = ["all_apps", "deploys", "variables", "applied"];
    let are_gone = || {
        let left = rows(&max);
        assert!(of_apps.iter().all(|table| left[*table] == 0), "{left:?}");
        assert_eq!(fs::read_dir(max.data().join("apps")).unwrap().count(), 0);
        let logs = rusqlite::Connection::open(max.data().join("logs.db")).unwrap();
        let blocks = "SELECT count(*) FROM blocks WHERE app > 0";
        assert_eq!(logs.query_row(blocks, [], |row| row.get::<_, u64>(0)).unwrap(), 0);
    };
    fill();
    let told = rig.ok(&["delete", "app", "web.blue", "--purge", "--yes"]);
    assert_eq!(told, "deleted app web of network blue for good\n");
    are_gone();
    fill();
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    rig.run(&["delete", "app", "2", "--yes"])
        .fails(2, "rig: '2' is no app's name, but a number in the trash\n  add --purge to delete what has it for good\n");
    let item = rig.json(&["delete", "app", "2", "--purge", "--yes"]);
    assert_eq!((&item["name"], &item["expires_at"]), (&json!("web"), &Value::Null));
    are_gone();
    rig.run(&["delete", "app", "2", "--purge", "--yes"])
        .fails(3, "rig: app 2 is not in the trash\n  see `rig list trash`\n");
    // A network, with what of it is in the trash.
    fill();
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    fill();
    assert_eq!(rig.ok(&["delete", "network", "blue", "--purge", "-y"]), "deleted network blue for good\n");
    nothing_is_left(&max);
    rig.ok(&["create", "network", "blue"]);
    fill();
    rig.ok(&["delete", "network", "blue", "--yes"]);
    let id = trash(&rig)[0]["id"].to_string();
    assert_eq!(rig.ok(&["delete", "network", &id, "--purge", "-y"]), "deleted network blue for good\n");
    nothing_is_left(&max);
    assert!(!max.log().contains("cannot"), "{}", max.log());
}

#[test]
fn what_has_expired_goes_by_itself_also_when_max_was_down_then() {
    let mut max = Max::with(&["--trash", "1s"]);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    deploy_site(&rig, "web", "blue", "x");
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    wait_for("the app to go", || trash(&rig).is_empty().then_some(()));
    wait_for("its files to go", || (!max.data().join("apps/1").exists()).then_some(()));
    assert_eq!(rig.run(&["restore", "app", "web.blue"]).code, 3);
    max.stop();
    max.reflag(&[]);
    max.serve();
    deploy_site(&rig, "web", "blue", "x");
    rig.ok(&["delete", "network", "blue", "--yes"]);
    max.stop();
    assert!(max.data().join("apps/2").exists());
    max.reflag(&["--trash", "1ms"]);
    max.serve();
    nothing_is_left(&max);
    // Without a trash nothing gets there.
    max.stop();
    max.reflag(&["--trash", "0"]);
    max.serve();
    rig.ok(&["create", "network", "blue"]);
    deploy_site(&rig, "web", "blue", "x");
    assert_eq!(rig.ok(&["delete", "app", "web.blue", "--yes"]), "deleted app web of network blue for good\n");
    assert_eq!(rig.ok(&["delete", "network", "blue", "--yes"]), "deleted network blue for good\n");
    nothing_is_left(&max);
}

#[test]
fn the_trash_is_kept_over_a_stop_and_a_crash_and_nothing_of_it_runs() {
    let (mut max, rig) = started();
    let dir = deploy(&max, &rig, &lab("one\n"));
    secret(&rig, &["KEY", "-a", "lab.blue"], "sealed");
    deploy_site(&rig, "web", "blue", "web");
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    for crash in [false, true] {
        if crash {
            max.kill()
        } else {
            assert_eq!(max.stop(), Some(0))
        }
        max.serve();
        assert_eq!(brief(&rig), ["app 1 lab.blue"]);
        assert!(dir.join("server").exists());
        assert_eq!(max.get(HOST, "/").0, 404);
    }
    rig.ok(&["delete", "network", "blue", "--yes"]);
    max.kill();
    max.serve();
    assert_eq!(max.get("web.blue.localhost", "/").0, 404);
    rig.ok(&["restore", "network", "blue"]);
    rig.ok(&["restore", "app", "lab.blue"]);
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "web".to_owned()));
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    assert_eq!(found(&rig, "lab.blue", "KEY"), "sealed");
    max.kill();
    max.serve();
    wait_for("it to run again", || (max.get(HOST, "/") == (200, "one\n".to_owned())).then_some(()));
}

#[test]
fn members_see_the_trash_owners_empty_it_and_strangers_know_nothing_of_it() {
    let world = World::new("websocket");
    let (ann, eve) = (world.user("ann"), world.user("eve"));
    let what = |rig: &Rig| brief(rig);
    ann.ok(&["delete", "app", "web.blue", "--yes"]);
    assert_eq!(what(world.user("vic")), ["app 1 web.blue"]);
    assert_eq!(what(&world.with("ann", "read", Some("green"))), Vec::<String>::new());
    ann.ok(&["delete", "network", "blue", "--yes"]);
    for member in ["vic", "dan"] {
        assert_eq!(what(world.user(member)), ["network 1 blue.blue", "app 1 web.blue"]);
        for args in [&["restore", "network", "blue"][..], &["delete", "network", "1", "--purge", "-y"]] {
            let ran = world.user(member).run(args);
            assert_eq!(ran.code, 4);
            assert!(ran.stderr.contains("ask an owner: ann"), "{}", ran.stderr);
        }
    }
    assert_eq!(what(eve), Vec::<String>::new());
    for args in [
        &["restore", "network", "blue"][..],
        &["restore", "network", "1"],
        &["restore", "app", "1"],
        &["restore", "app", "web.blue"],
        &["delete", "app", "1", "--purge", "-y"],
        &["delete", "network", "1", "--purge", "-y"],
    ] {
        let (real, none) =
            (eve.run(args), args.iter().map(|arg| arg.replace("blue", "none").replace('1', "99")));
        let none = eve.run(&none.collect::<Vec<_>>());
        assert_eq!((real.code, real.stderr.replace("blue", "none").replace('1', "99")), (3, none.stderr));
    }
    ann.ok(&["restore", "network", "blue"]);
    assert_eq!(what(ann), ["app 1 web.blue"]);
}

#[test]
fn what_goes_is_shown_before_the_question() {
    let (max, rig) = started();
    deploy(&max, &rig, &lab("one\n"));
    deploy(&max, &rig, &lab("two\n"));
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    rig.ok(&["create", "var", "A=1", "B=2", "-a", "lab.blue"]);
    secret(&rig, &["KEY", "-n", "blue"], "x");
    rig.ok(&["command", "lab.blue", "--detach", "sleep 1000"]);
    let mut terminal = Terminal::spawn(&rig, &["delete", "app", "lab.blue"]);
    terminal.wait("delete app lab of network blue? [y/N]");
    let said = terminal.written();
    let goes = "this goes: 2 releases, 2 running instances, 2 variables, 1 running session\r\n";
    assert!(said.contains(goes), "{said}");
    assert!(said.contains("it can be restored until 2"), "{said}");
    terminal.type_in("n\n");
    assert_eq!(terminal.end(), 1);
    terminal.wait("nothing was deleted");
    assert_eq!(max.get(HOST, "/").0, 200);
    let mut terminal = Terminal::spawn(&rig, &["delete", "network", "blue", "--purge"]);
    terminal.wait("delete network blue? [y/N]");
    let said = terminal.written();
    let goes = "this goes: 1 app, 2 releases, 2 running instances, 2 variables, 1 secret, 1 member, 1 running session";
    assert!(said.replace("\r\n", "").contains(goes), "{said}");
    assert!(said.contains("it can't be restored\r\n"), "{said}");
    terminal.type_in("y\n");
    assert_eq!(terminal.end(), 0);
    nothing_is_left(&max);
    // A wrong name fails before the question.
    let mut terminal = Terminal::spawn(&rig, &["delete", "app", "lab.blue"]);
    assert_eq!(terminal.end(), 3);
    assert!(!terminal.written().contains("[y/N]"));
}

#[test]
fn a_deploy_under_way_fails_when_its_app_is_deleted_and_stays_so_when_it_is_restored() {
    let (max, rig) = started();
    deploy(&max, &rig, &lab("one\n"));
    let slow = r#"{"build":"touch begun; until [ -e go ]; do sleep 0.01; done","run":"exec ./server"}"#;
    let dir = lab_with("two\n", slow);
    let mut command = rig.command(&["deploy", dir.path().to_str().unwrap(), "-a", "lab", "-n", "blue"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the build", || max.data().join("apps/1/2/begun").exists().then_some(()));
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    rig.ok(&["restore", "app", "lab.blue"]);
    assert_ne!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(0));
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    let status = rig.json(&["status", "app", "lab.blue"]);
    assert_eq!((&status["app"]["release"], &status["deploy"]["state"]), (&json!(1), &json!("failed")));
    assert_eq!(status["deploy"]["error"], "the app was deleted");
    wait_for("its files to go", || (!max.data().join("apps/1/2").exists()).then_some(()));
    assert!(deploy(&max, &rig, &lab("three\n")).ends_with("3"));
}

#[test]
fn what_is_restored_while_it_still_ends_runs_anew() {
    let (max, rig) = started();
    // It needs ten seconds to end.
    let settings =
        r#"{"build":"cc -O1 -pthread -o server server.c","run":"trap '' TERM; sleep 1000 & exec ./server"}"#;
    deploy(&max, &rig, &lab_with("one\n", settings));
    let before = pids(&rig);
    let mut command = rig.command(&["delete", "app", "lab.blue", "--yes", "--timeout", "1m"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the app to be in the trash", || (!trash(&rig).is_empty()).then_some(()));
    rig.ok(&["restore", "app", "lab.blue"]);
    assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(0));
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    let after = pids(&rig);
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    assert!(!Path::new(&format!("/proc/{}", before[0])).exists());
}

#[test]
fn what_does_not_become_healthy_is_restored_and_stopped() {
    let (max, rig, dir) = moody();
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    fs::write(dir.join("bad"), "").unwrap();
    let ran = rig.run(&["restore", "app", "lab.blue"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = "rig: app 'lab' of network 'blue' was restored, but app 'lab' not started: ";
    assert!(ran.stderr.starts_with(said), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  `rig start app lab.blue` tries again; "), "{}", ran.stderr);
    assert_eq!(rig.json(&["status", "app", "lab.blue"])["app"]["state"], "stopped");
    assert_eq!(max.get(HOST, "/").0, 503);
    fs::remove_file(dir.join("bad")).unwrap();
    rig.ok(&["start", "app", "lab.blue"]);
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
}

#[test]
fn a_request_that_comes_again_deletes_and_restores_once() {
    let (max, rig) = started();
    deploy_site(&rig, "web", "blue", "x");
    let api = |event: &str, payload: Value| {
        let ran = rig.run(&["api", event, &payload.to_string()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    let delete = json!({"network": "blue", "app": "web", "idempotency_key": "k1"});
    let deleted = api("app:delete", delete.clone());
    let restore = json!({"id": 1, "idempotency_key": "k2"});
    let restored = api("app:restore", restore.clone());
    assert_eq!(api("app:delete", delete), deleted);
    assert_eq!(api("app:restore", restore), restored);
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "x".to_owned()));
    // A look changes nothing.
    let preview = json!({"network": "blue", "preview": true});
    let contents = &api("network:delete", preview)["contents"];
    assert_eq!(
        (&contents["apps"], &contents["releases"], &contents["members"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(rig.json(&["list", "networks"])["networks"].as_array().unwrap().len(), 1);
}

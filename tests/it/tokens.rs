//! API tokens from rig: what they are good for, how they end, and what is known of it.

use crate::harness::{Max, Rig, text, wait_for};
use crate::roles::World;
use crate::terminal::Terminal;
use serde_json::{Value, json};
use std::fs;
use std::process::{Child, Stdio};

/// rig with this token.
fn holder(max: &Max, token: &str) -> Rig {
    let mut rig = Rig::new();
    rig.set("RIG_URL", &max.url);
    rig.set("RIG_TOKEN", token.trim());
    rig
}

fn id_of(rig: &Rig) -> String {
    let session: Value = serde_json::from_str(&rig.ok(&["api", "session:show"])).unwrap();
    session["token"].to_string()
}

/// A followed log, from its first line on.
fn follow(rig: &Rig) -> Child {
    let mut command = rig.command(&["logs", "network", "blue", "--follow", "--tail", "1"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
    child
}

#[track_caller]
fn ends(child: Child, code: i32, said: &str) {
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(code), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains(said), "{}", text(&out.stderr));
}

#[test]
fn a_token_is_shown_once_and_kept_nowhere() {
    let max = Max::start();
    let ada = max.rig("ada");
    ada.ok(&["create", "network", "blue"]);
    let args = ["create", "token", "--name", "ci", "--scope", "deploy", "-n", "blue", "--expires", "30d"];
    let ran = ada.run(&args);
    let token = ran.stdout.trim();
    assert_eq!((ran.stdout.lines().count(), token.len(), &token[..4]), (1, 44, "max_"));
    assert_eq!(ran.stderr, "this is token 2, which may deploy: keep it, it is not shown again\n");
    let rows = ada.ok(&["list", "tokens"]);
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["TOKEN", "NAME", "PREFIX", "SCOPE", "NETWORK", "CREATED", "USED", "EXPIRES"]);
    assert_eq!(rows[2][..5], ["2", "ci", &token[..10], "deploy", "blue"]);
    assert!(rows[2].ends_with(&["-", "in", "29d", "23h"]), "{rows:?}");
    let made = ada.json(&["create", "token"]);
    assert_eq!(
        (&made["scope"], &made["network"], &made["expires_at"]),
        (&json!("read"), &Value::Null, &Value::Null)
    );
    for file in ["state.db", "state.db-wal"] {
        let bytes = fs::read(max.data().join(file)).unwrap();
        for token in [token, made["token"].as_str().unwrap()] {
            assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{file}");
        }
    }
    let all = ada.json(&["list", "tokens"]);
    assert!(all["tokens"].as_array().unwrap().iter().all(|token| token["token"].is_null()), "{all}");
    assert!(!max.log().contains(token));
    for (args, stderr) in [
        (
            ["--scope", "all"],
            "rig: --scope takes read, deploy, admin, not 'all'\n  for instance `--scope deploy`\n",
        ),
        (
            ["--expires", "soon"],
            "rig: --expires takes a time that comes, not 'soon'\n  for instance `--expires 30d`, `12h` or `2026-11-24T10:00:00Z`\n",
        ),
        (
            ["--expires", "2001-01-01T00:00:00Z"],
            "rig: --expires takes a time that comes, not '2001-01-01T00:00:00Z'\n  for instance `--expires 30d`, `12h` or `2026-11-24T10:00:00Z`\n",
        ),
        (
            ["--name", ""],
            "rig: --name takes 1 to 64 bytes without control characters\n  for instance `--name ci`\n",
        ),
    ] {
        ada.run(&[&["create", "token"], &args[..]].concat()).fails(2, stderr);
    }
    ada.run(&["create", "token", "-n", "none"])
        .fails(3, "rig: network 'none' does not exist\n  see `rig list networks`\n");
    ada.run(&["delete", "token", "x"]).fails(2, "rig: 'x' is no token's number\n  see `rig list tokens`\n");
    ada.run(&["delete", "token", "99"]).fails(3, "rig: token 99 does not exist\n  see `rig list tokens`\n");
    // Another's looks the same.
    max.rig("bob")
        .run(&["delete", "token", "2"])
        .fails(3, "rig: token 2 does not exist\n  see `rig list tokens`\n");
}

#[test]
fn a_token_makes_none_that_may_more_than_itself() {
    let max = Max::start();
    let ada = max.rig("ada");
    ada.ok(&["create", "network", "blue"]);
    ada.ok(&["create", "network", "green"]);
    let made = |args: &[&str]| holder(&max, &ada.ok(&[&["create", "token"], args].concat()));
    let less = |scope: &str| {
        format!(
            "rig: this token has the scope {scope}, and this takes admin\n  use another token; an admin token \
             makes one: `rig create token --scope admin`\n"
        )
    };
    for scope in ["read", "deploy"] {
        let rig = made(&["--scope", scope]);
        rig.run(&["create", "token"]).fails(4, &less(scope));
        rig.run(&["delete", "token", "1"]).fails(4, &less(scope));
        rig.run(&["create", "network", "red"]).fails(4, &less(scope));
    }
    let bound = made(&["--scope", "admin", "-n", "blue"]);
    bound.run(&["create", "token"]).fails(
        4,
        "rig: this token is for network 'blue' alone, and can't make one for all\n  add --network blue\n",
    );
    bound
        .run(&["create", "token", "-n", "green"])
        .fails(3, "rig: network 'green' does not exist\n  see `rig list networks`\n");
    bound.run(&["create", "network"]).fails(
        4,
        "rig: this token is for one network, and can't create another\n  use a token that is for all: `rig create \
         token` without --network\n",
    );
    let inner = holder(&max, &bound.ok(&["create", "token", "-n", "blue", "--scope", "admin"]));
    assert_eq!(inner.json(&["list", "networks"])["networks"].as_array().unwrap().len(), 1);
    // It sees those for its network alone, and ends no other.
    assert_eq!(bound.json(&["list", "tokens"])["tokens"].as_array().unwrap().len(), 2);
    bound.run(&["delete", "token", "1"]).fails(3, "rig: token 1 does not exist\n  see `rig list tokens`\n");
    let brief = made(&["--scope", "admin", "--expires", "1h"]);
    brief
        .run(&["create", "token", "--expires", "2h"])
        .fails(4, "rig: this token can't make one that lasts longer than itself\n  leave out --expires\n");
    assert!(brief.json(&["create", "token"])["expires_at"].is_string());
    let longest = brief.json(&["create", "token", "--expires", "30m"]);
    assert!(longest["expires_at"].is_string());
}

#[test]
fn a_request_for_a_token_that_is_repeated_makes_one() {
    let max = Max::start();
    let ada = max.rig("ada");
    let create = ["api", "token:create", r#"{"name":"ci","idempotency_key":"mine"}"#];
    let made = || serde_json::from_str::<Value>(&ada.ok(&create)).unwrap();
    let (lost, got) = (made(), made());
    assert_eq!((&lost["id"], &lost["created_at"]), (&got["id"], &got["created_at"]));
    assert_eq!(ada.json(&["list", "tokens"])["tokens"].as_array().unwrap().len(), 2);
    // The answer that arrived last counts, and once it was used there is no other.
    assert_eq!(holder(&max, lost["token"].as_str().unwrap()).run(&["list", "apps"]).code, 4);
    holder(&max, got["token"].as_str().unwrap()).ok(&["list", "apps"]);
    let ran = ada.run(&create);
    ran.fails(
        6,
        &format!(
            "rig: token {} was made by this request before, and was used\n  make another one\n",
            got["id"]
        ),
    );
    // A lesser token learns nothing by another's key.
    let lesser = holder(&max, got["token"].as_str().unwrap());
    assert_eq!(lesser.run(&create).code, 4);
}

#[test]
fn a_token_ends_by_itself_and_with_it_what_is_open() {
    let world = World::new("websocket");
    let made = world.user("ann").json(&["create", "token", "--expires", "3s"]);
    let rig = holder(&world.max, made["token"].as_str().unwrap());
    let log = follow(&rig);
    ends(log, 4, "rig: the API token has expired\n  make a new one: `rig create token`");
    assert_eq!(rig.run(&["list", "apps"]).code, 4);
    let refused = world.user("ann").json(&["list", "audit", "--what", "refused"]);
    let entry = &refused["entries"][0];
    assert_eq!((&entry["about"], &entry["token"]), (&json!("a token that has expired"), &made["id"]));
    assert_eq!(refused["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn deleting_a_token_ends_a_followed_log_and_a_shell() {
    let world = World::new("websocket");
    let rig = world.with("ann", "deploy", None);
    let log = follow(&rig);
    let mut shell = Terminal::spawn(&rig, &["shell", "web.blue"]);
    shell.shows("web.blue:~");
    let other = world.with("ann", "deploy", None);
    let kept = follow(&other);
    let id = id_of(&rig);
    assert_eq!(world.user("ann").ok(&["delete", "token", &id]), format!("deleted token {id}\n"));
    ends(log, 4, "rig: the API token is not valid\n");
    assert_eq!(shell.end(), 255);
    wait_for("the shell to end", || {
        let all = world.user("ann").json(&["list", "audit", "--what", "shell"]);
        (all["entries"][0]["reason"] == "revoked").then_some(())
    });
    world.user("ann").ok(&["delete", "network", "blue", "--yes"]);
    ends(kept, 0, "was deleted");
}

#[test]
fn the_token_in_use_may_be_deleted_and_that_is_said() {
    let world = World::new("websocket");
    for transport in ["websocket", "longpoll"] {
        let rig = world.with("ann", "admin", None);
        let id = id_of(&rig);
        let ran = rig.run(&["delete", "token", &id, "--transport", transport]);
        assert_eq!((ran.code, ran.stdout), (0, format!("deleted token {id}\n")), "{}", ran.stderr);
        assert_eq!(ran.stderr, "it was the one in use: log in with another, `rig login`\n");
        assert_eq!(rig.run(&["list", "apps"]).code, 4);
    }
}

#[test]
fn a_members_removal_ends_what_he_has_open() {
    let world = World::new("websocket");
    for transport in ["websocket", "longpoll"] {
        let (ann, dan) = (world.user("ann"), world.user("dan"));
        ann.ok(&["create", "member", "dan", "-n", "blue", "--role", "deployer"]);
        let mut shell = Terminal::spawn(dan, &["shell", "web.blue", "--transport", transport]);
        shell.shows("web.blue:~");
        let session = dan.ok(&["command", "web.blue", "--detach", "sleep 1000"]);
        let log = follow(dan);
        let mut board = dan.command(&["status", "dashboard", "--watch", "-o", "json"]);
        let mut board = board.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(board.stdout.take().unwrap()));
        assert!(lines.next().unwrap().unwrap().contains("\"web\""));
        ann.ok(&["delete", "member", "dan", "-n", "blue"]);
        assert_ne!(shell.end(), 0);
        assert!(shell.written().contains(" was ended"), "{}", shell.written());
        ends(log, 4, "rig: you are no member of the network any more\n  ask one of its owners\n");
        assert!(lines.any(|line| {
            let tick: Value = serde_json::from_str(&line.unwrap()).unwrap();
            tick["gone"] == json!([{"network": "blue", "app": "web"}])
        }));
        board.kill().unwrap();
        board.wait().unwrap();
        wait_for("his sessions to end", || {
            let all = ann.json(&["list", "sessions"]);
            all["sessions"].as_array().unwrap().is_empty().then_some(())
        });
        assert_eq!(dan.run(&["logs", "command", session.trim()]).code, 3);
    }
}

#[test]
fn who_becomes_a_viewer_runs_nothing_any_more_and_still_sees() {
    let world = World::new("websocket");
    let (ann, dan) = (world.user("ann"), world.user("dan"));
    let mut console = Terminal::spawn(dan, &["shell", "--network", "blue"]);
    console.shows("blue>");
    let log = follow(dan);
    ann.ok(&["create", "member", "dan", "-n", "blue", "--role", "viewer"]);
    assert_ne!(console.end(), 0);
    ann.ok(&["delete", "network", "blue", "--yes"]);
    ends(log, 0, "was deleted");
}

#[test]
fn an_owner_sees_and_ends_what_others_run() {
    let world = World::new("websocket");
    let (ann, dan) = (world.user("ann"), world.user("dan"));
    dan.ok(&["command", "web.blue", "--detach", "sleep 1000"]);
    let seen = ann.json(&["list", "sessions"])["sessions"].clone();
    assert_eq!((&seen[0]["user"], &seen[1]), (&json!("dan"), &Value::Null));
    let id = seen[0]["id"].to_string();
    assert_eq!(world.user("vic").json(&["list", "sessions"])["sessions"], json!([]));
    world
        .user("vic")
        .run(&["delete", "session", &id])
        .fails(3, &format!("rig: session {id} does not exist, or has ended\n  see `rig list sessions`\n"));
    ann.ok(&["delete", "session", &id]);
    wait_for("the audit to say so", || {
        let all = ann.json(&["list", "audit", "--what", "command"]);
        (all["entries"][0]["user"] == "dan" && all["entries"][0]["reason"] == "deleted").then_some(())
    });
    // Not what another one does elsewhere, nor in a network of that name that he had before.
    dan.ok(&["create", "network", "own"]);
    dan.run(&["create", "member", "nobody", "-n", "own"]);
    dan.ok(&["delete", "network", "own", "--yes"]);
    ann.ok(&["create", "network", "own"]);
    assert_eq!(ann.json(&["list", "audit", "-n", "own"])["entries"], json!([]));
}

#[test]
fn the_audit_tells_of_logins_tokens_and_refusals() {
    let world = World::new("websocket");
    let vic = world.user("vic");
    for _ in 0..3 {
        assert_eq!(vic.run(&["restart", "app", "web.blue"]).code, 4);
        assert_eq!(vic.run(&["shell", "web.blue"]).code, 255);
    }
    let brief = |rig: &Rig, args: &[&str]| -> Vec<String> {
        let all = rig.json(&[&["list", "audit"], args].concat());
        let all = all["entries"].as_array().unwrap().iter();
        all.map(|one| format!("{} {} {}", one["what"], one["network"], one["about"]).replace('"', ""))
            .collect()
    };
    let refused = "refused blue app:restart: your role in network 'blue' is viewer, and this takes deployer";
    for rig in [vic, world.user("ann")] {
        let seen = brief(rig, &["--what", "refused"]);
        assert_eq!(seen.iter().filter(|one| *one == refused).count(), 1, "{seen:?}");
    }
    assert!(brief(world.user("dan"), &["--what", "refused"]).is_empty());
    let logins = brief(vic, &["--what", "login"]);
    assert_eq!(logins, ["login null for one command"]);
    let home = crate::login::logged_in(&world.max, "vic");
    let login = home.json(&["list", "audit", "--what", "login", "--limit", "1"])["entries"][0].clone();
    assert_eq!((login["token"].to_string(), &login["about"]), (id_of(&home), &Value::Null));
    let bound = world.with("ann", "deploy", Some("blue"));
    let id = id_of(&bound);
    world.user("ann").ok(&["delete", "token", &id]);
    let tokens = brief(world.user("ann"), &["--limit", "10"]);
    for what in ["deleted", "created"] {
        assert!(tokens.contains(&format!("token_{what} blue token {id}, deploy for blue")), "{tokens:?}");
    }
    let made = brief(world.user("ann"), &["--what", "token_created", "--limit", "1000"]);
    assert!(made.last().unwrap().ends_with(", on the server"), "{made:?}");
    vic.run(&["list", "audit", "--what", "x"]).fails(
        2,
        "rig: --what takes command, shell, console, login, token_created, token_deleted, member_added, \
         member_changed, member_removed, refused, not 'x'\n  for instance `--what refused`\n",
    );
}

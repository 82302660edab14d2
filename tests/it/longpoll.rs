//! The main job by long polling, by choice and where no WebSocket gets through.

use crate::harness::{Max, Rig, project, wait_for};
use crate::relay::Relay;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn app() -> tempfile::TempDir {
    let server = include_str!("../apps/hello/server.c");
    let settings = r#"{"build":"cc -o server server.c","run":"seq -f 'line %g' 1 3000; exec ./server"}"#;
    project(&[("server.c", server), ("message.txt", "by long polling\n"), ("rig.json", settings)])
}

/// Everything but the connection is as ever.
fn main_job(max: &Max, rig: &Rig, more: &[&str]) {
    let with = |args: &[&str]| args.iter().chain(more).map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    rig.ok(&with(&["create", "network", "blue"]));
    let dir = app();
    let path = dir.path().to_str().unwrap();
    let ran = rig.run(&with(&["deploy", path, "-a", "web", "-n", "blue", "--create"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("$ cc -o server server.c\n"), "{}", ran.stderr);
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "by long polling\n".to_owned()));
    let logged = wait_for("all lines", || {
        let out = rig.ok(&with(&["logs", "app", "web.blue", "--tail", "10000"]));
        out.contains("line 3000\n").then_some(out)
    });
    let numbers: Vec<&str> = logged.lines().filter_map(|line| line.strip_prefix("line ")).collect();
    assert_eq!(numbers, (1..=3000).map(|n| n.to_string()).collect::<Vec<_>>());
    rig.run(&with(&["status", "app", "none.blue"]))
        .fails(3, "rig: app 'none' does not exist in network 'blue'\n  see `rig list apps --network blue`\n");

    let mut command = rig.command(&with(&["logs", "app", "web.blue", "--follow", "--tail", "0"]));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // Asked until one falls into the time after the join.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                max.get("web.blue.localhost", "/followed");
                std::thread::park_timeout(std::time::Duration::from_millis(50));
            }
        });
        assert!(lines.any(|line| line.contains("GET /followed")));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    rig.ok(&with(&["delete", "network", "blue", "--yes"]));
    assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(0));
    assert_eq!(lines.filter(|line| line.contains("deleted")).count(), 0);
}

#[test]
fn the_main_job_works_by_long_polling() {
    let max = Max::start();
    let relay = Relay::new(&max.url);
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", &relay.url);
    main_job(&max, &rig, &["--transport", "longpoll"]);
    assert_eq!(relay.asked("/socket/websocket"), 0);
    assert!(relay.asked("POST /socket/longpoll?vsn=2.0.0") > 5);
}

#[test]
fn a_refused_upgrade_is_got_round_and_remembered_for_the_server() {
    let max = Max::start();
    let relay = Relay::refusing(&max.url, "/socket/websocket");
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", &relay.url);
    main_job(&max, &rig, &[]);
    // Tried once, and not again for a while.
    assert_eq!(relay.asked("/socket/websocket"), 1);
    let ran = rig.run(&["list", "networks", "--transport", "websocket"]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("answered with HTTP status 403, and not as Max does\n"), "{}", ran.stderr);
    // Another server is another matter.
    let direct = Relay::new(&max.url);
    rig.set("RIG_URL", &direct.url);
    rig.ok(&["list", "networks"]);
    assert_eq!((direct.asked("/socket/websocket"), direct.asked("/socket/longpoll")), (1, 0));
}

#[test]
fn a_websocket_that_carries_nothing_is_given_up() {
    let max = Max::start();
    let relay = Relay::muting(&max.url, "/socket/websocket");
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", &relay.url);
    let ran = rig.run(&["create", "network", "blue", "--timeout", "4s"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "created network blue (blue.localhost)\n"), "{ran:?}");
    assert_eq!(rig.ok(&["create", "app", "web.blue"]), "created app web in network blue\n");
    assert_eq!(relay.asked("/socket/websocket"), 1);
}

#[test]
fn a_session_nobody_polls_makes_room_for_the_next() {
    let max = Max::trial("sockets=3");
    let mut rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    // Each leaves a session behind that the server keeps for a while.
    for _ in 0..10 {
        rig.ok(&["list", "networks", "--transport", "longpoll"]);
    }
    rig.set("RIG_TOKEN", &max.token("ada"));
    rig.ok(&["list", "networks"]);
}

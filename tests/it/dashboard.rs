//! `rig status dashboard`: what a person sees at several sizes, the keys, and that the
//! terminal always comes back.

use crate::harness::{Max, Rig, signal, site, wait_for};
use crate::terminal::Terminal;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const ARGS: [&str; 2] = ["status", "dashboard"];

/// Two sites that serve and an app without a release. The port of their URLs.
fn world() -> (Max, Rig) {
    let max = Max::start();
    let mut rig = max.rig("ann");
    rig.set("LANG", "C.UTF-8");
    let files = site("hello");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "new", "-n", "blue"]);
    for app in ["web", "api"] {
        let path = files.path().to_str().unwrap();
        rig.ok(&["deploy", path, "--app", app, "--network", "blue", "--create"]);
    }
    (max, rig)
}

fn port(max: &Max) -> &str {
    max.apps_url.rsplit_once(':').unwrap().1
}

#[test]
fn it_fits_screens_of_three_sizes() {
    let (max, rig) = world();
    for (columns, rows) in [(60, 15), (100, 30), (200, 50)] {
        let mut terminal = Terminal::sized(&rig, &ARGS, columns, rows);
        terminal.shows("q quit");
        let screen = terminal.screen();
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(lines.len(), usize::from(rows), "{screen}");
        assert!(lines.iter().all(|line| line.chars().count() <= usize::from(columns)), "{screen}");
        assert_eq!(lines[0], "3 apps: 2 running, 1 empty");
        let head = match columns {
            60 => "  APPv      STATE          CPU     MEMORY   REQUESTS  ERRORS",
            100 => "  APPv      STATE          CPU     MEMORY   REQUESTS  ERRORS  LOAD                 P95",
            _ => {
                "  APPv      STATE          CPU     MEMORY   REQUESTS  ERRORS  LOAD                 P95  \
                 ACTIVITY          RESTARTS      P50   RELEASE  DEPLOYED       INSTANCES  URL"
            }
        };
        assert_eq!(lines[1], head);
        assert!(
            lines[2].starts_with("> api.blue  running       0.0%        0 B      0/min       0"),
            "{screen}"
        );
        assert!(
            lines[3].starts_with("  new.blue  empty         0.0%        0 B      0/min       0"),
            "{screen}"
        );
        assert!(
            lines[4].starts_with("  web.blue  running       0.0%        0 B      0/min       0"),
            "{screen}"
        );
        assert_eq!(lines[5], "");
        assert_eq!(lines[usize::from(rows) - 1], "q quit  ? keys  / filter  s sort  enter details  l logs");
        if columns == 200 {
            assert!(lines[4].ends_with(&format!("http://web.blue.localhost:{}/", port(&max))), "{screen}");
        }
        assert_eq!(terminal.is_full(), (true, true));
        terminal.type_in("q");
        assert_eq!(terminal.end(), 0);
        terminal.is_restored();
        assert!(terminal.echoes());
    }
}

#[test]
fn keys_choose_filter_sort_and_show_one_app() {
    let (_max, rig) = world();
    let mut terminal = Terminal::sized(&rig, &ARGS, 80, 20);
    terminal.shows("> api.blue");
    terminal.type_in("j\u{1b}[B");
    terminal.shows("> web.blue");
    terminal.type_in("k");
    terminal.shows("> new.blue");
    terminal.type_in("G");
    terminal.shows("> web.blue");
    terminal.type_in("g");
    terminal.shows("> api.blue");
    terminal.type_in("sr");
    terminal.shows("STATE^");
    terminal.shows("\n> api.blue  running");
    assert!(terminal.screen().find("new.blue") < terminal.screen().find("web.blue"));
    terminal.type_in("/we");
    terminal.shows("| 1 shown: we\n");
    terminal.shows("filter: we_");
    terminal.shows("\n> web.blue");
    assert!(!terminal.screen().contains("api.blue"));
    terminal.type_in("\r\r");
    terminal.shows("q back  l logs");
    terminal.shows("web.blue\napp        web\nnetwork    blue\nstate      running\n");
    terminal.type_in("l");
    terminal.shows("log of web.blue\n");
    terminal.shows("release 1 serves");
    terminal.type_in("q");
    terminal.shows("web.blue\napp ");
    terminal.type_in("?");
    terminal.shows("ctrl-z              stop rig for a while");
    terminal.type_in("q");
    terminal.shows("web.blue\napp ");
    terminal.type_in("q");
    terminal.shows("| 1 shown: we\n");
    terminal.type_in("\u{1b}");
    terminal.shows("\n  api.blue");
    terminal.type_in("f");
    terminal.shows("| 0 shown: problems\n");
    terminal.shows("nothing needs you");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.end(), 130);
    terminal.is_restored();
    assert!(terminal.echoes());
}

#[test]
fn it_follows_what_happens_and_the_size_of_the_terminal() {
    let (_max, rig) = world();
    let mut terminal = Terminal::sized(&rig, &ARGS, 80, 20);
    terminal.shows("3 apps: 2 running, 1 empty");
    rig.ok(&["create", "app", "late", "-n", "blue"]);
    terminal.shows("  late.blue  empty");
    rig.ok(&["delete", "app", "api.blue", "--yes"]);
    terminal.shows("3 apps: 1 running, 2 empty");
    assert!(!terminal.screen().contains("api.blue"));
    terminal.resize(60, 8);
    wait_for("the smaller picture", || {
        let screen = terminal.screen();
        let lines: Vec<&str> = screen.lines().collect();
        (lines.len() == 8 && lines[7].starts_with("q quit") && !screen.contains("LOAD")).then_some(())
    });
    terminal.resize(120, 10);
    terminal.shows("LOAD");
    terminal.type_in("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_terminal_comes_back_whatever_ends_it() {
    let (mut max, rig) = world();
    for (name, code) in [("TERM", 128 + 15), ("HUP", 128 + 1), ("INT", 128 + 2)] {
        let mut terminal = Terminal::sized(&rig, &ARGS, 80, 20);
        terminal.shows("> api.blue");
        signal(terminal.pid(), name);
        assert_eq!(terminal.end(), code, "{name}");
        terminal.is_restored();
        assert!(terminal.echoes(), "{name}");
    }
    let mut terminal = Terminal::sized(&rig, &ARGS, 80, 20);
    terminal.shows("> api.blue");
    max.kill();
    terminal.shows("reconnecting: ");
    // What was seen last stays, and keys work.
    terminal.type_in("j");
    terminal.shows("> new.blue");
    max.serve();
    terminal.shows("3 apps: ");
    terminal.type_in("q");
    assert_eq!(terminal.end(), 0);
    terminal.is_restored();
    assert!(terminal.echoes());
}

#[test]
fn without_a_terminal_to_draw_on_it_is_a_table() {
    let (max, mut rig) = world();
    let text = rig.ok(&ARGS);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("APP       STATE    CPU   MEMORY  REQUESTS  ERRORS  P95  RESTARTS"),
        "{text}"
    );
    assert!(lines[1].starts_with("api.blue  running  0.0%  0 B     0/min     0       -    0 "), "{text}");
    assert_eq!(lines.len(), 4);
    assert!(text.contains(&format!("http://web.blue.localhost:{}/", port(&max))));
    let text = rig.ok(&["status", "dashboard", "--columns", "app,state", "--sort", "state"]);
    assert_eq!(text, "APP       STATE\napi.blue  running\nweb.blue  running\nnew.blue  empty\n");
    let text = rig.ok(&["status", "dashboard", "--state", "empty", "--columns", "app,load"]);
    assert_eq!(text.lines().last().map(str::trim_end), Some("new.blue"));
    let ran = rig.run(&["status", "dashboard", "--state", "problems"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "no app is like that\n"));
    rig.run(&["status", "dashboard", "--network", "red"])
        .fails(3, "rig: network 'red' does not exist\n  see `rig list networks`\n");
    // On a terminal that can't be drawn on, too.
    rig.set("TERM", "dumb");
    let mut terminal = Terminal::sized(&rig, &ARGS, 60, 15);
    assert_eq!(terminal.end(), 0);
    terminal.wait("api.blue  running");
    assert!(!terminal.written().contains('\u{1b}'));
}

#[test]
fn wrong_wishes_are_named() {
    let rig = Rig::new();
    for (args, message) in [
        (
            &["--state", "fine"][..],
            "rig: --state takes a state, not 'fine'\n  one of problems, crash_loop, unhealthy, restarting, starting, stopped, running, empty\n",
        ),
        (&["--once", "--watch"], "rig: --once and --watch exclude each other\n"),
        (&["--watch"], "rig: there is no terminal to draw on\n  use --once, or --watch -o json\n"),
    ] {
        let mut all = ARGS.to_vec();
        all.extend(args);
        rig.run(&all).fails(2, message);
    }
    let ran = rig.run(&["status", "dashboard", "--sort", "colour"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.starts_with("rig: there is no column 'colour' for --sort\n  one of app, state, cpu,"),
        "{}",
        ran.stderr
    );
}

#[test]
fn in_json_it_is_a_snapshot_and_then_a_line_for_each_change() {
    let (_max, rig) = world();
    let snapshot = rig.json(&["status", "dashboard", "--state", "running"]);
    let names: Vec<&str> =
        snapshot["apps"].as_array().unwrap().iter().map(|row| row["app"].as_str().unwrap()).collect();
    assert_eq!(names, ["api", "web"]);
    assert_eq!(snapshot["apps"][0]["instances"], 1);
    assert_eq!(snapshot["past"].as_array().unwrap().len(), 2);
    let mut command = rig.command(&["status", "dashboard", "--watch", "--state", "empty", "-o", "json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["apps"][0]["app"], "new");
    rig.ok(&["create", "app", "late", "-n", "blue"]);
    let change = next();
    assert_eq!((&change["apps"][0]["app"], &change["apps"][1]), (&"late".into(), &serde_json::Value::Null));
    let files = site("hello");
    rig.ok(&["deploy", files.path().to_str().unwrap(), "--app", "late", "--network", "blue"]);
    // It is not empty any more.
    let change = next();
    assert_eq!(change["gone"], serde_json::json!([{"app": "late", "network": "blue"}]));
    assert_eq!(change["apps"], serde_json::json!([]));
    drop(lines);
    rig.ok(&["create", "app", "later", "-n", "blue"]);
    assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(0));
}

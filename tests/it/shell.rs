//! `rig shell`: a real terminal on both sides, over any cut, and given back in every case.

use crate::command::world;
use crate::harness::{Max, Rig, signal, text, wait_for};
use crate::relay::Relay;
use crate::terminal::Terminal;

const PROMPT: &str = "web.blue:~";

/// A shell at its prompt.
fn shell(rig: &Rig, args: &[&str]) -> Terminal {
    let terminal = Terminal::spawn(rig, &[&["shell", "web.blue"], args].concat());
    terminal.shows(PROMPT);
    terminal
}

#[test]
fn a_shell_has_the_apps_files_and_the_users_terminal() {
    let max = Max::start();
    let rig = world(&max);
    let mut terminal = Terminal::sized(&rig, &["shell", "web.blue"], 100, 30);
    terminal.shows(PROMPT);
    assert!(!terminal.echoes());
    terminal.type_in("cat data.txt; stty size; tty >/dev/null && echo term=$TERM\r");
    terminal.shows("term=xterm");
    assert!(terminal.screen().contains("\none\ntwo\n30 100\n"), "{}", terminal.screen());
    terminal.resize(60, 15);
    // The size is not what is typed: either may be the first.
    terminal.type_in("clear; until stty size | grep '15 60'; do sleep 0.02; done\r");
    terminal.shows("15 60\nweb.blue");
    terminal.type_in("exit 7\r");
    assert_eq!(terminal.end(), 7);
    assert!(terminal.echoes());
}

#[test]
fn keys_that_are_signals_go_to_the_program() {
    let max = Max::start();
    let rig = world(&max);
    let mut terminal = shell(&rig, &[]);
    terminal.type_in("sh -c 'echo first; exec sleep 1000'\r");
    terminal.shows("\nfirst\n");
    terminal.type_in("\u{3}");
    terminal.shows("^C\nweb");
    terminal.type_in("echo got=$?\r");
    terminal.shows("got=130");
    terminal.type_in("ulimit -c 0; sh -c 'echo second; exec cat'\r");
    terminal.shows("\nsecond\n");
    terminal.type_in("\u{1c}");
    terminal.shows("Quit");
    terminal.type_in("echo quit=$?\r");
    terminal.shows("quit=131");
    // Bytes that are no text, and a paste.
    terminal.type_in("echo set; head -c 4 | od -An -tx1\r");
    terminal.shows("\nset\n");
    terminal.type_in("\u{e9}\u{16}\u{3}\r");
    terminal.shows("c3 a9 03 0a");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_shell_goes_on_over_cuts_as_if_there_were_none() {
    let max = Max::start();
    let rig = world(&max);
    let relay = Relay::new(&max.url);
    let mut terminal = shell(&rig, &["--url", &relay.url]);
    relay.budget(22_000);
    terminal.type_in("seq 1 200000; echo do''ne\r");
    wait_for("the end", || terminal.ends_with("done\r\n\u{1b}[?2004hweb.blue:~# ").then_some(()));
    assert!(relay.spent() >= 50, "{}", relay.spent());
    relay.budget(0);
    let expected: String = (1..=200_000).map(|n| format!("{n}\r\n")).collect();
    assert!(terminal.written().contains(&format!("\n\u{1b}[?2004l\r{expected}done\r\n")));
    terminal.type_in("exit\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_lost_connection_is_said_and_leaves_no_trace() {
    let mut max = Max::start();
    let rig = world(&max);
    let relay = Relay::new(&max.url);
    let mut terminal = shell(&rig, &["--url", &relay.url]);
    terminal.type_in("seq 1 5\r");
    terminal.shows("5\nweb.blue");
    let before = terminal.screen();
    relay.refuse(true);
    relay.cut();
    terminal.shows("connection to Max lost");
    // What is typed meanwhile arrives.
    terminal.type_in("echo still; echo there\r");
    relay.refuse(false);
    terminal.shows("still\nthere\n");
    assert!(terminal.screen().starts_with(before.trim_end()), "{}", terminal.screen());
    // With nobody to come back to, the user ends it.
    relay.refuse(true);
    relay.cut();
    terminal.shows("connection to Max lost");
    terminal.type_in("\r~.");
    assert_eq!(terminal.end(), 255);
    terminal.shows("\nsession ");
    assert!(terminal.echoes());
    terminal.is_restored();
    assert!(max.stop().is_some());
}

#[test]
fn the_terminal_comes_back_whatever_ends_rig() {
    let max = Max::start();
    let rig = world(&max);
    let full = "printf '\\033[?1049h\\033[?25l\\033[?1000h'; echo fu''ll; cat\r";
    for (name, code) in [("TERM", 143), ("HUP", 129), ("INT", 130), ("QUIT", 131)] {
        let mut terminal = shell(&rig, &[]);
        let before = terminal.modes_at_start();
        terminal.type_in(full);
        terminal.shows("full");
        signal(terminal.pid(), name);
        assert_eq!(terminal.end(), code, "{name}");
        terminal.is_restored();
        assert_eq!(terminal.modes(), before, "{name}");
        terminal.wait("\u{1b}[?1000l");
        terminal.wait("rig shell --attach");
    }
    for name in ["ABRT", "SEGV", "ILL"] {
        let mut terminal = shell(&rig, &[]);
        let before = terminal.modes_at_start();
        terminal.type_in(full);
        terminal.shows("full");
        signal(terminal.pid(), name);
        assert_ne!(terminal.end(), 0, "{name}");
        terminal.is_restored();
        assert_eq!(terminal.modes(), before, "{name}");
    }
}

#[test]
fn suspended_it_gives_the_terminal_back_and_takes_it_again() {
    let max = Max::start();
    let rig = world(&max);
    let mut terminal = Terminal::below_a_shell(&rig, &["shell", "web.blue"]);
    let before = terminal.modes_at_start();
    terminal.shows(PROMPT);
    terminal.type_in("printf '\\033[?1049h\\033[?1000h'; echo fu''ll; read word; echo got=$word\r");
    terminal.shows("full");
    terminal.type_in("\r~\u{1a}");
    terminal.wait("stopped");
    terminal.is_restored();
    assert_eq!(terminal.modes(), before);
    terminal.type_in("\n");
    wait_for("the second screen", || terminal.is_full().0.then_some(()));
    assert!(!terminal.echoes());
    terminal.type_in("printf '\\033[?1049l\\033[?1000l'; echo ba''ck; exit 3\r");
    terminal.wait("over=3");
    assert_eq!((terminal.end(), terminal.modes() == before), (0, true));
}

#[test]
fn the_dashboard_gives_the_terminal_back_when_it_is_stopped_from_outside() {
    let max = Max::start();
    let rig = world(&max);
    let mut terminal = Terminal::below_a_shell(&rig, &["status", "dashboard"]);
    let before = terminal.modes_at_start();
    terminal.shows("q quit");
    signal(terminal.grandchild(), "TSTP");
    terminal.wait("stopped");
    terminal.is_restored();
    assert_eq!(terminal.modes(), before);
    terminal.type_in("\n");
    terminal.shows("q quit");
    terminal.type_in("q");
    terminal.wait("over=0");
    assert_eq!((terminal.end(), terminal.modes() == before), (0, true));
}

#[test]
fn the_end_of_the_server_gives_the_terminal_back() {
    let mut max = Max::start();
    let rig = world(&max);
    let mut terminal = shell(&rig, &["--keep", "1s"]);
    let before = terminal.modes_at_start();
    max.kill();
    assert_eq!(terminal.end(), 255);
    terminal.wait("could not be made again for 1.0s");
    assert_eq!(terminal.modes(), before);
}

#[test]
fn a_session_is_left_and_come_back_to() {
    let max = Max::start();
    let rig = world(&max);
    let mut terminal = shell(&rig, &[]);
    terminal.type_in("mark=here; clear\r~d");
    assert_eq!(terminal.end(), 0);
    let session = rig.json(&["list", "sessions"])["sessions"][0].clone();
    assert_eq!((&session["tty"], &session["attached"]), (&true.into(), &false.into()));
    let id = session["id"].to_string();
    let mut terminal = Terminal::spawn(&rig, &["shell", "--attach", &id]);
    terminal.type_in("\recho $mark\r");
    terminal.shows("\nhere\n");
    // The newest is served.
    let mut second = Terminal::spawn(&rig, &["shell", "--attach", &id]);
    second.type_in("echo again $mark\r");
    second.shows("\nagain here\n");
    assert_eq!(terminal.end(), 255);
    terminal.wait("another rig has taken this session over");
    second.type_in("\r~.");
    assert_eq!(second.end(), 255);
    wait_for("its end", || {
        (rig.json(&["list", "sessions"])["sessions"] == serde_json::json!([])).then_some(())
    });
    let ran = Terminal::spawn(&rig, &["shell", "--attach", &id]).end();
    assert_eq!(ran, 255);
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let max = Max::start();
    let rig = world(&max);
    rig.run(&["shell", "web.blue"]).fails(
        255,
        "rig: a shell needs a terminal, on standard input and output\n  \
         run a single command: `rig command APP 'ls | wc -l'`\n",
    );
    let mut terminal = Terminal::spawn(&max.rig("eve"), &["shell", "web.blue"]);
    terminal.wait("network 'blue' does not exist");
    assert_eq!(terminal.end(), 255);
    assert!(terminal.echoes());
}

#[test]
fn a_command_can_have_a_terminal() {
    let max = Max::start();
    let rig = world(&max);
    let ran = rig.run(&["command", "web.blue", "--tty", "stty size; echo $TERM; exit 3"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (3, "24 80\r\nxterm-256color\r\n", ""));
    let ran = rig.run_with(&["command", "web.blue", "--tty", "--", "cat"], "typed\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "typed\r\ntyped\r\n"));
    let mut terminal =
        Terminal::spawn(&rig, &["command", "web.blue", "-t", "--", "sh", "-c", "read a; echo got=$a"]);
    terminal.type_in("x\r");
    terminal.wait("got=x");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn what_a_shell_has_started_ends_with_it() {
    let max = Max::start();
    let rig = world(&max);
    let mut terminal = shell(&rig, &[]);
    let tag = format!("{}.5", 90_000 + max.pid());
    terminal.type_in(&format!("sleep {tag} & (trap '' HUP TERM; sleep {tag}) & sleep {tag}\r"));
    let running = || {
        let out = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
        text(&out.stdout).lines().filter(|line| *line == format!("sleep {tag}")).count()
    };
    wait_for("what it starts", || (running() == 3).then_some(()));
    terminal.type_in("\u{1a}");
    terminal.shows("Stopped");
    terminal.type_in("\r~.");
    assert_eq!(terminal.end(), 255);
    wait_for("their end", || (running() == 0).then_some(()));
}

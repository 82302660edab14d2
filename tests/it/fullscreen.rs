//! A real full-screen program over a line that breaks again and again: what is seen in the
//! end is what is seen without. Needs vim, so these are run by `make test-fullscreen`.

use crate::command::world;
use crate::harness::{Max, Rig, wait_for};
use crate::relay::Relay;
use crate::terminal::Terminal;
use std::fmt::Write;

/// Looks around in a long file, changes it, and looks again.
fn keys() -> Vec<String> {
    let mut keys: Vec<String> = vec![":set number nohlsearch shortmess+=I laststatus=2\r".into()];
    for round in 1..=12 {
        keys.push("\u{6}".into());
        keys.push(format!("{}Gzz", round * 311));
        keys.push(format!("Oa line of round {round}: \u{e9}\u{20ac}\u{1b}"));
        keys.push("/round\r".into());
    }
    keys.extend(["gg", ":%s/line/row/\r", "2000Gzt", ":split\r", "gg"].map(str::to_owned));
    keys
}

/// vim in the app, and what it shows when it has done everything.
fn edit(rig: &Rig, url: &str, mut before: impl FnMut()) -> (Terminal, String) {
    let mut terminal = Terminal::sized(rig, &["shell", "web.blue", "--url", url], 90, 28);
    terminal.shows("web.blue:~");
    terminal.type_in("seq -f 'line %.0f of many' 5000 >long.txt; clear; vim -u NONE long.txt\r");
    terminal.shows("line 27 of many");
    for key in keys() {
        before();
        terminal.type_in(&key);
    }
    // The last word is vim's.
    terminal.type_in(":echo 'the' 'end'\r");
    terminal.shows("the end");
    let screen = terminal.formatted();
    (terminal, screen)
}

/// Leaves vim and the shell.
fn leave(mut terminal: Terminal) {
    terminal.type_in(":qa!\r");
    terminal.is_restored();
    terminal.type_in("exit\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(terminal.modes(), terminal.modes_at_start());
}

#[test]
#[ignore = "needs vim"]
fn vim_over_a_line_that_breaks_shows_what_it_shows_over_one_that_does_not() {
    let max = Max::start();
    let rig = world(&max);
    let (terminal, expected) = edit(&rig, &max.url, || {});
    leave(terminal);
    let relay = Relay::new(&max.url);
    let mut cuts = 0;
    let (terminal, seen) = edit(&rig, &relay.url, || {
        wait_for("a connection to cut", || (relay.cut() > 0).then_some(()));
        cuts += 1;
    });
    assert!(cuts >= 50, "{cuts}");
    assert!(seen == expected, "{}", difference(&expected, &seen));
    leave(terminal);
}

fn difference(expected: &str, seen: &str) -> String {
    let mut text = String::new();
    for (one, other) in expected.lines().zip(seen.lines()).filter(|(one, other)| one != other) {
        let _ = writeln!(text, "- {one:?}\n+ {other:?}");
    }
    text
}

#[test]
#[ignore = "needs vim"]
fn vim_draws_anew_what_the_notice_of_a_lost_connection_has_covered() {
    let max = Max::start();
    let rig = world(&max);
    let relay = Relay::new(&max.url);
    let (mut terminal, before) = edit(&rig, &relay.url, || {});
    relay.refuse(true);
    relay.cut();
    terminal.shows("connection to Max lost");
    relay.refuse(false);
    // vim forgets what it has echoed when it draws anew, and says it again here.
    wait_for("the notice to go", || (!terminal.screen().contains("connection to Max lost")).then_some(()));
    terminal.type_in(":echo 'the' 'end'\r");
    wait_for("the same screen", || (terminal.formatted() == before).then_some(()));
    leave(terminal);
}

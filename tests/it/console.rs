//! A network's console: `rig shell --network NETWORK`, as a person uses it.

use crate::command::world;
use crate::harness::{Max, project, wait_for};
use crate::lifecycle::moody;
use crate::terminal::Terminal;

const PROMPT: &str = "blue>";

/// A console at its first prompt.
fn console(max: &Max, columns: u16) -> Terminal {
    let rig = world(max);
    let terminal = Terminal::sized(&rig, &["shell", "--network", "blue"], columns, 40);
    terminal.shows(PROMPT);
    terminal
}

/// The rows of the screen, up to the prompt that waits.
fn rows(terminal: &Terminal) -> Vec<String> {
    terminal.screen().lines().map(str::to_owned).collect()
}

/// Types a line and waits until the next prompt; the rows between.
#[track_caller]
fn answer(terminal: &mut Terminal, line: &str) -> Vec<String> {
    terminal.type_in("\u{c}");
    wait_for("an empty screen", || (rows(terminal).len() == 1).then_some(()));
    terminal.type_in(&format!("{line}\r"));
    let said = format!("{PROMPT} {line}").trim_end().to_owned();
    wait_for("the next prompt", || {
        let rows = rows(terminal);
        let (first, last) = (rows.first()?, rows.last()?);
        (rows.len() > 1 && *first == said && last == PROMPT).then(|| rows[1..rows.len() - 1].to_vec())
    })
}

#[test]
fn a_console_answers_and_ends_like_a_shell() {
    let max = Max::start();
    let mut terminal = console(&max, 80);
    assert!(!terminal.echoes());
    let screen = terminal.screen();
    assert!(screen.contains("network blue, as ann\n`help` lists the commands"), "{screen}");
    let help = answer(&mut terminal, "help");
    assert!(help.iter().any(|row| row.starts_with("events [NAME] [N]  Show what Max did")), "{help:?}");
    let apps = answer(&mut terminal, "apps");
    assert!(apps[0].starts_with("APP  STATE    RUN  RELEASE"), "{apps:?}");
    assert!(apps[1].starts_with("web  running  1/1  1 "), "{apps:?}");
    let app = answer(&mut terminal, "app web");
    assert!(app.contains(&"state      running".to_owned()), "{app:?}");
    let releases = answer(&mut terminal, "releases web");
    assert!(
        releases[1].starts_with("1        live   ") && releases[1].ends_with("ann  static"),
        "{releases:?}"
    );
    let events = answer(&mut terminal, "events");
    assert!(events.iter().any(|row| row.ends_with("app web created by ann")), "{events:?}");
    let last = answer(&mut terminal, "events web 1");
    assert_eq!(last.len(), 2, "{last:?}");
    let routes = answer(&mut terminal, "routes");
    assert_eq!(routes[1], "web.blue.localhost  running  1        Max");
    assert_eq!(answer(&mut terminal, "alerts"), ["nothing is wrong"]);
    let sessions = answer(&mut terminal, "sessions");
    assert!(sessions[1].contains("(console)  ann   -        yes"), "{sessions:?}");
    terminal.type_in("exit\r");
    assert_eq!(terminal.end(), 0);
    assert!(terminal.echoes());
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let max = Max::start();
    let mut terminal = console(&max, 80);
    for (line, said) in [
        ("statsu", "there is no command 'statsu'; see `help`"),
        ("evnts", "there is no command 'evnts'; did you mean `events`?"),
        ("app wbe", "app 'wbe' does not exist in network 'blue'; see `apps`"),
        ("app webb", "app 'webb' does not exist in network 'blue'; did you mean `web`?"),
        ("app", "'app' needs NAME; it is `app NAME`"),
        ("logs web 0", "'0' is no number of lines; it is 1 to 1000"),
    ] {
        assert_eq!(answer(&mut terminal, line), [said]);
    }
    assert_eq!(answer(&mut terminal, "").len(), 0);
}

#[test]
fn lines_are_completed_remembered_and_dropped() {
    let max = Max::start();
    let mut terminal = console(&max, 80);
    terminal.type_in("rel\tw\t\r");
    terminal.shows("blue> releases web\nRELEASE");
    terminal.type_in("\u{c}\t\t");
    terminal.shows("alerts    app       apps      clear     events");
    terminal.type_in("\u{1b}[A");
    terminal.shows("blue> releases web\n");
    terminal.type_in(" never\u{3}");
    terminal.shows("blue> releases web never^C\nblue>");
    terminal.type_in("\u{12}rele");
    terminal.shows("(search)'rele': releases web");
    terminal.type_in("\u{7}quit\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_narrow_terminal_gets_narrow_tables() {
    let max = Max::start();
    let mut terminal = console(&max, 100);
    terminal.type_in("appsappsappsappsappsappsappsappsappsappsappsappsappsapps");
    terminal.shows("appsappsappsappsappsappsapps");
    terminal.resize(60, 40);
    terminal.shows("blue> <");
    terminal.type_in("\u{3}");
    for line in ["help", "apps", "app web", "releases web", "events", "logs web", "sessions", "help help"] {
        let rows = answer(&mut terminal, line);
        assert!(!rows.is_empty() && rows.iter().all(|row| row.chars().count() <= 60), "{rows:?}");
    }
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn what_an_app_writes_does_not_drive_the_terminal() {
    let max = Max::start();
    let mut terminal = console(&max, 80);
    let app = project(&[("rig.json", r#"{"run":"printf 'evil\\033[2J\\033]0;x\\007\\n'"}"#)]);
    let path = app.path().to_str().unwrap().to_owned();
    // It ends at once, so that it does not become a release.
    max.rig("ann").run(&["deploy", &path, "--app", "evil", "--network", "blue", "--create"]);
    let rows = wait_for("the line", || {
        let rows = answer(&mut terminal, "logs evil");
        rows.iter().any(|row| row.contains("evil\\u")).then_some(rows)
    });
    assert!(rows.iter().any(|row| row.ends_with("evil\\u{1b}[2J\\u{1b}]0;x\\u{7}")), "{rows:?}");
}

#[test]
fn apps_are_started_stopped_and_scaled_and_a_long_change_can_be_left() {
    let (max, rig, dir) = moody();
    let mut terminal = Terminal::sized(&rig, &["shell", "--network", "blue"], 80, 40);
    terminal.shows(PROMPT);
    let said = |terminal: &mut Terminal, line: &str| answer(terminal, line).join("\n");
    let restarted = "restarted app lab: 1 of 1 instance runs";
    assert_eq!(said(&mut terminal, "restart lab"), restarted);
    assert_eq!(said(&mut terminal, "scale lab 2"), "scaled app lab: 2 of 2 instances run");
    let routes = said(&mut terminal, "routes");
    assert!(routes.contains("lab.blue.localhost  running  1        port "), "{routes}");
    assert_eq!(routes.matches("port ").count(), 2, "{routes}");
    let wrong = "'99' is no number of instances; it is 1 to 20; `stop NAME` stops an app";
    assert_eq!(said(&mut terminal, "scale lab 99"), wrong);
    assert_eq!(said(&mut terminal, "stop lab"), "stopped app lab: it is stopped");
    assert_eq!(said(&mut terminal, "restart lab"), "app 'lab' is stopped; start it: `start lab`");
    assert!(said(&mut terminal, "routes").ends_with("stopped  -        -"));
    assert_eq!(said(&mut terminal, "start lab"), "started app lab: 2 of 2 instances run");
    // The next one does not begin before the file is gone.
    std::fs::write(dir.join("wait"), "").unwrap();
    terminal.type_in("\u{c}restart lab\r");
    terminal.shows("blue> restart lab\n");
    terminal.type_in("typed ahead\u{3}");
    terminal.shows("blue> restart lab\n^C\nit goes on without the console\nblue>");
    std::fs::remove_file(dir.join("wait")).unwrap();
    wait_for("the restart", || {
        let events = said(&mut terminal, "events lab");
        (events.matches("restarted by ada").count() == 2).then_some(())
    });
    terminal.type_in("exit\r");
    assert_eq!(terminal.end(), 0);
    drop(max);
}

#[test]
fn a_console_is_its_owners_alone_and_ends_with_its_network() {
    let max = Max::start();
    let mut terminal = console(&max, 80);
    let mut refused = Terminal::spawn(&max.rig("eve"), &["shell", "--network", "blue"]);
    refused.shows("network 'blue' does not exist");
    assert_eq!(refused.end(), 255);
    let rig = max.rig("ann");
    let sessions = rig.json(&["list", "sessions"]);
    let session = &sessions["sessions"][0];
    assert_eq!((&session["app"], &session["release"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let id = session["id"].to_string();
    let listed = rig.ok(&["list", "sessions"]);
    let words: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..7], [&id, "-", "blue", "ann", "-", "yes", "yes"]);
    let audit = rig.json(&["list", "audit", "--network", "blue"]);
    assert_eq!(
        (audit["entries"][0]["id"].to_string(), &audit["entries"][0]["app"]),
        (id, &serde_json::Value::Null)
    );
    rig.ok(&["delete", "network", "blue", "--yes"]);
    assert_ne!(terminal.end(), 0);
    assert!(terminal.echoes());
}

#[test]
fn a_cut_loses_nothing_of_a_console() {
    let max = Max::start();
    let rig = world(&max);
    let relay = crate::relay::Relay::new(&max.url);
    let mut terminal = Terminal::spawn(&rig, &["shell", "--network", "blue", "--url", &relay.url]);
    terminal.shows(PROMPT);
    terminal.type_in("app w");
    terminal.shows("blue> app w");
    relay.cut();
    terminal.type_in("eb\r");
    terminal.shows("state      running");
    terminal.type_in("exit\r");
    assert_eq!(terminal.end(), 0);
}

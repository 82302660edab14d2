//! The log database as its readers see it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::log::{Query, Source};
use std::time::SystemTime;
use tokio::sync::oneshot;

fn new(app: Option<i64>, source: Source, text: &str) -> NewLine {
    NewLine::new(1, app, Some(1), source, text.to_owned())
}

async fn world(lines: Vec<NewLine>, keep: Keep) -> (tempfile::TempDir, Arc<Logs>, mpsc::Sender<NewLine>) {
    let dir = tempfile::tempdir().unwrap();
    let (logs, sender) = Logs::open(&dir.path().join("logs.db"), keep).unwrap();
    write(&sender, lines).await;
    (dir, logs, sender)
}

/// Writes, and waits until it can be read.
async fn write(sender: &mpsc::Sender<NewLine>, lines: Vec<NewLine>) {
    for mut line in lines {
        let (stored, wait) = oneshot::channel();
        line.stored = Some(stored);
        sender.send(line).await.unwrap();
        wait.await.unwrap();
    }
}

#[tokio::test]
async fn a_mark_is_no_line_and_comes_behind_all_before_it() {
    let (_dir, logs, sender) = world(Vec::new(), Keep::default()).await;
    for text in ["a", "b", "c"] {
        sender.send(new(Some(2), Source::Stdout, text)).await.unwrap();
    }
    let (stored, wait) = oneshot::channel();
    sender.send(NewLine::mark(stored)).await.unwrap();
    wait.await.unwrap();
    assert_eq!(*logs.newest().borrow(), 3);
    assert_eq!(
        logs.counters().iter().map(|(app, counter)| (*app, counter.lines)).collect::<Vec<_>>(),
        [(2, 3)]
    );
}

/// All lines a query finds, in steps.
fn texts(logs: &Logs, select: Select, query: &Query) -> String {
    let filter = Filter::new(query, SystemTime::now()).unwrap();
    let mut tail = Tail { before: *logs.newest.borrow(), wanted: query.tail.unwrap_or(u64::MAX), more: true };
    while tail.more && query.after.is_none() {
        tail = logs.tail(select, &filter, tail).unwrap();
    }
    let (mut after, mut found) = (query.after.unwrap_or(tail.before), Vec::new());
    loop {
        let step = logs.scan(select, &filter, after, &mut |_, seq, _, text| {
            found.push((seq, text.to_owned()));
            true
        });
        let step = step.unwrap();
        after = step.after;
        if !step.more {
            break;
        }
    }
    assert!(found.windows(2).all(|pair| pair.first().unwrap().0 < pair.last().unwrap().0));
    found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

fn all(logs: &Logs, select: Select) -> String {
    texts(logs, select, &Query::default())
}

#[tokio::test]
async fn each_stream_shows_its_own_lines_in_order() {
    let (_dir, logs, _sender) = world(
        vec![
            new(Some(1), Source::Stdout, "a\nA"),
            new(Some(1), Source::Build, "b"),
            new(Some(2), Source::Stderr, "c"),
            new(Some(1), Source::Access, "d"),
            new(None, Source::Event, "e"),
            new(Some(1), Source::Event, "f"),
        ],
        Keep::default(),
    )
    .await;
    assert_eq!(all(&logs, Select::App(1)), "a A f");
    assert_eq!(all(&logs, Select::Builds(1)), "b");
    assert_eq!(all(&logs, Select::Network(1)), "a A c d e f");
    assert_eq!(all(&logs, Select::Network(2)), "");
    let name = |app: i64| Some(format!("app{app}"));
    let events = logs.newest_lines(Select::App(1), &Filter::of_events(), 10, &name).unwrap();
    let shown = events.iter().map(|line| (line.seq, line.app.as_deref(), line.text.as_str()));
    assert_eq!(shown.collect::<Vec<_>>(), [(7, Some("app1"), "f")]);
    assert!(logs.newest_lines(Select::App(1), &Filter::of_events(), 0, &name).unwrap().is_empty());
    let after = |after| texts(&logs, Select::App(1), &Query { after: Some(after), ..Query::default() });
    assert_eq!((after(1), after(2), after(7)), ("A f".to_owned(), "f".to_owned(), String::new()));
    let tail = |tail| texts(&logs, Select::App(1), &Query { tail: Some(tail), ..Query::default() });
    assert_eq!((tail(0), tail(1), tail(2)), (String::new(), "f".to_owned(), "A f".to_owned()));
    assert_eq!(tail(9), "a A f");
    assert_eq!((logs.latest(Select::App(1)), logs.latest(Select::Builds(1))), (7, 3));
    assert_eq!((logs.latest(Select::Network(1)), logs.latest(Select::App(3))), (7, 0));
    logs.forget(1, Some(1)).unwrap();
    assert_eq!(all(&logs, Select::Network(1)), "c e");
}

#[tokio::test]
async fn filters_combine_and_the_tail_counts_what_matches() {
    let out = |text: &str| new(Some(1), Source::Stdout, text);
    let newer = NewLine { release: Some(2), instance: Some(3), ..new(Some(1), Source::Stderr, "ERROR: x5") };
    let (_dir, logs, _sender) =
        world(vec![out("[INFO] x1\n[WARN] x2\nx3"), out("[ERROR] x4"), newer, out("y6")], Keep::default())
            .await;
    let query = |query: Query| texts(&logs, Select::App(1), &query);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(query(Query { grep: some("x"), tail: Some(2), ..Query::default() }), "[ERROR] x4 ERROR: x5");
    assert_eq!(query(Query { regex: some("^x|6$"), ..Query::default() }), "x3 y6");
    assert_eq!(query(Query { level: some("warn"), ..Query::default() }), "[WARN] x2 [ERROR] x4 ERROR: x5");
    let both = Query { level: some("warn"), stream: some("stdout"), grep: some("x4"), ..Query::default() };
    assert_eq!(query(both), "[ERROR] x4");
    assert_eq!(query(Query { release: Some(2), ..Query::default() }), "ERROR: x5");
    assert_eq!(query(Query { instance: Some(3), ..Query::default() }), "ERROR: x5");
    assert_eq!(query(Query { until: some("1h"), ..Query::default() }), "");
    assert_eq!(query(Query { since: some("1h"), grep: some("y"), ..Query::default() }), "y6");
}

#[test]
fn what_is_no_filter_is_said() {
    let some = |text: &str| Some(text.to_owned());
    for (query, field, message) in [
        (Query { since: some("5x"), ..Query::default() }, "since", "since takes a time, not '5x'"),
        (
            Query { since: some("1h"), until: some("2h"), ..Query::default() },
            "until",
            "until is not after since, so that no line can lie between them",
        ),
        (Query { level: some("loud"), ..Query::default() }, "level", "level takes a level, not 'loud'"),
        (Query { stream: some("x"), ..Query::default() }, "stream", "stream takes stdout or stderr, not 'x'"),
        (Query { grep: some(""), ..Query::default() }, "grep", "grep takes 1 to 4096 bytes"),
        (Query { regex: some("a("), ..Query::default() }, "regex", "regex can't use 'a(': unclosed group"),
        (
            Query { regex: some("(\\w{100}){100}"), ..Query::default() },
            "regex",
            "regex can't use '(\\w{100}){100}': it takes too much memory",
        ),
    ] {
        let error = Filter::new(&query, SystemTime::now()).err().unwrap();
        assert_eq!((error.field_name(), error.message()), (Some(field), message));
        assert!(error.kind().code() == "usage" && error.hint_text().is_some());
    }
}

#[tokio::test]
async fn retention_drops_the_oldest_and_remembers_it() {
    let lines = || (0..10).map(|n| new(Some(1), Source::Stdout, &n.to_string())).collect();
    let keep = Keep { bytes: 600, ..Keep::default() };
    let (dir, logs, sender) = world(lines(), keep).await;
    // A block of one line takes 132 bytes: there is room for four.
    assert_eq!(all(&logs, Select::App(1)), "6 7 8 9");
    assert_eq!(logs.dropped_through(Select::App(1)).unwrap(), 6);
    assert_eq!(logs.dropped_through(Select::Network(1)).unwrap(), 6);
    assert_eq!(logs.dropped_through(Select::App(9)).unwrap(), 0);
    // What one app writes pushes out nothing of another.
    write(&sender, vec![new(Some(2), Source::Stdout, "other")]).await;
    write(&sender, lines()).await;
    assert_eq!(all(&logs, Select::App(2)), "other");
    let counters = logs.counters();
    assert_eq!(counters.iter().find(|(app, _)| *app == 1).unwrap().1.lines, 20);
    let mut connection = connect(&dir.path().join("logs.db"), "NORMAL").unwrap();
    writer::clean(&mut connection, 1, SystemTime::now() + keep.time + Duration::from_secs(60), keep).unwrap();
    assert_eq!(all(&logs, Select::App(1)), "");
    assert_eq!(logs.dropped_through(Select::App(1)).unwrap(), 21);
}

#[tokio::test]
async fn what_is_over_the_rate_is_dropped_and_said() {
    let many = vec!["x"; 1000].join("\n");
    let keep = Keep { rate: Some(10), ..Keep::default() };
    let (_dir, logs, sender) = world(vec![new(Some(1), Source::Stdout, &many)], keep).await;
    let found = all(&logs, Select::App(1));
    assert_eq!(found.matches('x').count(), 100, "the burst");
    assert!(found.ends_with("x 900 lines dropped: over 10 lines a second"), "{found}");
    assert_eq!(logs.counters().first().unwrap().1.dropped, 900);
    // What maxd says, and other apps, are not held back.
    write(&sender, vec![new(Some(1), Source::Event, "event"), new(Some(2), Source::Stdout, "other")]).await;
    assert!(all(&logs, Select::App(1)).ends_with(" event"));
    assert_eq!(all(&logs, Select::App(2)), "other");
}

#[tokio::test]
async fn numbers_grow_over_a_restart_also_when_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let (logs, sender) = Logs::open(&path, Keep::default()).unwrap();
    write(&sender, vec![new(Some(1), Source::Stdout, "a\nb")]).await;
    logs.forget(1, None).unwrap();
    drop((logs, sender));
    let (logs, sender) = Logs::open(&path, Keep::default()).unwrap();
    assert_eq!(*logs.newest().borrow(), 2);
    write(&sender, vec![new(Some(1), Source::Stdout, "c")]).await;
    assert_eq!(*logs.newest().borrow(), 3);
}

#[test]
fn lines_of_an_older_maxd_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let mut connection = connect(&path, "NORMAL").unwrap();
    migrate(&mut connection, &[include_str!("../schema/logs1.sql")], &path).unwrap();
    connection
        .execute_batch(
            "INSERT INTO lines(time, network, app, build, source, release, text) VALUES
               (1000, 1, 1, 0, 0, 1, 'a'), (1001, 1, 1, 0, 1, 1, 'b'), (1002, 1, 2, 0, 0, 1, 'c'),
               (1003, 1, NULL, 0, 4, NULL, 'd'), (1004, 1, 1, 1, 2, 2, 'e'), (1005, 1, 1, 0, 3, 2, 'f'),
               (1006, 1, 1, 0, 0, 2, 'g'), (1007, 1, 1, 0, 0, 2, 'gone');
             DELETE FROM lines WHERE text = 'gone';
             INSERT INTO dropped VALUES (1, 0, 0, 7), (1, 1, 0, 5);",
        )
        .unwrap();
    drop(connection);
    let (logs, _sender) = Logs::open(&path, Keep::default()).unwrap();
    let after = |select| texts(&logs, select, &Query { after: Some(0), ..Query::default() });
    assert_eq!(after(Select::App(1)), "a b g");
    assert_eq!(after(Select::Builds(1)), "e");
    assert_eq!(after(Select::Network(1)), "a b c d f g");
    assert_eq!(*logs.newest().borrow(), 8);
    assert_eq!(logs.dropped_through(Select::App(1)).unwrap(), 5);
    assert_eq!(logs.dropped_through(Select::Network(1)).unwrap(), 7);
}

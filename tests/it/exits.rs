//! `rig command` returns what the program returns: every exit code and every signal, as text
//! and as JSON, over both transports.

use crate::command::world;
use crate::harness::{Max, Ran, Rig, wait_for};
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How a line is run, the line, and its code.
type Run = (&'static [&'static str], String, u8);

/// At the same time: most of a run is waiting.
const AT_ONCE: usize = 8;

/// How it is asked for.
const WAYS: [&[&str]; 4] = [
    &["--transport", "websocket"],
    &["--transport", "longpoll"],
    &["--transport", "websocket", "-o", "json"],
    &["--transport", "longpoll", "-o", "json"],
];

/// The signals that end a program which does not handle them (signal(7)), the real-time ones
/// too; but for SIGKILL all of them can be handled.
fn deadly() -> Vec<u8> {
    let all = (1..=31).filter(|signal| ![17, 18, 19, 20, 21, 22, 23, 28].contains(signal));
    all.chain(34..=64).collect()
}

/// Runs lines in an app, some at a time; each has to return its code, in this way.
fn check(rig: &Rig, runs: &[Run]) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((way, line, code)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ran = rig.run(&[&["command", "web.blue", line, "--no-stdin"], *way].concat());
            assert_eq!((ran.code, ran.stderr.as_str()), (i32::from(*code), ""), "{line} {way:?}");
            match way.contains(&"json") {
                true => {
                    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
                    assert_eq!((&document["exit_code"], &document["stdout"]), (&(*code).into(), &"".into()));
                }
                false => assert_eq!(ran.stdout, ""),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
}

fn exits(way: &'static [&'static str], codes: impl Iterator<Item = u8>) -> Vec<Run> {
    codes.map(|code| (way, format!("exit {code}"), code)).collect()
}

fn kills(way: &'static [&'static str], signals: impl Iterator<Item = u8>) -> Vec<Run> {
    signals.map(|signal| (way, format!("kill -{signal} $$"), 128 + signal)).collect()
}

#[test]
fn every_exit_code_and_signal_comes_back() {
    let max = Max::start();
    let rig = world(&max);
    let mut runs = exits(WAYS[0], 0..=255);
    runs.extend(kills(WAYS[0], deadly().into_iter()));
    for (at, way) in WAYS.iter().enumerate().skip(1) {
        runs.extend(exits(way, (at as u8..=255).step_by(17).chain([0, 1, 126, 127, 128, 255])));
        runs.extend(kills(way, deadly().into_iter().skip(at).step_by(5)));
    }
    check(&rig, &runs);
}

#[test]
#[ignore = "takes a minute: make soak"]
fn every_exit_code_and_signal_comes_back_in_every_way() {
    let max = Max::start();
    let rig = world(&max);
    for way in WAYS {
        check(&rig, &exits(way, 0..=255));
        check(&rig, &kills(way, deadly().into_iter()));
    }
}

#[test]
#[ignore = "takes minutes: make soak"]
fn ten_thousand_in_a_row_all_come_back() {
    let max = Max::start();
    let rig = world(&max);
    for number in 0..10_000_u32 {
        let code = (number % 256) as u8;
        let ran = rig.run(&["command", "web.blue", &format!("echo {number}; exit {code}")]);
        let expected = (i32::from(code), format!("{number}\n"), "");
        assert_eq!((ran.code, ran.stdout, ran.stderr.as_str()), expected);
    }
    assert_eq!(rig.json(&["list", "sessions"])["sessions"], serde_json::json!([]));
}

#[test]
#[ignore = "takes a machine: make soak"]
fn two_hundred_at_once_all_come_back() {
    let max = Max::start();
    let rig = world(&max);
    let line = |number: u32| format!("echo {number}; cat; exit {}", number % 256);
    let children: Vec<_> = (0..200)
        .map(|number| {
            let mut command = rig.command(&["command", "web.blue", &line(number)]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    // All of them run before any may end.
    wait_for("all to run", || {
        let sessions = rig.json(&["list", "sessions"]);
        (sessions["sessions"].as_array().unwrap().len() == 200).then_some(())
    });
    for (number, mut child) in children.into_iter().enumerate() {
        child.stdin.take().unwrap().write_all(b"end\n").unwrap();
        let ran = Ran::new(child.wait_with_output().unwrap());
        let expected = ((number % 256) as i32, format!("{number}\nend\n"), "");
        assert_eq!((ran.code, ran.stdout, ran.stderr.as_str()), expected);
    }
}

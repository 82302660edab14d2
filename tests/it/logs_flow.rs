//! Logs in bulk: every line once and in order, whatever happens to the connection, and
//! bounded memory, whatever the reader does.

use crate::harness::{Max, Rig, project, wait_for};
use crate::relay::Relay;
use nanorand::{Rng, WyRand};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// An app that serves, and runs `script` once [`Gated::open`] was called.
pub struct Gated {
    pub rig: Rig,
    gate: PathBuf,
    _dir: TempDir,
}

impl Gated {
    pub fn new(max: &Max, script: &str) -> Gated {
        let rig = max.rig("ada");
        rig.ok(&["create", "network", "blue"]);
        let dir = source(script);
        let deploy =
            rig.json(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
        let gate = max.data().join(format!("apps/1/{}/go", deploy["release"]));
        Gated { rig, gate, _dir: dir }
    }

    pub fn open(&self) {
        fs::write(&self.gate, "").unwrap();
    }
}

fn source(script: &str) -> TempDir {
    let run = format!("(until [ -e go ]; do sleep 0.02; done; {script}) & exec ./server");
    let settings = serde_json::json!({"build": "cc -o server server.c", "run": run}).to_string();
    let server = include_str!("../apps/hello/server.c");
    project(&[("server.c", server), ("message.txt", "hi\n"), ("rig.json", &settings)])
}

/// A field of `/proc/PID/status`, in KiB.
fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
}

fn follow(rig: &Rig, args: &[&str]) -> Child {
    let mut all = vec!["logs", "app", "web.blue", "--follow"];
    all.extend(args);
    let mut command: Command = rig.command(&all);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads `line N …` from 1 to `last`, each once; what else comes is maxd's.
fn count(out: &mut dyn BufRead, last: u64) {
    let mut expected = 1;
    let mut line = String::new();
    while expected <= last {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the stream ended before line {expected}");
        if let Some(rest) = line.strip_prefix("line ") {
            let number = rest.split(' ').next().unwrap();
            assert_eq!(number.trim_end().parse(), Ok(expected), "{line}");
            expected += 1;
        }
    }
}

#[test]
fn a_million_lines_over_a_hundred_cuts() {
    const LINES: u64 = 1_000_000;
    const CUTS: usize = 100;
    let max = Max::start();
    let app =
        Gated::new(&max, &format!("seq -f 'line %.0f of a million, as an app may write them' 1 {LINES}"));
    let relay = Relay::new(&max.url);
    let mut through = max.rig("ada");
    through.set("RIG_URL", &relay.url);
    let before = memory(max.pid(), "VmRSS:");
    // Also `--tail 0` begins at a place, which the first cut does not lose.
    let mut child = follow(&through, &["--tail", "0"]);
    wait_for("rig to follow", || (relay.asked("websocket") > 0 && relay.bytes() > 1000).then_some(()));
    app.open();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        count(&mut out, LINES);
        out
    });
    let mut random = WyRand::new_seed(20_261_125);
    let mut cuts = 0;
    while cuts < CUTS {
        let until = relay.bytes() + random.generate_range(1..400_000u64);
        wait_for("traffic", || (relay.bytes() >= until || reader.is_finished()).then_some(()));
        assert!(!reader.is_finished(), "all came before cut {cuts}");
        cuts += usize::from(relay.cut() > 0);
    }
    let _out = reader.join().unwrap();
    let (rig, maxd) = (memory(child.id(), "VmHWM:"), memory(max.pid(), "VmHWM:"));
    eprintln!("rig had at most {rig} KiB, maxd {maxd} KiB after {before} KiB");
    assert!(rig <= 8 * 1024 + DEBUG, "{rig} KiB");
    assert!(maxd <= before + 64 * 1024, "{maxd} KiB after {before} KiB");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What a build that is not optimised has more than the static one, in KiB, for its code.
const DEBUG: u64 = 4 * 1024;

#[test]
fn a_reader_that_stops_makes_nothing_grow_and_catches_up() {
    const LINES: u64 = 300_000;
    let max = Max::start();
    let app = Gated::new(&max, &format!("seq -f 'line %.0f of many, as an app may write them' 1 {LINES}"));
    let before = memory(max.pid(), "VmRSS:");
    let mut child = follow(&app.rig, &["--tail", "1000000"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    app.open();
    let last = format!("line {LINES} of many, as an app may write them\n");
    wait_for("all lines to be kept", || {
        (app.rig.ok(&["logs", "app", "web.blue", "--tail", "1"]) == last).then_some(())
    });
    let (rig, maxd) = (memory(child.id(), "VmHWM:"), memory(max.pid(), "VmHWM:"));
    assert!(rig <= 8 * 1024 + DEBUG, "{rig} KiB");
    assert!(maxd <= before + 64 * 1024, "{maxd} KiB after {before} KiB");
    count(&mut out, LINES);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_retention_drops_meanwhile_is_one_gap() {
    const LINES: u64 = 300_000;
    let max = Max::with(&["--log-bytes", "1MiB"]);
    let app = Gated::new(&max, &format!("seq -f 'line %.0f of many, as an app may write them' 1 {LINES}"));
    let mut child = follow(&app.rig, &["--tail", "1000000"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    app.open();
    let last = format!("line {LINES} of many, as an app may write them\n");
    wait_for("all lines to be kept", || {
        (app.rig.ok(&["logs", "app", "web.blue", "--tail", "1"]) == last).then_some(())
    });
    let numbers = std::thread::spawn(move || {
        let lines = out.lines().map_while(Result::ok);
        let numbers = lines.filter_map(|line| line.strip_prefix("line ")?.split(' ').next()?.parse().ok());
        numbers.take_while(|number: &u64| *number < LINES).collect::<Vec<_>>()
    });
    let numbers = numbers.join().unwrap();
    let jumps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert_eq!((jumps, numbers.last()), (1, Some(&(LINES - 1))));
    child.kill().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    let gaps = said.lines().filter(|line| line.ends_with(" are no longer kept")).count();
    assert_eq!(gaps, 1, "{said}");
}

#[test]
fn an_app_that_never_stops_writing_does_not_keep_others_waiting() {
    let max = Max::with(&["--log-bytes", "4MiB"]);
    let noisy = Gated::new(&max, "yes 'noise noise noise noise noise noise noise noise noise'");
    let rig = &noisy.rig;
    let quiet = source("while :; do echo tick; sleep 0.1; done");
    rig.ok(&["deploy", quiet.path().to_str().unwrap(), "-a", "quiet", "-n", "blue", "--create"]);
    noisy.open();
    wait_for("the noise", || {
        rig.ok(&["logs", "app", "web.blue", "--tail", "1"]).contains("noise").then_some(())
    });
    // What is there has an end, also while more comes.
    for _ in 0..5 {
        assert_eq!(rig.ok(&["logs", "app", "web.blue", "--tail", "3"]).lines().count(), 3);
    }
    fs::write(max.data().join("apps/2/1/go"), "").unwrap();
    let mut child = rig.command(&["logs", "app", "quiet.blue", "--follow", "--grep", "tick"]);
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let started = std::time::Instant::now();
    let ticks = BufReader::new(child.stdout.take().unwrap()).lines().take(10).count();
    let took = started.elapsed();
    assert_eq!(ticks, 10);
    assert!(took.as_secs() < 10, "ten lines took {took:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    // Its log stays within the limit.
    let size = fs::metadata(max.data().join("logs.db")).unwrap().len();
    assert!(size < 32 << 20, "{size} bytes");
}

#[test]
fn following_goes_on_over_a_redeploy_and_ends_with_the_app() {
    let max = Max::start();
    let app = Gated::new(&max, "for n in 1 2 3; do echo first $n; done");
    let relay = Relay::new(&max.url);
    let mut through = max.rig("ada");
    through.set("RIG_URL", &relay.url);
    let mut child = follow(&through, &["--tail", "100"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    app.open();
    assert!(lines.any(|line| line == "first 3"));
    let second = source("echo second");
    app.rig.ok(&["deploy", second.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    fs::write(max.data().join("apps/1/2/go"), "").unwrap();
    assert!(lines.any(|line| line == "second"));
    // There is no connection at the moment in which the app goes.
    relay.cut();
    app.rig.ok(&["delete", "app", "web.blue", "--yes"]);
    for line in lines {
        assert!(!line.starts_with("first") && line != "second", "{line} again");
    }
    let ended = child.wait_with_output().unwrap();
    let said = crate::harness::text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.ends_with("app 'web' was deleted: its log ends here\n"), "{said}");
}

//! Logs: how fast maxd takes lines in, how fast rig shows them, against the same bytes over
//! a bare tungstenite WebSocket, and against the official phoenix.js under Node following the
//! same topic. `make bench-logs` builds what it needs.

#![allow(clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tungstenite::Message;

/// What the app writes at once.
const LINES: u64 = 1_000_000;
/// Lines whose way is timed, and the pause between them.
const TIMED: usize = 1000;
const PAUSE_US: usize = 3000;
/// What should be, and what must be: between lies what differs from machine to machine. A
/// bare WebSocket carries bytes and no more; no line has a number, a time or an origin there.
const GOAL_INTAKE: f64 = 200_000.0;
const LEAST_INTAKE: f64 = 100_000.0;
const GOAL_RATIO: f64 = 0.5;
const LEAST_RATIO: f64 = 0.015;
const GOAL_CPU: f64 = 5.0;
const LEAST_CPU: f64 = 2.0;
const GOAL_MEMORY: f64 = 10.0;
const LEAST_MEMORY: f64 = 5.0;
const GOAL_LATENCY: Duration = Duration::from_millis(20);
const MOST_LATENCY: Duration = Duration::from_millis(100);

const MAXD: &str = "target/server/maxd";
const RIG: &str = "target/static/rig";
const FORMAT: &str = "line %.0f of a million: GET /index.html 200 in 3 ms";

/// Writes the time once in a while.
const TICKER: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words) {
    for (int left = atoi(words[1]); count > 2 && left > 0; left--) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        printf("tick %lld\n", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
        fflush(stdout);
        usleep(atoi(words[2]));
    }
}
"#;

fn main() -> ExitCode {
    let world = World::new();
    let mut fine = true;
    let mut say = |what: &str, found: f64, goal: f64, limit: f64, holds: bool| {
        println!(
            "logs: {what}: {found:.2}, goal {goal:.2}, limit {limit:.2}{}",
            if holds { "" } else { " FAILED" }
        );
        fine &= holds;
    };

    // In, with nobody looking.
    let took = world.write("first");
    let rate = LINES as f64 / took.as_secs_f64();
    say("lines a second into maxd", rate, GOAL_INTAKE, LEAST_INTAKE, rate >= LEAST_INTAKE);

    // From the log to rig, and the same bytes bare.
    let stored = world.rig_follows(Some(LINES), || {});
    let bare = bare(world.bytes);
    let ratio = bare.as_secs_f64() / stored.took.as_secs_f64();
    println!(
        "logs: {} bytes from the log to rig's pipe took {:?}, over a bare WebSocket {bare:?}",
        world.bytes, stored.took
    );
    say("stored lines against a bare WebSocket", ratio, GOAL_RATIO, LEAST_RATIO, ratio >= LEAST_RATIO);

    // From the app to rig, as it writes.
    let live = world.rig_follows(None, || world.open("second"));
    let ratio = bare.as_secs_f64() / live.took.as_secs_f64();
    println!("logs: from the app through maxd to rig's pipe, as it writes: {:?}", live.took);
    say("live lines against a bare WebSocket", ratio, GOAL_RATIO, LEAST_RATIO, ratio >= LEAST_RATIO);

    let phoenix = world.phoenix_follows("lines");
    let runs = world.phoenix_follows("runs");
    for (name, run) in [("rig", &stored), ("phoenix.js", &phoenix), ("phoenix.js with runs", &runs)] {
        println!(
            "logs: {name}: {:?}, {:.3} us of CPU a line, {} KiB at most",
            run.took,
            run.cpu.as_secs_f64() * 1e6 / LINES as f64,
            run.peak
        );
    }
    let ratio = phoenix.cpu.as_secs_f64() / stored.cpu.as_secs_f64();
    say("phoenix.js' CPU time a line by rig's", ratio, GOAL_CPU, LEAST_CPU, ratio >= LEAST_CPU);
    let ratio = phoenix.peak as f64 / stored.peak as f64;
    say("phoenix.js' memory by rig's", ratio, GOAL_MEMORY, LEAST_MEMORY, ratio >= LEAST_MEMORY);

    let p99 = world.latency();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    say(
        "p99 from the app's write to rig's, in ms",
        millis(p99),
        millis(GOAL_LATENCY),
        millis(MOST_LATENCY),
        p99 <= MOST_LATENCY,
    );
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A follower that has shown all.
struct Run {
    took: Duration,
    cpu: Duration,
    /// KiB.
    peak: u64,
}

/// A maxd with an app that waits at gates.
struct World {
    url: String,
    token: String,
    app: PathBuf,
    bytes: u64,
    _maxd: Ended,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, ready) = (dir.path().join("data"), dir.path().join("ready"));
        let maxd = Command::new(MAXD)
            .args(["serve", "--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .expect("maxd");
        let maxd = Ended(maxd);
        wait("maxd", || ready.exists());
        let text = fs::read_to_string(&ready).expect("the ready file");
        let url = text.split("\"url\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a URL");
        let token =
            Command::new(MAXD).args(["token", "create", "--user", "ada", "--data"]).arg(&data).output();
        let token = String::from_utf8(token.expect("a token").stdout).expect("text").trim().to_owned();
        let source = dir.path().join("source");
        fs::create_dir(&source).expect("a directory");
        let gate = |name: &str, work: &str| format!("until [ -e {name} ]; do sleep 0.01; done; {work}");
        let bulk = "date +%s%N > began; cat lines; date +%s%N > ended";
        let parts = [
            gate("first", bulk),
            gate("second", "cat lines"),
            gate("third", &format!("./ticker {TIMED} {PAUSE_US}")),
        ];
        let settings = serde_json::json!({
            "build": format!("cc -O2 -o server server.c && cc -O2 -o ticker ticker.c && seq -f '{FORMAT}' 1 {LINES} > lines"),
            "run": format!("({}) & exec ./server", parts.join("; ")),
        });
        for (name, text) in [
            ("server.c", include_str!("../tests/apps/hello/server.c")),
            ("ticker.c", TICKER),
            ("message.txt", "hi\n"),
            ("rig.json", &settings.to_string()),
        ] {
            fs::write(source.join(name), text).expect("a file");
        }
        let app = data.join("apps/1/1");
        let mut world = World { url: url.to_owned(), token, app, bytes: 0, _maxd: maxd, _dir: dir };
        let done = |args: &[&str]| world.rig(args).stdout(Stdio::null()).status().expect("rig").success();
        assert!(done(&["create", "network", "blue"]));
        let source = source.to_str().expect("text").to_owned();
        assert!(done(&["deploy", &source, "-a", "web", "-n", "blue", "--create"]));
        world.bytes = fs::metadata(world.app.join("lines")).expect("the lines").len();
        world
    }

    fn rig(&self, args: &[&str]) -> Command {
        let mut command = Command::new(RIG);
        command.args(args).env_clear().env("RIG_URL", &self.url).env("RIG_TOKEN", &self.token);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn open(&self, gate: &str) {
        fs::write(self.app.join(gate), "").expect("a gate");
    }

    /// How long the app needed to write all its lines.
    fn write(&self, gate: &str) -> Duration {
        self.open(gate);
        let time = |name: &str| fs::read_to_string(self.app.join(name)).ok()?.trim().parse::<u64>().ok();
        wait("the lines to be written", || time("ended").is_some());
        let last = format!("line {LINES} of");
        wait("the last line", || {
            let out = self.rig(&["logs", "app", "web.blue", "--tail", "1"]).output().expect("rig");
            String::from_utf8_lossy(&out.stdout).starts_with(&last)
        });
        Duration::from_nanos(time("ended").zip(time("began")).map_or(0, |(ended, began)| ended - began))
    }

    /// rig follows, beginning with the newest lines or with those to come, until all were
    /// shown.
    fn rig_follows(&self, tail: Option<u64>, begin: impl FnOnce()) -> Run {
        let tail = tail.map_or(0, |tail| tail + 10).to_string();
        let mut command = self.rig(&["logs", "app", "web.blue", "--follow", "--tail", &tail]);
        if tail == "0" {
            // It must be there first: with nothing to show it can't be seen.
            command.args(["--transport", "websocket"]);
        }
        let started = Instant::now();
        let child = command.stdout(Stdio::piped()).spawn().expect("rig");
        if tail == "0" {
            std::thread::park_timeout(Duration::from_millis(300));
        }
        let started = if tail == "0" { Instant::now() } else { started };
        begin();
        finish(child, started)
    }

    fn phoenix_follows(&self, how: &str) -> Run {
        let body = serde_json::json!({"token": self.token, "brief": true}).to_string();
        let access = exchange(&self.url, &body);
        let tail = (LINES + 10).to_string();
        let mut command = Command::new("node");
        command.args(["benches/logs.mjs", &self.url, &access, "logs:app:blue:web", &tail, how]);
        let started = Instant::now();
        finish(command.stdout(Stdio::piped()).spawn().expect("node"), started)
    }

    fn latency(&self) -> Duration {
        let mut command = self.rig(&["logs", "app", "web.blue", "--follow", "--tail", "0"]);
        let mut child = Ended(command.stdout(Stdio::piped()).spawn().expect("rig"));
        std::thread::park_timeout(Duration::from_millis(300));
        self.open("third");
        let mut times = Vec::with_capacity(TIMED);
        for line in BufReader::new(child.0.stdout.take().expect("a pipe")).lines().map_while(Result::ok) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
            let written = line.strip_prefix("tick ").and_then(|time| time.parse().ok());
            times.extend(written.map(|written| now.saturating_sub(Duration::from_micros(written))));
            if times.len() == TIMED {
                break;
            }
        }
        times.sort();
        println!(
            "logs: from the app's write to rig's: median {:?}, most {:?}",
            times[TIMED / 2],
            times[TIMED - 1]
        );
        times[TIMED * 99 / 100]
    }
}

/// Reads until the last line has come: how long that took, and what it cost.
fn finish(child: Child, started: Instant) -> Run {
    let mut child = Ended(child);
    let mut out = child.0.stdout.take().expect("a pipe");
    let last = format!("line {LINES} of");
    let mut buffer = vec![0; 256 * 1024];
    let mut tail = Vec::new();
    let mut lines = 0;
    loop {
        let count = out.read(&mut buffer).expect("what it shows");
        assert!(count > 0, "it ended after {lines} lines");
        let new = &buffer[..count];
        lines += new.iter().filter(|byte| **byte == b'\n').count() as u64;
        tail.extend_from_slice(&new[count.saturating_sub(256)..]);
        if lines >= LINES && tail.windows(last.len()).any(|part| part == last.as_bytes()) {
            break;
        }
        tail.drain(..tail.len().saturating_sub(256));
    }
    let took = started.elapsed();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.0.id())).expect("it runs");
    // Behind the name, which may hold anything: user and system time are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    let status = fs::read_to_string(format!("/proc/{}/status", child.0.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("its memory");
    // A hundred ticks a second on every Linux that runs here.
    Run { took, cpu: Duration::from_millis(ticks * 10), peak }
}

/// The same number of bytes over a WebSocket in frames of 64 KiB, in this process.
fn bare(bytes: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut ws = tungstenite::accept(stream).expect("a WebSocket");
        let frame = "x".repeat(64 * 1024);
        let mut left = bytes;
        while left > 0 {
            let size = left.min(frame.len() as u64);
            ws.send(Message::text(&frame[..size as usize])).expect("sent");
            left -= size;
        }
        ws.read().ok();
    });
    let stream = TcpStream::connect(address).expect("a connection");
    let (mut ws, _) = tungstenite::client(format!("ws://{address}/"), stream).expect("a WebSocket");
    let started = Instant::now();
    let mut seen = 0;
    while seen < bytes {
        seen += ws.read().expect("a frame").len() as u64;
    }
    let took = started.elapsed();
    drop(ws);
    server.join().expect("the server");
    took
}

/// An access token for the API token.
fn exchange(url: &str, body: &str) -> String {
    use std::io::Write;
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("maxd");
    let length = body.len();
    write!(
        stream,
        "POST /api/v1/auth/exchange HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let token = answer.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    token.expect("a token").to_owned()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

//! Frames decoded and routed per second: rig's state machine against phoenix.js under
//! Node, on the same frames in the same run. `make bench-frames` installs phoenix.js.

use rig::phx::client::{Client, Event};
use std::hint::black_box;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Frames in a round, and rounds; the best round counts, on both sides.
const FRAMES: usize = 200_000;
const ROUNDS: usize = 5;
/// rig should be so many times as fast, and must be at least so many times: what lies
/// between differs from machine to machine.
const GOAL: f64 = 10.0;
const LEAST: f64 = 4.0;

/// A frame as a busy log stream has it.
fn frame(n: usize) -> String {
    format!(
        r#"["2",null,"logs:app:blue:web","lines",{{"lines":[{{"seq":{n},"time":"2026-11-24T10:00:00.000Z","source":"stdout","app":"web","release":3,"text":"GET /index.html 200 3 ms \"Mozilla/5.0\""}}]}}]"#
    )
}

fn main() -> ExitCode {
    let frames: Vec<String> = (0..FRAMES).map(frame).collect();
    let rig = (0..ROUNDS).map(|_| round(&frames)).min().unwrap_or_default();
    let rig = FRAMES as f64 / rig.as_secs_f64();
    let Some(node) = phoenix(&frames) else {
        println!(
            "frames: rig {rig:.0}/s; Node or phoenix.js is not there to compare with (`make bench-frames`)"
        );
        return ExitCode::FAILURE;
    };
    let ratio = rig / node;
    println!(
        "frames: rig {rig:.0}/s, phoenix.js {node:.0}/s: ratio {ratio:.1}, goal {GOAL}, at least {LEAST}"
    );
    if ratio >= LEAST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn round(frames: &[String]) -> Duration {
    let now = Instant::now();
    let mut client = Client::new(Duration::from_secs(10));
    client.handle_connected(now);
    client.join(now, "logs:app:blue:web", Box::new(|| "{}".to_owned()));
    let joined = r#"["2","2","logs:app:blue:web","phx_reply",{"status":"ok","response":{}}]"#;
    assert!(client.handle_text(now, joined).is_ok());
    while client.poll_event().is_some() {}
    let started = Instant::now();
    let mut seen = 0;
    for frame in frames {
        assert!(client.handle_text(now, frame).is_ok());
        while let Some(event) = client.poll_event() {
            if let Event::Message(..) = black_box(&event) {
                seen += 1;
            }
        }
    }
    let took = started.elapsed();
    assert_eq!(seen, frames.len());
    took
}

/// The same by phoenix.js, in frames per second.
fn phoenix(frames: &[String]) -> Option<f64> {
    let mut child = Command::new("node")
        .args(["benches/frames.mjs", &ROUNDS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let text = frames.join("\n");
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let out = child.wait_with_output().ok()?;
    writer.join().ok()?.ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

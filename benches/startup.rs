//! How fast `rig --version` is: its instructions (callgrind) and its time against the
//! dynamic `/bin/true`, measured in turns in the same run.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const RIG: &str = "target/static/rig";
/// Spawns of each program. The median of so many is steady within a few percent.
const ROUNDS: usize = 2000;
/// rig may take so much of the reference's time. It takes well below half.
const MAX_RATIO: f64 = 1.0;
/// The most instructions from the first to the last.
const MAX_INSTRUCTIONS: u64 = 100_000;

fn main() -> ExitCode {
    let time = times();
    let instructions = instructions();
    if time && instructions { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn times() -> bool {
    let mut rig = Vec::with_capacity(ROUNDS);
    let mut reference = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rig.push(run(RIG, &["--version"]));
        reference.push(run("/bin/true", &[]));
    }
    let (rig, reference) = (median(rig), median(reference));
    let ratio = rig.as_secs_f64() / reference.as_secs_f64();
    println!(
        "startup: rig --version {rig:?}, /bin/true {reference:?} (medians of {ROUNDS}): ratio {ratio:.2}, at most {MAX_RATIO}"
    );
    ratio <= MAX_RATIO
}

fn run(program: &str, args: &[&str]) -> Duration {
    let started = Instant::now();
    let status = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} failed");
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn instructions() -> bool {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", RIG, "--version"])
        .output();
    let Ok(out) = out else {
        println!("startup: valgrind is not installed, the instructions are not counted");
        // Where it counts, it is there.
        return std::env::var_os("CI").is_none();
    };
    let text = String::from_utf8_lossy(&out.stderr);
    let counted = text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse::<u64>().ok());
    let Some(counted) = counted else {
        println!("startup: valgrind did not count:\n{text}");
        return false;
    };
    println!("startup: rig --version takes {counted} instructions, at most {MAX_INSTRUCTIONS}");
    counted <= MAX_INSTRUCTIONS
}

//! Packing a tree as a deploy does, against `tar | pigz -6` and `tar | gzip -6` in turns: bytes a
//! second, and how large the archive is. The tree is the standard library's source, or what
//! `TREE` names. Needs tar, gzip and pigz (Debian: pigz).

#![allow(clippy::expect_used)]

use rig::archive::pack::Pack;
use rig::archive::walk::walk;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Rounds, of which the fastest counts: the one that other work on the machine disturbed least.
const ROUNDS: usize = 7;
/// Of pigz's bytes a second at least.
const PIGZ: f64 = 0.8;
/// Of gzip's bytes a second at least.
const GZIP: f64 = 1.3;
/// Of gzip's archive at most.
const SIZE: f64 = 1.03;

fn main() -> ExitCode {
    if Command::new("pigz").arg("--version").output().is_err() {
        println!("archive: pigz is not installed (Debian: pigz)");
        return ExitCode::FAILURE;
    }
    let tree = std::env::var_os("TREE").map_or_else(library, PathBuf::from);
    let bytes = walk(&tree).expect("the tree").bytes;
    let (mut rig, mut pigz, mut gzip) = (Vec::new(), Vec::new(), Vec::new());
    let (mut size, mut theirs) = (0, 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        size = packed(&tree);
        rig.push(started.elapsed());
        for (tool, times) in [("pigz", &mut pigz), ("gzip", &mut gzip)] {
            let started = Instant::now();
            theirs = piped(&tree, tool);
            times.push(started.elapsed());
        }
    }
    let (rig, pigz, gzip) = (fastest(rig), fastest(pigz), fastest(gzip));
    let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    println!("{} MB of {}", bytes / 1_000_000, tree.display());
    println!("rig {:.1} MB/s, pigz {:.1} MB/s, gzip {:.1} MB/s", speed(rig), speed(pigz), speed(gzip));
    let mut good = true;
    for (name, ratio, goal, least) in [
        ("of pigz's speed", speed(rig) / speed(pigz), PIGZ, true),
        ("of gzip's speed", speed(rig) / speed(gzip), GZIP, true),
        ("of gzip's size", size as f64 / theirs as f64, SIZE, false),
    ] {
        let kept = if least { ratio >= goal } else { ratio <= goal };
        println!("{ratio:.3} {name}; goal {goal}{}", if kept { "" } else { ": MISSED" });
        good &= kept;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fastest(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

/// The source of the standard library.
fn library() -> PathBuf {
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc");
    let sysroot = String::from_utf8(rustc.stdout).expect("a path");
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library")
}

/// Packs as a deploy does; the size of the archive.
fn packed(tree: &Path) -> u64 {
    let mut pack = Pack::new(walk(tree).expect("the tree")).expect("a thread");
    let (mut buffer, mut size) = (vec![0; 64 * 1024], 0);
    loop {
        match pack.read(&mut buffer).expect("the archive") {
            0 => return size,
            count => size += count as u64,
        }
    }
}

fn piped(tree: &Path, tool: &str) -> u64 {
    let script = format!("tar -cf - . | {tool} -6 | wc -c");
    let out = Command::new("sh").args(["-c", &script]).current_dir(tree).output().expect("a shell");
    let size = String::from_utf8(out.stdout).expect("a number").trim().parse().expect("a number");
    assert!(size > 100, "{}", String::from_utf8_lossy(&out.stderr));
    size
}

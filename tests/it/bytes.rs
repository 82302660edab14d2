//! What a command in an app reads and writes arrives byte for byte, in any amount; and a
//! connection that is lost for good is never taken for success.

use crate::command::{running, world};
use crate::harness::{Max, Rig, signal, text, wait_for};
use nanorand::{Rng, WyRand};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn two_streams_that_take_turns_stay_apart_and_exact() {
    let max = Max::start();
    let rig = world(&max);
    let line = "n=0; while [ $n -lt 500 ]; do n=$((n+1)); printf 'out %d\\n' $n; \
                printf 'err\\r%d\\0\\377\\r\\n' $n >&2; done; printf 'no end'; printf '\\r' >&2";
    let mut out: Vec<u8> = (1..=500).flat_map(|n| format!("out {n}\n").into_bytes()).collect();
    let mut err = Vec::new();
    for n in 1..=500 {
        err.extend_from_slice(format!("err\r{n}\0").as_bytes());
        err.extend_from_slice(b"\xff\r\n");
    }
    out.extend_from_slice(b"no end");
    err.push(b'\r');
    for way in ["websocket", "longpoll"] {
        let mut command = rig.command(&["command", "web.blue", "--no-stdin", "--transport", way, line]);
        let ran = command.stdin(Stdio::null()).output().unwrap();
        assert!(ran.stdout == out && ran.stderr == err, "{way}: {}", text(&ran.stderr));
    }
    let json = rig.json(&["command", "web.blue", "--no-stdin", line]);
    assert_eq!(json["stdout"].as_str().unwrap().as_bytes(), out);
    assert!(json["stderr"].is_null() && json["stderr_base64"].is_string());
}

#[test]
fn who_gives_up_while_the_connection_is_lost_gets_255() {
    for name in ["INT", "TERM"] {
        let mut max = Max::start();
        let rig = world(&max);
        let mut child = running(&rig, "trap 'exit 0' INT TERM; echo ready; while :; do sleep 0.05; done");
        max.kill();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        err.read_line(&mut said).unwrap();
        assert!(said.starts_with("connection to Max lost ("), "{said}");
        signal(child.id(), name);
        assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(255));
    }
}

#[test]
#[ignore = "takes a minute: make soak"]
fn a_connection_that_does_not_come_back_is_255() {
    let mut max = Max::start();
    let rig = world(&max);
    let child = running(&rig, "echo ready; exit 0 & exec sleep 1000");
    max.kill();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(255));
    assert!(text(&out.stderr).contains("the connection could not be made again for 1m"));
}

/// The size of what goes there and comes back.
const LARGE: usize = 100_000_000;
/// What the static rig may use of memory, in KiB.
const MEMORY: u64 = 8 * 1024;

/// The most memory a process has used, in KiB; none when it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Runs the static rig, which must succeed, with this file to read; what it wrote goes into
/// another. How much memory it took, and what it said.
pub fn measured(rig: &Rig, args: &[&str], input: &Path, output: &Path) -> (u64, String) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/rig");
    let plain = rig.command(args);
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(plain.get_envs().map(|(key, value)| (key, value.unwrap())));
    command.current_dir(plain.get_current_dir().unwrap()).stdin(File::open(input).unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut out, mut file) = (child.stdout.take().unwrap(), File::create(output).unwrap());
    let pid = child.id();
    // The last look before it ends tells the most of all its life.
    let looks = std::thread::spawn(move || {
        let mut most = 0;
        while let Some(now) = peak(pid) {
            most = now;
            std::thread::park_timeout(Duration::from_millis(2));
        }
        most
    });
    std::io::copy(&mut out, &mut file).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{err}");
    (looks.join().unwrap(), err)
}

#[test]
#[ignore = "needs the static rig: make soak"]
fn a_hundred_megabytes_go_there_and_back_in_little_memory() {
    let max = Max::start();
    let rig = world(&max);
    let dir = tempfile::tempdir().unwrap();
    let [there, hash, back] = ["there", "hash", "back"].map(|name| dir.path().join(name));
    let mut bytes = vec![0; LARGE];
    WyRand::new_seed(7).fill_bytes(&mut bytes);
    fs::write(&there, &bytes).unwrap();
    let sum = Command::new("sha256sum").stdin(File::open(&there).unwrap()).output().unwrap();
    let none = Path::new("/dev/null");
    for way in ["websocket", "longpoll"] {
        let run = |args: &[&str], input: &Path, output: &Path| {
            let args = [&["command", "web.blue", "--transport", way], args].concat();
            let (used, said) = measured(&rig, &args, input, output);
            println!("{args:?}: {used} KiB");
            assert!(used > 0 && used <= MEMORY && said.is_empty(), "{args:?}: {used} KiB, {said}");
        };
        run(&["--", "sha256sum"], &there, &hash);
        assert_eq!(text(&fs::read(&hash).unwrap()), text(&sum.stdout));
        run(&["--", "dd", "of=copy", "bs=64k", "iflag=fullblock", "status=none"], &there, &hash);
        run(&["--", "cat", "copy"], none, &back);
        assert!(fs::read(&back).unwrap() == bytes, "{way}");
        run(&["--", "cat"], &there, &back);
        assert!(fs::read(&back).unwrap() == bytes, "{way}");
    }
}

//! The dashboard with 500 apps: how soon it is drawn once its data is there, and what it
//! costs while nothing happens. Drives the static rig against a maxd in a pseudo-terminal.

#![allow(clippy::expect_used)]

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const APPS: usize = 500;
/// Runs of which the median counts.
const RUNS: usize = 9;
/// How much later than the bare document the picture should be there, and may be.
const GOAL_PAINT: Duration = Duration::from_millis(100);
const MAX_PAINT: Duration = Duration::from_millis(400);
/// What it should use of a core while nothing happens, and may use, in thousandths.
const GOAL_CPU: u64 = 20;
const MAX_CPU: u64 = 40;
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Clock ticks in a second, as /proc counts them (proc(5)).
const TICKS: u64 = 100;

struct World {
    dir: TempDir,
    maxd: Child,
    environment: [(&'static str, String); 3],
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.maxd.id().to_string()).status();
        let _ = self.maxd.wait();
    }
}

fn main() -> ExitCode {
    let world = world();
    let mut document: Vec<Duration> = (0..RUNS).map(|_| world.document()).collect();
    let mut picture: Vec<Duration> = (0..RUNS).map(|_| world.picture(Duration::ZERO).0).collect();
    document.sort();
    picture.sort();
    let (document, picture) = (document[RUNS / 2], picture[RUNS / 2]);
    let later = picture.saturating_sub(document);
    println!(
        "dashboard: {APPS} apps as a document {document:?}, drawn {picture:?} after the start: {later:?} later, \
         goal {GOAL_PAINT:?}, at most {MAX_PAINT:?}"
    );
    let (_, cpu) = world.picture(WATCHED);
    println!(
        "dashboard: idle for {WATCHED:?} it uses {}.{} % of a core, goal {} %, at most {} %",
        cpu / 10,
        cpu % 10,
        GOAL_CPU / 10,
        MAX_CPU / 10
    );
    if later <= MAX_PAINT && cpu <= MAX_CPU { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, ready) = (dir.path().join("data"), dir.path().join("ready"));
    let flags = ["--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0", "--isolation", "none"];
    let maxd = Command::new("target/debug/maxd")
        .args(["serve", "--data"])
        .arg(&data)
        .args(flags)
        .arg("--ready-file")
        .arg(&ready)
        .stderr(Stdio::null())
        .spawn()
        .expect("maxd (`make build`)");
    let mut world = World { dir, maxd, environment: Default::default() };
    while !ready.exists() {
        assert!(world.maxd.try_wait().expect("a status").is_none(), "maxd ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(&ready).expect("a file")).expect("its address");
    let token = Command::new("target/debug/maxd")
        .args(["token", "create", "--user", "ann", "--data"])
        .arg(&data)
        .output()
        .expect("a token");
    let token = String::from_utf8(token.stdout).expect("a token").trim().to_owned();
    let home = world.dir.path().to_string_lossy().into_owned();
    let url = told["url"].as_str().expect("a URL").to_owned();
    world.environment = [("RIG_URL", url), ("RIG_TOKEN", token), ("RIG_CONFIG_DIR", home)];
    world.rig(&["create", "network", "blue"]);
    for app in 0..APPS {
        world.rig(&["create", "app", &format!("app-{app}"), "--network", "blue"]);
    }
    world
}

impl World {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("target/static/rig");
        command.args(args).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn rig(&self, args: &[&str]) {
        let out = self.command(args).output().expect("rig (`make static`)");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// How long until the document is there.
    fn document(&self) -> Duration {
        let started = Instant::now();
        let mut child =
            self.command(&["status", "dashboard", "-o", "json"]).stdout(Stdio::piped()).spawn().expect("rig");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let took = started.elapsed();
        assert!(line.contains("\"app-499\""), "the document is whole");
        child.wait().expect("its end");
        took
    }

    /// How long until the picture is there, and the CPU that is used for so long after it,
    /// in thousandths of a core.
    fn picture(&self, watched: Duration) -> (Duration, u64) {
        let size = PtySize { cols: 200, rows: 50, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut command = CommandBuilder::new(fs::canonicalize("target/static/rig").expect("rig"));
        command.args(["status", "dashboard"]);
        command.env_clear();
        command.env("TERM", "xterm");
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let started = Instant::now();
        let mut child = pair.slave.spawn_command(command).expect("rig");
        let (sender, seen) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut buffer, mut all) = ([0; 65536], Vec::new());
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                all.extend_from_slice(&buffer[..count]);
                // The last line of the picture.
                if all.windows(6).any(|part| part == b"q quit") {
                    let _ = sender.send(started.elapsed());
                }
            }
        });
        let took = seen.recv_timeout(Duration::from_secs(20)).expect("a picture");
        let stat = Path::new("/proc").join(child.process_id().expect("a pid").to_string()).join("stat");
        let before = ticks(&stat);
        std::thread::sleep(watched);
        let used = ticks(&stat).saturating_sub(before) * 1000 / TICKS;
        child.kill().expect("its end");
        child.wait().expect("its end");
        (took, used.checked_div(watched.as_secs()).unwrap_or(0))
    }
}

/// `utime` and `stime`, behind the name, which may hold anything (proc(5)).
fn ticks(stat: &Path) -> u64 {
    let text = fs::read_to_string(stat).expect("the process runs");
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

//! The second deploy of a tree of 20,000 files: with one file changed against
//! `tar | gzip | curl` of all of it to the same maxd, in turns, until maxd has the source; and
//! with nothing changed, what rig itself uses of the CPU. The tree is ten copies of the standard
//! library's source, of which no two files are the same. With the static rig and an optimised
//! maxd. Needs tar, gzip and curl (Debian: curl).

#![allow(clippy::expect_used)]

use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Copies of the library: 2,001 files each.
const COPIES: usize = 10;
/// Deploys of each kind. The fastest counts, which other work on the machine disturbed least.
const ROUNDS: usize = 3;
/// So many times as fast as tar, gzip and curl rig is to be; and below what it is an error, on a
/// machine that has much else to do.
const FASTER: (f64, f64) = (30.0, 15.0);
/// What rig may send for one changed file, in bytes.
const SENT: u64 = 64 * 1024;
/// What rig is to use of the CPU when nothing has changed; and above what it is an error, likewise.
const CPU: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(300));

struct World {
    dir: TempDir,
    maxd: Child,
    url: String,
    access: String,
    /// What clients have sent through the relay.
    sent: Arc<AtomicU64>,
}

/// How long a deploy took, rig's CPU time, and the bytes that rig has sent.
struct Deployed {
    took: Duration,
    cpu: Duration,
    sent: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.maxd.id().to_string()).status();
        let _ = self.maxd.wait();
    }
}

fn main() -> ExitCode {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("deploys: curl is not installed (Debian: curl)");
        return ExitCode::FAILURE;
    }
    let world = World::new();
    let tree = world.tree();
    world.deploy(&tree);
    let (mut ours, mut theirs, mut sent, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        fs::write(tree.join("index.html"), format!("round {round}")).expect("a file");
        // As people do: a file that is written within a tick before a deploy is read again by
        // the next one.
        std::thread::sleep(Duration::from_millis(100));
        let changed = world.deploy(&tree);
        ours.push(changed.took);
        sent.push(changed.sent);
        theirs.push(world.whole(&tree));
        cpu.push(world.deploy(&tree).cpu);
    }
    let (ours, theirs) = (fastest(ours), fastest(theirs));
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    let (goal, least) = FASTER;
    println!(
        "deploys: one of 20,000 files changed: rig {ours:?}, tar, gzip and curl {theirs:?}: {ratio:.1} times as fast; \
         goal {goal}{}, at least {least}",
        if ratio < goal { " (missed)" } else { "" }
    );
    let sent = sent.into_iter().max().unwrap_or_default();
    println!("deploys: … for which rig sends {sent} bytes; goal {SENT}");
    let cpu = fastest(cpu);
    let (cpu_goal, cpu_most) = CPU;
    println!(
        "deploys: nothing changed: rig uses {cpu:?} of the CPU; goal {cpu_goal:?}{}, at most {cpu_most:?}",
        if cpu > cpu_goal { " (missed)" } else { "" }
    );
    if ratio >= least && sent > 0 && sent <= SENT && cpu <= cpu_most {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn fastest(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

/// The CPU time of all children that have ended.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the usage");
    let both = [usage.user_time(), usage.system_time()];
    both.iter().map(|time| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)).sum()
}

/// What a command writes; it must succeed.
fn told(command: &mut Command) -> String {
    let out = command.output().expect("it starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, ready) = (dir.path().join("data"), dir.path().join("ready"));
        let mut maxd = Command::new("target/server/maxd")
            .args(["serve", "--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0"])
            .args(["--domain", "localhost", "--isolation", "none", "--data"])
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .expect("maxd (`make bench-deploys`)");
        while !ready.exists() {
            assert!(maxd.try_wait().expect("a status").is_none(), "maxd ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        let all: serde_json::Value =
            serde_json::from_slice(&fs::read(&ready).expect("a file")).expect("its addresses");
        let url = all["url"].as_str().expect("a URL").to_owned();
        let mut create = Command::new("target/server/maxd");
        let token = told(create.args(["token", "create", "--user", "ann", "--data"]).arg(&data));
        let (through, sent) = relay(&url);
        let mut world = World { dir, maxd, url, access: String::new(), sent };
        let mut login = world.rig(&["login", "--token-stdin", "--store", "file", "--url", &through]);
        let mut login =
            login.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("rig (`make static`)");
        login.stdin.take().expect("a pipe").write_all(token.as_bytes()).expect("rig reads");
        assert!(login.wait().expect("its end").success(), "the login failed");
        told(&mut world.rig(&["create", "network", "blue"]));
        let body = format!(r#"{{"token":"{token}"}}"#);
        let answer = told(
            Command::new("curl")
                .args(["-sS", "--fail", "--noproxy", "*", "-H", "content-type: application/json"])
                .args(["-d", &body, &format!("{}/api/v1/auth/exchange", world.url)]),
        );
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("a document");
        answer["access_token"].as_str().expect("a token").clone_into(&mut world.access);
        world
    }

    fn rig(&self, args: &[&str]) -> Command {
        let mut command = Command::new("target/static/rig");
        command.args(args).env_clear().env("HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    fn tree(&self) -> PathBuf {
        let sysroot = told(Command::new("rustc").args(["--print", "sysroot"]));
        let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
        let tree = self.dir.path().join("tree");
        for copy in 0..COPIES {
            copied(&library, &tree.join(copy.to_string()), &copy.to_string());
        }
        fs::write(tree.join("index.html"), "first").expect("a file");
        tree
    }

    /// Deploys with rig, until maxd has the source; then waits for the end of the deploy.
    fn deploy(&self, tree: &Path) -> Deployed {
        let path = tree.to_string_lossy();
        let mut rig = self.rig(&["deploy", &path, "-a", "web", "-n", "blue", "--create", "--detach"]);
        let sent = || self.sent.load(Ordering::Relaxed);
        let (before, had, started) = (sent(), used(), Instant::now());
        let id = told(&mut rig);
        let deployed =
            Deployed { took: started.elapsed(), cpu: used().saturating_sub(had), sent: sent() - before };
        self.live(&id);
        deployed
    }

    /// Sends all of it with tar, gzip and curl: how long that takes.
    fn whole(&self, tree: &Path) -> Duration {
        let request = r#"{"network":"blue","app":"web","create":false,"source_bytes":1,"files":1}"#;
        let begun = told(&mut self.rig(&["api", "deploy:create", request]));
        let begun: serde_json::Value = serde_json::from_str(&begun).expect("a document");
        let id = begun["id"].to_string();
        // The token is in no argument.
        let script = "tar -cf - . | gzip | curl -sS --fail --noproxy '*' -H @\"$HEAD\" -H 'content-type: application/gzip' -T - \"$0\"";
        let head = self.dir.path().join("head");
        fs::write(&head, format!("authorization: Bearer {}\n", self.access)).expect("a file");
        let url = format!("{}/api/v1/deploys/{id}/source", self.url);
        let started = Instant::now();
        told(Command::new("sh").args(["-c", script, &url]).env("HEAD", &head).current_dir(tree));
        let took = started.elapsed();
        self.live(&id);
        took
    }

    fn live(&self, id: &str) {
        loop {
            let now = told(&mut self.rig(&["status", "deploy", id, "-o", "json"]));
            let now: serde_json::Value = serde_json::from_str(&now).expect("a document");
            match now["state"].as_str() {
                Some("live") => return,
                Some("failed") => panic!("{now}"),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// Copies a directory, with a line of its own in each file.
fn copied(from: &Path, to: &Path, line: &str) {
    fs::create_dir_all(to).expect("a directory");
    for item in fs::read_dir(from).expect("a directory") {
        let item = item.expect("an item");
        let (kind, to) = (item.file_type().expect("a kind"), to.join(item.file_name()));
        if kind.is_dir() {
            copied(&item.path(), &to, line);
        } else if kind.is_file() {
            let mut text = fs::read(item.path()).expect("a file");
            text.extend_from_slice(line.as_bytes());
            fs::write(to, text).expect("a file");
        }
    }
}

/// Relays to a server, and counts what its clients send.
fn relay(url: &str) -> (String, Arc<AtomicU64>) {
    let target = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let through = format!("http://{}", listener.local_addr().expect("an address"));
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&target) else { continue };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || carry(from, to, Some(&counter)));
            std::thread::spawn(move || carry(server, client, None));
        }
    });
    (through, sent)
}

fn carry(mut from: TcpStream, mut to: TcpStream, counter: Option<&AtomicU64>) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Some(counter) = counter {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

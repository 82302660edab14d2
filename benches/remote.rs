//! `rig shell` and `rig command` against OpenSSH, both over loopback to the same machine and
//! encrypted: how soon a key is echoed, how fast bulk output comes, how long one short command
//! takes with everything. `make bench-remote` builds what it needs; sshd is Debian's.

#![allow(clippy::expect_used)]

use portable_pty::{Child as PtyChild, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MAXD: &str = "target/server/maxd";
const RIG: &str = "target/static/rig";
/// Keys that are timed on each side, in turns.
const KEYS: usize = 2000;
/// Short commands of each side, in turns.
const COMMANDS: usize = 41;
/// What is written at once, in MB; and how often.
const BULK: u64 = 200;
const BULKS: usize = 3;
/// What rig should take of OpenSSH's time (of bulk: reach of its speed), and must.
const GOAL_ECHO: f64 = 1.0;
const MOST_ECHO: f64 = 3.0;
const GOAL_LATE_ECHO: f64 = 1.0;
const MOST_LATE_ECHO: f64 = 8.0;
const GOAL_BULK: f64 = 0.5;
const LEAST_BULK: f64 = 0.25;
const GOAL_COMMAND: f64 = 0.5;
const MOST_COMMAND: f64 = 1.0;
/// What the far terminal runs: it echoes, and reads for as long as there is something.
const FAR: &str = "stty -icanon echo; echo rea''dy; exec cat >/dev/null";

fn main() -> ExitCode {
    let world = World::new();
    let mut fine = true;
    let mut say = |what: &str, found: f64, goal: f64, limit: f64, holds: bool| {
        let failed = if holds { "" } else { " FAILED" };
        println!("remote: {what}: {found:.2} of OpenSSH's, goal {goal:.2}, limit {limit:.2}{failed}");
        fine &= holds;
    };

    let (mut rig, mut ssh) = world.echoes();
    let (middle, late) = (KEYS / 2, KEYS * 99 / 100);
    rig.sort();
    ssh.sort();
    println!(
        "remote: a key is echoed after {:?}, 99 of 100 within {:?}; OpenSSH {:?}, {:?}",
        rig[middle], rig[late], ssh[middle], ssh[late]
    );
    let ratio = rig[middle].as_secs_f64() / ssh[middle].as_secs_f64();
    say("median echo", ratio, GOAL_ECHO, MOST_ECHO, ratio <= MOST_ECHO);
    let ratio = rig[late].as_secs_f64() / ssh[late].as_secs_f64();
    say("99th percentile of echoes", ratio, GOAL_LATE_ECHO, MOST_LATE_ECHO, ratio <= MOST_LATE_ECHO);

    let line = format!("head -c {BULK}000000 /dev/zero");
    let (mut rig, mut ssh) = (Vec::new(), Vec::new());
    for _ in 0..BULKS {
        rig.push(drain(&mut world.rig(&["command", "web.blue", &line]), BULK * 1_000_000));
        ssh.push(drain(&mut world.ssh(&[&line]), BULK * 1_000_000));
    }
    let (rig, ssh) = (median(rig), median(ssh));
    let speed = |took: Duration| BULK as f64 / took.as_secs_f64();
    println!("remote: {:.0} MB/s of output; OpenSSH {:.0} MB/s", speed(rig), speed(ssh));
    let ratio = speed(rig) / speed(ssh);
    say("bulk output", ratio, GOAL_BULK, LEAST_BULK, ratio >= LEAST_BULK);

    let (mut rig, mut ssh) = (Vec::new(), Vec::new());
    for _ in 0..COMMANDS {
        rig.push(drain(&mut world.rig(&["command", "web.blue", "--no-stdin", "--", "true"]), 0));
        ssh.push(drain(&mut world.ssh(&["-n", "true"]), 0));
    }
    let (rig, ssh) = (median(rig), median(ssh));
    println!("remote: one short command takes {rig:?} with connecting; OpenSSH {ssh:?}");
    let ratio = rig.as_secs_f64() / ssh.as_secs_f64();
    say("one short command", ratio, GOAL_COMMAND, MOST_COMMAND, ratio <= MOST_COMMAND);
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Runs it to its end, which must be a good one, and counts what it writes.
fn drain(command: &mut Command, expected: u64) -> Duration {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let (mut buffer, mut bytes) = (vec![0; 256 * 1024], 0);
    let mut out = child.stdout.take().expect("a pipe");
    while let Ok(count @ 1..) = out.read(&mut buffer) {
        bytes += count as u64;
    }
    assert!(child.wait().expect("its end").success());
    assert_eq!(bytes, expected);
    started.elapsed()
}

/// A program that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

struct World {
    dir: TempDir,
    /// Held.
    _maxd: Server,
    _sshd: Server,
    environment: Vec<(&'static str, String)>,
    ssh: Vec<String>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let (sshd, ssh) = sshd(dir.path());
        let (maxd, environment) = maxd(dir.path());
        let world = World { dir, _maxd: maxd, _sshd: sshd, environment, ssh };
        let site = world.dir.path().join("site");
        fs::create_dir(&site).expect("a directory");
        fs::write(site.join("index.html"), "hi").expect("a file");
        world.ok(&["create", "network", "blue"]);
        let site = site.to_string_lossy().into_owned();
        world.ok(&["deploy", &site, "--app", "web", "--network", "blue", "--create"]);
        world
    }

    fn rig(&self, args: &[&str]) -> Command {
        let mut command = Command::new(fs::canonicalize(RIG).expect("rig (`make static`)"));
        command.args(args).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn ok(&self, args: &[&str]) {
        let out = self.rig(args).output().expect("rig");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    fn ssh(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(&self.ssh);
        // Its own flags stand before the host, the command behind it.
        let (flags, rest): (Vec<&str>, Vec<&str>) = args.iter().partition(|arg| arg.starts_with('-'));
        command.args(flags).arg("127.0.0.1").args(rest).stderr(Stdio::null());
        command
    }

    /// How long each key took to come back, over rig and over OpenSSH.
    fn echoes(&self) -> (Vec<Duration>, Vec<Duration>) {
        let mut rig = Typing::new(&self.rig(&["command", "web.blue", "--tty", FAR]));
        let mut ssh = Typing::new(&self.ssh(&["-tt", FAR]));
        let mut times = (Vec::with_capacity(KEYS), Vec::with_capacity(KEYS));
        for _ in 0..KEYS {
            times.0.push(rig.key());
            times.1.push(ssh.key());
        }
        times
    }
}

/// A terminal with a program in it that echoes.
struct Typing {
    _master: Box<dyn MasterPty>,
    child: Box<dyn PtyChild + Send + Sync>,
    reader: Box<dyn Read + Send>,
    writer: Box<dyn Write + Send>,
}

impl Typing {
    fn new(command: &Command) -> Typing {
        let pair = native_pty_system().openpty(PtySize::default()).expect("a terminal");
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            builder.env(name, value.expect("a value"));
        }
        let child = pair.slave.spawn_command(builder).expect("it starts");
        let writer = pair.master.take_writer().expect("a writer");
        let reader = pair.master.try_clone_reader().expect("a reader");
        let mut typing = Typing { _master: pair.master, child, reader, writer };
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while !seen.windows(7).any(|part| part == b"ready\r\n") {
            let count = typing.reader.read(&mut buffer).expect("output");
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
        typing
    }

    fn key(&mut self) -> Duration {
        let mut echo = [0];
        let started = Instant::now();
        self.writer.write_all(b"x").expect("typed");
        self.reader.read_exact(&mut echo).expect("an echo");
        assert_eq!(&echo, b"x");
        started.elapsed()
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// maxd with TLS and a rig that is logged in: what it needs in its environment.
fn maxd(dir: &Path) -> (Server, Vec<(&'static str, String)>) {
    let (data, ready) = (dir.join("data"), dir.join("ready"));
    let flags = ["--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0", "--tls-self-signed"];
    let mut maxd = Command::new(MAXD)
        .args(["serve", "--domain", "localhost", "--data"])
        .arg(&data)
        .args(flags)
        .arg("--ready-file")
        .arg(&ready)
        .stderr(Stdio::null())
        .spawn()
        .expect("maxd (`make bench-remote` builds it)");
    while !ready.exists() {
        assert!(maxd.try_wait().expect("a status").is_none(), "maxd ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(&ready).expect("a file")).expect("its address");
    let token = Command::new(MAXD)
        .args(["token", "create", "--user", "ann", "--data"])
        .arg(&data)
        .output()
        .expect("a token");
    let home = dir.join("home").to_string_lossy().into_owned();
    let ca = data.join("tls/ca.pem").to_string_lossy().into_owned();
    let url = told["url"].as_str().expect("a URL");
    let environment = vec![("RIG_CONFIG_DIR", home), ("RIG_CA", ca), ("RIG_NO_KEYRING", "1".to_owned())];
    let mut login = Command::new(RIG)
        .args(["login", "--url", url, "--token-stdin"])
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .spawn()
        .expect("rig (`make static`)");
    login.stdin.take().expect("a pipe").write_all(&token.stdout).expect("its token");
    assert!(login.wait().expect("its end").success());
    (Server(maxd), environment)
}

/// sshd on a port of its own, and how its client finds it.
fn sshd(dir: &Path) -> (Server, Vec<String>) {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    for key in ["host", "user"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)])
            .status()
            .expect("ssh-keygen (Debian: openssh-client)");
        assert!(made.success());
    }
    // Where sshd gives up its rights, when it has some.
    let _ = fs::create_dir_all("/run/sshd");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port").port();
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nUseDNS no\n",
        path("host"),
        path("user.pub")
    );
    fs::write(dir.join("sshd_config"), config).expect("a file");
    let program =
        ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].iter().map(PathBuf::from).find(|one| one.exists());
    let server = Command::new(program.expect("sshd (Debian: openssh-server)"))
        .args(["-D", "-e", "-f", &path("sshd_config")])
        .stderr(Stdio::null())
        .spawn()
        .expect("sshd starts");
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let options = [
        ("IdentityFile", path("user")),
        ("UserKnownHostsFile", "/dev/null".to_owned()),
        ("StrictHostKeyChecking", "no".to_owned()),
        ("BatchMode", "yes".to_owned()),
        ("Port", port.to_string()),
    ];
    let options = options.iter().flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")]);
    (Server(server), ["-F".to_owned(), "none".to_owned()].into_iter().chain(options).collect())
}

//! A `maxd` of one's own for each test, on free ports with a temporary directory,
//! and `rig` with a home of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

const RIG: &str = env!("CARGO_BIN_EXE_rig");
const MAXD: &str = env!("CARGO_BIN_EXE_maxd");

/// A running `maxd`.
pub struct Max {
    pub dir: TempDir,
    pub url: String,
    pub apps_url: String,
    child: Option<Child>,
    flags: Vec<String>,
    disk: Option<u32>,
    trial: &'static str,
    tools: Option<TempDir>,
}

impl Max {
    pub fn start() -> Max {
        Max::with(&[])
    }

    /// Starts one with what conformance tests need (`MAXD_TEST`).
    pub fn trial(words: &'static str) -> Max {
        Max::with_trial(&[], words)
    }

    /// Starts one with more flags behind `maxd serve`.
    pub fn with(flags: &[&str]) -> Max {
        Max::with_trial(flags, "")
    }

    /// Starts one with these shell scripts before what is in its `PATH`. They lie where a sandbox
    /// shows them.
    pub fn with_tools(flags: &[&str], tools: &[(&str, &str)]) -> Max {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for (name, script) in tools {
            let file = dir.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let mut max = Max::set_up(flags, "");
        max.tools = Some(dir);
        max.serve();
        max
    }

    /// Where its tools are.
    pub fn tools(&self) -> &Path {
        self.tools.as_ref().unwrap().path()
    }

    /// Starts one with both.
    pub fn with_trial(flags: &[&str], trial: &'static str) -> Max {
        let mut max = Max::set_up(flags, trial);
        max.serve();
        max
    }

    fn set_up(flags: &[&str], trial: &'static str) -> Max {
        let dir = tempfile::tempdir().unwrap();
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (url, apps_url) = (String::new(), String::new());
        Max { dir, url, apps_url, child: None, flags, disk: None, trial, tools: None }
    }

    /// Starts one whose data directory is a file system of so many MiB, in a mount
    /// namespace of its own. None where the machine lets nobody make one.
    pub fn on_a_disk_of(mebibytes: u32, flags: &[&str]) -> Option<Max> {
        let probe = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).status();
        if !probe.is_ok_and(|status| status.success()) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let (url, apps_url) = (String::new(), String::new());
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut max =
            Max { dir, url, apps_url, child: None, flags, disk: Some(mebibytes), trial: "", tools: None };
        max.serve();
        Some(max)
    }

    fn maxd(&self) -> Command {
        let Some(size) = self.disk else { return Command::new(MAXD) };
        let mut command = Command::new("unshare");
        let script = r#"mount -t tmpfs -o size="$1"m none "$2" && shift 2 && exec "$@""#;
        command.args(["-rm", "sh", "-c", script, "sh", &size.to_string()]).arg(self.data()).arg(MAXD);
        command
    }

    /// A token made inside the server's mount namespace.
    fn token_within(&self, args: &[&str]) -> Output {
        let pid = self.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-U", "-m", "--preserve-credentials", MAXD]);
        command.args(args).arg(self.data()).output().unwrap()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the server (again) and waits until it is ready.
    pub fn serve(&mut self) {
        let ready = self.dir.path().join("ready");
        let _ = fs::remove_file(&ready);
        // The same ports again after a restart, so that clients find it.
        let address = |url: &str| match url.rsplit_once(':') {
            Some((_, port)) => format!("127.0.0.1:{port}"),
            None => "127.0.0.1:0".to_owned(),
        };
        let log =
            fs::OpenOptions::new().append(true).create(true).open(self.dir.path().join("maxd.log")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let path = match &self.tools {
            Some(tools) => format!("{}:{path}", tools.path().display()),
            None => path,
        };
        let child = self
            .maxd()
            .args(["serve", "--domain", "localhost", "--data"])
            .arg(self.data())
            .args([
                "--listen",
                &address(&self.url),
                "--apps-listen",
                &address(&self.apps_url),
                "--ready-file",
            ])
            .arg(&ready)
            .args(&self.flags)
            .env("MAXD_TEST", self.trial)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_for("maxd to be ready", || {
            let status = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(status.is_none(), "maxd ended: {}", self.log());
            ready.exists().then_some(())
        });
        let text = fs::read_to_string(&ready).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["url"].as_str().unwrap().clone_into(&mut self.url);
        value["apps_url"].as_str().unwrap().clone_into(&mut self.apps_url);
    }

    /// What a start says that fails, with these variables.
    pub fn try_serve(&self, env: &[(&str, &str)]) -> String {
        let mut command = self.maxd();
        command.args(["serve", "--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0", "--data"]);
        let out = command.arg(self.data()).envs(env.iter().copied()).output().unwrap();
        assert!(!out.status.success());
        text(&out.stderr)
    }

    /// The flags of the next start.
    pub fn reflag(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// `MAXD_TEST` at the next start.
    pub fn retrial(&mut self, words: &'static str) {
        self.trial = words;
    }

    /// What maxd has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("maxd.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        signal(self.child.as_ref()?.id(), "TERM");
        self.wait()
    }

    /// Waits until it ends; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let code = wait_for("maxd to stop", || child.try_wait().unwrap());
        code.code()
    }

    /// A new API token of `user`.
    pub fn token(&self, user: &str) -> String {
        let args = ["token", "create", "--user", user, "--data"];
        let out = match self.disk {
            Some(_) => self.token_within(&args),
            None => Command::new(MAXD).args(args).arg(self.data()).output().unwrap(),
        };
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout).trim().to_owned()
    }

    /// rig as `user`, with RIG_URL and RIG_TOKEN.
    pub fn rig(&self, user: &str) -> Rig {
        let mut rig = Rig::new();
        rig.set("RIG_URL", &self.url);
        rig.set("RIG_TOKEN", &self.token(user));
        rig
    }

    /// An app's answer to `GET path`: status and body.
    pub fn get(&self, host: &str, path: &str) -> (u16, String) {
        let answer =
            self.request(host, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
        let status = answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        (status, if chunked { unchunk(body) } else { body.to_owned() })
    }

    /// The raw answer of the apps' listener.
    pub fn request(&self, _host: &str, request: &str) -> String {
        let port = self.apps_url.rsplit_once(':').unwrap().1;
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        text(&answer)
    }
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        out.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    out
}

impl Drop for Max {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        if std::thread::panicking() {
            eprintln!("--- maxd's log\n{}", self.log());
        }
    }
}

/// How to call `rig`.
pub struct Rig {
    pub home: TempDir,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

impl Rig {
    /// rig in an empty environment, with a home.
    pub fn new() -> Rig {
        let home = tempfile::tempdir().unwrap();
        let mut rig = Rig { home, environment: Vec::new(), directory: None };
        let path = rig.home.path().to_str().unwrap().to_owned();
        rig.set("HOME", &path);
        rig
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(key, _)| key != name);
    }

    /// What a variable is set to.
    pub fn get(&self, name: &str) -> &str {
        self.environment.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// From now on rig runs in `directory`.
    pub fn enter(&mut self, directory: &Path) {
        self.directory = Some(directory.to_owned());
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(RIG);
        command.args(args).env_clear().envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.current_dir(self.directory.as_deref().unwrap_or(self.home.path()));
        command
    }

    /// Runs rig without a terminal.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        self.run_with(args, "")
    }

    /// Runs rig with `input` on standard input.
    pub fn run_with<S: AsRef<OsStr>>(&self, args: &[S], input: &str) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // rig may end without reading it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Ran::new(child.wait_with_output().unwrap())
    }

    /// Runs rig, which must succeed; its standard output.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "stdout: {}\nstderr: {}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Runs rig with `-o json`, which must succeed; its document.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let out = self.ok(&args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// How a run of rig ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn new(out: Output) -> Ran {
        Ran { code: out.status.code().unwrap_or(-1), stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }

    /// It failed with this exit code and exactly this on standard error.
    #[track_caller]
    pub fn fails(&self, code: i32, stderr: &str) {
        assert_eq!((self.code, self.stderr.as_str()), (code, stderr), "stdout: {}", self.stdout);
        assert_eq!(self.stdout, "");
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Polls until `probe` gives something; panics when it takes too long.
#[track_caller]
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Sends a signal.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Writes files into a new directory.
pub fn project(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

/// A project that needs no build and no process.
pub fn site(text: &str) -> TempDir {
    project(&[("index.html", text)])
}

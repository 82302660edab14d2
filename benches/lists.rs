//! A list of 1,000 apps: what it costs rig, and that it is one request. And `rig status app`
//! against curl with an answer of the same size from the same maxd, in turns. Both over TLS on
//! loopback, with the static rig, logged in.

#![allow(clippy::expect_used)]

use nix::sys::resource::{UsageWho, getrusage};
use rig::api::Max;
use rig::auth::{Auth, Source};
use rig::net::dial::Route;
use rig::net::http::Http;
use rig::net::link::{Memory, Transport};
use rig::net::tls;
use rig::net::url::Url;
use rig::redact::Secret;
use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const APPS: usize = 1000;
/// Requests under way at once while they are created: as many as maxd works on.
const AT_ONCE: usize = 16;
/// Lists of which the median counts.
const LISTS: usize = 31;
/// What one may use of the CPU. It uses 12 ms, also on a machine that has much else to do.
const MAX_CPU: Duration = Duration::from_millis(20);
/// Runs of rig and of curl, in turns, whose medians are compared.
const ROUNDS: usize = 200;
/// What rig may take of curl's time. It takes 0.57 of it on a quiet machine and 0.75 on one with
/// three times as much to do as it has cores, so nothing is added for noise. maxd is not optimised
/// here, which only rig has to bear: it asks for a session's channel and a status, curl for a file.
const MAX_RATIO: f64 = 1.0;

struct World {
    dir: TempDir,
    maxd: Child,
    url: String,
    apps_url: String,
    token: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.maxd.id().to_string()).status();
        let _ = self.maxd.wait();
    }
}

fn main() -> ExitCode {
    let world = World::new();
    world.create_apps();
    let cheap = world.lists();
    let fast = world.against_curl();
    if cheap && fast { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The CPU time of all children that have ended.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the usage");
    let both = [usage.user_time(), usage.system_time()];
    both.iter().map(|time| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)).sum()
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, ready) = (dir.path().join("data"), dir.path().join("ready"));
        let mut maxd = Command::new("target/debug/maxd")
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--apps-listen",
                "127.0.0.1:0",
                "--domain",
                "localhost",
            ])
            .args(["--isolation", "none", "--tls-self-signed", "--data"])
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .expect("maxd (`make build`)");
        while !ready.exists() {
            assert!(maxd.try_wait().expect("a status").is_none(), "maxd ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        let told: serde_json::Value =
            serde_json::from_slice(&fs::read(&ready).expect("a file")).expect("its addresses");
        let token = Command::new("target/debug/maxd")
            .args(["token", "create", "--user", "ann", "--data"])
            .arg(&data)
            .output()
            .expect("a token");
        let token = String::from_utf8(token.stdout).expect("a token").trim().to_owned();
        let address = |name: &str| told[name].as_str().expect("a URL").to_owned();
        let world = World { dir, maxd, url: address("url"), apps_url: address("apps_url"), token };
        let mut login = world.rig(&["login", "--token-stdin", "--store", "file", "--url", &world.url]);
        login.arg("--ca").arg(world.ca()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut login = login.spawn().expect("rig (`make static`)");
        login.stdin.take().expect("a pipe").write_all(world.token.as_bytes()).expect("rig reads");
        assert!(login.wait().expect("its end").success(), "the login failed");
        world
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("data/tls/ca.pem")
    }

    fn rig(&self, args: &[&str]) -> Command {
        let mut command = Command::new("target/static/rig");
        command.args(args).env_clear().env("RIG_CONFIG_DIR", self.dir.path()).stdin(Stdio::null());
        command
    }

    fn ok(&self, args: &[&str]) -> Vec<u8> {
        let out = self.rig(args).output().expect("rig (`make static`)");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    /// Over one connection.
    fn create_apps(&self) {
        let mut roots = tls::roots();
        tls::add(&mut roots, "ca.pem", &fs::read(self.ca()).expect("a file")).expect("an authority");
        let url = Url::parse(&self.url).expect("a URL");
        let route = Arc::new(Route::new(&url, |_| None, roots, None).expect("a route"));
        let http = Arc::new(Http::new(url.clone(), Arc::clone(&route), Duration::from_secs(60)));
        let source = Source::ApiToken(Secret::new(self.token.clone()));
        let auth = Auth::new(Arc::clone(&http), self.url.clone(), source);
        let memory = Memory { longpoll: false, keep: Arc::new(|_| {}) };
        let max = Max::new(url, http, auth, route, (Transport::WebSocket, memory));
        max.ask("network:create", r#"{"name":"blue"}"#.to_owned()).expect("a network");
        let started = Instant::now();
        let mut pending = VecDeque::new();
        for app in 0..APPS + AT_ONCE {
            if pending.len() == AT_ONCE || app >= APPS {
                let Some(oldest) = pending.pop_front() else { continue };
                answer(&oldest);
            }
            if app < APPS {
                let request = format!(r#"{{"network":"blue","app":"app-{app}"}}"#);
                pending.push_back(max.begin("app:create", request).expect("a request"));
            }
        }
        println!("lists: {APPS} apps were created over one connection in {:?}", started.elapsed());
        max.close();
    }

    /// Requests over channels that maxd has counted: of all kinds, and of lists of apps.
    fn requests(&self) -> (u64, u64) {
        let token = fs::read_to_string(self.dir.path().join("data/metrics-token")).expect("a file");
        let mut roots = tls::roots();
        tls::add(&mut roots, "ca.pem", &fs::read(self.ca()).expect("a file")).expect("an authority");
        let url = Url::parse(&self.url).expect("a URL");
        let route = Arc::new(Route::new(&url, |_| None, roots, None).expect("a route"));
        let http = Http::new(url, route, Duration::from_secs(60));
        let bearer = format!("Bearer {}", token.trim());
        let page = http.call("GET", "/metrics", &[("authorization", &bearer)], None).expect("the metrics");
        let (mut all, mut lists) = (0, 0);
        for line in page.lines().filter(|line| line.starts_with("max_requests_total{")) {
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count");
            all += count;
            if line.contains("\"app:list\"") {
                lists += count;
            }
        }
        (all, lists)
    }

    /// Whether rig's own CPU time is small, and it asks once.
    fn lists(&self) -> bool {
        let mut fine = true;
        for args in [&["list", "apps"][..], &["list", "apps", "-o", "json"]] {
            let before = self.requests();
            let (mut cpu, mut wall, mut size) = (Vec::new(), Vec::new(), 0);
            for _ in 0..LISTS {
                let (had, started) = (used(), Instant::now());
                let out = self.ok(args);
                wall.push(started.elapsed());
                cpu.push(used().saturating_sub(had));
                assert!(String::from_utf8_lossy(&out).contains("app-999"), "the list is whole");
                size = out.len();
            }
            let after = self.requests();
            let asked = (after.0 - before.0, after.1 - before.1);
            let (cpu, wall) = (median(cpu), median(wall));
            println!(
                "lists: `rig {}` of {APPS} apps ({size} bytes) uses {cpu:?} of CPU, at most {MAX_CPU:?}, and is there \
                 after {wall:?}; {LISTS} of them made {} requests",
                args.join(" "),
                asked.0
            );
            fine &= cpu <= MAX_CPU && asked == (LISTS as u64, LISTS as u64);
        }
        fine
    }

    /// Whether rig is as fast as curl.
    fn against_curl(&self) -> bool {
        if Command::new("curl").arg("--version").output().is_err() {
            println!("lists: curl is not installed (Debian: curl), rig is not compared with it");
            // Where it counts, it is there.
            return std::env::var_os("CI").is_none();
        }
        let site = self.dir.path().join("site");
        fs::create_dir(&site).expect("a directory");
        fs::write(site.join("index.html"), "x").expect("a file");
        let deploy = || self.ok(&["deploy", &site.to_string_lossy(), "-a", "web", "-n", "blue", "--create"]);
        let document = || self.ok(&["status", "app", "web.blue", "-o", "json"]).len();
        // The second deploy's status is what is compared, and only the third could know its size.
        deploy();
        fs::write(site.join("body"), vec![b'x'; document()]).expect("a file");
        deploy();
        let size = fs::metadata(site.join("body")).expect("a file").len();
        // The certificate is for the host alone, so the app is named beside it.
        let url = format!("{}/body", self.apps_url);
        let curl = || {
            let mut command = Command::new("curl");
            command.args(["-sS", "--fail", "--noproxy", "*", "-H", "Host: web.blue.localhost", "--cacert"]);
            command.arg(self.ca()).arg(&url).env_clear();
            command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command
        };
        let timed = |command: &mut Command| {
            let started = Instant::now();
            let out = command.output().expect("it starts");
            let took = started.elapsed();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            (took, out.stdout.len() as u64)
        };
        assert_eq!(timed(&mut curl()).1, size, "curl gets all of it");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(timed(&mut self.rig(&["status", "app", "web.blue"])).0);
            theirs.push(timed(&mut curl()).0);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        println!(
            "lists: `rig status app` takes {ours:?} for an answer of {} bytes, curl {theirs:?} for {size} (medians of \
             {ROUNDS}): ratio {ratio:.2}, at most {MAX_RATIO}",
            document()
        );
        ratio <= MAX_RATIO
    }
}

/// Waits for an answer, which has to be a good one.
fn answer(pending: &rig::net::link::Pending) {
    loop {
        match pending.poll() {
            Some(answer) => return drop(answer.expect("an app")),
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

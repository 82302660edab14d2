//! The main job through proxies as they are used: tinyproxy, microsocks, and nginx in
//! front of the server. `make test-proxies` runs these where max.internal is an address
//! that is no loopback address, since that is what rig asks no proxy for.

use crate::certs::Authority;
use crate::harness::{Max, Rig, site, wait_for};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const ADDRESS: &str = "10.99.0.1";
const NAME: &str = "max.internal";

/// A proxy that runs until it is dropped. What it writes goes to `log`.
struct Daemon {
    dir: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts `program`, which listens on `address`.
    fn start(dir: TempDir, program: &str, args: &[&str], address: &str) -> Daemon {
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(args).current_dir(dir.path()).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut daemon = Daemon { dir, child };
        wait_for(program, || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "{program} ended: {}", daemon.log());
            TcpStream::connect(address).ok()
        });
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the proxy's log\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free; in a network namespace of our own it stays so.
fn free(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("run this with `make test-proxies`");
    listener.local_addr().unwrap().port()
}

fn tinyproxy() -> (Daemon, u16) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free("127.0.0.1"));
    let settings = format!(
        "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 600\nMaxClients 50\n\
         BasicAuth ada ge-heim\nLogLevel Info\n"
    );
    fs::write(dir.path().join("conf"), settings).unwrap();
    let daemon = Daemon::start(dir, "tinyproxy", &["-d", "-c", "conf"], &format!("127.0.0.1:{port}"));
    (daemon, port)
}

fn microsocks() -> (Daemon, u16) {
    let port = free("127.0.0.1");
    let text = port.to_string();
    let args = ["-i", "127.0.0.1", "-p", &text, "-u", "ada", "-P", "ge@heim"];
    (Daemon::start(tempfile::tempdir().unwrap(), "microsocks", &args, &format!("127.0.0.1:{port}")), port)
}

/// nginx with TLS at max.internal, in front of the server at `url`. Unless `upgrade`, it
/// passes on no upgrade, as it does when nobody thought of it.
fn nginx(authority: &Authority, url: &str, upgrade: bool) -> (Daemon, u16) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free(ADDRESS));
    let server = authority.issue(&[NAME]);
    let headers = match upgrade {
        true => "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
        false => "",
    };
    let spools: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {}/{what};\n", dir.path().display()))
        .collect();
    let settings = format!(
        "user root; daemon off; master_process off; pid {dir}/pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n{spools}access_log {dir}/access;\n\
         server {{\n\
           listen {ADDRESS}:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
           ssl_protocols TLSv1.3; client_max_body_size 0; proxy_read_timeout 600;\n\
           location / {{ proxy_pass {url}; proxy_http_version 1.1; {headers} }}\n\
         }} }}\n",
        dir = dir.path().display(),
        certificate = server.certificate.display(),
        key = server.key.display(),
    );
    fs::write(dir.path().join("conf"), settings).unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let args = ["-p", &path, "-c", "conf", "-e", "stderr"];
    (Daemon::start(dir, "nginx", &args, &format!("{ADDRESS}:{port}")), port)
}

/// A maxd at max.internal with TLS by a private authority, and a rig that trusts it.
fn max() -> (Max, Rig, u16, Authority) {
    let authority = Authority::new("internal authority");
    let server = authority.issue(&[NAME, ADDRESS]);
    let listen = format!("{ADDRESS}:{}", free(ADDRESS));
    let flags = [&server.flags()[..], &["--listen", &listen]].concat();
    let max = Max::with(&flags);
    let port = listen.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", &format!("https://{NAME}:{port}"));
    rig.set("RIG_CA", &authority.file());
    (max, rig, port, authority)
}

fn main_job(rig: &Rig) {
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    let dir = site("<h1>through a proxy</h1>");
    // Larger than any buffer on the way.
    fs::write(dir.path().join("noise"), noise(3_000_000)).unwrap();
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    assert_eq!(rig.json(&["status", "app", "web.blue"])["app"]["state"], "running");
    let lines = rig.json(&["logs", "build", "web.blue"]);
    assert!(!lines["lines"].as_array().unwrap().is_empty(), "{lines}");
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    rig.ok(&["delete", "network", "blue", "--yes"]);
    assert!(rig.json(&["list", "networks"])["networks"].as_array().unwrap().is_empty());
}

/// Bytes that do not compress (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
#[ignore = "needs tinyproxy: make test-proxies"]
fn the_main_job_through_tinyproxy() {
    let (_max, mut rig, port, _authority) = max();
    let (daemon, proxy) = tinyproxy();
    rig.set("HTTPS_PROXY", &format!("http://ada:ge%2Dheim@127.0.0.1:{proxy}"));
    main_job(&rig);
    assert!(daemon.log().contains(&format!("CONNECT {NAME}:{port} HTTP/1.1")), "{}", daemon.log());
    rig.set("HTTPS_PROXY", &format!("http://127.0.0.1:{proxy}"));
    let said = format!("rig: the proxy 'http://127.0.0.1:{proxy}' wants a user name and a password\n");
    let ran = rig.run(&["whoami"]);
    assert!(ran.code == 5 && ran.stderr.starts_with(&said), "{ran:?}");
    rig.set("HTTPS_PROXY", &format!("http://ada:wrong@127.0.0.1:{proxy}"));
    let said =
        format!("rig: the proxy 'http://127.0.0.1:{proxy}' does not accept the user name and password\n");
    let ran = rig.run(&["whoami"]);
    assert!(ran.code == 5 && ran.stderr.starts_with(&said), "{ran:?}");
}

#[test]
#[ignore = "needs microsocks: make test-proxies"]
fn the_main_job_through_microsocks() {
    for (scheme, seen) in [("socks5h", NAME), ("socks5", ADDRESS)] {
        let (_max, mut rig, port, _authority) = max();
        let (daemon, proxy) = microsocks();
        rig.set("ALL_PROXY", &format!("{scheme}://ada:ge%40heim@127.0.0.1:{proxy}"));
        main_job(&rig);
        assert!(daemon.log().contains(&format!("connected to {seen}:{port}")), "{}", daemon.log());
        rig.set("ALL_PROXY", &format!("{scheme}://127.0.0.1:{proxy}"));
        let said =
            format!("rig: the proxy '{scheme}://127.0.0.1:{proxy}' wants a user name and a password\n");
        let ran = rig.run(&["whoami"]);
        assert!(ran.code == 5 && ran.stderr.starts_with(&said), "{ran:?}");
        rig.set("ALL_PROXY", &format!("{scheme}://ada:wrong@127.0.0.1:{proxy}"));
        let said = "does not accept the user name and password\n";
        let ran = rig.run(&["whoami"]);
        assert!(ran.code == 5 && ran.stderr.contains(said), "{ran:?}");
        // Nothing listens there.
        rig.set("ALL_PROXY", &format!("{scheme}://ada:ge%40heim@127.0.0.1:{proxy}"));
        rig.set("RIG_URL", &format!("https://{NAME}:{}", free(ADDRESS)));
        let ran = rig.run(&["whoami"]);
        assert!(ran.code == 5 && ran.stderr.contains(": connection refused\n"), "{ran:?}");
    }
}

#[test]
#[ignore = "needs a network of its own: make test-proxies"]
fn no_proxy_is_heeded() {
    let (_max, mut rig, port, _authority) = max();
    rig.set("HTTPS_PROXY", "http://127.0.0.1:1");
    for (host, list, direct) in [
        (NAME, "", false),
        (NAME, "internal", true),
        (NAME, "other, .internal", true),
        (NAME, "nal", false),
        (ADDRESS, "10.0.0.0/8", true),
        (ADDRESS, "10.98.0.0/16", false),
    ] {
        rig.set("RIG_URL", &format!("https://{host}:{port}"));
        rig.set("NO_PROXY", list);
        let ran = rig.run(&["whoami"]);
        assert_eq!(ran.code, if direct { 0 } else { 5 }, "{host} {list} {ran:?}");
    }
}

#[test]
#[ignore = "needs nginx: make test-proxies"]
fn the_main_job_through_nginx() {
    let authority = Authority::new("internal authority");
    let max = Max::start();
    let (daemon, port) = nginx(&authority, &max.url, true);
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", &format!("https://{NAME}:{port}"));
    rig.set("RIG_CA", &authority.file());
    main_job(&rig);
    let log = fs::read_to_string(daemon.dir.path().join("access")).unwrap();
    assert!(log.contains("\"POST /api/v1/auth/exchange HTTP/1.1\" 200"), "{log}");
}

#[test]
#[ignore = "needs nginx"]
fn the_main_job_through_an_nginx_that_strips_the_upgrade() {
    let authority = Authority::new("internal authority");
    let max = Max::start();
    let (daemon, port) = nginx(&authority, &max.url, false);
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", &format!("https://{NAME}:{port}"));
    rig.set("RIG_CA", &authority.file());
    main_job(&rig);
    let log = fs::read_to_string(daemon.dir.path().join("access")).unwrap();
    assert!(log.contains(" /socket/longpoll?"), "{log}");
}

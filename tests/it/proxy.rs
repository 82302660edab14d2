//! Proxies that follow a script, in front of a real maxd: what passes through, and the
//! exact words when nothing does.

use crate::certs::{Authority, Server};
use crate::harness::{Max, Ran, Rig, site};
use crate::scripted_proxy::{connecting, head, proxy, socks};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A maxd behind the name max.test and a few addresses, and a rig that has no other way
/// there than a proxy.
struct Behind {
    max: Max,
    rig: Rig,
    port: u16,
    _authority: Authority,
}

fn behind() -> Behind {
    let authority = Authority::new("test authority");
    let server = authority.issue(&["max.test", "10.255.255.1", "fd00:ffff::1"]);
    let max = Max::with(&server.flags());
    let port = max.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", "https://max.test");
    rig.set("RIG_CA", &authority.file());
    Behind { max, rig, port, _authority: authority }
}

/// What needs HTTP (the exchange of the token, the upload) and the socket.
fn main_job(rig: &Rig) {
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = site("through a proxy");
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    assert_eq!(rig.json(&["status", "app", "web.blue"])["app"]["state"], "running");
}

#[test]
fn everything_goes_through_connect() {
    let Behind { max, mut rig, port, _authority } = behind();
    let (proxy, log) = connecting(port);
    rig.set("HTTPS_PROXY", &format!("http://127.0.0.1:{proxy}"));
    main_job(&rig);
    let log = log.lock().unwrap();
    assert!(log.len() > 6, "{log:?}");
    let version = env!("CARGO_PKG_VERSION");
    for request in &*log {
        assert_eq!(
            *request,
            format!(
                "CONNECT max.test:443 HTTP/1.1\r\nHost: max.test:443\r\nUser-Agent: rig/{version}\r\n\r\n"
            )
        );
    }
    drop(max);
}

#[test]
fn connect_with_a_password_and_to_an_ipv6_address() {
    let Behind { max: _max, mut rig, port, _authority } = behind();
    let (proxy, log) = connecting(port);
    // The lower case wins, as curl has it; a scheme may be missing.
    rig.set("https_proxy", &format!("us%40er:p%3aw%2Fé%zz@127.0.0.1:{proxy}"));
    rig.set("HTTPS_PROXY", "http://127.0.0.1:1");
    rig.set("RIG_URL", "https://[fd00:ffff::1]:7443");
    rig.ok(&["list", "networks"]);
    let log = log.lock().unwrap();
    assert!(
        log[0].starts_with("CONNECT [fd00:ffff::1]:7443 HTTP/1.1\r\nHost: [fd00:ffff::1]:7443\r\n"),
        "{log:?}"
    );
    // us@er:p:w/é%zz
    assert!(log[0].ends_with("\r\nProxy-Authorization: Basic dXNAZXI6cDp3L8OpJXp6\r\n\r\n"), "{log:?}");
}

#[test]
fn everything_goes_through_socks() {
    let Behind { max: _max, mut rig, port, _authority } = behind();
    let (proxy, log) = socks(port, None);
    rig.set("ALL_PROXY", &format!("socks5h://127.0.0.1:{proxy}"));
    main_job(&rig);
    let log = log.lock().unwrap();
    assert!(log.len() > 6 && log.iter().all(|request| request == "name max.test 443"), "{log:?}");
}

#[test]
fn socks_with_a_password_and_addresses() {
    let Behind { max: _max, mut rig, port, _authority } = behind();
    let (proxy, log) = socks(port, Some(("ada", "ge:heim")));
    for (scheme, host, request) in [
        ("socks5", "10.255.255.1", "10.255.255.1 443"),
        ("SOCKS5H", "10.255.255.1", "10.255.255.1 443"),
        ("socks5", "[fd00:ffff::1]:9", "fd00:ffff::1 9"),
        ("socks5h", "max.test:65535", "name max.test 65535"),
    ] {
        rig.set("HTTPS_PROXY", &format!("{scheme}://ada:ge%3Aheim@127.0.0.1:{proxy}/"));
        rig.set("RIG_URL", &format!("https://{host}"));
        rig.ok(&["list", "networks"]);
        let seen = std::mem::take(&mut *log.lock().unwrap());
        assert!(!seen.is_empty() && seen.iter().all(|seen| seen == request), "{scheme} {seen:?}");
    }
}

/// A proxy that is itself reached over TLS; its certificate is nobody's business but the
/// roots', also when the server's is pinned.
#[test]
fn a_proxy_may_speak_tls() {
    let authority = Authority::new("test authority");
    let server = authority.issue(&["max.test"]);
    let max = Max::with(&server.flags());
    let port = max.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let config = Arc::new(tls(&authority.issue(&["localhost"])));
    let proxy = proxy(move |stream| {
        stream.set_nodelay(true)?;
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut near = StreamOwned::new(connection, stream);
        assert!(head(&mut near)?.starts_with("CONNECT max.test:443 "));
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        relay(near, TcpStream::connect(("127.0.0.1", port))?)
    });
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", "https://max.test");
    rig.set("HTTPS_PROXY", &format!("https://localhost:{proxy}"));
    rig.set("RIG_CA", &authority.file());
    main_job(&rig);
    let other = Authority::new("another");
    rig.set("RIG_CA", &other.file());
    let ran = rig.run(&["list", "networks"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let said = format!(
        "rig: cannot trust the proxy 'https://localhost:{proxy}': its certificate is from an unknown issuer: 'test authority'\n"
    );
    assert!(ran.stderr.starts_with(&said), "{}", ran.stderr);
    let pin = crate::tls::fingerprint(&server.der);
    rig.set("RIG_PIN", &pin);
    assert!(rig.run(&["list", "networks"]).stderr.starts_with(&said));
    rig.set("RIG_CA", &authority.file());
    rig.ok(&["list", "networks"]);
}

fn tls(server: &Server) -> ServerConfig {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(server.key_der.clone()).unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(server.der.clone())], key)
        .unwrap()
}

/// Copies both ways through one TLS connection: in turns, each waiting a moment.
fn relay(mut near: StreamOwned<ServerConnection, TcpStream>, mut far: TcpStream) -> io::Result<()> {
    let moment = Some(Duration::from_millis(1));
    near.sock.set_read_timeout(moment)?;
    far.set_read_timeout(moment)?;
    let mut buffer = [0; 16 * 1024];
    fn pass(from: &mut dyn Read, to: &mut dyn Write, buffer: &mut [u8]) -> io::Result<bool> {
        match from.read(buffer) {
            Ok(0) => Ok(false),
            Ok(count) => to.write_all(&buffer[..count]).and_then(|()| to.flush()).map(|()| true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
    while pass(&mut near, &mut far, &mut buffer)? && pass(&mut far, &mut near, &mut buffer)? {}
    Ok(())
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    let authority = Authority::new("test authority");
    let server = authority.issue(&["localhost", "127.0.0.1"]);
    let max = Max::with(&server.flags());
    let mut rig = max.rig("ada");
    rig.set("RIG_CA", &authority.file());
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"] {
        rig.set(name, "http://127.0.0.1:1");
    }
    rig.ok(&["list", "networks"]);
    rig.set("RIG_URL", &max.url.replace("127.0.0.1", "localhost"));
    rig.ok(&["list", "networks"]);
    // Nor is what names it looked at.
    rig.set("https_proxy", "nonsense://");
    rig.ok(&["list", "networks"]);
}

/// Runs `rig list networks` for https://max.test with this in HTTPS_PROXY.
fn list(proxy: &str) -> Ran {
    let mut rig = Rig::new();
    rig.set("RIG_URL", "https://max.test");
    rig.set("RIG_TOKEN", "max_x");
    rig.set("HTTPS_PROXY", proxy);
    rig.run(&["list", "networks"])
}

const NAMES_IT: &str = "HTTPS_PROXY names it; what is reached without it belongs into NO_PROXY";

#[test]
fn what_names_no_proxy_is_a_usage_error_that_keeps_the_password() {
    let scheme = "it must begin with http, https, socks5 or socks5h";
    let login = "SOCKS 5 wants a user name and a password of at most 255 bytes";
    let long = format!("socks5://u:{}@proxy", "x".repeat(256));
    for (text, why) in [
        ("socks4://u:geheim@proxy:1", scheme),
        ("ftp://u:geheim@proxy", scheme),
        ("http://", "its host name is wrong"),
        ("http://u:geheim@", "its host name is wrong"),
        ("http://u:geheim@pro xy", "its host name is wrong"),
        ("http://u:geheim@proxy:0", "its port is no number"),
        ("http://u:geheim@proxy:x", "its port is no number"),
        ("http://u:geheim@[::1", "a bracket is missing"),
        ("socks5h://u@proxy", login),
        ("socks5h://:geheim@proxy", login),
        (&long, login),
    ] {
        list(text).fails(
            2,
            &format!(
                "rig: HTTPS_PROXY holds no proxy address: {why}\n  \
                 write for instance http://proxy.example.com:3128 or socks5h://proxy.example.com:1080\n"
            ),
        );
    }
}

#[test]
fn a_proxy_that_is_not_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["http", "socks5h"] {
        list(&format!("{scheme}://u:geheim@127.0.0.1:{port}")).fails(
            5,
            &format!("rig: cannot reach the proxy '{scheme}://127.0.0.1:{port}': connection refused\n  {NAMES_IT}\n"),
        );
    }
}

/// A proxy that reads a head and answers with `answer`, all of it at once.
fn answering(answer: &'static [u8]) -> u16 {
    proxy(move |mut stream| {
        head(&mut stream)?;
        stream.write_all(answer)?;
        // Stays open until rig hangs up.
        stream.read_exact(&mut [0])
    })
}

#[test]
fn the_answers_of_a_proxy_in_words() {
    let denied = "ask who runs it to allow that; what is reached without it belongs into NO_PROXY";
    let broken = "check the URL, and that the server runs";
    for (answer, login, what, hint) in [
        (
            &b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"[..],
            "",
            "wants a user name and a password",
            "put them into HTTPS_PROXY: http://USER:PASSWORD@127.0.0.1:PORT",
        ),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\n\r\nwrong",
            "u:geheim@",
            "does not accept the user name and password",
            "check them in HTTPS_PROXY; special characters are written like %40; \
             of an HTTP proxy rig knows Basic authentication only",
        ),
        (
            b"HTTP/1.1 401 Unauthorized\r\n\r\n",
            "u:geheim@",
            "does not accept the user name and password",
            "check them in HTTPS_PROXY; special characters are written like %40; \
             of an HTTP proxy rig knows Basic authentication only",
        ),
        (
            b"HTTP/1.0 403 Filtered\r\n\r\n<html>no</html>",
            "u:geheim@",
            "does not allow a connection to 'max.test:443'",
            denied,
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "",
            "cannot reach 'max.test:443': it answers with HTTP status 502",
            broken,
        ),
        (b"HTTP/1.1 abc\r\n\r\n", "", "does not answer as an HTTP proxy does", NAMES_IT),
        (b"SSH-2.0-OpenSSH_9\r\n", "", "does not answer as an HTTP proxy does", NAMES_IT),
        (b"\x05\x00", "", "does not answer as an HTTP proxy does", NAMES_IT),
    ] {
        let port = answering(answer);
        let ran = list(&format!("http://{login}127.0.0.1:{port}"));
        let hint = hint.replace(":PORT", &format!(":{port}"));
        ran.fails(5, &format!("rig: the proxy 'http://127.0.0.1:{port}' {what}\n  {hint}\n"));
    }
}

#[test]
fn a_proxy_that_says_too_much_too_little_or_nothing() {
    let endless = proxy(|mut stream| {
        head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(b"X-Filler: .........................................................\r\n")?;
        }
    });
    list(&format!("http://127.0.0.1:{endless}")).fails(
        5,
        &format!("rig: the proxy 'http://127.0.0.1:{endless}' does not answer as an HTTP proxy does\n  {NAMES_IT}\n"),
    );
    let closing = proxy(|mut stream| {
        head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 2")
    });
    list(&format!("http://127.0.0.1:{closing}")).fails(
        5,
        &format!("rig: the proxy 'http://127.0.0.1:{closing}' closes the connection without an answer\n  {NAMES_IT}\n"),
    );
    // Nothing; and a byte now and then, which must not prolong the time it has.
    let silent = answering(b"");
    let slow = proxy(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ")?;
        loop {
            stream.write_all(b".")?;
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    for (scheme, port) in [("http", silent), ("socks5h", silent), ("http", slow)] {
        let mut rig = Rig::new();
        rig.set("RIG_URL", "https://max.test");
        rig.set("RIG_TOKEN", "max_x");
        rig.set("ALL_PROXY", &format!("{scheme}://127.0.0.1:{port}"));
        let start = Instant::now();
        rig.run(&["list", "networks", "--timeout", "300ms"]).fails(
            8,
            &format!(
                "rig: the proxy '{scheme}://127.0.0.1:{port}' did not answer within 0.3s\n  \
                 try again, or give it longer with --timeout\n"
            ),
        );
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}

#[test]
fn the_replies_of_socks_in_words() {
    let fails = |why: &str| {
        (format!("cannot reach 'max.test:443': {why}"), "check the URL, and that the server runs".to_owned())
    };
    let nonsense = ("does not answer as a SOCKS 5 proxy does".to_owned(), NAMES_IT.to_owned());
    let wants = |port: u16| {
        let hint = format!("put them into HTTPS_PROXY: socks5h://USER:PASSWORD@127.0.0.1:{port}");
        ("wants a user name and a password".to_owned(), hint)
    };
    // What is written at once, whatever rig says.
    let reply = |code: u8| vec![5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    let table = [
        (reply(1), fails("it failed")),
        (reply(3), fails("the network is unreachable")),
        (reply(4), fails("the host is unreachable")),
        (reply(5), fails("connection refused")),
        (reply(6), fails("the way is too long")),
        (reply(7), fails("it makes no connections")),
        (reply(8), fails("it does not know this kind of address")),
        (reply(9), fails("it does not say why")),
        (reply(255), fails("it does not say why")),
        (
            reply(2),
            (
                "does not allow a connection to 'max.test:443'".to_owned(),
                "ask who runs it to allow that; what is reached without it belongs into NO_PROXY".to_owned(),
            ),
        ),
        (vec![4, 0], nonsense.clone()),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), nonsense.clone()),
        (vec![5, 1], nonsense.clone()),
        (vec![5, 0, 4, 0, 0, 1], nonsense.clone()),
        (vec![5, 0, 5, 0, 0, 9], nonsense.clone()),
    ];
    let scripted = |answer: Vec<u8>| {
        proxy(move |mut stream| {
            stream.write_all(&answer)?;
            io::copy(&mut stream, &mut io::sink()).map(drop)
        })
    };
    for (answer, (what, hint)) in table {
        let port = scripted(answer.clone());
        let said = format!("rig: the proxy 'socks5h://127.0.0.1:{port}' {what}\n  {hint}\n");
        list(&format!("socks5h://127.0.0.1:{port}")).fails(5, &said);
    }
    let port = scripted(vec![5, 255]);
    let (what, hint) = wants(port);
    let said = format!("rig: the proxy 'socks5h://127.0.0.1:{port}' {what}\n  {hint}\n");
    list(&format!("socks5h://127.0.0.1:{port}")).fails(5, &said);
    let port = scripted(vec![5, 2, 1, 1]);
    let ran = list(&format!("socks5h://u:geheim@127.0.0.1:{port}"));
    ran.fails(
        5,
        &format!(
            "rig: the proxy 'socks5h://127.0.0.1:{port}' does not accept the user name and password\n  \
             check them in HTTPS_PROXY; special characters are written like %40; \
             of an HTTP proxy rig knows Basic authentication only\n"
        ),
    );
}

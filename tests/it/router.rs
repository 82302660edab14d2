//! HTTP/1.1 through the router, to an app that was deployed.

use crate::harness::{Max, Rig, wait_for};
use crate::visitor::{HOST, Visitor, started};
use std::fs;
use std::net::Shutdown;
use tungstenite::Message;

/// The header lines of what the app got, in lower case.
fn got(body: &str) -> Vec<String> {
    body.lines().skip(1).map(str::to_ascii_lowercase).filter(|line| !line.is_empty()).collect()
}

/// The access line of the first request that begins so.
fn access(rig: &Rig, request: &str) -> String {
    wait_for("the access line", || {
        let log = rig.json(&["logs", "network", "blue"]);
        let mut lines = log["lines"].as_array().unwrap().iter().filter(|line| line["source"] == "access");
        let text = lines.find_map(|line| line["text"].as_str().filter(|text| text.starts_with(request)));
        text.map(str::to_owned)
    })
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619))
}

#[test]
fn a_host_is_known_with_a_port_in_upper_case_and_with_a_dot() {
    let (max, _rig, _dir) = started();
    let mut visitor = Visitor::new(&max);
    for host in [
        "lab.blue.localhost",
        "lab.blue.localhost:7080",
        "LAB.Blue.LOCALHOST",
        "lab.blue.localhost.",
        "Lab.blue.localhost.:80",
    ] {
        visitor.send(format!("GET /head HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let (head, body) = visitor.answer();
        assert_eq!(head.status, 200, "{host}");
        // The app gets what the client wrote.
        let wanted = format!("host: {}", host.to_ascii_lowercase());
        assert!(got(&body).contains(&wanted), "{host}: {body}");
    }
    for host in
        ["blue.localhost", "x.lab.blue.localhost", "lab.blue.localhost..", "lab.blue.localhost:x", "é"]
    {
        visitor.send(format!("GET /head HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let (head, body) = visitor.answer();
        assert_eq!(head.status, if host == "é" { 400 } else { 404 }, "{host}: {body}");
    }
}

#[test]
fn what_is_not_there_is_said_by_the_router() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "lab.blue"]);
    let mut visitor = Visitor::new(&max);
    visitor.ask("GET /", &[]);
    let (head, body) = visitor.answer();
    assert_eq!((head.status, head.header("retry-after")), (503, Some("5")));
    assert_eq!(head.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        body.contains("<p>The app at &#39;lab.blue.localhost&#39; is not running at the moment.</p>"),
        "{body}"
    );
    visitor.send("GET / HTTP/1.1\r\nHost: <b>.blue.localhost\r\n\r\n");
    let (head, body) = visitor.answer();
    assert_eq!(head.status, 404);
    let said = "There is no app at &#39;&lt;b&gt;.blue.localhost&#39;. Apps are at APP.NETWORK.localhost.";
    assert!(body.contains(said), "{body}");
    // A hostname is gone with its app.
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    assert_eq!(visitor.get("/").0, 404);
}

#[test]
fn an_app_that_breaks_off_or_refuses_is_a_bad_gateway() {
    let (max, rig, _dir) = started();
    let broke = "The app broke off, or answered with something that is no HTTP.";
    for path in ["/none", "/garbage"] {
        let (status, body) = Visitor::new(&max).get(path);
        assert!(status == 502 && body.contains(broke), "{path}: {status} {body}");
    }
    let (status, body) = Visitor::new(&max).get("/switch");
    assert!(
        status == 502 && body.contains("The app switches the protocol, which nobody asked for."),
        "{body}"
    );
    // What has begun can't be taken back: the connection ends before the body does.
    let mut visitor = Visitor::new(&max);
    visitor.ask("GET /half", &[]);
    let head = visitor.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("100")));
    assert_eq!(visitor.rest(), b"half\n");
    let half = access(&rig, "GET /half 200 ");
    assert!(half.ends_with(" 5 bytes, broken off"), "{half}");
    access(&rig, "GET /none 502 ");
    assert_eq!(Visitor::new(&max).get("/deaf"), (200, "deaf from now on\n".to_owned()));
    let (status, body) = Visitor::new(&max).get("/");
    assert!(status == 502 && body.contains("The app does not accept connections."), "{status} {body}");
}

#[test]
fn the_app_learns_where_a_request_came_from() {
    let (max, _rig, _dir) = started();
    let mut visitor = Visitor::new(&max);
    visitor.send("GET /head HTTP/1.1\r\nHost: LAB.blue.localhost:81\r\n\r\n");
    let lines = got(&visitor.answer().1);
    for line in
        ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: lab.blue.localhost:81"]
    {
        assert_eq!(lines.iter().filter(|one| *one == line).count(), 1, "{line}: {lines:?}");
    }
    // What the client claims is kept as a chain, or replaced.
    visitor.ask(
        "GET /head",
        &[
            "X-Forwarded-For: 203.0.113.7",
            "X-Forwarded-For: 198.51.100.1, 192.0.2.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: bank.example",
        ],
    );
    let lines = got(&visitor.answer().1);
    let forwarded: Vec<&String> = lines.iter().filter(|line| line.starts_with("x-forwarded-")).collect();
    assert_eq!(forwarded.len(), 3, "{lines:?}");
    for line in [
        "x-forwarded-for: 203.0.113.7, 198.51.100.1, 192.0.2.1, 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: lab.blue.localhost",
    ] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
    }
}

#[test]
fn what_concerns_one_connection_stays_on_it() {
    let (max, _rig, _dir) = started();
    let mut visitor = Visitor::new(&max);
    visitor.ask(
        "GET /head",
        &[
            "Connection: keep-alive, X-Mine, Content-Length, Host",
            "X-Mine: 1",
            "X-Yours: 2",
            "Keep-Alive: timeout=100",
            "Proxy-Authorization: Basic eA==",
            "Proxy-Connection: keep-alive",
            "Proxy: http://evil.example/",
            "TE: trailers",
            "Upgrade: h2c",
            "Authorization: Bearer x",
            "Cookie: a=b",
        ],
    );
    let (head, body) = visitor.answer();
    assert_eq!(head.status, 200);
    let lines = got(&body);
    for kept in ["host: lab.blue.localhost", "x-yours: 2", "authorization: bearer x", "cookie: a=b"] {
        assert!(lines.iter().any(|line| line == kept), "{kept}: {lines:?}");
    }
    let gone = ["connection", "x-mine", "keep-alive", "proxy", "te", "upgrade"];
    let left: Vec<&String> =
        lines.iter().filter(|line| gone.iter().any(|name| line.starts_with(name))).collect();
    assert!(left.is_empty(), "{left:?}");
    visitor.ask("GET /hop", &[]);
    let (head, _) = visitor.answer();
    assert_eq!(head.header("x-public"), Some("1"));
    for name in ["x-private", "keep-alive", "proxy-authenticate", "connection"] {
        assert_eq!(head.header(name), None, "{head:?}");
    }
}

#[test]
fn a_body_streams_up_and_an_answer_streams_down() {
    let (max, _rig, dir) = started();
    let mut visitor = Visitor::new(&max);
    visitor.ask("POST /body", &["Transfer-Encoding: chunked"]);
    visitor.send("5\r\nhello\r\n");
    // The app has the first chunk before the second is sent.
    wait_for("the first chunk to arrive", || dir.join("arrived").exists().then_some(()));
    visitor.send("6\r\n world\r\n0\r\n\r\n");
    let (head, body) = visitor.answer();
    assert_eq!((head.status, body), (200, format!("11 {:08x}\n", fnv(b"hello world"))));

    visitor.ask("GET /stream/go", &[]);
    assert_eq!(visitor.head().unwrap().header("transfer-encoding"), Some("chunked"));
    assert_eq!(visitor.chunk().as_deref(), Some("first\n"));
    // Only now the app sends the second.
    fs::write(dir.join("go"), "").unwrap();
    assert_eq!(visitor.chunk().as_deref(), Some("second\n"));
    assert_eq!(visitor.chunk(), None);
    // An answer may come while the request is still on its way.
    visitor.ask("POST /status/413", &["Content-Length: 1000000"]);
    let (head, body) = visitor.answer();
    assert_eq!((head.status, body.as_str()), (413, "as you like\n"));
}

#[test]
fn a_client_that_expects_to_be_asked_is_asked_and_one_that_leaves_is_noticed() {
    let (max, rig, dir) = started();
    let mut visitor = Visitor::new(&max);
    visitor.ask("POST /body", &["Content-Length: 5", "Expect: 100-continue"]);
    assert_eq!(visitor.head().unwrap().status, 100);
    visitor.send("hello");
    assert_eq!(visitor.answer().1, format!("5 {:08x}\n", fnv(b"hello")));
    fs::remove_file(dir.join("arrived")).unwrap();
    let visitor = Visitor::new(&max);
    visitor.ask("PUT /body", &["Transfer-Encoding: chunked"]);
    visitor.send("4\r\npart\r\n");
    wait_for("the part to arrive", || dir.join("arrived").exists().then_some(()));
    drop(visitor);
    let line = access(&rig, "PUT /body ");
    // It is not the app's fault.
    let told = ["PUT /body 400 ", "PUT /body - "].iter().any(|begin| line.starts_with(begin));
    assert!(told, "{line}");
    wait_for("the app to notice", || {
        rig.ok(&["logs", "app", "lab.blue"]).contains("the body broke off").then_some(())
    });
}

/// The most memory a process has had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn large_bodies_pass_both_ways_in_little_memory() {
    const SIZE: usize = 50 << 20;
    let (max, _rig, _dir) = started();
    let mut visitor = Visitor::new(&max);
    let part: Vec<u8> = (0..65_536_u32).map(|n| (n % 251) as u8).collect();
    // Once in small, so that what is needed anyway is there.
    visitor.ask("PUT /body", &["Content-Length: 65536"]);
    visitor.send(&part);
    assert_eq!(visitor.answer().1, format!("65536 {:08x}\n", fnv(&part)));
    let before = peak(max.pid());
    visitor.ask("PUT /body", &[&format!("Content-Length: {SIZE}")]);
    for _ in 0..SIZE / part.len() {
        visitor.send(&part);
    }
    let whole = part.repeat(SIZE / part.len());
    assert_eq!(visitor.answer().1, format!("{SIZE} {:08x}\n", fnv(&whole)));
    visitor.ask(&format!("GET /bytes/{SIZE}"), &[]);
    let head = visitor.head().unwrap();
    assert_eq!(head.header("content-length"), Some(SIZE.to_string().as_str()));
    // A client that does not read makes the app wait, not maxd buffer.
    assert_eq!(visitor.bytes(3), b"abc");
    visitor.skip(SIZE as u64 - 3);
    assert_eq!(visitor.get("/").0, 200);
    let grown = peak(max.pid()) - before;
    assert!(grown < 8 * 1024, "maxd has grown by {grown} KiB");
}

#[test]
fn a_websocket_carries_messages_both_ways() {
    let (max, rig, _dir) = started();
    let stream = Visitor::new(&max).stream().try_clone().unwrap();
    let (mut socket, answer) = tungstenite::client(format!("ws://{HOST}/ws?room=1"), stream).unwrap();
    assert_eq!(answer.status(), 101);
    for text in ["hello", &"x".repeat(1000), "é"] {
        socket.send(Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(text));
    }
    access(&rig, "GET /ws?room=1 101 ");
    socket.close(None).unwrap();
    assert!(socket.read().unwrap().is_close());
    // Any protocol will do, and bytes sent along with the request are not lost.
    let mut visitor = Visitor::new(&max);
    visitor.send(format!(
        "GET /raw HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nearly "
    ));
    let head = visitor.head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("raw")));
    assert_eq!(visitor.bytes(6), b"early ");
    visitor.send("late");
    assert_eq!(visitor.bytes(4), b"late");
    visitor.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(visitor.rest(), b"");
    // An app that does not want it answers as ever.
    let mut visitor = Visitor::new(&max);
    visitor.ask("GET /", &["Connection: upgrade", "Upgrade: websocket"]);
    assert_eq!(visitor.answer().1, "one\n");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let (max, _rig, _dir) = started();
    let mut visitor = Visitor::new(&max);
    let counts: Vec<String> = (0..3).map(|_| visitor.get("/count").1).collect();
    assert_eq!(counts, ["1\n", "2\n", "3\n"]);
    // Two requests at once are answered in order.
    visitor.send(format!("GET /count HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(2));
    assert_eq!((visitor.answer().1, visitor.answer().1), ("4\n".to_owned(), "5\n".to_owned()));
    visitor.ask("GET /count", &["Connection: close"]);
    let (head, body) = visitor.answer();
    assert_eq!((head.header("connection"), body.as_str()), (Some("close"), "6\n"));
    assert_eq!(visitor.rest(), b"");
    // What can't be sent twice has a connection of its own.
    let mut visitor = Visitor::new(&max);
    for method in ["POST", "DELETE", "GET"] {
        let length = if method == "GET" { "Content-Length: 3\r\n\r\nabc" } else { "\r\n" };
        visitor.send(format!("{method} /count HTTP/1.1\r\nHost: {HOST}\r\n{length}"));
        assert_eq!(visitor.answer().1, "1\n", "{method}");
    }
    // An app that closes a kept connection is not to be noticed.
    let mut visitor = Visitor::new(&max);
    assert_eq!(visitor.get("/old"), (200, "old\n".to_owned()));
    assert_eq!(visitor.get("/").0, 200);
    // HTTP/1.0 ends with the connection, unless it says otherwise.
    let mut visitor = Visitor::new(&max);
    visitor.send(format!("GET /old HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    let head = visitor.head().unwrap();
    assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
    assert_eq!(visitor.rest(), b"old\n");
}

#[test]
fn head_has_the_length_and_no_body() {
    let (max, rig, _dir) = started();
    let mut visitor = Visitor::new(&max);
    visitor.ask("HEAD /bytes/1234", &[]);
    let head = visitor.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("1234")));
    // The next answer follows at once.
    assert_eq!(visitor.get("/"), (200, "one\n".to_owned()));
    let line = access(&rig, "HEAD /bytes/1234 200 ");
    assert!(line.ends_with(" 0 bytes"), "{line}");
}

#[test]
fn requests_can_not_be_smuggled() {
    let (max, _rig, _dir) = started();
    let raw = |request: &str| {
        let mut visitor = Visitor::new(&max);
        visitor.send(request);
        let answer = String::from_utf8(visitor.rest()).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
        (status, answer)
    };
    let status = |request: &str| raw(&format!("{request}\r\nConnection: close\r\n\r\n")).0;
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: other.blue.localhost")), "400");
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}")), "400");
    assert_eq!(status("GET / HTTP/1.1"), "400");
    assert_eq!(status("GET / HTTP/1.1\r\nHost:"), "400");
    assert_eq!(status(&format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}")), "405");
    assert_eq!(status(&format!("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: {HOST}")), "405");
    assert_eq!(status("GET http://127.0.0.1:22/ HTTP/1.1\r\nHost: lab.blue.localhost"), "404");
    // Two lengths, or one that is none.
    for length in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: +1",
        "Content-Length: 1, 1",
        "Content-Length: -1",
    ] {
        assert_eq!(status(&format!("POST /body HTTP/1.1\r\nHost: {HOST}\r\n{length}")), "400", "{length}");
    }
    for coding in ["identity", "chunked, gzip", "xchunked"] {
        let request = format!("POST /body HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: {coding}");
        assert_eq!(status(&request), "400", "{coding}");
    }
    for line in ["GET / HTTP/1.1\r\nHost : lab.blue.localhost", "GET / HTTP/1.1\r\n Host: lab.blue.localhost"]
    {
        assert_eq!(status(line), "400", "{line}");
    }
    assert_eq!(status(&format!("GET /a\0b HTTP/1.1\r\nHost: {HOST}")), "400");
    // The target's host counts, and only that one reaches the app.
    let (code, answer) = raw(
        "GET http://LAB.blue.localhost:99/head HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!(code == "200" && answer.contains("GET /head HTTP/1.1"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("host: lab.blue.localhost:99"), "{answer}");
    assert!(!answer.contains("evil"), "{answer}");
    // With both a length and chunks the chunks count, and the connection ends.
    for both in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let next = format!("GET /status/299 HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let mut visitor = Visitor::new(&max);
        visitor.send(format!(
            "POST /body HTTP/1.1\r\nHost: {HOST}\r\n{both}\r\n\r\n4\r\nwiki\r\n0\r\n\r\n{next}"
        ));
        assert_eq!(visitor.answer().1, format!("4 {:08x}\n", fnv(b"wiki")), "{both}");
        assert_eq!(visitor.rest(), b"", "{both}");
    }
    // A request in a body stays in it.
    let inner = "GET /status/299 HTTP/1.1\r\nHost: lab.blue.localhost\r\n\r\n";
    let mut visitor = Visitor::new(&max);
    visitor.send(format!(
        "POST /body HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    ));
    assert_eq!(visitor.answer().1, format!("{} {:08x}\n", inner.len(), fnv(inner.as_bytes())));
    // What the app does not read of one request is not the next one's.
    let mut visitor = Visitor::new(&max);
    visitor.send(format!(
        "POST /status/200 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    ));
    assert_eq!(visitor.answer().0.status, 200);
    for _ in 0..3 {
        assert_eq!(Visitor::new(&max).get("/"), (200, "one\n".to_owned()));
    }
}

#[test]
fn a_path_reaches_the_app_as_it_was_written() {
    let (max, _rig, _dir) = started();
    let mut visitor = Visitor::new(&max);
    for path in ["/head?a=1&b=%20%2F", "/head?//x", "/head?q=é", "/head?a|b"] {
        visitor.ask(&format!("GET {path}"), &[]);
        let (head, body) = visitor.answer();
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(body.lines().next(), Some(format!("GET {path} HTTP/1.1").as_str()));
    }
    for path in ["/../../etc/passwd", "//evil.example/x", "/%2e%2e/%00", "/a/./b//c"] {
        assert_eq!(visitor.get(path), (200, "one\n".to_owned()), "{path}");
    }
}

//! The exchange in memory, held against ureq's protocol core (ureq-proto) on both sides.

#![allow(clippy::unwrap_used)]
use super::*;
use ureq_proto::client::{Call, RecvResponseResult, SendRequestResult};
use ureq_proto::{http, server};

/// A connection in memory: reads give one piece each, writes break off after `takes` bytes.
struct Twin {
    pieces: Vec<Vec<u8>>,
    written: Vec<u8>,
    takes: usize,
}

impl Twin {
    fn new(pieces: &[&[u8]]) -> Twin {
        let pieces = pieces.iter().rev().map(|piece| piece.to_vec()).collect();
        Twin { pieces, written: Vec::new(), takes: usize::MAX }
    }
}

impl Read for Twin {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.pieces.pop() else { return Ok(0) };
        let count = piece.len().min(out.len());
        out[..count].copy_from_slice(&piece[..count]);
        if count < piece.len() {
            self.pieces.push(piece.split_off(count));
        }
        Ok(count)
    }
}

impl Write for Twin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.takes - self.written.len());
        match count {
            0 if !bytes.is_empty() => Err(ErrorKind::BrokenPipe.into()),
            _ => self.written.write(&bytes[..count]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Outcome = Result<(u16, Vec<u8>), String>;

/// What rig reads.
fn ours(pieces: &[&[u8]], limit: usize) -> Outcome {
    let mut twin = Twin::new(pieces);
    let answer = receive(&mut twin).map_err(|error| error.to_string())?;
    let status = answer.status;
    Ok((status, answer.body(&mut twin, limit).map_err(|error| error.to_string())?))
}

/// What ureq's core reads.
fn oracle(bytes: &[u8]) -> Outcome {
    let text = |error: ureq_proto::Error| error.to_string();
    let request = http::Request::get("http://localhost/").body(()).unwrap();
    let mut call = Call::new(request).unwrap().proceed();
    call.write(&mut [0; 1024]).unwrap();
    let Some(SendRequestResult::RecvResponse(mut call)) = call.proceed().unwrap() else { panic!() };
    let mut at = 0;
    let head = loop {
        let (used, head) = call.try_response(&bytes[at..], false).map_err(text)?;
        at += used;
        match head {
            Some(head) => break head,
            None if used == 0 => return Err("early".to_owned()),
            None => {}
        }
    };
    let mut body = Vec::new();
    if let Some(RecvResponseResult::RecvBody(mut call)) = call.proceed() {
        loop {
            let mut out = [0; 512];
            let (used, count) = call.read(&bytes[at..], &mut out).map_err(text)?;
            at += used;
            body.extend_from_slice(&out[..count]);
            if (used, count) == (0, 0) {
                break;
            }
        }
        if !call.can_proceed() {
            return Err("early".to_owned());
        }
    }
    Ok((head.status().as_u16(), body))
}

#[test]
fn answers_are_read_as_ureq_reads_them_however_they_are_cut() {
    let table: &[(&str, Option<(u16, &str)>)] = &[
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Some((200, "hello"))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some((200, ""))),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", Some((404, "{}"))),
        ("HTTP/1.1 204 No Content\r\n\r\n", Some((204, ""))),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", Some((200, "to the end"))),
        ("HTTP/1.0 200 OK\r\n\r\nto the end", Some((200, "to the end"))),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            Some((200, "abcde")),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
            Some((200, "0123456789")),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some((200, "ok"))),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Some((200, "ok")),
        ),
        ("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", Some((302, ""))),
        ("", None),
        ("HTTP/1.1 200 OK\r\n", None),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nhello", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 5\r\n\r\nhello", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", None),
    ];
    for (text, expected) in table {
        let bytes = text.as_bytes();
        let expected = expected.map(|(status, body)| (status, body.as_bytes().to_vec()));
        assert_eq!(oracle(bytes).ok(), expected, "ureq: {text:?}");
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let pieces: Vec<_> = [first, second].into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(ours(&pieces, 100).ok(), expected, "{text:?} cut at {cut}");
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(ours(&single, 100).ok(), expected, "{text:?} byte by byte");
    }
}

/// Where rig is stricter than ureq, and what it says.
#[test]
fn answers_are_limited() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_HEAD));
    let size = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;{}", "y".repeat(2 * MAX_HEAD));
    for (text, said) in [
        (long.as_str(), "the head of the answer is too long"),
        (&size, "the head of the answer is too long"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n", "the answer ended early"),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello", "the length of the answer is no number"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "the answer is in an unknown coding"),
    ] {
        assert_eq!(ours(&[text.as_bytes()], 100).unwrap_err(), said);
    }
    let much = "x".repeat(3 * PIECE);
    for head in ["", "content-length: 98304\r\n"] {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n{much}");
        assert_eq!(ours(&[text.as_bytes()], much.len()).unwrap().1.len(), much.len());
        assert_eq!(ours(&[text.as_bytes()], PIECE).unwrap_err(), "the answer is too long");
    }
}

/// A request as ureq's server side reads it: its head and its body.
fn served(mut bytes: &[u8]) -> (http::Request<()>, Vec<u8>) {
    let mut reply = server::Reply::<server::state::RecvRequest>::new().unwrap();
    let (used, request) = reply.try_request(bytes).unwrap();
    bytes = &bytes[used..];
    let request = request.unwrap();
    let mut body = Vec::new();
    if let server::RecvRequestResult::RecvBody(mut reply) = reply.proceed().unwrap() {
        let mut out = vec![0; 1 << 20];
        loop {
            let (used, count) = reply.read(bytes, &mut out).unwrap();
            bytes = &bytes[used..];
            body.extend_from_slice(&out[..count]);
            if (used, count) == (0, 0) {
                break;
            }
        }
        assert!(reply.is_ended());
    }
    assert!(bytes.is_empty());
    (request, body)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn exchange(wire: &mut dyn Wire, request: &Request<'_>, body: Option<Body<'_>>) -> io::Result<Answer> {
    send(wire, request, body)?;
    receive(wire)
}

#[test]
fn requests_are_what_ureq_reads() {
    let url = Url::parse("http://localhost:7070/api/").unwrap();
    let request =
        Request { method: "PUT", url: &url, path: "/x?y=z", headers: &[("x-one", "a b"), ("x-two", "2")] };
    let mut twin = Twin::new(&[OK]);
    assert_eq!(exchange(&mut twin, &request, None).unwrap().status, 200);
    assert_eq!(
        twin.written,
        b"PUT /api/x?y=z HTTP/1.1\r\nhost: localhost:7070\r\nx-one: a b\r\nx-two: 2\r\n\r\n"
    );
    for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
        let content: Vec<_> = (0..size).map(|index| index as u8).collect();
        for length in [None, Some(size as u64)] {
            let mut twin = Twin::new(&[OK]);
            let body = Body { content: &mut content.as_slice(), length };
            assert_eq!(exchange(&mut twin, &request, Some(body)).unwrap().status, 200);
            let (head, body) = served(&twin.written);
            assert_eq!((head.method().as_str(), head.uri().to_string().as_str()), ("PUT", "/api/x?y=z"));
            assert_eq!(head.headers()["x-one"], "a b");
            assert_eq!(head.headers().contains_key("content-length"), length.is_some());
            assert!(body == content, "{size} {length:?}");
        }
    }
}

#[test]
fn a_body_has_the_length_that_was_announced() {
    let url = Url::parse("http://localhost/").unwrap();
    let request = Request { method: "PUT", url: &url, path: "/", headers: &[] };
    let send = |length| {
        let mut twin = Twin::new(&[OK]);
        let body = Body { content: &mut "hello".as_bytes(), length: Some(length) };
        (exchange(&mut twin, &request, Some(body)).map(drop), twin.written)
    };
    assert_eq!(send(6).0.unwrap_err().to_string(), "the body ended early");
    assert!(send(4).1.ends_with(b"\r\n\r\nhell"));
}

#[test]
fn an_answer_before_the_end_of_the_body_is_the_answer() {
    let url = Url::parse("http://localhost/").unwrap();
    let request = Request { method: "PUT", url: &url, path: "/", headers: &[] };
    for takes in [0, 10, 1000, 2 * PIECE] {
        let mut twin = Twin::new(&[b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}"]);
        twin.takes = takes;
        let body = Body { content: &mut io::repeat(0), length: None };
        let answer = exchange(&mut twin, &request, Some(body)).unwrap();
        assert_eq!((answer.status, answer.body(&mut twin, 10).unwrap()), (413, b"{}".to_vec()));
    }
    // An error of the body's own is none of the server's.
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
    }
    let body = Body { content: &mut Broken, length: None };
    let error = exchange(&mut Twin::new(&[OK]), &request, Some(body)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn nothing_given_can_end_a_line() {
    let url = Url::parse("http://localhost/").unwrap();
    for (path, value) in [
        ("/x", "a\r\nb: c"),
        ("/x", "a\nb"),
        ("/x", "\u{e9}"),
        ("/x y", "a"),
        ("/x\r\nb", "a"),
        ("x", "a"),
        ("@example.com/", "a"),
    ] {
        let request = Request { method: "GET", url: &url, path, headers: &[("x", value)] };
        let mut twin = Twin::new(&[OK]);
        let error = exchange(&mut twin, &request, None).err().unwrap();
        assert_eq!(error.to_string(), "the request cannot be written as HTTP", "{path:?} {value:?}");
        assert!(twin.written.is_empty());
    }
}

#[test]
fn what_follows_the_head_is_kept() {
    let mut twin = Twin::new(&[b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n\x81\x02hi"]);
    let answer = receive(&mut twin).unwrap();
    assert_eq!((answer.status, answer.header("Upgrade")), (101, Some("websocket")));
    assert_eq!(answer.rest(), b"\x81\x02hi");
}

//! A bare client of Phoenix channels: it sends and receives bytes as they stand in the
//! captures, and knows nothing of joins and replies.

use crate::harness::{Max, PATIENCE};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// An access token of a new session of `user`.
pub fn access(max: &Max, user: &str) -> String {
    let body = format!(r#"{{"token":"{}"}}"#, max.token(user));
    let answer = Http::connect(max).request("POST", "/api/v1/auth/exchange", &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// The standard alphabet, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let six = ALPHABET[(bits >> (18 - 6 * index) & 63) as usize];
            out.push(if index > group.len() { '=' } else { six.into() });
        }
    }
    out
}

/// `de ad` as bytes.
pub fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn connect(max: &Max) -> TcpStream {
    let stream = TcpStream::connect(max.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection that is kept.
pub struct Http(BufReader<TcpStream>);

/// What a server answered.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Http {
    pub fn connect(max: &Max) -> Http {
        Http(BufReader::new(connect(max)))
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: max\r\n");
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat()).unwrap();
    }

    /// None when the connection ends instead.
    pub fn receive(&mut self) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.0.read_line(&mut head) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).unwrap();
        let status = head[9..12].parse().unwrap();
        Some(Answer { status, head: lower, body: String::from_utf8(body).unwrap() })
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(method, path, headers, body);
        self.receive().expect("an answer")
    }
}

/// What comes from a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// With its code and its reason.
    Close(u16, String),
    /// The connection ended without a word.
    End,
}

/// A WebSocket without a library: what is sent is sent as it is.
pub struct Ws(BufReader<TcpStream>);

impl Ws {
    /// Opens one with the official client's handshake.
    pub fn open(max: &Max, access: &str) -> Ws {
        let bearer = base64(access.as_bytes());
        let protocols = format!("phoenix, base64url.bearer.phx.{}", bearer.trim_end_matches('='));
        let (ws, head) = Ws::try_open(max, "vsn=2.0.0", &[("Sec-WebSocket-Protocol", &protocols)]);
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains(
                "\r\nsec-websocket-accept: s3ppLMBiTxaQ9kYGzzhZRbK+xOo=\r\n".to_lowercase().as_str()
            )
        );
        assert!(head.contains("\r\nsec-websocket-protocol: phoenix\r\n"), "{head}");
        ws
    }

    /// The connection, and the head of the answer in lower case.
    pub fn try_open(max: &Max, query: &str, headers: &[(&str, &str)]) -> (Ws, String) {
        let mut http = Http::connect(max);
        let mut all = vec![
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        all.extend(headers);
        let answer = http.request("GET", &format!("/socket/websocket?{query}"), &all, b"");
        (Ws(http.0), format!("{}{}", answer.head, answer.body))
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let key = [0xa1, 0xb2, 0xc3, 0xd4];
        let mut out = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => out.push(0x80 | length as u8),
            length @ 126..=65535 => {
                out.push(0x80 | 126);
                out.extend((length as u16).to_be_bytes());
            }
            length => {
                out.push(0x80 | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        out.extend(key);
        out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.raw(&out);
    }

    pub fn text(&mut self, text: &str) {
        self.frame(1, text.as_bytes());
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        self.frame(2, bytes);
    }

    pub fn close(&mut self, code: u16) {
        self.frame(8, &code.to_be_bytes());
    }

    /// Exactly so many bytes.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next frame.
    pub fn receive(&mut self) -> Frame {
        let mut head = [0; 2];
        if self.0.read_exact(&mut head).is_err() {
            return Frame::End;
        }
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.read(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.read(8).try_into().unwrap()),
            length => u64::from(length),
        };
        let payload = self.read(length as usize);
        match head[0] {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x82 => Frame::Binary(payload),
            0x88 => {
                let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                Frame::Close(code, String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned())
            }
            other => panic!("an unexpected frame: {other:x}"),
        }
    }

    /// The next frame, which is text.
    #[track_caller]
    pub fn expect(&mut self) -> String {
        match self.receive() {
            Frame::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a text frame and receives one.
    #[track_caller]
    pub fn ask(&mut self, text: &str) -> String {
        self.text(text);
        self.expect()
    }
}

/// A long-polling session.
pub struct Poll {
    http: Http,
    pub token: String,
    access: String,
}

impl Poll {
    pub fn open(max: &Max, access: &str) -> Poll {
        let mut poll = Poll { http: Http::connect(max), token: String::new(), access: access.to_owned() };
        let opened = poll.get();
        let token = opened.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(opened.body, format!(r#"{{"messages":[],"status":410,"token":"{token}"}}"#));
        assert!(opened.head.contains("\r\ncache-control: no-store\r\n"), "{}", opened.head);
        poll.token = token;
        poll
    }

    pub fn path(&self) -> String {
        match self.token.as_str() {
            "" => "/socket/longpoll?vsn=2.0.0&".to_owned(),
            token => format!("/socket/longpoll?vsn=2.0.0&token={token}"),
        }
    }

    /// Begins a poll.
    pub fn send_get(&mut self) {
        let (path, access) = (self.path(), self.access.clone());
        let headers = [("accept", "application/json"), ("x-phoenix-authtoken", &access)];
        self.http.send("GET", &path, &headers, b"");
    }

    pub fn receive(&mut self) -> Answer {
        self.http.receive().expect("an answer")
    }

    pub fn get(&mut self) -> Answer {
        self.send_get();
        self.receive()
    }

    pub fn post_as(&mut self, content_type: &str, body: &str) -> Answer {
        let path = self.path();
        self.http.request("POST", &path, &[("content-type", content_type)], body.as_bytes())
    }

    #[track_caller]
    pub fn post(&mut self, body: &str) {
        let answer = self.post_as("application/x-ndjson", body);
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":200}"#), "{body}");
    }

    /// Polls until there are so many messages, each answer exactly as Phoenix writes it.
    #[track_caller]
    pub fn messages(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let answer = self.get();
            let json = answer.json();
            assert!(matches!(json["status"].as_u64(), Some(200 | 204)), "{}", answer.body);
            let new: Vec<String> = serde_json::from_value(json["messages"].clone()).unwrap();
            let (status, texts) = (json["status"].clone(), serde_json::to_string(&new).unwrap());
            let token = &self.token;
            let exact = format!(r#"{{"messages":{texts},"status":{status},"token":"{token}"}}"#);
            assert_eq!(answer.body, exact);
            messages.extend(new);
        }
        messages
    }
}

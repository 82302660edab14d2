//! A visitor of an app: HTTP/1.1 by hand, so that a test sees each byte and each chunk
//! when it comes. And the app that does what the path says (tests/apps/lab).

use crate::harness::{Max, PATIENCE, Rig, project};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use tempfile::TempDir;

/// The host of the app that [`lab`] deploys.
pub const HOST: &str = "lab.blue.localhost";

/// The app's project, with this message.
pub fn lab(message: &str) -> TempDir {
    lab_with(message, include_str!("../apps/lab/rig.json"))
}

/// The same with a `rig.json` of the test's own.
pub fn lab_with(message: &str, settings: &str) -> TempDir {
    let server = include_str!("../apps/lab/server.c");
    project(&[("server.c", server), ("message.txt", message), ("rig.json", settings)])
}

/// Deploys a directory as `lab` in the network `blue`; the directory of its release.
pub fn deploy(max: &Max, rig: &Rig, dir: &TempDir) -> PathBuf {
    let deploy = rig.json(&["deploy", dir.path().to_str().unwrap(), "-a", "lab", "-n", "blue", "--create"]);
    assert_eq!(deploy["state"], "live", "{deploy}");
    max.data().join("apps/1").join(deploy["release"].to_string())
}

/// A server with the lab on it; and the directory of its release.
pub fn started() -> (Max, Rig, PathBuf) {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = deploy(&max, &rig, &lab("one\n"));
    (max, rig, dir)
}

/// A connection to the apps' listener.
pub struct Visitor(BufReader<TcpStream>);

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    /// In lower case, as they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The only header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "'{name}' twice in {self:?}");
        value
    }
}

impl Visitor {
    pub fn new(max: &Max) -> Visitor {
        let port = max.apps_url.rsplit_once(':').unwrap().1;
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Visitor(BufReader::new(stream))
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request without a body, with these header lines besides `Host`.
    pub fn ask(&self, line: &str, headers: &[&str]) {
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.send(format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n"));
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The next answer's head; none when the connection has ended.
    pub fn head(&mut self) -> Option<Head> {
        let first = self.line();
        if first.is_empty() {
            return None;
        }
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {first}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { return Some(Head { status, headers }) };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The next chunk; none at the end.
    pub fn chunk(&mut self) -> Option<String> {
        let line = self.line();
        let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no chunk: '{line}'"));
        let mut chunk = vec![0; size];
        self.0.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line(), "");
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    /// The body that belongs to a head.
    pub fn body(&mut self, head: &Head) -> String {
        if head.header("transfer-encoding") == Some("chunked") {
            return std::iter::from_fn(|| self.chunk()).collect();
        }
        let length = head.header("content-length").unwrap_or_else(|| panic!("no length: {head:?}"));
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// The next answer: its head and its body.
    pub fn answer(&mut self) -> (Head, String) {
        let head = self.head().expect("an answer");
        let body = self.body(&head);
        (head, body)
    }

    /// The next answer's status and body.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), &[]);
        let (head, body) = self.answer();
        (head.status, body)
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.0.read_to_end(&mut rest);
        rest
    }

    /// Reads so many bytes and forgets them.
    pub fn skip(&mut self, bytes: u64) {
        let skipped = std::io::copy(&mut self.0.by_ref().take(bytes), &mut std::io::sink()).unwrap();
        assert_eq!(skipped, bytes);
    }

    /// So many bytes of what comes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}

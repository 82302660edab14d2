//! A bare client of content-addressed deploys: it knows the words of docs/protocol.md and
//! nothing of rig's code.

use crate::harness::{Max, PATIENCE, Rig, wait_for};
use crate::phx::{Answer, Http, access};
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Is {
    File(u32, Vec<u8>),
    Dir(u32),
    Link(&'static str),
}

/// The files of a deploy, by their paths with zeros for slashes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Files(BTreeMap<String, Is>);

/// SHA-256 in hexadecimal.
pub fn sha(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A gzip'd tar of such entries.
pub fn tar(entries: &[(String, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

impl Files {
    /// A page and what else.
    pub fn new(files: &[(&str, Is)]) -> Files {
        let mut all = Files::default();
        for (path, is) in files {
            all.set(path, is.clone());
        }
        all
    }

    pub fn set(&mut self, path: &str, is: Is) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].replace('/', "\0")).or_insert(Is::Dir(0o755));
        }
        self.0.insert(path.replace('/', "\0"), is);
    }

    /// A file with this text.
    pub fn text(&mut self, path: &str, text: &str) {
        self.set(path, Is::File(0o644, text.as_bytes().to_vec()));
    }

    pub fn remove(&mut self, path: &str) {
        self.0.remove(&path.replace('/', "\0"));
    }

    fn record(path: &str, is: &Is) -> Vec<u8> {
        let path = path.replace('\0', "/");
        let text = match is {
            Is::File(mode, content) => format!("f {mode:03o} {} {} {path}\0", content.len(), sha(content)),
            Is::Dir(mode) => format!("d {mode:03o} {path}\0"),
            Is::Link(target) => format!("l {path}\0{target}\0"),
        };
        text.into_bytes()
    }

    pub fn canonical(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(path, is)| Files::record(path, is)).collect()
    }

    pub fn name(&self) -> String {
        sha(&self.canonical())
    }

    /// The whole manifest as it is sent.
    pub fn full(&self) -> Vec<u8> {
        gzip(&[b"full\0".as_slice(), &self.canonical(), format!(". {}\0", self.name()).as_bytes()].concat())
    }

    /// What differs from `base`.
    pub fn delta(&self, base: &Files) -> Vec<u8> {
        let mut text = format!("base {}\0", base.name()).into_bytes();
        let mut paths: Vec<&String> = self.0.keys().chain(base.0.keys()).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            match self.0.get(path) {
                None => text.extend(format!("- {}\0", path.replace('\0', "/")).into_bytes()),
                Some(is) if base.0.get(path) == Some(is) => {}
                Some(is) => text.extend(Files::record(path, is)),
            }
        }
        text.extend(format!(". {}\0", self.name()).into_bytes());
        gzip(&text)
    }

    /// Its contents, by their numbers.
    pub fn contents(&self) -> Vec<&[u8]> {
        let mut all: Vec<&[u8]> = Vec::new();
        for is in self.0.values() {
            if let Is::File(_, content) = is
                && !all.contains(&content.as_slice())
            {
                all.push(content);
            }
        }
        all
    }

    /// What an answer says is missing, as a body.
    pub fn missing(&self, progress: &Value) -> Vec<u8> {
        let contents = self.contents();
        let partial = progress["partial"].as_array().unwrap();
        let entries: Vec<(String, &[u8])> = numbers(progress)
            .into_iter()
            .map(|number| {
                let content = contents[number];
                let known = partial.iter().find(|partial| partial["index"] == number);
                match known.map(|partial| partial["bytes"].as_u64().unwrap() as usize) {
                    Some(offset) => (format!("{}.{offset}", sha(content)), &content[offset..]),
                    None => (sha(content), content),
                }
            })
            .collect();
        tar(&entries)
    }

    /// What lies below a directory.
    pub fn read(directory: &Path) -> Files {
        let mut found = Files::default();
        let mut rest = vec![directory.to_owned()];
        while let Some(inside) = rest.pop() {
            for item in fs::read_dir(&inside).unwrap() {
                let path = item.unwrap().path();
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                let data = path.symlink_metadata().unwrap();
                let mode = data.permissions().mode() & 0o777;
                let is = match data.file_type() {
                    kind if kind.is_dir() => {
                        rest.push(path);
                        Is::Dir(mode)
                    }
                    kind if kind.is_symlink() => Is::Link(Box::leak(
                        fs::read_link(&path).unwrap().to_str().unwrap().to_owned().into_boxed_str(),
                    )),
                    _ => Is::File(mode, fs::read(&path).unwrap()),
                };
                found.0.insert(name.replace('/', "\0"), is);
            }
        }
        found
    }
}

/// The numbers that an answer says are missing.
pub fn numbers(progress: &Value) -> Vec<usize> {
    let text = progress["missing"].as_str().unwrap();
    let ranges = text.split(',').filter(|range| !range.is_empty());
    ranges
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse().unwrap()..=last.parse().unwrap()
        })
        .collect()
}

/// Somebody who deploys the app `web` in a network.
pub struct Sender {
    pub rig: Rig,
    access: String,
    url: String,
    pub network: &'static str,
}

impl Sender {
    pub fn new(max: &Max, user: &str, network: &'static str) -> Sender {
        let rig = max.rig(user);
        rig.run(&["create", "network", network]);
        Sender { rig, access: access(max, user), url: max.url.clone(), network }
    }

    /// The number of a new deploy.
    pub fn begin(&self) -> u64 {
        self.begin_of("web")
    }

    pub fn begin_of(&self, app: &str) -> u64 {
        let request = json!({
            "network": self.network, "app": app, "create": true, "source_bytes": 1, "files": 1,
        });
        let answer = self.rig.ok(&["api", "deploy:create", &request.to_string()]);
        serde_json::from_str::<Value>(&answer).unwrap()["id"].as_u64().unwrap()
    }

    fn head(&self, deploy: u64, what: &str) -> String {
        format!(
            "PUT /api/v1/deploys/{deploy}/{what} HTTP/1.1\r\nhost: max\r\nauthorization: Bearer {}\r\n",
            self.access
        )
    }

    /// A connection on which a body of `length` bytes has begun.
    pub fn open(&self, deploy: u64, what: &str, length: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{}content-length: {length}\r\n\r\n", self.head(deploy, what));
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    pub fn put(&self, max: &Max, deploy: u64, what: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.access);
        let path = format!("/api/v1/deploys/{deploy}/{what}");
        Http::connect(max).request("PUT", &path, &[("authorization", &bearer)], body)
    }

    /// What goes well.
    #[track_caller]
    pub fn send(&self, max: &Max, deploy: u64, what: &str, body: &[u8]) -> Value {
        let answer = self.put(max, deploy, what, body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// What doesn't: status, code, message and field.
    #[track_caller]
    pub fn refused(&self, max: &Max, deploy: u64, what: &str, body: &[u8]) -> (u16, String, String, String) {
        let answer = self.put(max, deploy, what, body);
        let error = answer.json();
        let text = |name: &str| error[name].as_str().unwrap_or("").to_owned();
        (answer.status, text("code"), text("message"), text("field"))
    }

    /// A whole deploy, to its end.
    #[track_caller]
    pub fn deploy(&self, max: &Max, files: &Files) -> Value {
        let deploy = self.begin();
        let progress = self.send(max, deploy, "manifest", &files.full());
        if !numbers(&progress).is_empty() {
            let progress = self.send(max, deploy, "contents", &files.missing(&progress));
            assert_eq!(progress["missing"], "", "{progress}");
        }
        self.ended(deploy)
    }

    /// The deploy, once it has ended.
    pub fn ended(&self, deploy: u64) -> Value {
        wait_for("the deploy to end", || {
            let answer = self.rig.ok(&["api", "deploy:status", &json!({"id": deploy}).to_string()]);
            let answer: Value = serde_json::from_str(&answer).unwrap();
            (!answer["finished_at"].is_null()).then_some(answer)
        })
    }

    /// Sends a part of a body and breaks off, once the server has taken it or gone.
    pub fn cut(&self, deploy: u64, body: &[u8], after: usize) {
        let mut stream = self.open(deploy, "contents", body.len());
        let _ = stream.write_all(&body[..after]);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // It answers, or only closes.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

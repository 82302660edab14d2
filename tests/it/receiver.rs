//! What webhooks lead to: a server that keeps what is posted and answers as it is told.
//! It checks signatures by HMAC as RFC 2104 writes it, over SHA-256 alone.

use crate::certs::Server;
use crate::harness::{PATIENCE, wait_for};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What is answered to a post.
#[derive(Clone, Copy)]
pub enum Answer {
    /// This status, and `location` with it.
    Status(u16),
    /// Nothing: the connection is closed.
    Close,
    /// Nothing: the connection is held.
    Hold,
}

/// What was posted.
#[derive(Clone)]
pub struct Post {
    /// The request line and the headers, in lower case.
    pub head: Vec<String>,
    pub text: String,
    /// The body.
    pub body: Value,
}

impl Post {
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.head.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = found.next().unwrap_or_else(|| panic!("no '{name}' in {:?}", self.head));
        assert!(found.next().is_none(), "'{name}' twice in {:?}", self.head);
        value
    }

    /// The time of the signature, which must be of this secret.
    #[track_caller]
    pub fn verify(&self, secret: &str) -> u64 {
        let (time, tag) = self.header("x-max-signature").split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        assert_eq!(tag, hmac(secret, &format!("{time}.{}", self.text)), "{:?}", self.head);
        time.parse().unwrap()
    }

    /// `alert.raised crash_loop lab`.
    pub fn brief(&self) -> String {
        let alert = &self.body["alert"];
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", word(&self.body["event"]), word(&alert["cause"]), word(&alert["app"]))
    }
}

/// HMAC-SHA256 in hexadecimal.
fn hmac(secret: &str, text: &str) -> String {
    let mut block = [0_u8; 64];
    block[..secret.len()].copy_from_slice(secret.as_bytes());
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default)]
struct Shared {
    posts: Vec<Post>,
    answers: VecDeque<Answer>,
    held: Vec<TcpStream>,
}

/// A receiver, until the test ends.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Receiver {
    pub fn start() -> Receiver {
        Receiver::at("127.0.0.1:0".parse().unwrap())
    }

    pub fn at(address: SocketAddr) -> Receiver {
        Receiver::serve(address, None)
    }

    /// One that speaks TLS.
    pub fn secure(server: &Server) -> Receiver {
        let key = PrivateKeyDer::try_from(server.key_der.clone()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(server.der.clone())], key)
            .unwrap();
        Receiver::serve("127.0.0.1:0".parse().unwrap(), Some(Arc::new(config)))
    }

    fn serve(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Receiver {
        let listener = TcpListener::bind(address).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Mutex<Shared>>::default());
        let kept = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&kept), tls.clone());
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let raw = stream.try_clone().unwrap();
                    match tls {
                        None => receive(stream, raw, &shared),
                        Some(config) => {
                            let tls = ServerConnection::new(config).unwrap();
                            receive(StreamOwned::new(tls, stream), raw, &shared);
                        }
                    }
                });
            }
        });
        Receiver { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.address)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    /// The next posts are answered so, and all others with 200.
    pub fn answer(&self, answers: &[Answer]) {
        self.shared().answers.extend(answers);
    }

    /// All that was posted.
    pub fn posts(&self) -> Vec<Post> {
        self.shared().posts.clone()
    }

    /// Waits until so many were posted.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Post> {
        wait_for(&format!("{count} posts"), || Some(self.posts()).filter(|posts| posts.len() >= count))
    }
}

/// A line as it comes; none when nobody speaks HTTP (or TLS).
fn receive(stream: impl Read + Write, raw: TcpStream, shared: &Mutex<Shared>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let mut post = Post { head, text: String::new(), body: Value::Null };
    let mut body = vec![0; post.header("content-length").parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    post.text = String::from_utf8(body).unwrap();
    post.body = serde_json::from_str(&post.text).unwrap();
    let mut shared = shared.lock().unwrap();
    let answer = shared.answers.pop_front().unwrap_or(Answer::Status(200));
    if let Answer::Hold = answer {
        shared.held.push(raw);
    }
    if let Answer::Status(status) = answer {
        let more = "location: /other\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
        let _ = write!(stream.get_mut(), "HTTP/1.1 {status} Said\r\n{more}");
        let _ = stream.get_mut().flush();
    }
    shared.posts.push(post);
}

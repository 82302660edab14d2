//! A relay in front of a `maxd`: it notes what is asked for, and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A running relay. It ends with the test's process.
pub struct Relay {
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The first line of each connection.
    asked: Mutex<Vec<String>>,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    bytes: AtomicU64,
    refuses: AtomicBool,
    /// So many bytes from the server a connection carries; 0 for any number.
    budget: AtomicU64,
    /// The same of bytes from the client, of the next connections that it fits, in this order.
    allowances: Mutex<Vec<Allowance>>,
    spent: AtomicUsize,
    /// How many connections are held, and how often all of them were let go.
    held: Mutex<(usize, usize)>,
    let_go: Condvar,
}

/// What a connection may carry from the client, if its first line contains `part`.
struct Allowance {
    part: &'static str,
    bytes: u64,
    /// It is held then, before it is cut.
    holds: bool,
}

/// What is done to requests for a path.
#[derive(Clone, Copy)]
enum Treatment {
    /// 403, as a filtering proxy has it.
    Refuse,
    /// The answer's head passes, and nothing after it.
    Mute,
    /// The server seems to be one that takes no manifests.
    Older,
}

impl Relay {
    /// Relays to `url`, a server on a loopback address.
    pub fn new(url: &str) -> Relay {
        Relay::with(url, None)
    }

    /// The same, but requests for `path` are refused.
    pub fn refusing(url: &str, path: &'static str) -> Relay {
        Relay::with(url, Some((path, Treatment::Refuse)))
    }

    /// The same, but what follows the head of an answer to a request for `path` is lost.
    pub fn muting(url: &str, path: &'static str) -> Relay {
        Relay::with(url, Some((path, Treatment::Mute)))
    }

    /// The same, but the server says that it takes no manifests.
    pub fn older(url: &str) -> Relay {
        Relay::with(url, Some(("/socket/websocket", Treatment::Older)))
    }

    fn with(url: &str, special: Option<(&'static str, Treatment)>) -> Relay {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.refuses.load(Ordering::Relaxed) {
                    continue;
                }
                // A server that is down looks the same through the relay.
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
                shared.open.lock().unwrap().push(copies);
                let state = Arc::clone(&shared);
                std::thread::spawn(move || connection(client, server, &state, special));
            }
        });
        Relay { url, state }
    }

    /// How many connections began with a line that contains `part`.
    pub fn asked(&self, part: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    /// Cuts every connection there is, in the middle of whatever it carries. How many.
    pub fn cut(&self) -> usize {
        let open = std::mem::take(&mut *self.state.open.lock().unwrap());
        let closed = open.iter().filter(|(client, server)| {
            let _ = server.shutdown(Shutdown::Both);
            client.shutdown(Shutdown::Both).is_ok()
        });
        closed.count()
    }

    /// From now on cuts each connection when it has carried so many bytes from the server;
    /// 0 for not any more.
    pub fn budget(&self, bytes: u64) {
        self.state.budget.store(bytes, Ordering::Relaxed);
    }

    /// Cuts the next connection that begins with a line that contains `part`, and that no
    /// earlier call is about, when it has carried exactly so many bytes from the client.
    pub fn allow(&self, part: &'static str, bytes: u64) {
        self.state.allowances.lock().unwrap().push(Allowance { part, bytes, holds: false });
    }

    /// The same, but until [`Relay::let_go`] the connection stays as it is.
    pub fn hold(&self, part: &'static str, bytes: u64) {
        self.state.allowances.lock().unwrap().push(Allowance { part, bytes, holds: true });
    }

    /// Whether a connection is held.
    pub fn holds(&self) -> bool {
        self.state.held.lock().unwrap().0 > 0
    }

    /// Cuts the connections that are held, and forgets what no connection has come for.
    pub fn let_go(&self) {
        self.state.allowances.lock().unwrap().clear();
        self.state.held.lock().unwrap().1 += 1;
        self.state.let_go.notify_all();
    }

    /// How many connections have used up their budget.
    pub fn spent(&self) -> usize {
        self.state.spent.load(Ordering::Relaxed)
    }

    /// Takes no connection any more, or does again.
    pub fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::Relaxed);
    }

    /// How many bytes went through so far.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }
}

fn connection(
    mut client: TcpStream,
    mut server: TcpStream,
    state: &Arc<State>,
    special: Option<(&str, Treatment)>,
) -> Option<()> {
    let mut buffer = [0; 16 * 1024];
    let count = client.read(&mut buffer).ok()?;
    let first = String::from_utf8_lossy(&buffer[..count]).lines().next().unwrap_or_default().to_owned();
    let special = special.filter(|(path, _)| first.contains(path)).map(|(_, treatment)| treatment);
    let allowance = {
        let mut allowances = state.allowances.lock().unwrap();
        let fits = allowances.iter().position(|allowance| first.contains(allowance.part));
        fits.map(|at| allowances.remove(at))
    };
    state.asked.lock().unwrap().push(first);
    if let Some(Treatment::Refuse) = special {
        let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
        return client.write_all(refusal.as_bytes()).ok();
    }
    if let Some(Treatment::Mute) = special {
        server.write_all(&buffer[..count]).ok()?;
        let count = server.read(&mut buffer).ok()?;
        let head = buffer[..count].windows(4).position(|end| end == b"\r\n\r\n").map_or(count, |at| at + 4);
        client.write_all(&buffer[..head]).ok()?;
        while client.read(&mut buffer).ok()? > 0 {}
        return None;
    }
    let (from, to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = Arc::clone(state);
    let start = buffer[..count].to_vec();
    std::thread::spawn(move || copy(&start, from, to, &up, allowance.as_ref()));
    carry(server, client, state, matches!(special, Some(Treatment::Older)));
    None
}

/// Copies what the server says, as far as the budget goes.
fn carry(mut server: TcpStream, mut client: TcpStream, state: &State, older: bool) {
    let (mut buffer, mut carried) = ([0; 4 * 1024], 0);
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        state.bytes.fetch_add(count as u64, Ordering::Relaxed);
        let (newer, told) = (b"\"manifests\":true", b"\"manifests\":null");
        if older && let Some(at) = buffer[..count].windows(newer.len()).position(|part| part == newer) {
            buffer[at..at + told.len()].copy_from_slice(told);
        }
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
        carried += count as u64;
        let budget = state.budget.load(Ordering::Relaxed);
        if budget > 0 && carried > budget {
            state.spent.fetch_add(1, Ordering::Relaxed);
            let _ = server.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Copies what the client says, which begins with `start`, as far as it may.
fn copy(start: &[u8], mut from: TcpStream, mut to: TcpStream, state: &State, allowance: Option<&Allowance>) {
    let (mut buffer, mut count) = ([0; 16 * 1024], start.len());
    buffer[..count].copy_from_slice(start);
    let mut left = allowance.map_or(u64::MAX, |allowance| allowance.bytes);
    loop {
        let carried = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        state.bytes.fetch_add(carried as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..carried]).is_err() {
            break;
        }
        left -= carried as u64;
        if left == 0 {
            state.spent.fetch_add(1, Ordering::Relaxed);
            if allowance.is_some_and(|allowance| allowance.holds) {
                state.wait();
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        match from.read(&mut buffer) {
            Ok(more @ 1..) => count = more,
            _ => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

impl State {
    /// Until all that is held is let go.
    fn wait(&self) {
        let mut held = self.held.lock().unwrap();
        let times = held.1;
        held.0 += 1;
        let mut held = self.let_go.wait_while(held, |held| held.1 == times).unwrap();
        held.0 -= 1;
    }
}

//! A relay in front of a `maxd`: it notes what is asked for, and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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
    /// The same of bytes from the client, of the next connection whose first line contains this.
    allowance: Mutex<Option<(&'static str, u64)>>,
    spent: AtomicUsize,
}

/// What is done to requests for a path.
#[derive(Clone, Copy)]
enum Treatment {
    /// 403, as a filtering proxy has it.
    Refuse,
    /// The answer's head passes, and nothing after it.
    Mute,
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

    /// Cuts the next connection that begins with a line that contains `part` when it has carried
    /// so many bytes from the client.
    pub fn allow(&self, part: &'static str, bytes: u64) {
        *self.state.allowance.lock().unwrap() = Some((part, bytes));
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
    let allowed_first = first.clone();
    state.asked.lock().unwrap().push(first);
    if let Some(Treatment::Refuse) = special {
        let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
        return client.write_all(refusal.as_bytes()).ok();
    }
    server.write_all(&buffer[..count]).ok()?;
    if let Some(Treatment::Mute) = special {
        let count = server.read(&mut buffer).ok()?;
        let head = buffer[..count].windows(4).position(|end| end == b"\r\n\r\n").map_or(count, |at| at + 4);
        client.write_all(&buffer[..head]).ok()?;
        while client.read(&mut buffer).ok()? > 0 {}
        return None;
    }
    let (from, to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = Arc::clone(state);
    let allowed = state.allowance.lock().unwrap().take_if(|(part, _)| allowed_first.contains(*part));
    std::thread::spawn(move || copy(from, to, &up, allowed.map(|(_, bytes)| bytes)));
    carry(server, client, state);
    None
}

/// Copies what the server says, as far as the budget goes.
fn carry(mut server: TcpStream, mut client: TcpStream, state: &State) {
    let (mut buffer, mut carried) = ([0; 4 * 1024], 0);
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        state.bytes.fetch_add(count as u64, Ordering::Relaxed);
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

fn copy(mut from: TcpStream, mut to: TcpStream, state: &State, allowed: Option<u64>) {
    let (mut buffer, mut carried) = ([0; 16 * 1024], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        state.bytes.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        carried += count as u64;
        if allowed.is_some_and(|allowed| carried > allowed) {
            state.spent.fetch_add(1, Ordering::Relaxed);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

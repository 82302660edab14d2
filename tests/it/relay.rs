//! A relay in front of a `maxd`: it notes what is asked for, and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
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
}

impl Relay {
    /// Relays to `url`, a server on a loopback address.
    pub fn new(url: &str) -> Relay {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is down looks the same through the relay.
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
                shared.open.lock().unwrap().push(copies);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let state = Arc::clone(&shared);
                std::thread::spawn(move || copy(from, to, &state, true));
                let state = Arc::clone(&shared);
                std::thread::spawn(move || copy(server, client, &state, false));
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

    /// How many bytes went through so far.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, state: &State, asks: bool) {
    let mut buffer = [0; 16 * 1024];
    let mut first = asks;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if std::mem::take(&mut first) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            state.asked.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
        }
        state.bytes.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

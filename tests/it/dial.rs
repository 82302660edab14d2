//! Finding a server that has several addresses, and what docs/networks.md says of that
//! and of the rest of the way.

use crate::harness::{Max, PATIENCE, wait_for};
use crate::scripted_proxy::forward;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// A listener at `address` whose queue is full: who tries to connect hears nothing. None
/// when the address is taken.
fn dead(address: SocketAddr) -> Option<(TcpListener, TcpStream)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _guard = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(address).ok()?;
    // A queue of one (listen(2) on Linux), which is taken at once.
    let listener = socket.listen(0).unwrap().into_std().unwrap();
    let only = TcpStream::connect(address).unwrap();
    let short = Duration::from_millis(100);
    assert!(TcpStream::connect_timeout(&address, short).is_err());
    Some((listener, only))
}

/// localhost is 127.0.0.1, which is dead here, and ::1, which is not.
#[test]
fn a_dead_address_does_not_keep_the_other_waiting() {
    let max = Max::start();
    let port = max.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let Ok(_) = TcpListener::bind("[::1]:0") else {
        eprintln!("there is no IPv6 here");
        return;
    };
    let (alive, _dead) = wait_for("a port that is free in both families", || {
        let alive = TcpListener::bind("[::1]:0").unwrap();
        let port = alive.local_addr().unwrap().port();
        Some((alive, dead(SocketAddr::from(([127, 0, 0, 1], port)))?))
    });
    let shared = alive.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in alive.incoming() {
            let stream = stream.unwrap();
            // rig may hang up at any time.
            std::thread::spawn(move || forward(stream, port).ok());
        }
    });
    let mut rig = max.rig("ada");
    rig.set("RIG_URL", &format!("http://localhost:{shared}"));
    let start = Instant::now();
    // One connection for the token, one for the socket.
    rig.ok(&["list", "networks", "--timeout", "5m"]);
    let took = start.elapsed();
    assert!((Duration::from_millis(500)..PATIENCE).contains(&took), "{took:?}");
}

/// Each message in the table of docs/networks.md stands in the sources.
#[test]
fn the_documented_messages_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for item in fs::read_dir(root.join("src/net")).unwrap() {
        code += &fs::read_to_string(item.unwrap().path()).unwrap();
    }
    let text = fs::read_to_string(root.join("docs/networks.md")).unwrap();
    let table = text.split("## What rig says").nth(1).unwrap();
    let messages = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut count = 0;
    for message in messages {
        count += 1;
        for part in message.split('…').map(|part| part.trim_matches(['\'', ' ', ':'])) {
            // The code has the names and what is said of them apart.
            let parts = ["cannot reach", "cannot trust", "Max at", "the proxy"];
            let part = parts.iter().fold(part, |part, known| part.strip_prefix(known).unwrap_or(part));
            assert!(code.contains(part.trim_matches(['\'', ' '])), "{message}: {part}");
        }
    }
    assert!(count > 20, "{count}");
}

//! Finding a server that has several addresses, and what docs/networks.md says of that
//! and of the rest of the way.

use crate::harness::{Max, PATIENCE, wait_for};
use crate::scripted_proxy::forward;
use std::net::{SocketAddr, TcpListener, TcpStream};
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

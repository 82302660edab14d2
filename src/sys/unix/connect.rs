//! Connecting to the first of several addresses that answers (RFC 8305, section 5, in
//! its small form): no address that is dead keeps the others waiting, and none gets a
//! thread.

use super::wait::{poll, watch};
use std::io::{self, ErrorKind};
use std::mem::zeroed;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

/// How long an attempt has before the next one begins beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// Tries `addresses` in their order and gives the first connection. The next attempt
/// begins when the one before failed, or after a quarter of a second.
pub fn first(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut rest = addresses.iter();
    let mut trying = Vec::new();
    let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        let ready = if now < next || rest.len() == 0 {
            if trying.is_empty() {
                return Err(failure);
            }
            if now >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            let until = if rest.len() == 0 { deadline } else { next.min(deadline) };
            let Some(index) = wait(&trying, until - now)? else { continue };
            let socket: TcpStream = trying.remove(index);
            socket.take_error().and_then(|error| error.map_or(Ok(socket), Err))
        } else {
            next = now + HEAD_START;
            match rest.next().map(begin) {
                Some(Ok(socket)) => {
                    trying.push(socket);
                    continue;
                }
                Some(Err(error)) => Err(error),
                None => continue,
            }
        };
        match ready {
            Ok(socket) => return socket.set_nonblocking(false).map(|()| socket),
            Err(error) => {
                // That there is no IPv6 here says less than what an IPv4 address answered.
                if error.kind() != ErrorKind::NetworkUnreachable || failure.raw_os_error().is_none() {
                    failure = error;
                }
                next = now;
            }
        }
    }
}

/// A socket on its way to `address`.
fn begin(address: &SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no memory is passed.
    let descriptor = unsafe { libc::socket(family, libc::SOCK_STREAM, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened above, and nobody else knows it.
    let socket = unsafe { TcpStream::from_raw_fd(descriptor) };
    socket.set_nonblocking(true)?;
    // SAFETY: no memory is passed.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    let begun = match address {
        SocketAddr::V4(address) => {
            // SAFETY: zero is valid for every member.
            let mut raw: libc::sockaddr_in = unsafe { zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = address.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            let size = size_of_val(&raw) as libc::socklen_t;
            // SAFETY: `raw` is an address of this size.
            unsafe { libc::connect(descriptor, (&raw const raw).cast(), size) }
        }
        SocketAddr::V6(address) => {
            // SAFETY: zero is valid for every member.
            let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = address.port().to_be();
            raw.sin6_addr.s6_addr = address.ip().octets();
            raw.sin6_scope_id = address.scope_id();
            let size = size_of_val(&raw) as libc::socklen_t;
            // SAFETY: `raw` is an address of this size.
            unsafe { libc::connect(descriptor, (&raw const raw).cast(), size) }
        }
    };
    match io::Error::last_os_error() {
        error if begun < 0 && error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Waits until an attempt has ended one way or the other: which.
fn wait(trying: &[TcpStream], limit: Duration) -> io::Result<Option<usize>> {
    let mut watched: Vec<_> = trying.iter().map(|socket| watch(socket.as_raw_fd(), libc::POLLOUT)).collect();
    poll(&mut watched, Some(limit))?;
    Ok(watched.iter().position(|socket| socket.revents != 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    /// A listener whose queue is full: what else tries to connect is not answered. With
    /// it comes what fills the queue.
    fn dead() -> (TcpListener, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: only changes the length of the queue, to one (listen(2) on Linux).
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let address = listener.local_addr().unwrap();
        let only = TcpStream::connect(address).unwrap();
        let short = Duration::from_millis(100);
        assert_eq!(TcpStream::connect_timeout(&address, short).unwrap_err().kind(), ErrorKind::TimedOut);
        (listener, only)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_dead_address_costs_a_quarter_of_a_second() {
        let (dead, _full) = dead();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [dead.local_addr().unwrap(), alive.local_addr().unwrap()];
        let start = Instant::now();
        let socket = first(&addresses, soon()).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), addresses[1]);
        let took = start.elapsed();
        assert!((HEAD_START..Duration::from_secs(10)).contains(&took), "{took:?}");
    }

    #[test]
    fn a_refusal_costs_nothing_and_an_answer_ends_the_search() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        other.set_nonblocking(true).unwrap();
        let addresses = [gone, alive.local_addr().unwrap(), other.local_addr().unwrap()];
        let start = Instant::now();
        let mut socket = first(&addresses, soon()).unwrap();
        assert!(start.elapsed() < HEAD_START, "{:?}", start.elapsed());
        assert_eq!(socket.peer_addr().unwrap(), addresses[1]);
        assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        // It blocks again, as everybody expects of a stream.
        let (mut peer, _) = alive.accept().unwrap();
        let reader = std::thread::spawn(move || io::Read::read(&mut socket, &mut [0; 8]).unwrap());
        io::Write::write_all(&mut peer, b"hello").unwrap();
        assert_eq!(reader.join().unwrap(), 5);
    }

    #[test]
    fn both_families_are_reached() {
        // A machine may have no IPv6, but then it says so.
        for address in ["127.0.0.1:0", "[::1]:0"] {
            match TcpListener::bind(address) {
                Ok(listener) => {
                    let address = listener.local_addr().unwrap();
                    assert_eq!(first(&[address], soon()).unwrap().peer_addr().unwrap(), address);
                }
                Err(error) => assert_eq!((address, error.kind()), ("[::1]:0", ErrorKind::AddrNotAvailable)),
            }
        }
    }

    #[test]
    fn when_all_fail_the_reason_is_theirs() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(first(&[gone, gone], soon()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(first(&[], soon()).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
        let (dead, _full) = dead();
        let start = Instant::now();
        let limit = Duration::from_millis(400);
        let error = first(&[dead.local_addr().unwrap(), gone], start + limit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= limit);
    }
}

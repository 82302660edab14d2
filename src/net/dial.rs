//! From an address to a connected stream: names, TCP, the proxy, TLS, all within one
//! time limit.

use super::proxy::{Proxy, Way};
use super::tls::{self, Tls};
use super::trust::{self, Pin, Trust};
use super::url::{Url, is_loopback};
use crate::error::{Error, Kind, Result, io_reason};
use crate::packed::packed;
use crate::sys::connect::first;
use crate::sys::thread::{USUAL, start};
use crate::time::human;
use rustls::{ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The way to a server: TLS with it, and what stands between and TLS with that.
pub struct Route {
    tls: Tls,
    proxy: Option<(Proxy, Tls)>,
}

impl Route {
    /// The way to `url`, as `environment` has it; `roots` vouch for the proxy and, without
    /// a pin, for the server.
    pub fn new(
        url: &Url,
        environment: fn(&str) -> Option<String>,
        roots: RootCertStore,
        pin: Option<Pin>,
    ) -> Result<Route> {
        let roots = Arc::new(roots);
        let proxy = match Proxy::choose(url, environment)? {
            Some(proxy) => Some((proxy, tls::config(Arc::clone(&roots), None)?)),
            None => None,
        };
        Ok(Route { tls: tls::config(roots, pin)?, proxy })
    }

    /// What decided about the server's certificate.
    pub fn trust(&self) -> &Trust {
        &self.tls.trust
    }
}

/// A connection, encrypted or not.
pub enum Stream {
    /// As it is.
    Plain(Socket),
    /// TLS, over a plain connection or that with a proxy.
    Tls(Box<StreamOwned<ClientConnection, Stream>>),
}

/// A socket that keeps a deadline, if it has one.
pub struct Socket {
    socket: TcpStream,
    deadline: Option<Instant>,
}

impl Socket {
    /// To be called before the socket is waited for.
    fn limit(&self) -> io::Result<()> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => limit(&self.socket, left),
        }
    }
}

fn limit(socket: &TcpStream, time: Duration) -> io::Result<()> {
    socket.set_read_timeout(Some(time))?;
    socket.set_write_timeout(Some(time))
}

impl Stream {
    /// The socket beneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => &socket.socket,
            Stream::Tls(stream) => stream.sock.socket(),
        }
    }

    /// Whether bytes wait to be written that the socket did not take yet.
    pub fn wants_write(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.conn.wants_write() || stream.sock.wants_write(),
        }
    }

    /// Reads and writes fail once it is `deadline`.
    pub fn until(&mut self, deadline: Instant) {
        match self {
            Stream::Plain(socket) => socket.deadline = Some(deadline),
            Stream::Tls(stream) => stream.sock.until(deadline),
        }
    }

    /// From now on each read and write may take `timeout`.
    pub fn settle(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => {
                socket.deadline = None;
                limit(&socket.socket, timeout)
            }
            Stream::Tls(stream) => stream.sock.settle(timeout),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => {
                socket.limit()?;
                again(|| socket.socket.read(out))
            }
            Stream::Tls(stream) => read(stream, out),
        }
    }
}

/// A process that was stopped and goes on finds its calls interrupted, though nothing
/// happened to the connection.
fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reads without writing what waits first, as rustls' own stream does: a server that takes
/// no more has perhaps answered.
fn read(stream: &mut StreamOwned<ClientConnection, Stream>, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.conn.reader().read(out) {
            // A peer that closes without a TLS goodbye; framing above says whether
            // anything is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        stream.conn.read_tls(&mut stream.sock)?;
        if let Err(error) = stream.conn.process_new_packets() {
            // The alert that says so; nothing is lost when it can't be sent.
            let _ = stream.conn.write_tls(&mut stream.sock);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => {
                socket.limit()?;
                again(|| socket.socket.write(bytes))
            }
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => {
                stream.flush()?;
                stream.sock.flush()
            }
        }
    }
}

/// Who is at the other end: Max or, if there is one, the proxy.
pub struct Peer<'a> {
    url: &'a Url,
    proxy: Option<&'a Proxy>,
    timeout: Duration,
    deadline: Instant,
}

impl<'a> Peer<'a> {
    /// Max, with so much time from now on.
    pub fn max(url: &'a Url, timeout: Duration) -> Peer<'a> {
        Peer { url, proxy: None, timeout, deadline: Instant::now() + timeout }
    }

    /// What errors call it.
    fn name(&self) -> String {
        match self.proxy {
            None => format!("Max at '{}'", self.url),
            Some(proxy) => proxy.to_string(),
        }
    }

    /// What an I/O error means.
    #[inline(never)]
    pub fn lost(&self, error: &io::Error) -> Error {
        if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
            let limit = match self.timeout.as_millis() as u64 {
                millis @ ..100 => format!("{millis}ms"),
                _ => human(self.timeout),
            };
            let text = format!("{} did not answer within {limit}", self.name());
            return Error::new(Kind::TimedOut, text)
                .hint(packed!("try again, or give it longer with --timeout"));
        }
        match tls_error(error) {
            Some(error) => trust::explain(error, &self.name()),
            None => self.unreachable(&io_reason(error)),
        }
    }

    #[inline(never)]
    fn unreachable(&self, why: &str) -> Error {
        let hint = match self.proxy {
            None => "check the URL, and that the server runs".to_owned(),
            Some(proxy) => proxy.hint(),
        };
        Error::new(Kind::Unreachable, format!("cannot reach {}: {why}", self.name())).hint(hint)
    }

    fn timed_out(&self) -> Error {
        self.lost(&io::ErrorKind::TimedOut.into())
    }

    /// TCP with the first of the host's addresses that answers.
    pub fn connect(&self, host: &str, port: u16) -> Result<Stream> {
        let addresses = alternating(&self.resolve(host, port)?);
        let socket = first(&addresses, self.deadline).map_err(|error| self.lost(&error))?;
        socket.set_nodelay(true).map_err(|error| self.lost(&error))?;
        Ok(Stream::Plain(Socket { socket, deadline: Some(self.deadline) }))
    }

    fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>> {
        let with_port =
            |addresses: &[IpAddr]| addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        if let Ok(address) = host.parse() {
            return Ok(with_port(&[address]));
        }
        if is_loopback(host) {
            // By ourselves (RFC 6761, section 6.3): an empty chroot has no /etc/hosts.
            return Ok(with_port(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
        }
        // The system's resolver has no time limit, so it gets a thread that may be left behind.
        let host = host.to_owned();
        let found = Arc::new(Mutex::new(None));
        let (slot, asker) = (Arc::clone(&found), std::thread::current());
        let ask = move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
            asker.unpark();
        };
        start(USUAL, Box::new(ask)).map_err(|error| self.lost(&error))?;
        loop {
            match found.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(Ok(addresses)) => return Ok(addresses),
                Some(Err(_)) => return Err(self.unreachable("its name is not known")),
                None => {}
            }
            match self.deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Err(self.timed_out()),
                left => std::thread::park_timeout(left),
            }
        }
    }

    /// TLS over `stream`.
    fn secure(&self, mut stream: Stream, tls: &Tls, host: &str) -> Result<Stream> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::usage(format!("'{host}' is no host name that a certificate can have")))?;
        let mut connection = ClientConnection::new(Arc::clone(&tls.config), name)
            .map_err(|error| trust::explain(&error, &self.name()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| match tls_error(&error) {
                Some(error) => tls.trust.explain(error, &self.name()),
                None => self.lost(&error),
            })?;
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, stream))))
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Connects to `url` within `timeout`, which then is the limit of each read and write.
pub fn dial(url: &Url, route: &Route, timeout: Duration) -> Result<Stream> {
    let max = Peer::max(url, timeout);
    let (host, port) = (url.host(), url.port());
    let mut stream = match &route.proxy {
        None => max.connect(host, port)?,
        Some((proxy, tls)) => {
            let target = match proxy.way {
                Way::Socks => max.resolve(host, port)?,
                _ => Vec::new(),
            };
            // Many proxies reach no IPv6.
            let target = target.iter().find(|address| address.is_ipv4()).or(target.first());
            let target = target.map_or_else(|| host.to_owned(), |address| address.ip().to_string());
            let peer = Peer { proxy: Some(proxy), ..max };
            let mut stream = peer.connect(&proxy.host, proxy.port)?;
            if proxy.way == Way::Https {
                stream = peer.secure(stream, tls, &proxy.host)?;
            }
            proxy.open(&mut stream, &peer, &target, port)?;
            stream
        }
    };
    if url.secure() {
        stream = max.secure(stream, &route.tls, host)?;
    }
    stream.settle(timeout).map_err(|error| max.lost(&error))?;
    Ok(stream)
}

/// Max did not answer within `timeout`.
pub fn silent(url: &Url, timeout: Duration) -> Error {
    Peer::max(url, timeout).timed_out()
}

/// What an I/O error on the way to `url` means.
pub fn lost(url: &Url, timeout: Duration, error: &io::Error) -> Error {
    Peer::max(url, timeout).lost(error)
}

/// The addresses with their families in turn, beginning with the first's (RFC 8305,
/// section 4), so that a family without a way out costs one attempt.
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let family = |six: bool| addresses.iter().filter(move |address| address.is_ipv6() == six);
    let (mut left, mut right) = (family(preferred), family(!preferred));
    let mut out = Vec::with_capacity(addresses.len());
    while out.len() < addresses.len() {
        out.extend(left.next());
        out.extend(right.next());
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn families_take_turns() {
        for (given, tried) in [
            ("", ""),
            ("1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2"),
            ("::1 ::2 ::3 1.1.1.1", "::1 1.1.1.1 ::2 ::3"),
            ("1.1.1.1 1.1.1.2 ::1 ::2", "1.1.1.1 ::1 1.1.1.2 ::2"),
        ] {
            let addresses = |text: &str| {
                let ips = text.split_whitespace().map(|ip| ip.parse().unwrap());
                ips.map(|ip| SocketAddr::new(ip, 7)).collect::<Vec<_>>()
            };
            assert_eq!(alternating(&addresses(given)), addresses(tried));
        }
    }
}

//! From an address to a connected stream: names, TCP, TLS, all within one time limit.

use super::tls;
use super::url::Url;
use crate::error::{Error, Kind, Result, io_reason};
use crate::queue::{RecvTimeoutError, bounded};
use crate::time::human;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection, encrypted or not.
pub enum Stream {
    /// To a loopback address.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The socket beneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Whether bytes wait to be written that the socket did not take yet.
    pub fn wants_write(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.conn.wants_write(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(out),
            Stream::Tls(stream) => read(stream, out),
        }
    }
}

/// Reads without writing what waits first, as rustls' own stream does: a server that takes
/// no more has perhaps answered.
fn read(stream: &mut StreamOwned<ClientConnection, TcpStream>, out: &mut [u8]) -> io::Result<usize> {
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
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// Connects to `url`. No step takes longer than what is left of `timeout`, which then
/// stays the limit of each read and write.
pub fn dial(url: &Url, tls: &Arc<ClientConfig>, timeout: Duration) -> Result<Stream> {
    let deadline = Instant::now() + timeout;
    let addresses = resolve(url, timeout)?;
    let mut last =
        Error::new(Kind::Unreachable, format!("cannot reach Max at '{url}': its name has no address"));
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(silent(url, timeout));
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => return secure(url, tls, socket, timeout),
            Err(error) => last = lost(url, timeout, &error),
        }
    }
    Err(last)
}

/// Max did not answer within `timeout`.
pub fn silent(url: &Url, timeout: Duration) -> Error {
    let text = format!("Max at '{url}' did not answer within {}", human(timeout));
    Error::new(Kind::TimedOut, text).hint("try again, or give it longer with --timeout")
}

/// What an I/O error on the way to `url` means.
pub fn lost(url: &Url, timeout: Duration, error: &io::Error) -> Error {
    if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
        return silent(url, timeout);
    }
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls::explain(tls, &url.to_string());
    }
    Error::new(Kind::Unreachable, format!("cannot reach Max at '{url}': {}", io_reason(error)))
        .hint("check the URL, and that the server runs")
}

fn resolve(url: &Url, timeout: Duration) -> Result<Vec<SocketAddr>> {
    let port = url.port();
    if let Ok(address) = url.host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if url.is_loopback() {
        // By ourselves (RFC 6761, section 6.3): an empty chroot has no /etc/hosts.
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|address| SocketAddr::new(address, port)).to_vec());
    }
    // The system's resolver has no time limit, so it gets a thread that may be left behind.
    let (answer, wait) = bounded(1);
    let host = url.host().to_owned();
    let ask = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _ = answer.send(found);
    };
    let failed = |error: io::Error| lost(url, timeout, &error);
    std::thread::Builder::new().spawn(ask).map_err(failed)?;
    match wait.recv_timeout(timeout) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
            Err(Error::new(Kind::Unreachable, format!("cannot reach Max at '{url}': its name is not known"))
                .hint("check the URL and this machine's network"))
        }
        Err(RecvTimeoutError::Timeout) => Err(silent(url, timeout)),
    }
}

fn secure(url: &Url, tls: &Arc<ClientConfig>, mut socket: TcpStream, timeout: Duration) -> Result<Stream> {
    let failed = |error: &io::Error| lost(url, timeout, error);
    socket.set_nodelay(true).map_err(|error| failed(&error))?;
    socket.set_read_timeout(Some(timeout)).map_err(|error| failed(&error))?;
    socket.set_write_timeout(Some(timeout)).map_err(|error| failed(&error))?;
    if !url.secure() {
        return Ok(Stream::Plain(socket));
    }
    let name = ServerName::try_from(url.host().to_owned())
        .map_err(|_| Error::usage(format!("'{}' is no host name that a certificate can have", url.host())))?;
    let mut connection = ClientConnection::new(Arc::clone(tls), name)
        .map_err(|error| tls::explain(&error, &url.to_string()))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(|error| failed(&error))?;
    }
    Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
}

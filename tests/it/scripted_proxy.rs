//! Proxies in the process of a test: what they say is up to it.

use crate::harness::PATIENCE;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A connection as a script sees it.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A proxy on a free port, each connection of which runs `script` in a thread.
pub fn proxy(script: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, script) = (stream.unwrap(), Arc::clone(&script));
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            std::thread::spawn(move || {
                // rig may hang up at any time.
                let _ = script(stream);
            });
        }
    });
    port
}

/// The head of a request, byte by byte: what follows is TLS.
pub fn head(stream: &mut dyn Wire) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(take::<1>(stream)?[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

pub fn take<const N: usize>(stream: &mut dyn Wire) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Copies both ways until one side ends.
pub fn forward(near: TcpStream, port: u16) -> io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", port))?;
    let (mut near_in, mut far_out) = (near.try_clone()?, far.try_clone()?);
    let up = std::thread::spawn(move || {
        let copied = io::copy(&mut near_in, &mut far_out);
        let _ = far_out.shutdown(Shutdown::Write);
        copied
    });
    let (mut far_in, mut near_out) = (far, near);
    io::copy(&mut far_in, &mut near_out)?;
    let _ = near_out.shutdown(Shutdown::Both);
    let _ = up.join();
    Ok(())
}

pub type Log = Arc<Mutex<Vec<String>>>;

/// A proxy that does `CONNECT` to `port`, and the requests it got.
pub fn connecting(port: u16) -> (u16, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let proxy = proxy(move |mut stream| {
        let request = head(&mut stream)?;
        seen.lock().unwrap().push(request);
        stream.write_all(b"HTTP/1.1 200 Connection established\r\nX-Via: a proxy\r\n\r\n")?;
        forward(stream, port)
    });
    (proxy, log)
}

/// A SOCKS 5 proxy to `port`, with a password or without, and the requests it got.
pub fn socks(port: u16, login: Option<(&'static str, &'static str)>) -> (u16, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let proxy = proxy(move |mut stream| {
        let [version, count] = take(&mut stream)?;
        let mut methods = vec![0; count.into()];
        stream.read_exact(&mut methods)?;
        let wanted = if login.is_some() { 2 } else { 0 };
        assert!(version == 5 && methods.contains(&wanted));
        stream.write_all(&[5, wanted])?;
        if let Some((user, password)) = login {
            let part = |stream: &mut TcpStream| -> io::Result<String> {
                let [length] = take(stream)?;
                let mut text = vec![0; length.into()];
                stream.read_exact(&mut text)?;
                Ok(String::from_utf8(text).unwrap())
            };
            assert_eq!(take(&mut stream)?, [1]);
            let good = part(&mut stream)? == user && part(&mut stream)? == password;
            stream.write_all(&[1, u8::from(!good)])?;
        }
        let [5, 1, 0, kind] = take(&mut stream)? else { panic!("no request to connect") };
        let host = match kind {
            1 => std::net::Ipv4Addr::from(take::<4>(&mut stream)?).to_string(),
            4 => std::net::Ipv6Addr::from(take::<16>(&mut stream)?).to_string(),
            _ => {
                let [length] = take(&mut stream)?;
                let mut name = vec![0; length.into()];
                stream.read_exact(&mut name)?;
                format!("name {}", String::from_utf8(name).unwrap())
            }
        };
        let wanted_port = u16::from_be_bytes(take(&mut stream)?);
        seen.lock().unwrap().push(format!("{host} {wanted_port}"));
        // The address it is bound to, as a name.
        stream.write_all(b"\x05\0\0\x03\x05proxy\x04\x38")?;
        forward(stream, port)
    });
    (proxy, log)
}

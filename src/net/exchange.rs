//! One HTTP/1.1 exchange (RFC 9112): a request goes out, its answer comes back, and the
//! connection is not used for another. httparse reads the answer's head. No redirects, no
//! pool, no compression.
//!
//! ```text
//! Request ──send──▶ Wire ──receive──▶ Answer ──body──▶ bytes
//!                                       └──rest──▶ a WebSocket, after 101
//! ```
//!
//! Only what rig needs, since every byte of it counts (docs/size.md); the tests hold it
//! against ureq's protocol core.

use super::url::Url;
use httparse::{EMPTY_HEADER, Status};
use std::io::{self, ErrorKind, Read, Write};

/// The largest head that is read, and the most headers in it.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// How much of a body is read or written at once.
const PIECE: usize = 32 * 1024;

/// A connection.
pub trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// What is asked.
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The server.
    pub url: &'a Url,
    /// The path behind the URL's own, with the query.
    pub path: &'a str,
    /// The headers, without those that frame the body, and `host`.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Where a body comes from. (Not `Read` itself, whose table of methods would link more than is
/// used.)
pub trait Source {
    /// Reads some more; 0 bytes at the end.
    fn fill(&mut self, out: &mut [u8]) -> io::Result<usize>;
}

impl<T: Read> Source for T {
    fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read(out)
    }
}

/// What a request carries.
pub struct Body<'a> {
    /// The content.
    pub content: &'a mut dyn Source,
    /// How many bytes of it to send; it goes in chunks when that is not known.
    pub length: Option<u64>,
}

impl<'a> Body<'a> {
    /// All of a text.
    pub fn text(text: &'a mut &[u8]) -> Body<'a> {
        let length = Some(text.len() as u64);
        Body { content: text, length }
    }
}

/// The head of an answer, and what has arrived behind it.
pub struct Answer {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    rest: Vec<u8>,
}

/// Sends `request`. A server that takes no more of the body (too large, disk full) has
/// answered already: that is no error.
pub fn send(wire: &mut dyn Wire, request: &Request<'_>, body: Option<Body<'_>>) -> io::Result<()> {
    let mut out = head(request, body.as_ref())?.into_bytes();
    match body {
        Some(body) => send_body(wire, out, body),
        None => put(wire, &mut out).map(drop),
    }
}

fn send_body(wire: &mut dyn Wire, mut out: Vec<u8>, body: Body<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut length = body.length;
    loop {
        let most = length.map_or(PIECE, |left| usize::try_from(left).unwrap_or(PIECE).min(PIECE));
        let count = body.content.fill(piece.get_mut(..most).unwrap_or(&mut []))?;
        let data = piece.get(..count).unwrap_or(&[]);
        match &mut length {
            Some(left) if count == 0 && *left > 0 => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the body ended early"));
            }
            Some(left) => {
                *left -= count as u64;
                out.extend_from_slice(data);
            }
            None => {
                write!(out, "{count:x}\r\n")?;
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
        if !put(wire, &mut out)? || count == 0 {
            return Ok(());
        }
    }
}

/// Writes all of `out`; false when the server takes no more, since it has answered already.
fn put(wire: &mut dyn Wire, out: &mut Vec<u8>) -> io::Result<bool> {
    let written = wire.write_all(out).and_then(|()| wire.flush());
    out.clear();
    match written {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(false),
        written => written.map(|()| true),
    }
}

fn head(request: &Request<'_>, body: Option<&Body<'_>>) -> io::Result<String> {
    let authority = request.url.authority();
    let length = body.and_then(|body| body.length).map(|length| length.to_string());
    let framing = body.map(|_| match &length {
        Some(length) => ("content-length", length.as_str()),
        None => ("transfer-encoding", "chunked"),
    });
    let mut out = String::new();
    let mut add = |text: &str| out.push_str(text);
    for part in [request.method, " ", request.url.path(), request.path, " HTTP/1.1\r\n"] {
        add(part);
    }
    // Nothing a server or a user gave may end a line or the path.
    let mut sound = request.path.starts_with('/') && request.path.bytes().all(|byte| byte.is_ascii_graphic());
    for (name, value) in [("host", authority.as_str())].iter().chain(request.headers).chain(&framing) {
        sound &= value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        for part in [name, ": ", value, "\r\n"] {
            add(part);
        }
    }
    add("\r\n");
    match sound {
        true => Ok(out),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "the request cannot be written as HTTP")),
    }
}

/// Reads the head of an answer. Interim ones (1xx) are passed over, except for 101.
pub fn receive(wire: &mut dyn Wire) -> io::Result<Answer> {
    let mut rest = Vec::new();
    loop {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(&rest).map_err(|_| malformed("the answer is no HTTP"))? {
            Status::Complete(used) => {
                let status = head.code.unwrap_or(0);
                let text = |value| String::from_utf8_lossy(value).into_owned();
                let headers = head.headers.iter().map(|header| (header.name.to_owned(), text(header.value)));
                let headers = headers.collect();
                rest.drain(..used);
                if status == 101 || status >= 200 {
                    return Ok(Answer { status, headers, rest });
                }
            }
            Status::Partial => more(wire, &mut rest)?,
        }
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// Reads more behind what has arrived and is not yet understood.
fn more(wire: &mut dyn Wire, rest: &mut Vec<u8>) -> io::Result<()> {
    if rest.len() > MAX_HEAD {
        return Err(malformed("the head of the answer is too long"));
    }
    let filled = rest.len();
    rest.resize(filled + PIECE, 0);
    let count = wire.read(rest.get_mut(filled..).unwrap_or(&mut []))?;
    rest.truncate(filled + count);
    match count {
        0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the answer ended early")),
        _ => Ok(()),
    }
}

/// Where the reader of a body stands (RFC 9112, sections 6 and 7).
enum Framing {
    /// In a body that ends with the connection.
    Endless,
    /// So far before the end of a body of known length.
    Length(u64),
    /// Before the size of a chunk.
    Size,
    /// So far before the end of a chunk.
    Chunk(u64),
    /// Behind a chunk.
    ChunkEnd,
    /// Behind the last chunk, before the trailer's end.
    Trailer,
}

impl Answer {
    /// The value of the first header with this name.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let named = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// What has arrived behind the head.
    pub fn rest(self) -> Vec<u8> {
        self.rest
    }

    /// Reads the body, which may have so many bytes.
    pub fn body(mut self, wire: &mut dyn Wire, limit: usize) -> io::Result<Vec<u8>> {
        let mut framing = self.framing()?;
        let mut out = Vec::new();
        while !self.decode(&mut framing, &mut out)? {
            if out.len() > limit {
                return Err(malformed("the answer is too long"));
            }
            match more(wire, &mut self.rest) {
                Err(error)
                    if error.kind() == ErrorKind::UnexpectedEof && matches!(framing, Framing::Endless) =>
                {
                    break;
                }
                read => read?,
            }
        }
        Ok(out)
    }

    fn framing(&self) -> io::Result<Framing> {
        if matches!(self.status, 101 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        if let Some(coding) = self.header("transfer-encoding") {
            return match coding.eq_ignore_ascii_case("chunked") {
                true => Ok(Framing::Size),
                false => Err(malformed("the answer is in an unknown coding")),
            };
        }
        let mut lengths = self.all("content-length");
        let Some(length) = lengths.next() else { return Ok(Framing::Endless) };
        let sound = length.bytes().all(|byte| byte.is_ascii_digit()) && lengths.all(|other| other == length);
        match length.parse() {
            Ok(length) if sound => Ok(Framing::Length(length)),
            _ => Err(malformed("the length of the answer is no number")),
        }
    }

    /// Moves what is understood of `rest` into `out`; whether that was all of the body.
    fn decode(&mut self, framing: &mut Framing, out: &mut Vec<u8>) -> io::Result<bool> {
        let rest = &mut self.rest;
        let broken = || malformed("a chunk of the answer is malformed");
        loop {
            *framing = match framing {
                Framing::Endless => {
                    out.append(rest);
                    return Ok(false);
                }
                Framing::Length(left) | Framing::Chunk(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    out.extend(rest.drain(..count));
                    *left -= count as u64;
                    match framing {
                        Framing::Chunk(0) => Framing::ChunkEnd,
                        Framing::Length(0) => return Ok(true),
                        _ => return Ok(false),
                    }
                }
                Framing::Size => match httparse::parse_chunk_size(rest).map_err(|_| broken())? {
                    // httparse takes a size without digits for 0.
                    Status::Complete(_) if !rest.first().is_some_and(u8::is_ascii_hexdigit) => {
                        return Err(broken());
                    }
                    Status::Complete((used, size)) => {
                        rest.drain(..used);
                        if size == 0 { Framing::Trailer } else { Framing::Chunk(size) }
                    }
                    Status::Partial => return Ok(false),
                },
                Framing::ChunkEnd if rest.len() < 2 => return Ok(false),
                Framing::ChunkEnd if rest.starts_with(b"\r\n") => {
                    rest.drain(..2);
                    Framing::Size
                }
                Framing::ChunkEnd => return Err(broken()),
                Framing::Trailer => {
                    let mut trailer = [EMPTY_HEADER; MAX_HEADERS];
                    let parsed = httparse::parse_headers(rest, &mut trailer).map_err(|_| broken())?;
                    return Ok(parsed.is_complete());
                }
            };
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;

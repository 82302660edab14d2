//! The WebSocket of a Phoenix server (RFC 6455, by tungstenite): the handshake with the
//! access token, then frames without blocking.

use super::base64;
use super::connection::{Connection, Received};
use super::dial::Stream;
use super::exchange::{Answer, Request, receive, send};
use super::http::{USER_AGENT, failure};
use super::url::Url;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::phx::client::Transmit;
use crate::redact::Secret;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error as WsError, Message, WebSocket};

/// The largest frame that is read (Phoenix's `max_frame_size`).
const MAX_FRAME: usize = 8_000_000;
/// What is read at once: tungstenite clears as much before each read.
const READ: usize = 16 * 1024;
/// The largest body of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;
/// Phoenix's address for protocol 2.0.0.
const PATH: &str = "/socket/websocket?vsn=2.0.0";
/// The subprotocol.
const PHOENIX: &str = "phoenix";
/// What the accepting side appends to the key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Where the token stands in the list of subprotocols (Phoenix 1.8, `authToken`).
const BEARER: &str = "base64url.bearer.phx.";

/// An open connection.
pub struct Ws {
    socket: WebSocket<Stream>,
    /// Written, but not yet taken by the socket.
    unsent: bool,
}

/// Asks the server behind `stream` for a WebSocket and authenticates, in at most `patience`.
/// The outer error says that the connection broke, the inner one that the answer is a
/// refusal.
pub fn upgrade(mut stream: Stream, url: &Url, token: &Secret, patience: Duration) -> io::Result<Result<Ws>> {
    let protocols = base64::encode(token.reveal().as_bytes());
    let protocols = Secret::new(format!("{PHOENIX}, {BEARER}{}", protocols.trim_end_matches('=')));
    let mut nonce = [0; 16];
    SystemRandom::new().fill(&mut nonce).map_err(|_| io::Error::other("no random numbers"))?;
    let key = base64::encode(&nonce);
    let headers = [
        ("user-agent", USER_AGENT),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", &key),
        ("sec-websocket-protocol", protocols.reveal()),
    ];
    let request = Request { method: "GET", url, path: PATH, headers: &headers };
    stream.until(Instant::now() + patience);
    send(&mut stream, &request, None)?;
    let answer = receive(&mut stream)?;
    if answer.status != 101 {
        let status = answer.status;
        let body = answer.body(&mut stream, MAX_REFUSAL)?;
        return Ok(Err(failure(&String::from_utf8_lossy(&body), status, url)));
    }
    if let Some(wrong) = flaw(&answer, &key) {
        let message = format!("'{url}' does not open a WebSocket: its answer has a wrong '{wrong}'");
        return Ok(Err(Error::new(Kind::Unreachable, message)
            .hint(packed!("check the URL, and whether a proxy stands between"))));
    }
    stream.settle(patience)?;
    stream.socket().set_nonblocking(true)?;
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_frame_size(Some(MAX_FRAME))
        .max_message_size(Some(MAX_FRAME));
    let socket = WebSocket::from_partially_read(stream, answer.rest(), Role::Client, Some(limits));
    Ok(Ok(Ws { socket, unsent: false }))
}

/// The header that keeps `answer` from being the end of a handshake (RFC 6455, section
/// 4.1) that was begun with `key`.
fn flaw(answer: &Answer, key: &str) -> Option<&'static str> {
    let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    let accept = base64::encode(accept.as_ref());
    let rules = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", accept.as_str()),
        ("sec-websocket-protocol", PHOENIX),
    ];
    let holds = |name, wanted: &str| {
        let value = answer.header(name).unwrap_or_default();
        match name {
            "upgrade" | "connection" => {
                value.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted))
            }
            _ => value == wanted,
        }
    };
    let broken = rules.iter().find(|(name, wanted)| !holds(name, wanted)).map(|(name, _)| *name);
    // None was offered.
    broken.or_else(|| answer.header("sec-websocket-extensions").map(|_| "sec-websocket-extensions"))
}

impl Ws {
    fn written(&mut self, result: Result<(), WsError>) -> Result<(), String> {
        match result {
            Ok(()) => {
                self.unsent = false;
                Ok(())
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unsent = true;
                Ok(())
            }
            Err(error) => Err(reason(&error)),
        }
    }
}

impl Connection for Ws {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.socket.get_ref().socket())
    }

    fn wants_write(&self) -> bool {
        self.unsent || self.socket.get_ref().wants_write()
    }

    fn send(&mut self, frame: Transmit) -> Result<(), String> {
        let message = match frame {
            Transmit::Text(text) => Message::text(text),
            Transmit::Binary(bytes) => Message::binary(bytes),
        };
        let written = self.socket.write(message);
        self.written(written)
    }

    fn flush(&mut self) -> Result<(), String> {
        let flushed = self.socket.flush();
        self.written(flushed)
    }

    fn receive(&mut self) -> Received {
        loop {
            return match self.socket.read() {
                Ok(Message::Text(text)) => Received::Text(text),
                Ok(Message::Binary(bytes)) => Received::Binary(bytes.to_vec()),
                Ok(Message::Close(frame)) => {
                    Received::Closed(match frame.map(|frame| u16::from(frame.code)) {
                        Some(1001 | 1012) => "the server is restarting".to_owned(),
                        Some(4001) => "the session was revoked".to_owned(),
                        Some(code) => format!("the server closed it with code {code}"),
                        None => "the server closed it".to_owned(),
                    })
                }
                // A ping is answered with the next flush.
                Ok(_) => {
                    self.unsent = true;
                    continue;
                }
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
                Err(error) => Received::Closed(reason(&error)),
            };
        }
    }

    fn close(mut self: Box<Self>) {
        // Best effort: the peer notices the end of the connection anyway.
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

fn reason(error: &WsError) -> String {
    match error {
        WsError::Io(error) => crate::error::io_reason(error),
        WsError::ConnectionClosed | WsError::AlreadyClosed => "the server closed it".to_owned(),
        WsError::Protocol(_) => "the connection broke off".to_owned(),
        _ => "the server sent something malformed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Cursor;

    /// The key and its answer are those of RFC 6455, section 1.3.
    #[test]
    fn each_header_of_the_handshake_is_checked() {
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        const GOOD: &[&str] = &[
            "Upgrade: WebSocket",
            "Connection: keep-alive, upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "Sec-WebSocket-Protocol: phoenix",
        ];
        let flaw_of = |lines: &[&str]| {
            let head = format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\n", lines.join("\r\n"));
            flaw(&receive(&mut Cursor::new(head.into_bytes())).unwrap(), KEY)
        };
        assert_eq!(flaw_of(GOOD), None);
        for (index, bad) in [
            "Upgrade: h2c",
            "Connection: close",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=",
            "Sec-WebSocket-Protocol: other",
        ]
        .into_iter()
        .enumerate()
        {
            let name = bad.split_once(':').unwrap().0.to_ascii_lowercase();
            let mut lines = GOOD.to_vec();
            lines[index] = bad;
            assert_eq!(flaw_of(&lines), Some(name.as_str()));
            lines.remove(index);
            assert_eq!(flaw_of(&lines), Some(name.as_str()));
        }
        let extended = [GOOD, &["Sec-WebSocket-Extensions: permessage-deflate"]].concat();
        assert_eq!(flaw_of(&extended), Some("sec-websocket-extensions"));
    }
}

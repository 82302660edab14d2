//! The WebSocket of a Phoenix server (RFC 6455, by tungstenite): the handshake with the
//! access token, then frames without blocking.

use super::dial::{Route, Stream, dial, lost, silent};
use super::http::{USER_AGENT, failure};
use super::url::Url;
use crate::error::{Error, Kind, Result};
use crate::phx::client::Transmit;
use crate::redact::Secret;
use std::io;
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error as WsError, Message, WebSocket};

/// The largest frame that is read (Phoenix's `max_frame_size`).
const MAX_FRAME: usize = 8_000_000;
/// Where the token stands in the list of subprotocols (Phoenix 1.8, `authToken`).
const BEARER: &str = "base64url.bearer.phx.";

/// An open connection.
pub struct Ws {
    socket: WebSocket<Stream>,
    /// Written, but not yet taken by the socket.
    unsent: bool,
}

/// What was received.
pub enum Received {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// Nothing at the moment.
    Nothing,
    /// The server closed the connection; why, in words.
    Closed(String),
}

/// Connects and authenticates.
pub fn connect(url: &Url, route: &Route, token: &Secret, timeout: Duration) -> Result<Ws> {
    let stream = dial(url, route, timeout)?;
    let scheme = if url.secure() { "wss" } else { "ws" };
    let address = format!("{scheme}://{}{}/socket/websocket?vsn=2.0.0", url.authority(), url.path());
    let address = address.parse().map_err(|_| Error::usage(format!("'{url}' is no server address")))?;
    let bearer = Secret::new(format!("{BEARER}{}", base64(token.reveal().as_bytes())));
    let request = ClientRequestBuilder::new(address)
        .with_header("User-Agent", USER_AGENT)
        .with_sub_protocol("phoenix")
        .with_sub_protocol(bearer.reveal());
    let limits = WebSocketConfig::default().max_frame_size(Some(MAX_FRAME)).max_message_size(Some(MAX_FRAME));
    let (socket, _) = tungstenite::client::client_with_config(request, stream, Some(limits))
        .map_err(|error| refused(error, url, timeout))?;
    let unusable = |error: io::Error| lost(url, timeout, &error);
    socket.get_ref().socket().set_nonblocking(true).map_err(unusable)?;
    Ok(Ws { socket, unsent: false })
}

fn refused(
    error: HandshakeError<tungstenite::handshake::client::ClientHandshake<Stream>>,
    url: &Url,
    timeout: Duration,
) -> Error {
    match error {
        // The socket's time limit ran out.
        HandshakeError::Interrupted(_) => silent(url, timeout),
        HandshakeError::Failure(WsError::Http(response)) => {
            let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            failure(&text, response.status().as_u16(), url)
        }
        HandshakeError::Failure(WsError::Io(error)) => lost(url, timeout, &error),
        HandshakeError::Failure(error) => {
            Error::new(Kind::Unreachable, format!("'{url}' does not open a WebSocket: {error}"))
                .hint("check the URL, and whether a proxy stands between")
        }
    }
}

impl Ws {
    /// The socket to wait for.
    pub fn socket(&self) -> &TcpStream {
        self.socket.get_ref().socket()
    }

    /// Whether something waits to be written.
    pub fn wants_write(&self) -> bool {
        self.unsent || self.socket.get_ref().wants_write()
    }

    /// Writes a frame, or keeps it until the socket takes it. `Err` says in words why the
    /// connection is gone.
    pub fn send(&mut self, frame: Transmit) -> Result<(), String> {
        let message = match frame {
            Transmit::Text(text) => Message::text(text),
            Transmit::Binary(bytes) => Message::binary(bytes),
        };
        let written = self.socket.write(message);
        self.written(written)
    }

    /// Goes on writing what waits.
    pub fn flush(&mut self) -> Result<(), String> {
        let flushed = self.socket.flush();
        self.written(flushed)
    }

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

    /// The next frame that has arrived. To be called until there is nothing more: TLS and
    /// the WebSocket hold bytes that no longer show in the socket.
    pub fn receive(&mut self) -> Received {
        loop {
            return match self.socket.read() {
                Ok(Message::Text(text)) => Received::Text(text.as_str().to_owned()),
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

    /// Says goodbye; waits for nothing.
    pub fn close(mut self) {
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

/// The standard alphabet without padding (RFC 4648, section 4), which is what Phoenix
/// decodes.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..=group.len() {
            let six = bits >> (18 - 6 * index) & 63;
            out.push(char::from(ALPHABET[six as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_rfc_4648_without_padding() {
        for (text, expected) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(super::base64(text.as_bytes()), expected);
        }
    }
}

//! What carries frames: a WebSocket, or long polling where none gets through.

use crate::phx::client::Transmit;
use std::net::TcpStream;
use tungstenite::Utf8Bytes;

/// What was received.
pub enum Received {
    /// A text frame.
    Text(Utf8Bytes),
    /// A binary frame.
    Binary(Vec<u8>),
    /// Nothing at the moment.
    Nothing,
    /// The connection is over; why, in words.
    Closed(String),
}

/// An open, authenticated connection. No method waits, save [`Connection::close`].
pub trait Connection: Send {
    /// The socket to wait for; none when the connection wakes its user itself.
    fn socket(&self) -> Option<&TcpStream>;

    /// Whether something waits to be written.
    fn wants_write(&self) -> bool;

    /// Writes a frame, or keeps it until it can be written. `Err` says in words why the
    /// connection is gone.
    fn send(&mut self, frame: Transmit) -> Result<(), String>;

    /// Goes on writing what waits.
    fn flush(&mut self) -> Result<(), String>;

    /// The next frame that has arrived. To be called until there is nothing more: layers
    /// below hold bytes that no longer show in the socket.
    fn receive(&mut self) -> Received;

    /// Says goodbye; waits a moment for what was sent last to go out.
    fn close(self: Box<Self>);
}

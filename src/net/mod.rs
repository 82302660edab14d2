//! The network: addresses, TLS, HTTP, and the socket thread.

pub mod base64;
mod connection;
pub mod dial;
mod exchange;
pub mod http;
pub mod link;
mod longpoll;
mod roots;
pub mod tls;
pub mod url;
mod ws;
mod x25519;

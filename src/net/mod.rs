//! The network: addresses, TLS, HTTP, and the socket thread.

pub mod base64;
mod connection;
pub mod dial;
#[doc(hidden)]
pub mod exchange;
pub mod http;
pub mod link;
mod longpoll;
pub mod tls;
pub mod url;
mod ws;

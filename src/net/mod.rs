//! The network: addresses, proxies, TLS, HTTP, and the socket thread.

pub mod base64;
mod cert;
mod connection;
pub mod dial;
#[doc(hidden)]
pub mod exchange;
pub mod hpke;
pub mod http;
pub mod link;
mod longpoll;
pub mod proxy;
mod roots;
pub mod tls;
pub mod trust;
pub mod url;
mod ws;
mod x25519;

//! The network: addresses, proxies, TLS, HTTP, and the socket thread.

mod cert;
pub mod dial;
pub mod http;
pub mod link;
pub mod proxy;
pub mod tls;
pub mod trust;
pub mod url;
mod ws;

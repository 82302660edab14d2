//! The real `rig` against a real `maxd`, over real sockets. One file a subject.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod certs;
mod harness;

mod apps;
mod crash;
mod deploy;
mod dial;
mod errors;
mod help;
mod isolation;
mod json;
mod login;
mod logs;
mod proxies;
mod proxy;
mod tidy;
mod tls;

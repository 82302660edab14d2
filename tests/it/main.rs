//! The real `rig` against a real `maxd`, over real sockets. One file a subject.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod apps;
mod channels;
mod crash;
mod deploy;
mod errors;
mod frames;
mod help;
mod isolation;
mod json;
mod login;
mod logs;
mod phx;
mod tidy;
mod tls;

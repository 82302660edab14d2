//! The real `rig` against a real `maxd`, over real sockets. One file a subject.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod api;
mod apps;
mod channels;
mod chaos;
mod context;
mod crash;
mod deploy;
mod errors;
mod frames;
mod help;
mod isolation;
mod json;
mod login;
mod logs;
mod longpoll;
mod phx;
mod relay;
mod scripted;
mod session;
mod tidy;
mod tls;

//! The real `rig` against a real `maxd`, over real sockets. One file a subject.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;
mod visitor;

mod apps;
mod crash;
mod deploy;
mod docs;
mod errors;
mod files;
mod help;
mod isolation;
mod json;
mod login;
mod logs;
mod real;
mod router;
mod sandbox;
mod supervise;
mod tidy;
mod tls;

//! What Rust's standard library does not reach: terminal modes, signals, sockets. The
//! only place with `unsafe`.
#![allow(unsafe_code)]

pub mod clock;
pub mod connect;
pub mod signals;
pub mod terminal;
pub mod thread;
pub mod wait;

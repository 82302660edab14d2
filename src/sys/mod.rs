//! What Rust's standard library does not reach: terminal modes, signals, sockets. The
//! only place with `unsafe`, and with what differs between systems: `unix` and `windows`
//! have the same functions.
#![allow(unsafe_code)]

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::{clock, connect, files, signals, wait};
#[cfg(windows)]
pub use windows::{clock, connect, files, signals, wait};

#[cfg(unix)]
use unix::{console, processors};
#[cfg(windows)]
use windows::{console, processors};

pub mod terminal;
pub mod thread;

#[cfg(test)]
mod wait_tests;

//! Starting a thread. There is one such function so that the standard library's large
//! one is compiled for one type and not for each caller's.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Enough for what calls no deep library.
pub const SMALL: usize = 64 * 1024;
/// As much as the standard library gives.
pub const USUAL: usize = 2 * 1024 * 1024;

/// As many threads as do work that only computes: one for each processor, but not more than four.
pub fn workers() -> usize {
    super::processors().clamp(1, 4)
}

/// Runs `work` in a thread with a stack of `stack` bytes.
pub fn start(stack: usize, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().stack_size(stack).spawn(work)
}

//! Starting a thread.

use crate::sys::thread::Work;
use std::io;
use std::thread::Builder;

/// Runs `work` in a thread with a stack of `stack` bytes, for which nobody can wait.
pub fn start(stack: usize, work: Work) -> io::Result<()> {
    Builder::new().stack_size(stack).spawn(work).map(drop)
}

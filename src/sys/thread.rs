//! Threads for what is done beside a command.

#[cfg(unix)]
pub use super::unix::threads::start;
#[cfg(windows)]
pub use super::windows::threads::start;

/// Enough for what calls no deep library.
pub const SMALL: usize = 64 * 1024;
/// As much as the standard library gives.
pub const USUAL: usize = 2 * 1024 * 1024;

/// What a thread does.
pub type Work = Box<dyn FnOnce() + Send>;

/// As many threads as do work that only computes: one for each processor, but not more than four.
pub fn workers() -> usize {
    super::processors().clamp(1, 4)
}

//! Windows 10 and later.

pub mod clock;
pub mod connect;
pub mod console;
pub mod files;
pub mod signals;
pub mod threads;
pub mod wait;

/// How many processors this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

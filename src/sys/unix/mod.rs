//! Linux, macOS and their like: POSIX.

pub mod clock;
pub mod connect;
pub mod console;
pub mod files;
pub mod signals;
pub mod threads;
pub mod wait;

/// How many processors this process may use. (The standard library's own also reads the limits
/// of control groups, with 5 KB of code.)
pub fn processors() -> usize {
    // SAFETY: takes a number and gives one.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1)
}

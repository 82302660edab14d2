//! Linux, macOS and their like: POSIX.

pub mod clock;
pub mod connect;
pub mod console;
pub mod files;
pub mod signals;
pub mod wait;

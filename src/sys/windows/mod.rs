//! Windows 10 and later.

pub mod clock;
pub mod connect;
pub mod console;
pub mod files;
pub mod signals;
pub mod wait;

//! From a directory to an archive, and safely back.

pub mod gzip;
pub mod pack;
#[cfg(feature = "server")]
pub mod unpack;
pub mod walk;

//! From a directory to an archive (rig), and safely back (maxd).

pub mod gzip;
pub mod pack;
#[cfg(feature = "server")]
mod unpack;
pub mod walk;

#[cfg(feature = "server")]
pub use unpack::{Limits, Unpacked, unpack};

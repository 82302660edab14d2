//! From a directory to an archive (rig), and safely back (maxd).

pub mod gzip;
pub mod pack;
mod rules;
#[cfg(feature = "server")]
mod unpack;
pub mod walk;

#[cfg(all(test, unix))]
mod git_tests;

#[cfg(feature = "server")]
pub use unpack::{Limits, Unpacked, unpack};

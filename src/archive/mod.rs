//! A project's files on their way to the server: packing (rig) and safe unpacking
//! (maxd).

#[cfg(feature = "server")]
mod unpack;

#[cfg(feature = "server")]
pub use unpack::{Limits, Unpacked, unpack};

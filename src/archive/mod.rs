//! From a directory to an archive (rig), and safely back (maxd).

pub mod contents;
pub mod gzip;
pub mod index;
pub mod pack;
mod rules;
mod tar;
#[cfg(feature = "server")]
mod unpack;
pub mod walk;

#[cfg(all(test, unix))]
mod git_tests;

use std::fs::File;
use std::io::{self, Read};

#[cfg(feature = "server")]
pub use unpack::{Limits, Unpacked, unpack};

/// Reads the rest of a file, of which `each` gets what has room in `buffer` at a time; how many
/// bytes that were.
fn pieces(
    mut file: &File,
    buffer: &mut [u8],
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut all = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(all),
            Ok(count) => {
                all += count as u64;
                each(buffer.get(..count).unwrap_or_default())?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

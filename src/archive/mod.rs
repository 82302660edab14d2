//! From a directory to an archive (rig), and safely back from an archive or a manifest (maxd).

pub mod contents;
#[cfg(feature = "server")]
mod disk;
pub mod gzip;
pub mod index;
#[cfg(feature = "server")]
mod listing;
pub mod pack;
mod rules;
mod tar;
#[cfg(feature = "server")]
mod tree;
#[cfg(feature = "server")]
mod unpack;
pub mod walk;

#[cfg(all(test, unix))]
mod git_tests;

#[cfg(feature = "server")]
use crate::error::io_reason;
use std::io;

#[cfg(feature = "server")]
pub use disk::lay_out;
#[cfg(feature = "server")]
pub use listing::{read_changes, read_stored};
#[cfg(feature = "server")]
pub use tree::{Node, Tree, shown};
#[cfg(feature = "server")]
pub use unpack::unpack;

/// What an archive or a manifest may hold at most.
#[cfg(feature = "server")]
#[derive(Clone, Copy)]
pub struct Limits {
    /// The files' contents together, in bytes.
    pub bytes: u64,
    /// Files, directories and links together.
    pub entries: u64,
}

/// The name and the size of a regular file, from a block with its header (POSIX, ustar). Why
/// not, where it is another thing or nothing at all.
#[cfg(feature = "server")]
pub fn entry_of_contents(block: &[u8]) -> Result<(Vec<u8>, u64), String> {
    let header = ::tar::Header::from_byte_slice(block);
    let sum = block.iter().enumerate().map(|(at, byte)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(*byte),
    });
    if header.cksum().ok() != Some(sum.sum()) {
        return Err("a header's sum is wrong".to_owned());
    }
    let name = header.path_bytes().into_owned();
    match (header.entry_type().is_file(), header.entry_size()) {
        (true, Ok(size)) => Ok((name, size)),
        (true, Err(_)) => Err(format!("'{}' has no size", shown(&name))),
        (false, _) => Err(format!("'{}' is no regular file", shown(&name))),
    }
}

/// What is wrong with compressed bytes, from an error of the decoder or of who it reads from.
#[cfg(feature = "server")]
pub fn broken(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => io_reason(error),
        None => "the compression is broken".to_owned(),
    }
}

/// Reads what `read` gives, of which `each` gets what has room in `buffer` at a time; how many
/// bytes that were. (Not from a `Read`, whose table of methods would link more than is used.)
fn pieces(
    read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    buffer: &mut [u8],
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut all = 0;
    loop {
        match read(buffer) {
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

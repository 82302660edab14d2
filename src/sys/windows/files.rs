//! Permissions, kinds and names of files.

use std::fs::{self, File, FileType, Metadata};
use std::io;
use std::os::windows::fs::MetadataExt;
use std::path::Path;

/// Where rig's configuration is by default: below the directory that this variable names.
pub const HOME: (&str, &str) = ("APPDATA", "rig");

/// Where what rig can do without is kept by default, in the same way.
pub const CACHE: (&str, &str) = ("LOCALAPPDATA", "rig");

/// How [`create`] guards a file, for people.
pub const GUARD: &str = "with the permissions of its directory";

/// Opens a file to be written anew. It has its directory's access list, which in the user's
/// own (`%APPDATA%`) names nobody else but the administrators.
pub fn create(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// Opens a regular file to be read.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Makes a directory and those above it; for who may look into it see [`create`].
pub fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// What changes when a file does: when it was written (100 nanoseconds, since 1601) and made.
pub fn stamp(data: &Metadata) -> [u64; 3] {
    [data.last_write_time(), data.creation_time(), 0]
}

/// The permission bits. There are none here, so a program is not told from other files, and
/// all can be run where they arrive.
pub fn mode(_: &Metadata) -> u32 {
    0o755
}

/// Whether a file can be read as sure as can be told without opening it: never.
pub fn readable(_: &Metadata) -> bool {
    false
}

/// What something is that is neither a file nor a directory nor a link.
pub fn special(_: FileType) -> &'static str {
    "a device"
}

/// A path's bytes, its parts separated by slashes.
pub fn bytes(path: &Path) -> impl AsRef<[u8]> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_separated_by_slashes() {
        assert_eq!(bytes(Path::new("a\\b/c")).as_ref(), b"a/b/c");
    }
}

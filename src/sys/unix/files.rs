//! Permissions, kinds and names of files.

use std::fs::{DirBuilder, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Where rig's configuration is by default: below the directory that this variable names.
pub const HOME: (&str, &str) = ("HOME", ".config/rig");

/// Where what rig can do without is kept by default, in the same way.
pub const CACHE: (&str, &str) = ("HOME", ".cache/rig");

/// How [`create`] guards a file, for people.
pub const GUARD: &str = "mode 0600";

/// Opens a file to be written anew, which its owner alone may read (0600).
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Opens a regular file to be read. A link in its place is not followed, and a named pipe
/// not waited for.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Makes a directory, and those above it, which their owner alone may look into (0700).
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What changes when a file does: when its content and its inode were changed (nanoseconds
/// since 1970), and which inode it is.
pub fn stamp(data: &Metadata) -> [u64; 3] {
    let nanoseconds = |seconds: i64, rest: i64| (seconds.wrapping_mul(1_000_000_000) + rest).cast_unsigned();
    [nanoseconds(data.mtime(), data.mtime_nsec()), nanoseconds(data.ctime(), data.ctime_nsec()), data.ino()]
}

/// The permission bits.
pub fn mode(data: &Metadata) -> u32 {
    data.permissions().mode() & 0o777
}

/// Whether a file can be read as sure as can be told without opening it: by everybody.
pub fn readable(data: &Metadata) -> bool {
    mode(data) & 0o444 == 0o444
}

/// What something is that is neither a file nor a directory nor a link.
pub fn special(kind: FileType) -> &'static str {
    match () {
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

/// A path's bytes, its parts separated by slashes.
pub fn bytes(path: &Path) -> impl AsRef<[u8]> {
    path.as_os_str().as_bytes()
}

//! Permissions, kinds and names of files.

use std::fs::{DirBuilder, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Where rig's configuration is by default: below the directory that this variable names.
pub const HOME: (&str, &str) = ("HOME", ".config/rig");

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

/// The permission bits.
pub fn mode(data: &Metadata) -> u32 {
    data.permissions().mode() & 0o777
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

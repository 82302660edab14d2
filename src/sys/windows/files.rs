//! Permissions, kinds and names of files.

use std::fs::{self, File, FileType, Metadata};
use std::io;
use std::os::windows::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// What is known of a file without opening it.
#[derive(Clone, Copy)]
pub struct About {
    kind: FileType,
    /// How many bytes it has.
    pub size: u64,
    /// What changes when it does: when it was written (100 nanoseconds, since 1601) and made.
    pub stamp: [u64; 3],
}

impl About {
    fn new(data: &Metadata) -> About {
        let stamp = [data.last_write_time(), data.creation_time(), 0];
        About { kind: data.file_type(), size: data.len(), stamp }
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind.is_file()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind.is_dir()
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.kind.is_symlink()
    }

    /// What it is when it is none of these.
    pub fn special(&self) -> &'static str {
        "a device"
    }

    /// The permission bits. There are none here, so a program is not told from other files, and
    /// all can be run where they arrive.
    pub fn mode(&self) -> u32 {
        0o755
    }

    /// Whether it can be read as sure as can be told without opening it: never.
    pub fn is_readable(&self) -> bool {
        false
    }
}

/// What is at a path. A link is not followed.
pub fn about(path: &Path) -> io::Result<About> {
    fs::symlink_metadata(path).map(|data| About::new(&data))
}

/// What is in a directory, in no order: the names behind `prefix`, and what they are.
pub fn list(path: &Path, prefix: &Path) -> io::Result<Vec<(PathBuf, io::Result<About>)>> {
    let about =
        |item: fs::DirEntry| (prefix.join(item.file_name()), item.metadata().map(|data| About::new(&data)));
    fs::read_dir(path)?.map(|item| item.map(about)).collect()
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

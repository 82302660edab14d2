//! A directory that is filled with what nobody vouches for. Files are created anew below
//! directories that were created here, and the links come last, when every name is known: so
//! nothing is ever written through a link.

use super::manifest::Manifest;
use super::tree::shown;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, Item};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Makes `dest`, which must be empty or missing, what a manifest says. `fill` writes a content
/// into a file. Blocks. After an error `dest` holds a part and is the caller's to remove.
pub fn lay_out(
    manifest: &Manifest,
    dest: &Path,
    mut fill: impl FnMut(&Hash, &File) -> Result<()>,
) -> Result<()> {
    let disk = Disk::new(dest)?;
    for (path, item) in manifest.items() {
        match item {
            Item::Directory(mode) => disk.make_dir(path, mode)?,
            Item::File { mode, hash, .. } => {
                let file = disk.create(path)?;
                fill(&hash, &file)?;
                disk.close(path, &file, mode)?;
            }
            Item::Link(_) | Item::Removed => {}
        }
    }
    disk.link(manifest)
}

/// The directory.
pub struct Disk<'a>(&'a Path);

impl Disk<'_> {
    /// Only an empty directory will do: what lay there before could be a link.
    pub fn new(dest: &Path) -> Result<Disk<'_>> {
        let subject = dest.to_string_lossy();
        fs::create_dir_all(dest).map_err(|error| Error::io("create", &subject, &error))?;
        let mut inside = fs::read_dir(dest).map_err(|error| Error::io("read", &subject, &error))?;
        match inside.next() {
            None => Ok(Disk(dest)),
            Some(_) => {
                Err(Error::new(Kind::Conflict, format!("cannot unpack into '{subject}': it is not empty")))
            }
        }
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.0.join(OsStr::from_bytes(path))
    }

    /// Creates a directory, or corrects the mode of one that was there for its content.
    /// The owner can always clean up.
    pub fn make_dir(&self, path: &[u8], mode: u32) -> Result<()> {
        let at = self.at(path);
        match fs::create_dir(&at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(written(path, &error)),
            _ => fs::set_permissions(&at, Permissions::from_mode(mode & 0o777 | 0o700))
                .map_err(|error| written(path, &error)),
        }
    }

    /// Creates a file, for its owner until it is closed.
    pub fn create(&self, path: &[u8]) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(self.at(path)).map_err(|error| written(path, &error))
    }

    /// A file is as it should be, but for its mode.
    pub fn close(&self, path: &[u8], file: &File, mode: u32) -> Result<()> {
        file.set_permissions(Permissions::from_mode(mode & 0o777)).map_err(|error| written(path, &error))
    }

    /// Creates the links, now that nothing is written any more.
    pub fn link(&self, manifest: &Manifest) -> Result<()> {
        manifest.links().try_for_each(|(path, target)| {
            symlink(OsStr::from_bytes(target), self.at(path)).map_err(|error| written(path, &error))
        })
    }
}

/// A file of an archive or a manifest that can't be written.
pub fn written(path: &[u8], error: &io::Error) -> Error {
    Error::io("write", &shown(path), error)
}

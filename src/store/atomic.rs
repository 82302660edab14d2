//! Files that are there whole or not at all, readable by their owner alone.

use crate::error::{Error, Result};
use crate::sys::files::{create, make_directory};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `content` to `path` with mode 0600 by way of a new file and a rename, making
/// the directory (0700) when it is missing.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let written = replace(path, &mut |file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|error| Error::io("write", &path.to_string_lossy(), &error))
}

/// Does so with what `write` writes, of which nothing may be left when the machine crashes: for
/// what can be told to be damaged then, and can be made again.
pub fn replace(path: &Path, write: &mut dyn FnMut(&mut File) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_directory(dir)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written =
        create(&temporary).and_then(|mut file| write(&mut file)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The text of `path`, or none when there is no such file.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path.to_string_lossy(), &error)),
    }
}

/// Removes `path`; that it is not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path.to_string_lossy(), &error))
        }
        _ => Ok(()),
    }
}

/// Holds the lock on `path` until the returned file is dropped, so that two rigs do
/// not refresh one session at the same time.
pub fn lock(path: &Path) -> Result<File> {
    let locked = make_directory(path.parent().unwrap_or(Path::new(".")))
        .and_then(|()| create(path))
        .and_then(|file| {
            file.lock()?;
            Ok(file)
        });
    locked.map_err(|error| Error::io("lock", &path.to_string_lossy(), &error))
}

//! Unpacks an archive that nobody vouches for: regular files, directories and
//! symbolic links below one directory, and nothing else.
//!
//! ```text
//! gzip ─► Guard (how much may be read, where the end is) ─► tar ─► Tree (names) ─► disk
//! ```
//!
//! Files are created anew below directories that were created here, and the links
//! come last, when every name is known: so nothing is ever written through a link,
//! and a link is judged by where it leads through all the others. Owners, times and
//! extended attributes are not restored. Nothing is cleaned up after an error.

mod tree;

#[cfg(test)]
mod tests;

use crate::error::{Error, Kind, Result, io_reason};
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use tar::EntryType;
use tree::Tree;

/// The longest path of an entry, in bytes.
const PATH_MAX: usize = 1024;

/// What may be read for the headers of one entry: long names and pax records.
const HEADERS_MAX: u64 = 64 * 1024;

/// What may follow the archive's end mark: `tar -b` pads to its record size.
const PADDING_MAX: u64 = 1024 * 1024;

/// What an archive may hold at most.
#[derive(Clone, Copy)]
pub struct Limits {
    /// The files' contents together, in bytes.
    pub bytes: u64,
    /// Files, directories and links together.
    pub entries: u64,
}

/// What an archive held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The files' contents together, in bytes.
    pub bytes: u64,
    /// Files, directories and links together, with the directories that no entry of
    /// their own announces.
    pub entries: u64,
}

/// Unpacks a gzip-compressed tar into `dest`, which must be empty or missing. Blocks.
/// After an error `dest` holds a part of the archive and is the caller's to remove.
pub fn unpack(tar_gz: impl Read, dest: &Path, limits: &Limits) -> Result<Unpacked> {
    make_root(dest)?;
    let state = State { left: Cell::new(0), ended: Cell::new(false), at: RefCell::default() };
    let gzip = flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(64 * 1024, tar_gz));
    let mut archive = tar::Archive::new(Guard { inner: gzip, state: &state });
    let mut disk = Disk { dest, tree: Tree::default(), left: *limits, limits };

    let mut entries = archive.entries().map_err(|error| state.malformed(&error))?;
    loop {
        state.left.set(HEADERS_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| state.malformed(&error))?;
        state.at.replace(shown(&entry.path_bytes()));
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            io::copy(&mut entry, &mut io::sink()).map_err(|error| state.malformed(&error))?;
            continue;
        }
        disk.add(&mut entry, &state)?;
    }
    if state.ended.get() {
        return Err(state.cut_short());
    }
    finish(archive.into_inner(), &state)?;
    disk.link()?;
    Ok(Unpacked { bytes: limits.bytes - disk.left.bytes, entries: disk.tree.len() })
}

/// Only an empty directory will do: what lay there before could be a link.
fn make_root(dest: &Path) -> Result<()> {
    let subject = dest.to_string_lossy();
    fs::create_dir_all(dest).map_err(|error| Error::io("create", &subject, &error))?;
    let mut inside = fs::read_dir(dest).map_err(|error| Error::io("read", &subject, &error))?;
    match inside.next() {
        None => Ok(()),
        Some(_) => {
            Err(Error::new(Kind::Conflict, format!("cannot unpack into '{subject}': it is not empty")))
        }
    }
}

/// Behind the end mark there may be zeros, then the gzip stream's own end, which
/// carries its checksum, and then nothing.
fn finish(mut rest: impl Read, state: &State) -> Result<()> {
    state.left.set(PADDING_MAX);
    let mut buffer = [0; 4096];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) if buffer.iter().take(n).all(|byte| *byte == 0) => {}
            Ok(_) => return Err(Error::usage("the archive is malformed: something follows its end")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(state.malformed(&error)),
        }
    }
}

/// What the reader below the tar decoder tells those above it.
struct State {
    /// How much may be read until the next step, so that no header fills the memory
    /// and no padding takes for ever.
    left: Cell<u64>,
    /// The stream has ended.
    ended: Cell<bool>,
    /// The entry that is being read.
    at: RefCell<String>,
}

impl State {
    fn malformed(&self, error: &io::Error) -> Error {
        if self.ended.get() || error.kind() == io::ErrorKind::UnexpectedEof {
            return self.cut_short();
        }
        Error::usage(format!("the archive is malformed{}: {}", self.place(), io_reason(error)))
    }

    fn cut_short(&self) -> Error {
        Error::usage(format!("the archive ends too early{}", self.place()))
            .hint("it was cut off on its way; send it again")
    }

    fn place(&self) -> String {
        match self.at.borrow().as_str() {
            "" => String::new(),
            at => format!(", at or after '{at}'"),
        }
    }
}

struct Guard<'a, R> {
    inner: R,
    state: &'a State,
}

impl<R: Read> Read for Guard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.state.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("headers or padding are too long"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.state.ended.set(n == 0 && most > 0);
        self.state.left.set(left - n as u64);
        Ok(n)
    }
}

/// The directory that is being filled.
struct Disk<'a> {
    dest: &'a Path,
    tree: Tree,
    /// What is left of `limits`.
    left: Limits,
    limits: &'a Limits,
}

impl Disk<'_> {
    fn add<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, state: &State) -> Result<()> {
        let raw = entry.path_bytes().into_owned();
        let path = clean(&raw)?;
        let mode = entry.header().mode().map_err(|error| state.malformed(&error))?;
        let kind = entry.header().entry_type();
        // Before ustar a directory was a file whose name ends with a slash.
        let directory = kind.is_dir() || (kind.is_file() && raw.ends_with(b"/"));
        if path.is_empty() {
            return match directory {
                true => Ok(()),
                false => Err(refused(&raw, "it has no name")),
            };
        }
        for parent in self.tree.claim_parents(&path)? {
            self.count(&parent)?;
            self.make_dir(&parent, 0o755)?;
        }
        if directory {
            if self.tree.add_dir(&path)? {
                self.count(&path)?;
            }
            return self.make_dir(&path, mode);
        }
        self.count(&path)?;
        match kind {
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                self.tree.add_link(&path, &target)
            }
            EntryType::Regular | EntryType::Continuous => {
                self.tree.add_file(&path)?;
                self.write(&path, mode, entry, state)
            }
            EntryType::Link => Err(refused(&path, "it is a hard link")),
            EntryType::GNUSparse => Err(refused(&path, "it is a sparse file")),
            EntryType::Char | EntryType::Block => Err(refused(&path, "it is a device")),
            EntryType::Fifo => Err(refused(&path, "it is a named pipe")),
            _ => Err(refused(&path, "it is neither a file, a directory nor a symbolic link")),
        }
    }

    /// One entry more, named `path`.
    fn count(&mut self, path: &[u8]) -> Result<()> {
        match self.left.entries.checked_sub(1) {
            Some(left) => self.left.entries = left,
            None => {
                return Err(Error::new(
                    Kind::TooLarge,
                    format!(
                        "the archive has more than {} files and directories, from '{}' on",
                        self.limits.entries,
                        shown(path)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Creates a directory, or corrects the mode of one that was there for its content.
    /// The owner can always clean up.
    fn make_dir(&self, path: &[u8], mode: u32) -> Result<()> {
        let at = self.dest.join(OsStr::from_bytes(path));
        match fs::create_dir(&at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(written(path, &error)),
            _ => fs::set_permissions(&at, Permissions::from_mode(mode & 0o777 | 0o700))
                .map_err(|error| written(path, &error)),
        }
    }

    fn write<R: Read>(
        &mut self,
        path: &[u8],
        mode: u32,
        entry: &mut tar::Entry<'_, R>,
        state: &State,
    ) -> Result<()> {
        let size = entry.size();
        self.left.bytes = self.left.bytes.checked_sub(size).ok_or_else(|| {
            let limit = self.limits.bytes;
            Error::new(
                Kind::TooLarge,
                format!("the files are larger than {limit} bytes together, from '{}' on", shown(path)),
            )
        })?;
        state.left.set(size);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dest.join(OsStr::from_bytes(path)))
            .map_err(|error| written(path, &error))?;
        copy(entry, &mut file, size, path, state)?;
        file.set_permissions(Permissions::from_mode(mode & 0o777)).map_err(|error| written(path, &error))
    }

    /// Creates the links, now that nothing is written any more.
    fn link(&self) -> Result<()> {
        for (path, target) in self.tree.checked_links()? {
            symlink(OsStr::from_bytes(target), self.dest.join(OsStr::from_bytes(path)))
                .map_err(|error| written(path, &error))?;
        }
        Ok(())
    }
}

/// Copies exactly `size` bytes; [`io::copy`] would not tell whose error it is.
fn copy(from: &mut impl Read, to: &mut File, size: u64, path: &[u8], state: &State) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = size;
    while left > 0 {
        match from.read(&mut buffer) {
            Ok(0) => return Err(state.cut_short()),
            Ok(n) => {
                to.write_all(buffer.get(..n).unwrap_or_default()).map_err(|error| written(path, &error))?;
                left = left.saturating_sub(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(state.malformed(&error)),
        }
    }
    Ok(())
}

/// The path without `.` and doubled slashes; empty for the top itself.
fn clean(raw: &[u8]) -> Result<Vec<u8>> {
    if raw.len() > PATH_MAX {
        return Err(refused(raw, &format!("its path is longer than {PATH_MAX} bytes")));
    }
    if raw.starts_with(b"/") {
        return Err(refused(raw, "its path is absolute"));
    }
    if raw.contains(&0) {
        return Err(refused(raw, "its path has a null byte"));
    }
    let parts = raw.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts = parts.collect::<Vec<_>>();
    if parts.contains(&b"..".as_slice()) {
        return Err(refused(raw, "its path has '..'"));
    }
    Ok(parts.join(&b'/'))
}

fn refused(path: &[u8], why: &str) -> Error {
    Error::usage(format!("the archive's '{}' is refused: {why}", shown(path)))
}

fn written(path: &[u8], error: &io::Error) -> Error {
    Error::io("write", &shown(path), error)
}

/// A path for people: short, and without what could drive a terminal.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut short = text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown = short.by_ref().collect::<String>();
    if shown.len() < text.len() && text.chars().count() > 200 {
        shown.push('…');
    }
    shown
}

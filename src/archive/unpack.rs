//! Unpacks an archive that nobody vouches for: regular files, directories and
//! symbolic links below one directory, and nothing else.
//!
//! ```text
//! gzip ─► Guard (how much may be read, where the end is) ─► tar ─► Said ─► Tree (names) ─► Disk
//! ```
//!
//! Files are created anew below directories that were created here, and the links
//! come last, when every name is known: so nothing is ever written through a link,
//! and a link is judged by where it leads through all the others. Owners, times and
//! extended attributes are not restored. Nothing is cleaned up after an error.

mod said;
#[cfg(test)]
mod tests;

use self::said::Said;
use super::disk::{Disk, written};
use super::manifest::Manifest;
use super::tree::{Tree, refused, shown, unfit};
use super::{Limits, broken};
use crate::error::{Error, Result};
use crate::manifest::{Hash, Hasher};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use tar::EntryType;

/// What may be read for the headers of one entry: long names and pax records.
const HEADERS_MAX: u64 = 64 * 1024;

/// What may follow the archive's end mark: `tar -b` pads to its record size.
const PADDING_MAX: u64 = 1024 * 1024;

/// Unpacks a gzip-compressed tar into `dest`, which must be empty or missing, and tells what
/// it held. Blocks. After an error `dest` holds a part of the archive and is the caller's to
/// remove.
pub fn unpack(tar_gz: impl Read, dest: &Path, limits: &Limits) -> Result<Manifest> {
    let state = State::default();
    let gzip = flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(64 * 1024, tar_gz));
    let mut archive = tar::Archive::new(Guard { inner: gzip, state: &state });
    let mut unpacking = Unpacking { disk: Disk::new(dest)?, tree: Tree::new(limits) };

    // Raw, since the decoder passes over what it can't read of long names.
    let mut entries = archive.entries().map_err(|error| state.malformed(&error))?.raw(true);
    let mut said = Said::default();
    loop {
        if said.is_empty() {
            state.left.set(HEADERS_MAX);
        }
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| state.malformed(&error))?;
        let kind = entry.header().entry_type();
        if Said::says(kind) {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).map_err(|error| state.malformed(&error))?;
            if (text.len() as u64) < entry.size() {
                return Err(state.cut_short());
            }
            said.take(kind, &text).map_err(|why| state.wrong(why))?;
        } else {
            unpacking.add(&mut entry, std::mem::take(&mut said), &state)?;
        }
    }
    if state.ended.get() {
        return Err(state.cut_short());
    }
    if !said.is_empty() {
        return Err(state.wrong("a header is about a file that does not come"));
    }
    finish(archive.into_inner(), &state)?;
    let manifest = unpacking.tree.manifest()?;
    unpacking.disk.link(&manifest)?;
    Ok(manifest)
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
#[derive(Default)]
struct State {
    /// How much may be read until the next step, so that no header fills the memory
    /// and no padding takes for ever.
    left: Cell<u64>,
    /// The stream has ended.
    ended: Cell<bool>,
    /// Why nothing more could be read.
    unread: RefCell<String>,
    /// The entry that is being read.
    at: RefCell<String>,
}

impl State {
    fn malformed(&self, error: &io::Error) -> Error {
        if self.ended.get() || error.kind() == io::ErrorKind::UnexpectedEof {
            return self.cut_short();
        }
        match self.unread.borrow().as_str() {
            "" => self.wrong("a header can't be read"),
            why => self.wrong(why),
        }
    }

    fn wrong(&self, why: &str) -> Error {
        Error::usage(format!("the archive is malformed{}: {why}", self.place()))
    }

    fn cut_short(&self) -> Error {
        Error::usage(format!("the archive ends too early{}", self.place()))
            .hint("it was cut off on its way; deploy again")
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

impl<R> Guard<'_, R> {
    /// The decoder hides what it gets in words of its own.
    fn failed(&self, kind: io::ErrorKind, why: &str) -> io::Error {
        if kind != io::ErrorKind::Interrupted {
            why.clone_into(&mut self.state.unread.borrow_mut());
        }
        kind.into()
    }
}

impl<R: Read> Read for Guard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.state.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(self.failed(io::ErrorKind::Other, "headers or padding are too long"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default());
        let n = read.map_err(|error| self.failed(error.kind(), &broken(&error)))?;
        self.state.ended.set(n == 0 && most > 0);
        self.state.left.set(left - n as u64);
        Ok(n)
    }
}

/// The directory that is being filled, and with what.
struct Unpacking<'a> {
    disk: Disk<'a>,
    tree: Tree,
}

impl Unpacking<'_> {
    fn add<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, said: Said, state: &State) -> Result<()> {
        let raw = said.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        state.at.replace(shown(&raw));
        let path = clean(&raw)?;
        let mode = entry.header().mode().map_err(|error| state.malformed(&error))? & 0o777;
        let kind = entry.header().entry_type();
        // Before ustar a directory was a file whose name ends with a slash.
        let directory = kind.is_dir() || (kind.is_file() && raw.ends_with(b"/"));
        if path.is_empty() {
            return match directory {
                true => Ok(()),
                false => Err(refused(&raw, "it has no name")),
            };
        }
        if said.sparse {
            return Err(refused(&path, "it is a sparse file"));
        }
        // What is larger than a header can say is larger than anything that is taken.
        if said.size.is_some_and(|size| size != entry.size()) {
            return Err(refused(&path, "its headers say different sizes"));
        }
        for parent in self.tree.claim_parents(&path)? {
            self.disk.make_dir(&parent, 0o755)?;
        }
        if directory {
            self.tree.add_dir(&path, mode)?;
            return self.disk.make_dir(&path, mode);
        }
        match kind {
            EntryType::Symlink => {
                let target = said.target.or_else(|| Some(entry.link_name_bytes()?.into_owned()));
                self.tree.add_link(&path, &target.unwrap_or_default())
            }
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                self.tree.add_file(&path, mode, size, Hash::default())?;
                state.left.set(size);
                let mut file = self.disk.create(&path)?;
                let hash = copy(entry, &mut file, size, &path, state)?;
                self.tree.found(&path, hash);
                self.disk.close(&path, &file, mode)
            }
            EntryType::Link => Err(refused(&path, "it is a hard link")),
            EntryType::GNUSparse => Err(refused(&path, "it is a sparse file")),
            EntryType::Char | EntryType::Block => Err(refused(&path, "it is a device")),
            EntryType::Fifo => Err(refused(&path, "it is a named pipe")),
            _ => Err(refused(&path, "it is neither a file, a directory nor a symbolic link")),
        }
    }
}

/// Copies exactly `size` bytes and hashes them; [`io::copy`] would not tell whose error it is.
fn copy(from: &mut impl Read, to: &mut File, size: u64, path: &[u8], state: &State) -> Result<Hash> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 64 * 1024]);
    let mut left = size;
    while left > 0 {
        match from.read(&mut buffer) {
            Ok(0) => return Err(state.cut_short()),
            Ok(n) => {
                let read = buffer.get(..n).unwrap_or_default();
                hasher.update(read);
                to.write_all(read).map_err(|error| written(path, &error))?;
                left = left.saturating_sub(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(state.malformed(&error)),
        }
    }
    Ok(hasher.finish())
}

/// The path without `.` and doubled slashes; empty for the top itself.
fn clean(raw: &[u8]) -> Result<Vec<u8>> {
    if let Some(why) = unfit(raw) {
        return Err(refused(raw, &why));
    }
    let parts = raw.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    Ok(parts.collect::<Vec<_>>().join(&b'/'))
}

//! The archive of a deploy, made while it is sent: a thread reads, packs (tar) and
//! compresses (gzip) into a bounded channel, and the upload reads from its other
//! end. Nothing is kept: memory stays the same whatever the size.

use super::gzip::Gzip;
use super::walk::{Entry, Kind, NEEDLESS, Tree};
use crate::error::{Error, Kind as ErrorKind, Result, io_reason};
use crate::queue::{Receiver, Sender, bounded};
use crate::sys::files;
use crate::sys::thread::{USUAL, start};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Compressed bytes a message, and messages on the way.
const CHUNK: usize = 64 * 1024;
const QUEUE: usize = 8;

/// The archive as a stream of bytes.
pub struct Pack {
    chunks: Receiver<Vec<u8>>,
    current: Vec<u8>,
    taken: usize,
    done: Arc<AtomicU64>,
    outcome: Receiver<Error>,
}

impl Pack {
    /// Begins to pack `tree`.
    pub fn new(tree: Tree) -> Result<Pack> {
        let (chunks, receiver) = bounded(QUEUE);
        let (report, outcome) = bounded(1);
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        let work = move || {
            // Open until the outcome is known: the stream must not seem to end in order.
            let _open = chunks.clone();
            let sink = BufWriter::with_capacity(CHUNK, ChannelWriter(chunks));
            if let Err(error) = pack(&tree, sink, &counter) {
                // The receiver is gone when the upload was given up.
                let _ = report.send(error);
            }
        };
        start(USUAL, Box::new(work)).map_err(|error| Error::io("start", "the packing thread", &error))?;
        Ok(Pack { chunks: receiver, current: Vec::new(), taken: 0, done, outcome })
    }

    /// How many bytes of the files' contents are packed.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Why packing failed, after [`Read::read`] did: a file that can't be read or that
    /// changed.
    pub fn failure(&self) -> Option<Error> {
        self.outcome.try_recv().ok()
    }
}

impl Read for Pack {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.current.len() {
            match self.chunks.recv() {
                Ok(chunk) => (self.current, self.taken) = (chunk, 0),
                Err(_) if self.outcome.is_empty() => return Ok(0),
                Err(_) => return Err(io::Error::other("packing failed")),
            }
        }
        let rest = self.current.get(self.taken..).unwrap_or(&[]);
        let count = rest.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        Ok(count)
    }
}

struct ChannelWriter(Sender<Vec<u8>>);

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send(bytes.to_vec()) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pack(tree: &Tree, sink: impl Write, done: &AtomicU64) -> Result<()> {
    let broken =
        |error: io::Error| Error::new(ErrorKind::Failed, format!("cannot pack: {}", io_reason(&error)));
    let mut tar = tar::Builder::new(Gzip::new(sink).map_err(broken)?);
    for entry in &tree.entries {
        append(&mut tar, tree, entry, done).map_err(|error| {
            let path = tree.root.join(&entry.path);
            Error::io("pack", &path.to_string_lossy(), &error).hint(NEEDLESS)
        })?;
    }
    tar.into_inner().and_then(Gzip::finish).map_err(broken)?;
    Ok(())
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    tree: &Tree,
    entry: &Entry,
    done: &AtomicU64,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    match &entry.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            tar.append_data(&mut header, &entry.path, io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, &entry.path, target)
        }
        Kind::File(size) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(*size);
            let file = &files::open(&tree.root.join(&entry.path))?;
            let before = file.metadata()?;
            if !before.is_file() || before.len() != *size {
                return Err(changed());
            }
            tar.append_data(&mut header, &entry.path, Exactly { file, left: *size, done })?;
            let after = file.metadata()?;
            match after.len() == *size && after.modified().ok() == before.modified().ok() {
                true => Ok(()),
                false => Err(changed()),
            }
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("it has changed meanwhile")
}

/// A file that must have the size its header says: a shorter one would shift all that
/// follows in the archive.
struct Exactly<'a> {
    file: &'a File,
    left: u64,
    done: &'a AtomicU64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let count = self.file.read(out.get_mut(..limit).unwrap_or(&mut []))?;
        if count == 0 && limit > 0 {
            return Err(changed());
        }
        self.left -= count as u64;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::archive::walk::walk;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn tar_reads_what_is_packed() {
        let dir = tempfile::tempdir().unwrap();
        let long = "d".repeat(60);
        let deep = dir.path().join(&long).join(&long).join(&long);
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), vec![7; 300_000]).unwrap();
        fs::write(dir.path().join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.path().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("run", dir.path().join("link")).unwrap();
        let tree = walk(dir.path()).unwrap();
        let bytes = tree.bytes;
        let mut pack = Pack::new(tree).unwrap();
        let mut packed = Vec::new();
        pack.read_to_end(&mut packed).unwrap();
        assert_eq!(pack.done(), bytes);
        let out = tempfile::tempdir().unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(&packed[..])).unpack(out.path()).unwrap();
        let copy = out.path().join(&long).join(&long).join(&long).join("file");
        assert_eq!(fs::read(copy).unwrap(), vec![7; 300_000]);
        assert_eq!(fs::metadata(out.path().join("run")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_link(out.path().join("link")).unwrap().to_str(), Some("run"));
    }

    #[test]
    fn a_file_that_has_changed_fails_the_pack_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let replace = |make: &dyn Fn()| {
            fs::remove_file(&path).unwrap();
            make();
        };
        let pipe = || nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let changes: [(&dyn Fn(), &str); 5] = [
            (&|| fs::write(&path, "short").unwrap(), "it has changed meanwhile"),
            (&|| fs::write(&path, "much longer than before").unwrap(), "it has changed meanwhile"),
            (&|| fs::remove_file(&path).unwrap(), "no such file or directory"),
            (&|| replace(&|| symlink("/etc/passwd", &path).unwrap()), "too many levels of symbolic links"),
            (&|| replace(&pipe), "it has changed meanwhile"),
        ];
        for (change, reason) in changes {
            let _ = fs::remove_file(&path);
            fs::write(&path, "long enough").unwrap();
            let tree = walk(dir.path()).unwrap();
            change();
            let mut pack = Pack::new(tree).unwrap();
            assert!(pack.read_to_end(&mut Vec::new()).is_err());
            let failure = pack.failure().unwrap();
            assert_eq!(failure.message(), format!("cannot pack '{}': {reason}", path.display()));
        }
    }

    #[test]
    fn a_file_that_is_written_while_it_is_read_fails_the_pack() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        // More than what is on its way before somebody takes it.
        let mut noise = vec![0; 4 << 20];
        nanorand::Rng::fill_bytes(&mut nanorand::WyRand::new_seed(7), &mut noise);
        fs::write(&path, noise).unwrap();
        let mut pack = Pack::new(walk(dir.path()).unwrap()).unwrap();
        pack.read_exact(&mut [0; 1000]).unwrap();
        let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        (&file).write_all(b"more").unwrap();
        assert!(pack.read_to_end(&mut Vec::new()).is_err());
        let message = format!("cannot pack '{}': it has changed meanwhile", path.display());
        assert_eq!(pack.failure().unwrap().message(), message);
    }
}

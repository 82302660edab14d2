//! The archive of a deploy, made while it is sent: a thread reads, packs (tar) and
//! compresses (gzip) into a bounded channel, and the upload reads from its other
//! end. Nothing is kept: memory stays the same whatever the size.

use super::gzip::Gzip;
use super::walk::{Entry, Kind, NEEDLESS, Tree};
use super::{pieces, tar};
use crate::error::{Error, Kind as ErrorKind, Result, io_reason};
use crate::queue::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::sys::files;
use crate::sys::thread::{USUAL, start};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Compressed blocks on the way.
const QUEUE: usize = 2;
/// So much of a file is read at a time.
const BUFFER: usize = 64 * 1024;

/// The archive as a stream of bytes.
pub struct Pack {
    chunks: Receiver<Vec<u8>>,
    current: Vec<u8>,
    taken: usize,
    done: Arc<AtomicU64>,
    outcome: Receiver<Error>,
    /// Reading fails from then on.
    pub deadline: Option<Instant>,
    /// It has passed before there was more to send.
    late: bool,
}

/// Reads some more of an archive; 0 bytes at its end.
pub type Reading = Box<dyn FnMut(&mut [u8]) -> io::Result<usize> + Send>;

/// What writes an archive, and counts what it has done.
type Work = Box<dyn FnOnce(&mut dyn Write, &AtomicU64) -> Result<()> + Send>;

/// A content that is packed.
pub struct Part {
    /// The entry of the tree.
    pub entry: u32,
    /// Its name in the archive.
    pub name: String,
    /// So many bytes are left out.
    pub offset: u64,
}

impl Pack {
    /// Begins to pack `tree`.
    pub fn new(tree: Tree) -> Result<Pack> {
        Pack::begin(Box::new(move |sink, done| pack(&tree, None, sink, done)))
    }

    /// Begins to pack contents of a tree.
    pub fn parts(tree: Arc<Tree>, parts: Vec<Part>) -> Result<Pack> {
        Pack::begin(Box::new(move |sink, done| pack(&tree, Some(&parts), sink, done)))
    }

    /// Begins to read an archive that somebody has made, at `path`.
    pub fn made(mut read: Reading, path: &str) -> Result<Pack> {
        let path = path.to_owned();
        Pack::begin(Box::new(move |sink, done| {
            let mut take = |piece: &[u8]| {
                done.fetch_add(piece.len() as u64, Ordering::Relaxed);
                sink.write_all(piece)
            };
            let copied = pieces(&mut *read, &mut vec![0; BUFFER], &mut take);
            copied.map(drop).map_err(|error| Error::io("read", &path, &error))
        }))
    }

    fn begin(write: Work) -> Result<Pack> {
        let (chunks, receiver) = bounded(QUEUE);
        let (report, outcome) = bounded(1);
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        let work = move || {
            // Open until the outcome is known: the stream must not seem to end in order.
            let _open = chunks.clone();
            if let Err(error) = write(&mut ChannelWriter(chunks), &counter) {
                // The receiver is gone when the upload was given up.
                let _ = report.send(error);
            }
        };
        start(USUAL, Box::new(work)).map_err(|error| Error::io("start", "the packing thread", &error))?;
        Ok(Pack {
            chunks: receiver,
            current: Vec::new(),
            taken: 0,
            done,
            outcome,
            deadline: None,
            late: false,
        })
    }

    /// How many bytes of the files' contents, or of an archive, are packed.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// What comes next, without taking it; nothing at the end.
    pub fn peek(&mut self) -> io::Result<&[u8]> {
        if self.taken == self.current.len() {
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.chunks.recv_timeout(left.unwrap_or(Duration::MAX)) {
                Ok(chunk) => (self.current, self.taken) = (chunk, 0),
                Err(RecvTimeoutError::Timeout) => {
                    self.late = true;
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(_) if self.outcome.is_empty() => return Ok(&[]),
                Err(_) => return Err(io::Error::other("packing failed")),
            }
        }
        Ok(self.current.get(self.taken..).unwrap_or_default())
    }

    /// Why packing failed, after [`Read::read`] did: a file that can't be read or that
    /// changed.
    pub fn failure(&self) -> Option<Error> {
        let late = || {
            Error::new(ErrorKind::TimedOut, "the source was not sent in time")
                .hint("give it longer with --timeout")
        };
        self.outcome.try_recv().ok().or_else(|| self.late.then(late))
    }
}

impl Read for Pack {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let rest = self.peek()?;
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

/// Packs parts of a tree, or all of it.
fn pack(tree: &Tree, parts: Option<&[Part]>, sink: &mut dyn Write, done: &AtomicU64) -> Result<()> {
    let broken =
        |error: io::Error| Error::new(ErrorKind::Failed, format!("cannot pack: {}", io_reason(&error)));
    let mut out = Gzip::new(sink).map_err(broken)?;
    let mut add = |entry: &Entry, name: &[u8], offset| {
        let path = tree.root.join(&entry.path);
        append(&mut out, (entry, &path), (name, offset), done)
            .map_err(|error| Error::io("pack", &path.to_string_lossy(), &error).hint(NEEDLESS))
    };
    match parts {
        None => {
            for entry in &tree.entries {
                add(entry, files::bytes(&entry.path).as_ref(), 0)?;
            }
        }
        Some(parts) => {
            for part in parts {
                let Some(entry) = tree.entries.get(part.entry as usize) else { continue };
                add(entry, part.name.as_bytes(), part.offset)?;
            }
        }
    }
    tar::end(&mut out).and_then(|()| out.finish()).map_err(broken)
}

/// Adds an entry under a name; of a file only what is behind `offset`. It must have the size
/// that the archive says: a shorter one would shift all that follows.
fn append(
    out: &mut dyn Write,
    (entry, path): (&Entry, &Path),
    (name, offset): (&[u8], u64),
    done: &AtomicU64,
) -> io::Result<()> {
    let size = match &entry.kind {
        Kind::Directory => return tar::head(out, name, tar::Kind::Directory, entry.mode),
        Kind::Link(target) => {
            let target = files::bytes(target);
            return tar::head(out, name, tar::Kind::Link(target.as_ref()), entry.mode);
        }
        Kind::File(size) => *size,
    };
    let mut file = files::open(path)?;
    let before = file.metadata()?;
    if !before.is_file() || before.len() != size {
        return Err(changed());
    }
    file.seek(io::SeekFrom::Start(offset))?;
    let whole = size.saturating_sub(offset);
    tar::head(out, name, tar::Kind::File(whole), entry.mode)?;
    let mut left = whole;
    let mut take = |piece: &[u8]| {
        let count = piece.len() as u64;
        left = left.checked_sub(count).ok_or_else(changed)?;
        done.fetch_add(count, Ordering::Relaxed);
        out.write_all(piece)
    };
    pieces(&mut |out| file.read(out), &mut vec![0; BUFFER], &mut take)?;
    let after = file.metadata()?;
    if left > 0 || after.len() != size || after.modified().ok() != before.modified().ok() {
        return Err(changed());
    }
    tar::pad(out, whole)
}

fn changed() -> io::Error {
    io::Error::other("it has changed meanwhile")
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
        ::tar::Archive::new(flate2::read::GzDecoder::new(&packed[..])).unpack(out.path()).unwrap();
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

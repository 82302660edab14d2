//! What deploys consist of: contents by their SHA-256 and manifests by theirs, each network's
//! apart, since whoever names a hash must not get at what others have sent.
//!
//! ```text
//! DATA/contents/NETWORK/ab/HASH           a content, whole and checked when it came
//!                       manifests/HASH    a canonical manifest
//!                       partial/HASH.N    the beginning of a content
//! ```
//!
//! A pool's lock is held while a manifest is recorded with its deploy and what it lacks is
//! looked for, and while it is decided what nobody needs and that is deleted: so what was
//! found to be there stays.

mod collect;
mod look;
mod partial;
mod receive;
mod sync;
#[cfg(test)]
mod tests;

pub use collect::collect_now_and_then;
pub use receive::Receiver;

use self::sync::Unsynced;
use super::store::{disk, make_private};
use super::sweep;
use crate::archive::Manifest;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, Hasher, hex, parse_hex};
use rustix::fs::ioctl_ficlone;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const MANIFESTS: &str = "manifests";
const PARTIAL: &str = "partial";

/// The pools of all networks.
pub struct Contents {
    root: PathBuf,
    /// How long stays what nobody needs.
    grace: Duration,
    pools: Mutex<HashMap<i64, Arc<Pool>>>,
}

impl Contents {
    /// Those in this directory.
    pub fn new(root: PathBuf, grace: Duration) -> Contents {
        Contents { root, grace, pools: Mutex::default() }
    }

    /// A network's.
    pub fn pool(&self, network: i64) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool =
            pools.entry(network).or_insert_with(|| Arc::new(Pool::new(self.root.join(network.to_string()))));
        Arc::clone(pool)
    }

    /// Removes those of a network that is gone. Blocks.
    pub fn forget(&self, network: i64) -> Result<()> {
        let pool = self.pool(network);
        let held = pool.hold();
        let removed = sweep::remove(&pool.root);
        drop(held);
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).remove(&network);
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(disk("remove", &pool.root, &error)),
            _ => Ok(()),
        }
    }

    /// Removes those of all networks but these. Blocks.
    pub fn retain(&self, networks: &[i64]) -> Result<()> {
        for name in names(&self.root)? {
            if !name.parse().is_ok_and(|network| networks.contains(&network)) {
                let path = self.root.join(name);
                sweep::remove(&path).map_err(|error| disk("remove", &path, &error))?;
            }
        }
        Ok(())
    }
}

/// A network's.
pub struct Pool {
    root: PathBuf,
    lock: Mutex<()>,
    /// The partials that are being written, by their files' names.
    busy: Mutex<HashSet<String>>,
    /// The number of the newest of them.
    number: AtomicU64,
    /// What may not be on the disk yet. Held while contents become visible and while they are
    /// brought to the disk, so that who sees one waits for that.
    unsynced: Mutex<Unsynced>,
    /// How many contents have turned out to be damaged, and are removed.
    damaged: AtomicU64,
}

impl Pool {
    fn new(root: PathBuf) -> Pool {
        let (lock, busy, unsynced) = (Mutex::default(), Mutex::default(), Mutex::default());
        Pool { root, lock, busy, number: AtomicU64::new(0), unsynced, damaged: AtomicU64::new(0) }
    }

    /// See above. Taken before the database, never within.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let name = hex(hash);
        self.root.join(name.get(..2).unwrap_or_default()).join(name)
    }

    fn manifest_path(&self, name: &Hash) -> PathBuf {
        self.root.join(MANIFESTS).join(hex(name))
    }

    /// Stores a manifest. It is on the disk then.
    pub fn put(&self, manifest: &Manifest) -> Result<()> {
        let path = self.manifest_path(&manifest.name);
        if self.manifest_text(&manifest.name)?.is_some_and(|stored| stored == manifest.text) {
            return Ok(());
        }
        let directory = self.root.join(MANIFESTS);
        for directory in [&self.root, &directory, &self.root.join(PARTIAL)] {
            make_private(directory)?;
        }
        let new = path.with_extension("new");
        // It is believed for its hash alone: so its name may reach the disk before it does, and the
        // file system has to write its journal but once.
        let written = || {
            fs::write(&new, &manifest.text)?;
            fs::rename(&new, &path)?;
            sync::one(&path)?;
            sync::one(&directory)
        };
        written().map_err(|error| disk("write", &path, &error))
    }

    /// The stored text of a manifest, as it is.
    pub fn manifest_text(&self, name: &Hash) -> Result<Option<Vec<u8>>> {
        let path = self.manifest_path(name);
        match fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk("read", &path, &error)),
        }
    }

    /// A manifest; none when it is not there, or not what it was.
    pub fn manifest(&self, name: &Hash) -> Result<Option<Manifest>> {
        let Some(text) = self.manifest_text(name)? else { return Ok(None) };
        let manifest = Manifest::stored(text, name);
        if manifest.is_none() {
            let path = self.manifest_path(name);
            fs::remove_file(&path).map_err(|error| disk("remove", &path, &error))?;
        }
        Ok(manifest)
    }

    /// How many contents have turned out to be damaged, and are removed.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Writes a content into a file and checks it by the way. One that is damaged goes.
    pub fn fill(&self, hash: &Hash, to: &File) -> Result<()> {
        let path = self.path(hash);
        let damaged = |what: &str| {
            Error::new(Kind::Failed, format!("the stored content '{}' {what}", hex(hash)))
                .hint("deploy again: it is sent anew")
        };
        let from = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged("is gone")),
            opened => opened.map_err(|error| disk("read", &path, &error))?,
        };
        let copied = match ioctl_ficlone(to, &from) {
            Ok(()) => copy(&from, None),
            // The file system shares nothing, or not here.
            Err(_) => copy(&from, Some(to)),
        };
        let found = copied.map_err(|error| disk("copy", &path, &error))?;
        if found == *hash {
            return Ok(());
        }
        fs::remove_file(&path).map_err(|error| disk("remove", &path, &error))?;
        self.damaged.fetch_add(1, Ordering::Relaxed);
        Err(damaged("was damaged"))
    }
}

/// Copies a whole file, or only reads it, and tells its hash.
fn copy(mut from: &File, mut to: Option<&File>) -> io::Result<Hash> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 64 << 10]);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(read);
        if let Some(to) = &mut to {
            to.write_all(read)?;
        }
    }
}

/// Hashes the first `bytes` of a file; none when there are less.
fn hash_start(file: &File, bytes: u64) -> io::Result<Option<Hasher>> {
    let (mut hasher, mut buffer, mut at) = (Hasher::new(), vec![0; 64 << 10], 0);
    while at < bytes {
        let most = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(buffer.get_mut(..most).unwrap_or_default(), at)? {
            0 => return Ok(None),
            n => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                at += n as u64;
            }
        }
    }
    Ok(Some(hasher))
}

/// The names in a directory; none where there is no directory.
fn names(directory: &Path) -> Result<Vec<String>> {
    let failed = |error: io::Error| disk("read", directory, &error);
    match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        items => {
            let names = items.map_err(failed)?.map(|item| item.map(|item| item.file_name()));
            let names: Vec<_> = names.collect::<io::Result<_>>().map_err(failed)?;
            Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
        }
    }
}

/// The hash whose file has this name, also that of a partial.
fn named(name: &str) -> Option<Hash> {
    parse_hex(name.split('.').next()?.as_bytes())
}

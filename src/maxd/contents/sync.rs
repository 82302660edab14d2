//! Brings contents to the disk.

use super::Pool;
use crate::error::Result;
use crate::maxd::store::disk;
use rustix::fs::syncfs;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// So many files and directories are brought to the disk one by one, which takes up to a
/// millisecond each. For more of them `syncfs` takes less, though it also waits for all else that
/// was written on the file system.
const FEW: usize = 256;

/// What may not be on the disk yet.
#[derive(Default)]
pub enum Unsynced {
    /// These and nothing else.
    These(BTreeSet<PathBuf>),
    /// That is not known, as at the start, or too much to be named.
    #[default]
    All,
}

impl Unsynced {
    /// A file or a directory has changed.
    pub fn add(&mut self, path: &Path) {
        if let Unsynced::These(paths) = self {
            paths.insert(path.to_owned());
            if paths.len() > FEW {
                *self = Unsynced::All;
            }
        }
    }
}

impl Pool {
    /// What is there will also be after a crash of the machine.
    pub fn sync(&self) -> Result<()> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        match &*unsynced {
            Unsynced::All if !self.root.exists() => return Ok(()),
            Unsynced::All => {
                let synced = File::open(&self.root).and_then(|root| Ok(syncfs(root)?));
                synced.map_err(|error| disk("write", &self.root, &error))?;
            }
            // Backwards: a file before the directory that names it.
            Unsynced::These(paths) => paths
                .iter()
                .rev()
                .try_for_each(|path| one(path).map_err(|error| disk("write", path, &error)))?,
        }
        *unsynced = Unsynced::These(BTreeSet::new());
        Ok(())
    }
}

/// Brings a file or a directory to the disk, unless it is gone.
pub fn one(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened?.sync_all(),
    }
}

//! Contents that arrive. Each is written into a file of its own, which becomes the content when
//! it is whole and has its hash, in one step; so nobody sees a part, and two uploads of the same
//! content do not meet. What has arrived when an upload breaks off stays for the next one.

use super::{PARTIAL, Pool, hash_start, named, names};
use crate::error::Result;
use crate::manifest::{Hash, Hasher, hex};
use crate::maxd::store::disk;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// A content that is being written. Dropping it leaves what has arrived.
pub struct Writing {
    pool: Arc<Pool>,
    name: String,
    hash: Hash,
    file: File,
    hasher: Hasher,
    /// It goes on from what an earlier upload has left.
    resumed: bool,
}

/// How a content that is complete turned out.
#[derive(PartialEq, Eq, Debug, Clone, Copy)]
pub enum Verdict {
    /// It is what it is called, and visible.
    Good,
    /// It is not, and what came before this upload may be why.
    Spoilt,
    /// It is not what was announced.
    Wrong,
}

impl Pool {
    fn partial(&self, name: &str) -> PathBuf {
        self.root.join(PARTIAL).join(name)
    }

    /// How much there is of the contents that are not there as a whole.
    pub fn partials(&self) -> Result<HashMap<Hash, u64>> {
        let mut found = HashMap::new();
        for name in names(&self.root.join(PARTIAL))? {
            let length = self.partial(&name).metadata().map_or(0, |data| data.len());
            if let (Some(hash), 1..) = (named(&name), length) {
                let most = found.entry(hash).or_insert(length);
                *most = length.max(*most);
            }
        }
        Ok(found)
    }

    /// Begins to write a content, from `offset` on. None when it is there already, and when
    /// the beginning that it is to go on from is not.
    pub fn begin(self: &Arc<Pool>, hash: &Hash, offset: u64) -> Result<Option<Box<Writing>>> {
        if self.has(hash) {
            return Ok(None);
        }
        let Some(Claimed { mut writing, copied }) = self.claim(hash, offset)? else { return Ok(None) };
        let path = self.partial(&writing.name);
        let failed = |error: io::Error| disk("write", &path, &error);
        if let Some(from) = copied {
            io::copy(&mut from.take(offset), &mut writing.file).map_err(failed)?;
        }
        let Some(hasher) = hash_start(&writing.file, offset).map_err(failed)? else { return Ok(None) };
        writing.hasher = hasher;
        writing.file.set_len(offset).map_err(failed)?;
        writing.file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Some(Box::new(writing)))
    }

    /// A file that nobody else writes to: a partial that is long enough and rests, or a new one
    /// with one to copy the beginning from.
    fn claim(self: &Arc<Pool>, hash: &Hash, offset: u64) -> Result<Option<Claimed>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = format!("{}.", hex(hash));
        let known: Vec<String> =
            names(&self.root.join(PARTIAL))?.into_iter().filter(|name| name.starts_with(&prefix)).collect();
        let long = |name: &&String| self.partial(name).metadata().is_ok_and(|data| data.len() >= offset);
        let (writes, rests): (Vec<_>, Vec<_>) =
            known.iter().filter(long).partition(|name| busy.contains(*name));
        let (name, copied) = match (rests.first(), writes.first()) {
            (Some(name), _) => ((*name).clone(), None),
            // It may have become the content meanwhile: then its name is gone.
            (None, Some(name)) if offset > 0 => match File::open(self.partial(name)) {
                Ok(file) => (self.new_name(&prefix, &known), Some(file)),
                Err(_) => return Ok(None),
            },
            _ if offset > 0 => return Ok(None),
            _ => (self.new_name(&prefix, &known), None),
        };
        let path = self.partial(&name);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|error| disk("write", &path, &error))?;
        busy.insert(name.clone());
        drop(busy);
        let (pool, resumed) = (Arc::clone(self), offset > 0);
        let writing = Writing { pool, name, hash: *hash, file, hasher: Hasher::new(), resumed };
        Ok(Some(Claimed { writing, copied }))
    }

    fn new_name(&self, prefix: &str, known: &[String]) -> String {
        loop {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let name = format!("{prefix}{number}");
            // Another maxd's.
            if !known.contains(&name) {
                return name;
            }
        }
    }
}

struct Claimed {
    writing: Writing,
    copied: Option<File>,
}

impl Writing {
    /// Writes what comes next.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|error| disk("write", &self.pool.partial(&self.name), &error))
    }

    /// It is complete.
    pub fn finish(self) -> Result<Verdict> {
        let (pool, partial) = (&self.pool, self.pool.partial(&self.name));
        if self.hasher.clone().finish() != self.hash {
            let _ = fs::remove_file(partial);
            return Ok(if self.resumed { Verdict::Spoilt } else { Verdict::Wrong });
        }
        let path = pool.path(&self.hash);
        let failed = |error: io::Error| disk("write", &path, &error);
        let mut unsynced = pool.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = match fs::rename(&partial, &path) {
            // Not above: the network may be gone.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(directory) = path.parent() {
                    fs::create_dir(directory)
                        .or_else(|error| if directory.exists() { Ok(()) } else { Err(error) })
                        .map_err(failed)?;
                }
                fs::rename(&partial, &path)
            }
            placed => placed,
        };
        placed.map_err(failed)?;
        // Its directory has changed too, and may be new.
        path.ancestors().take(3).for_each(|path| unsynced.add(path));
        Ok(Verdict::Good)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let path = self.pool.partial(&self.name);
        let mut busy = self.pool.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if path.metadata().is_ok_and(|data| data.len() == 0) {
            let _ = fs::remove_file(path);
        }
        busy.remove(&self.name);
    }
}

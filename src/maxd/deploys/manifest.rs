//! Manifests of deploys: read as they come and recorded, and which of their contents are missing.

use super::rows::find;
use super::upload::{Upload, sent_now, uploading};
use super::{closed, deleted, over};
use crate::archive::{Manifest, Wanted, read_changes};
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, hex, parse_hex, write_ranges};
use crate::maxd::contents::{Pool, Receiver};
use crate::maxd::platform::Platform;
use crate::maxd::store::{explain, held};
use crate::wire::deploy::{Deploy, Partial, State};
use flate2::bufread::MultiGzDecoder;
use rusqlite::params;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::sync::{Arc, Mutex, PoisonError};

/// How many partials an answer names at most.
const PARTIALS: usize = 1000;
/// So many contents are kept in mind for the requests that bring them, at a hundred bytes each.
const RECENT: usize = 250_000;
/// What a deploy counts for beside its contents.
const DEPLOY: usize = 1000;

/// What was found of the contents of a deploy's manifest.
pub struct Looked {
    /// The manifest's name.
    pub manifest: Hash,
    wanted: Arc<Wanted>,
    /// The numbers of those that are missing.
    missing: Vec<usize>,
    /// How many contents of the pool had turned out to be damaged by then.
    damaged: u64,
}

impl Looked {
    /// Nothing is known to be there.
    fn new(pool: &Pool, manifest: Manifest) -> Looked {
        let (wanted, damaged) = (Arc::new(manifest.wanted), pool.damaged());
        let missing = (0..wanted.list().len()).collect();
        Looked { manifest: manifest.name, wanted, missing, damaged }
    }

    /// What is missing, as an answer says it.
    pub fn ranges(&self) -> String {
        write_ranges(self.missing.iter().map(|number| *number as u64))
    }

    /// Looks for what was missing, and tells what there is of that in part. What was there is
    /// still: nothing that the manifest of a recorded deploy needs is collected, and when something
    /// was damaged, and removed, all is looked for again. Blocks.
    fn look(self, pool: &Pool) -> Result<(Looked, Vec<Partial>)> {
        let damaged = pool.damaged();
        let Looked { manifest, wanted, mut missing, .. } = self;
        if damaged != self.damaged {
            missing = (0..wanted.list().len()).collect();
        }
        missing = pool.missing(&wanted, missing)?;
        let mut partial = Vec::new();
        if !missing.is_empty() {
            let partials = pool.partials()?;
            let found = missing.iter().filter_map(|number| {
                let (hash, size) = wanted.get(*number)?;
                let bytes = *partials.get(hash).filter(|bytes| *bytes <= size)?;
                Some(Partial { index: *number as u64, bytes })
            });
            partial.extend(found.take(PARTIALS));
        }
        Ok((Looked { manifest, wanted, missing, damaged }, partial))
    }
}

/// What was found for the deploys whose contents are on their way, so that these need not be looked
/// for anew when they come. The oldest are forgotten when that is too much.
#[derive(Default)]
pub struct Recent(Mutex<VecDeque<(u64, Looked)>>);

impl Recent {
    /// Keeps it in mind for a deploy.
    pub fn keep(&self, deploy: u64, looked: Looked) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _)| *of != deploy);
        all.push_back((deploy, looked));
        let mut size: usize = all.iter().map(|(_, looked)| looked.wanted.list().len() + DEPLOY).sum();
        while size > RECENT
            && let Some((_, oldest)) = all.pop_front()
        {
            size -= oldest.wanted.list().len() + DEPLOY;
        }
    }

    /// What is known for a deploy, if it has this manifest.
    fn take(&self, deploy: u64, manifest: &Hash) -> Option<Looked> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|(of, looked)| *of == deploy && looked.manifest == *manifest)?;
        all.remove(at).map(|(_, looked)| looked)
    }
}

/// What there is for a manifest.
pub enum Found {
    /// The deploy does not wait for it any more, and it is its own.
    Ended(Box<Deploy>),
    /// Its contents were looked for; what is there of them in part.
    Looked(Looked, Vec<Partial>),
}

/// Reads a manifest as it was sent. Blocks.
fn read(platform: &Platform, pool: &Pool, mut file: File) -> Result<Manifest> {
    file.rewind().map_err(|error| Error::io("read", "the manifest", &error))?;
    let gzip = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file));
    let text = BufReader::with_capacity(64 << 10, gzip);
    read_changes(text, &platform.source_limits(), |base| pool.manifest_text(base))
}

/// Reads a manifest and looks what is missing. Blocks.
pub fn preview(platform: &Platform, pool: &Pool, file: File) -> Result<(Looked, Vec<Partial>)> {
    Looked::new(pool, read(platform, pool, file)?).look(pool)
}

/// Reads a manifest, records it with its deploy and looks what is missing. What is not will be
/// there after a crash of the machine too. Blocks.
pub fn record(upload: &Upload, file: File) -> Result<Found> {
    let (platform, pool, id) = (&upload.platform, upload.pool(), upload.deploy.id);
    let manifest = read(platform, &pool, file)?;
    let name = hex(&manifest.name);
    let held_pool = pool.hold();
    match platform.store.run(|t| uploading(t, id))? {
        (State::Uploading, _) => {}
        (_, Some(known)) if known == name => {
            let deploy = platform.store.run(|t| find(t, held(id), &platform.address))?.ok_or_else(deleted)?;
            return Ok(Found::Ended(Box::new(deploy)));
        }
        _ => return Err(platform.store.run(|t| closed(t, id))?),
    }
    pool.put(&manifest)?;
    platform.store.run(|t| {
        let set = "UPDATE deploys SET manifest = ?2 WHERE id = ?1 AND state = 'uploading'";
        match t.execute(set, params![held(id), name]).map_err(explain)? {
            0 => Err(over(t, id)?),
            _ => sent_now(t, id),
        }
    })?;
    drop(held_pool);
    let (looked, partial) = Looked::new(&pool, manifest).look(&pool)?;
    pool.sync()?;
    Ok(Found::Looked(looked, partial))
}

/// Contents that are being received. It goes where the work is, so that the claim, which is
/// dropped last, is not over while something is still written.
pub struct Receiving {
    /// Takes them.
    pub receiver: Receiver,
    upload: Upload,
    looked: Looked,
}

impl Receiving {
    /// Blocks.
    pub fn begin(upload: Upload) -> Result<Receiving> {
        let looked = wanted(&upload)?;
        let receiver = Receiver::new(upload.pool(), looked.manifest, Arc::clone(&looked.wanted));
        Ok(Receiving { receiver, upload, looked })
    }

    /// They have come: looks what is still missing. What is not will be there after a crash of the
    /// machine too. Blocks.
    pub fn finish(mut self) -> Result<(Upload, Looked, Vec<Partial>)> {
        self.receiver.finish()?;
        let pool = self.upload.pool();
        let (looked, partial) = self.looked.look(&pool)?;
        pool.sync()?;
        Ok((self.upload, looked, partial))
    }
}

/// The contents that a deploy waits for. Blocks.
fn wanted(upload: &Upload) -> Result<Looked> {
    let (id, pool, store) = (upload.deploy.id, upload.pool(), &upload.platform.store);
    let name = match store.run(|t| uploading(t, id))? {
        (State::Uploading, Some(name)) => parse_hex(name.as_bytes()),
        (State::Uploading, None) => None,
        _ => return Err(store.run(|t| closed(t, id))?),
    };
    let missing = || {
        Error::new(Kind::Conflict, format!("deploy {id} has no manifest yet"))
            .hint("send it first")
            .field("manifest")
    };
    let name = name.ok_or_else(missing)?;
    let looked = match upload.platform.deploys.recent.take(id, &name) {
        Some(looked) => looked,
        None => Looked::new(&pool, pool.manifest(&name)?.ok_or_else(missing)?),
    };
    store.run(|t| sent_now(t, id))?;
    Ok(looked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::archive::Limits;
    use crate::manifest::Hasher;

    fn looked(files: usize) -> Looked {
        let records: String = (0..files).map(|n| format!("f 644 0 {n:064x} {n:06}\0")).collect();
        let text = format!("full\0{records}. {}\0", hex(&Hasher::of(records.as_bytes())));
        let limits = Limits { bytes: 0, entries: u64::MAX };
        let Manifest { name, wanted, .. } = read_changes(text.as_bytes(), &limits, |_| Ok(None)).unwrap();
        Looked { manifest: name, wanted: Arc::new(wanted), missing: Vec::new(), damaged: 0 }
    }

    #[test]
    fn what_was_found_is_forgotten_when_it_is_too_much() {
        let recent = Recent::default();
        let large = RECENT / 2 - DEPLOY;
        let (small, large) = (looked(1), looked(large));
        let again = || Looked { wanted: Arc::clone(&large.wanted), missing: Vec::new(), ..large };
        recent.keep(1, again());
        recent.keep(2, again());
        assert!(recent.take(1, &small.manifest).is_none(), "another manifest");
        assert!(recent.take(1, &large.manifest).is_some());
        assert!(recent.take(1, &large.manifest).is_none(), "taken");
        recent.keep(1, again());
        // The same deploy once more, in its place.
        recent.keep(1, again());
        recent.keep(3, small);
        assert!(recent.take(2, &large.manifest).is_none() && recent.take(1, &large.manifest).is_some());
        (0..1000).for_each(|deploy| recent.keep(deploy, looked(1)));
        assert!(recent.0.lock().unwrap().len() < 400);
    }
}

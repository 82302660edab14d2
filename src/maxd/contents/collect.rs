//! Removes what nobody needs any more: no release that is kept and no deploy under way, and
//! which is older than the grace, within which an upload that was given up can be resumed.

use super::{MANIFESTS, PARTIAL, Pool, named, names};
use crate::error::Result;
use crate::manifest::{Hash, parse_hex};
use crate::maxd::platform::{Platform, kept_rows};
use crate::maxd::releases::{Retention, needed_manifests};
use crate::maxd::store::{Store, disk};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

/// The longest time between two collections.
const HOUR: Duration = Duration::from_secs(3600);

/// Collects at the start and from time to time, until it is dropped.
pub async fn collect_now_and_then(platform: Arc<Platform>) {
    let pause = (platform.contents.grace / 24).clamp(Duration::from_millis(20), HOUR);
    let mut due = tokio::time::interval(pause);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let networks = platform.store.with(|t| Ok(kept_rows(t)?.1)).await;
        for network in networks.unwrap_or_default() {
            platform.collect(network, platform.contents.grace).await;
        }
    }
}

impl Platform {
    /// Makes room in a network: what fills the disk does not stay to be gone on with.
    pub async fn give_up_partials(&self, network: i64) {
        let pool = self.contents.pool(network);
        let work = move || pool.remove_partials(&|_, _| true);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            say!("cannot make room: {error}");
        }
    }

    /// Removes what nobody needs in a network and is older than `grace`.
    pub async fn collect(&self, network: i64, grace: Duration) {
        let (contents, store, keep) = (Arc::clone(&self.contents), Arc::clone(&self.store), self.keep);
        let work = move || collect(&contents.pool(network), &store, network, keep, grace);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            say!("cannot remove what no deploy needs any more: {error}");
        }
    }
}

fn collect(pool: &Pool, store: &Store, network: i64, keep: Retention, grace: Duration) -> Result<()> {
    if !pool.root.exists() {
        return Ok(());
    }
    let _held = pool.hold();
    let names = store.run(|t| needed_manifests(t, network, keep))?;
    let manifests: HashSet<Hash> = names.iter().filter_map(|name| parse_hex(name.as_bytes())).collect();
    let mut contents = HashSet::new();
    for name in &manifests {
        if let Some(manifest) = pool.manifest(name)? {
            contents.extend(manifest.wanted.list().iter().map(|content| content.0));
        }
    }
    pool.remove_but(&manifests, &contents, SystemTime::now().checked_sub(grace))
}

impl Pool {
    /// Removes everything but these, and but what is newer than `since`.
    fn remove_but(
        &self,
        manifests: &HashSet<Hash>,
        contents: &HashSet<Hash>,
        since: Option<SystemTime>,
    ) -> Result<()> {
        let old = |path: &Path| {
            let changed = path.metadata().and_then(|data| data.modified()).ok();
            matches!((changed, since), (Some(changed), Some(since)) if changed <= since)
        };
        self.remove_partials(&|of, path| {
            let needed = of.is_some_and(|hash| contents.contains(&hash));
            of.is_some_and(|hash| self.has(&hash)) || (!needed && old(path))
        })?;
        for directory in names(&self.root)?.into_iter().filter(|name| name != PARTIAL) {
            let inside = self.root.join(&directory);
            for name in names(&inside)? {
                let path = inside.join(&name);
                let needed = match parse_hex(name.as_bytes()) {
                    Some(hash) if directory == MANIFESTS => manifests.contains(&hash),
                    Some(hash) => contents.contains(&hash),
                    // A manifest that a crash cut off; they are written under the lock.
                    None => {
                        remove(&path)?;
                        continue;
                    }
                };
                if !needed && old(&path) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Removes of what has come in part, and is not being written, what is `unneeded`.
    fn remove_partials(&self, unneeded: &dyn Fn(Option<Hash>, &Path) -> bool) -> Result<()> {
        let inside = self.root.join(PARTIAL);
        // Nobody begins to write meanwhile.
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names(&inside)?.into_iter().filter(|name| !busy.contains(name)) {
            let path = inside.join(&name);
            if unneeded(named(&name), &path) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| disk("remove", path, &error))
}

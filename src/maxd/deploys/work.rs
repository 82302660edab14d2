//! One deploy being carried out: from its source to the release that serves.

use super::rows::word;
use super::upload::Source;
use super::{blocking, check, deleted, goes_on};
use crate::archive::{lay_out, unpack};
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, hex};
use crate::maxd::build::build;
use crate::maxd::cache::Cache;
use crate::maxd::console::text::bytes;
use crate::maxd::detect::detect;
use crate::maxd::line::NewLine;
use crate::maxd::platform::{Platform, app_in_row};
use crate::maxd::secrets::Environment;
use crate::maxd::store::{disk, explain};
use crate::maxd::supervisor::{Hold, Release};
use crate::maxd::{releases, sweep, variables};
use crate::time::human;
use crate::wire::deploy::{Deploy, State};
use crate::wire::log::Source as Stream;
use rusqlite::{Transaction, params};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A release that serves. The app is held, since it is not on the disk yet what runs.
pub struct Served {
    /// Its number.
    pub number: u64,
    /// The rows it runs with.
    pub variables: Vec<i64>,
    _hold: Hold,
}

/// One deploy being carried out.
pub struct Work<'a> {
    /// The server.
    pub platform: &'a Arc<Platform>,
    /// The deploy.
    pub deploy: &'a Deploy,
    /// Its app's row.
    pub app: i64,
    /// Its network's row.
    pub network: i64,
    /// The number of its release.
    pub number: u64,
    /// Where the release goes.
    pub directory: PathBuf,
    /// Held while that is filled, which goes on for a moment when the deploy is given up.
    pub writing: Arc<Mutex<()>>,
}

impl Work<'_> {
    /// All of it.
    pub async fn all(&self, source: &Source, state: &mut State) -> Result<Served> {
        self.enter(state, State::Unpacking).await?;
        let started = Instant::now();
        let (files, size) = match source {
            Source::Archive(archive) => self.unpack(archive).await?,
            Source::Manifest(name) => self.lay_out(*name).await?,
        };
        let plural = if files == 1 { "" } else { "s" };
        let (size, took) = (bytes(size), human(started.elapsed()));
        self.say(format!("unpacked {files} file{plural} ({size}) in {took}")).await;
        let plan = {
            let directory = self.directory.clone();
            blocking(move || detect(&directory)).await?
        };
        self.say(format!("recognised: {}", plan.kind)).await;
        let (id, recorded) = (self.deploy.id, plan.clone());
        self.platform.store.with(move |t| recorded.record(t, id)).await?;
        let mut release = Release {
            network: self.network,
            app: self.app,
            number: self.number,
            dir: self.directory.clone(),
            plan,
            env: Environment::default(),
        };
        let (network, app) = (self.network, self.app);
        let vault = Arc::clone(&self.platform.vault);
        let wanted = move |t: &Transaction<'_>| {
            let wanted = variables::wanted(t, network, app)?;
            Ok((variables::environment(t, &vault, network, &wanted)?, variables::rows_of(&wanted)))
        };
        let cache = self.cache().await?;
        for phase in release.plan.phases() {
            self.enter(state, phase).await?;
            release.env = self.platform.store.with(wanted.clone()).await?.0;
            build(phase, &release, self.platform.runtime.as_ref(), &self.platform.lines, &cache).await?;
        }
        // Known before it serves: then what is kept is, too.
        let (directory, number) = (self.directory.clone(), self.number);
        let bytes = blocking(move || Ok(sweep::size(&directory))).await?;
        self.platform.store.with(move |t| releases::measured(t, app, number, bytes)).await?;
        self.enter(state, State::Starting).await?;
        self.say(format!("starting release {}", self.number)).await;
        let mut hold = self.platform.supervisor.hold(self.app).await?;
        // Nobody changes what the app runs with meanwhile; during the build somebody may have.
        let id = self.deploy.id;
        let found = self.platform.store.with(move |t| {
            let row = app_in_row(t, app)?.filter(|_| matches!(goes_on(t, id), Ok(true)));
            row.map(|row| Ok((row, wanted(t)?))).transpose()
        });
        let Some((row, (env, variables))) = found.await? else {
            self.platform.supervisor.dismiss(app, hold);
            return Err(deleted());
        };
        release.env = env;
        hold.switch(release, row.instances).await?;
        Ok(Served { number: self.number, variables, _hold: hold })
    }

    /// Waits until it is cancelled or the app deleted: then nothing of it goes on, also when that
    /// is restored.
    pub async fn deleted(&self) -> Error {
        let (id, mut changes) = (self.deploy.id, self.platform.deploys.changes());
        let looked = move |t: &Transaction<'_>| goes_on(t, id);
        while !matches!(self.platform.store.with(looked).await, Ok(false)) && changes.changed().await.is_ok()
        {
        }
        deleted()
    }

    /// Unpacks an archive, whose manifest is kept with the deploy. Tells how many files and
    /// bytes there are.
    async fn unpack(&self, archive: &Path) -> Result<(usize, u64)> {
        let (archive, directory) = (archive.to_owned(), self.directory.clone());
        let (platform, id, network) = (Arc::clone(self.platform), self.deploy.id, self.network);
        let writing = Arc::clone(&self.writing);
        blocking(move || {
            let _writes = writing.lock().unwrap_or_else(PoisonError::into_inner);
            platform.store.run(|t| check(t, id))?;
            clear(&directory)?;
            let file = fs::File::open(&archive).map_err(|error| disk("read", &archive, &error))?;
            let tree = unpack(file, &directory, &platform.source_limits())?;
            let name = tree.write(|_| Ok(()))?;
            let pool = platform.contents.pool(network);
            let _held = pool.hold();
            platform.store.run(|t| check(t, id))?;
            pool.put(&tree, &name)?;
            platform.store.run(|t| {
                t.execute("UPDATE deploys SET manifest = ?2 WHERE id = ?1", params![id, hex(&name)])
                    .map_err(explain)
            })?;
            Ok((tree.contents().count(), tree.bytes()))
        })
        .await
    }

    /// Makes the release from its contents.
    async fn lay_out(&self, name: Hash) -> Result<(usize, u64)> {
        let (directory, pool) = (self.directory.clone(), self.platform.contents.pool(self.network));
        let (writing, store, id) =
            (Arc::clone(&self.writing), Arc::clone(&self.platform.store), self.deploy.id);
        blocking(move || {
            let _writes = writing.lock().unwrap_or_else(PoisonError::into_inner);
            store.run(|t| check(t, id))?;
            clear(&directory)?;
            let gone = || Error::new(Kind::Failed, "the stored manifest was damaged").hint("deploy again");
            let tree = pool.manifest(&name)?.ok_or_else(gone)?;
            lay_out(&tree, &directory, |hash, file| pool.fill(hash, file))?;
            Ok((tree.contents().count(), tree.bytes()))
        })
        .await
    }

    /// What former builds have left, unless the deploy wants none of it.
    async fn cache(&self) -> Result<Cache> {
        let (app, limit) = (self.platform.app_directory(self.app), self.platform.cache_bytes);
        let cache = Cache::new(app, limit, Arc::clone(&self.writing));
        let id = self.deploy.id;
        let query = "SELECT no_cache FROM deploys WHERE id = ?1";
        let no_cache = move |t: &Transaction<'_>| t.query_row(query, [id], |row| row.get(0)).map_err(explain);
        if self.platform.store.with(no_cache).await? {
            cache.clear().await?;
        }
        Ok(cache)
    }

    async fn enter(&self, state: &mut State, next: State) -> Result<()> {
        *state = next;
        let id = self.deploy.id;
        let store = &self.platform.store;
        let changed = store
            .with(move |t| {
                let set = "UPDATE deploys SET state = ?2 WHERE id = ?1 AND finished_at IS NULL";
                t.execute(set, params![id, word(next)]).map_err(explain)
            })
            .await?;
        self.platform.deploys.changed();
        match changed {
            0 => Err(deleted()),
            _ => Ok(()),
        }
    }

    fn line(&self, text: String, stored: Option<oneshot::Sender<()>>) -> NewLine {
        let (app, release) = (Some(self.app), Some(self.number));
        NewLine { stored, ..NewLine::new(self.network, app, release, Stream::Build, text) }
    }

    /// Tells it in the build's log.
    pub async fn say(&self, text: String) {
        // The writer only goes when the server does.
        let _ = self.platform.lines.send(self.line(text, None)).await;
    }

    /// Says it and waits until it and everything before it can be read: the end is told
    /// after that.
    pub async fn say_last(&self, text: String) {
        let (stored, wait) = oneshot::channel();
        if self.platform.lines.send(self.line(text, Some(stored))).await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(30), wait).await;
        }
    }

    /// Removes what there is of the release.
    pub async fn clear(&self) {
        let (directory, writing) = (self.directory.clone(), Arc::clone(&self.writing));
        let removed = tokio::task::spawn_blocking(move || {
            let _writes = writing.lock().unwrap_or_else(PoisonError::into_inner);
            sweep::remove(&directory)
        });
        let _ = removed.await;
    }

    /// Removes the releases that are no longer kept, and in which nothing runs.
    pub async fn prune(&self) {
        let (app, keep) = (self.app, self.platform.keep);
        let (directory, used) = (self.platform.app_directory(app), self.platform.execs.releases(app));
        let store = Arc::clone(&self.platform.store);
        let pruned = tokio::task::spawn_blocking(move || {
            let kept = store.run(|t| releases::kept(t, app, keep))?;
            sweep::prune(&directory, &[kept, used].concat())
        });
        if let Ok(Err(error)) = pruned.await {
            say!("cannot remove old releases: {error}");
        }
    }
}

/// Makes the directory of a release, without a leftover of a deploy that a crash cut off.
fn clear(directory: &Path) -> Result<()> {
    let _ = sweep::remove(directory);
    fs::create_dir_all(directory).map_err(|error| disk("make", directory, &error))
}

//! Deploys: from the request over the upload and the build to the switch of traffic.
//! Each state is on the disk before anybody is told.

mod cancel;
mod rows;

pub use cancel::cancel;
use cancel::{cancelled, deleted, goes_on};
pub use rows::{fail_those_of, fail_unfinished, newest_deploys};

use super::access::{Access, admit};
use super::build::build;
use super::detect::detect;
use super::line::NewLine;
use super::once::Once;
use super::platform::{Platform, app_in_row, find_app, find_network, insert_app};
use super::queue::{Queues, Turn};
use super::releases;
use super::secrets::Environment;
use super::store::{disk, explain, held};
use super::supervisor::{Hold, Release};
use super::sweep;
use super::variables;
use crate::archive::{Limits, unpack};
use crate::error::{Error, Kind, Result};
use crate::name::Name;
use crate::time::{human, rfc3339};
use crate::wire::deploy::{Create, Deploy, State};
use crate::wire::log::Source;
use rows::{fail, find, missing, word};
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

/// How long an upload may stay away, in SQLite's words.
const UPLOAD_WITHIN: &str = "-1 hour";
/// What compression may add to incompressible source.
const ARCHIVE_SLACK: u64 = 64 << 20;

/// The deploys under way; none yet by default.
#[derive(Default)]
pub struct Deploys {
    /// Bumped whenever a deploy changes.
    version: watch::Sender<u64>,
    uploading: Mutex<HashSet<u64>>,
    /// One deploy of an app at a time.
    queues: Queues,
    tasks: TaskTracker,
}

impl Deploys {
    /// Told whenever a deploy or what it belongs to changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Tells so.
    pub fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Waits until those under way have ended, which they do by themselves when maxd stops.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// An upload that may be received now. Dropping it ends the claim.
pub struct Upload {
    platform: Arc<Platform>,
    /// The deploy.
    pub deploy: Deploy,
    app: i64,
    network: i64,
    /// Where the archive goes.
    pub path: PathBuf,
    /// The most bytes it may have.
    pub limit: u64,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.platform
            .deploys
            .uploading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.deploy.id);
    }
}

impl Platform {
    /// `deploy:create`.
    pub async fn create_deploy(&self, who: &Access, once: Once, request: Create) -> Result<Deploy> {
        let name = Name::parse("app", &request.app)?;
        for (value, limit, what) in [
            (request.source_bytes, self.limits.source_bytes, "bytes"),
            (request.files, self.limits.files, "files"),
        ] {
            if value > limit {
                let message = format!("the source has {value} {what}; this server takes {limit}");
                return Err(Error::new(Kind::TooLarge, message).field(what));
            }
        }
        let (asks, address) = (who.clone(), self.address.clone());
        let (deploy, created) = self
            .store
            .with(move |t| {
                once.run(t, || {
                let network = find_network(t, &asks, &request.network)?;
                let created = if request.create { insert_app(t, network, &name, &asks.name)? } else { None };
                if created.is_some() {
                    admit(t, &asks.also("app:create")?, network, || missing(0))?;
                }
                let app = find_app(t, &asks, &request.network, name.as_str())?;
                t.execute(
                    "INSERT INTO deploys(app, user, state, created_app, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![app.id, asks.user, word(State::Uploading), created.is_some(), rfc3339(SystemTime::now())],
                )
                .map_err(explain)?;
                let id = t.last_insert_rowid();
                if request.replace == Some(true) {
                    cancel::others(t, app.id, id, &asks.name)?;
                }
                let deploy = find(t, id, &address)?.ok_or_else(|| missing(id as u64))?;
                Ok((deploy, created))
                })
            })
            .await?;
        self.deploys.changed();
        if let Some(row) = created.flatten() {
            self.app_created(who, &row).await;
        }
        Ok(deploy)
    }

    /// `deploy:status`: the deploy with this number, its app and its network.
    pub async fn deploy_status(&self, who: &Access, id: u64) -> Result<(Deploy, i64, i64)> {
        let (who, address) = (who.clone(), self.address.clone());
        self.store
            .with(move |t| {
                let rows = t
                    .query_row(
                        "SELECT a.id, n.id FROM deploys d JOIN apps a ON a.id = d.app JOIN networks n ON n.id = a.network
                         WHERE d.id = ?1",
                        [held(id)],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()
                    .map_err(explain)?;
                let (app, network) = rows.ok_or_else(|| missing(id))?;
                admit(t, &who, network, || missing(id))?;
                let deploy = find(t, held(id), &address)?.ok_or_else(|| missing(id))?;
                Ok((deploy, app, network))
            })
            .await
    }

    /// Claims the upload of a deploy.
    pub async fn begin_upload(self: &Arc<Platform>, who: &Access, id: u64) -> Result<Upload> {
        let (deploy, app, network) = self.deploy_status(who, id).await?;
        if deploy.user != who.name {
            let message = format!("deploy {id} was begun by '{}', who alone sends its source", deploy.user);
            return Err(Error::new(Kind::Forbidden, message).hint("begin one: `rig deploy`"));
        }
        let mut uploading = self.deploys.uploading.lock().unwrap_or_else(PoisonError::into_inner);
        if deploy.state != State::Uploading || !uploading.insert(id) {
            return Err(Error::new(
                Kind::Conflict,
                format!("the source of deploy {id} has been sent already"),
            ));
        }
        drop(uploading);
        let path = self.data.join("uploads").join(format!("{id}.tar.gz"));
        let limit = self.limits.source_bytes.saturating_add(ARCHIVE_SLACK);
        Ok(Upload { platform: Arc::clone(self), deploy, app, network, path, limit })
    }

    /// The upload ended early or was refused: the deploy has failed.
    pub async fn fail_upload(&self, upload: Upload, error: &Error) {
        let path = upload.path.clone();
        let _ = tokio::task::spawn_blocking(move || fs::remove_file(path)).await;
        if let Err(error) = self.end(&upload.deploy, State::Uploading, upload.app, Err(error)).await {
            say!("cannot record that deploy {} failed: {error}", upload.deploy.id);
        }
    }

    /// The archive is on the disk: the deploy is queued and goes on by itself.
    pub async fn finish_upload(self: &Arc<Platform>, upload: Upload) -> Result<Deploy> {
        let (id, app, address) = (upload.deploy.id, upload.app, self.address.clone());
        let platform = Arc::clone(self);
        let (deploy, turn) = self
            .store
            .with(move |t| {
                cancelled(t, id)?.map_or(Ok(()), Err)?;
                t.execute("UPDATE all_apps SET releases = releases + 1 WHERE id = ?1", [app]).map_err(explain)?;
                t.execute(
                    "UPDATE deploys SET state = ?2, release = (SELECT releases FROM apps WHERE id = ?3) WHERE id = ?1",
                    params![id, word(State::Queued), app],
                )
                .map_err(explain)?;
                let deploy = find(t, held(id), &address)?.ok_or_else(|| missing(id))?;
                // Here, so that the queue has the order of the releases' numbers.
                Ok((deploy, platform.deploys.queues.join(app)))
            })
            .await?;
        self.deploys.changed();
        let (platform, queued) = (Arc::clone(self), deploy.clone());
        let (network, path) = (upload.network, upload.path.clone());
        self.deploys.tasks.spawn(async move { platform.run(queued, turn, (app, network), path).await });
        Ok(deploy)
    }

    /// A deploy from its queue to its end.
    async fn run(
        self: Arc<Platform>,
        deploy: Deploy,
        mut turn: Turn,
        (app, network): (i64, i64),
        archive: PathBuf,
    ) {
        let number = deploy.release.unwrap_or(0);
        let work = Work {
            platform: &self,
            deploy: &deploy,
            app,
            network,
            number,
            directory: self.app_directory(app).join(number.to_string()),
        };
        if turn.waits() {
            work.say("waiting for the app's previous deploy".to_owned()).await;
        }
        let mut state = State::Queued;
        let mut stopping = self.stopping.clone();
        let all = async {
            turn.comes().await;
            work.all(&archive, &mut state).await
        };
        let result = tokio::select! {
            biased;
            result = all => result,
            gone = work.deleted() => Err(gone),
            _ = stopping.wait_for(|stopping| *stopping) => {
                Err(Error::new(Kind::Failed, "maxd was stopped during this deploy"))
            }
        };
        let _ = tokio::task::spawn_blocking(move || fs::remove_file(archive)).await;
        let result = self.unless_cancelled(deploy.id, result).await;
        let last = match &result {
            Ok(_) => format!("release {number} serves"),
            Err(error) => format!("failed: {error}"),
        };
        work.say_last(last).await;
        if result.is_err() {
            work.clear().await;
        }
        // Nobody stops, scales or restores the app before it is on the disk that it runs.
        let ended = self.end(&deploy, state, app, result.as_ref()).await;
        drop(result);
        match ended {
            Ok(true) => {
                self.begin_probation(app, number);
                work.prune().await;
            }
            // The app was deleted meanwhile.
            Ok(false) => work.clear().await,
            Err(error) => say!("cannot record the end of deploy {}: {error}", deploy.id),
        }
    }

    /// Records the end of a deploy: the release that serves, or why not. False when its app
    /// was deleted, which has failed it.
    async fn end(
        &self,
        deploy: &Deploy,
        phase: State,
        app: i64,
        result: Result<&Served, &Error>,
    ) -> Result<bool> {
        let id = deploy.id;
        let error = result.as_ref().err().map(|error| error.message().to_owned());
        let by = deploy.user.clone();
        let served = result.ok().map(|served| (served.number, served.variables.clone()));
        let known = self.store.with(move |t| {
            let now = rfc3339(SystemTime::now());
            let (state, phase) = match served {
                Some(_) => (State::Live, None),
                None => (State::Failed, Some(word(phase))),
            };
            let changed = t
                .execute(
                    "UPDATE deploys SET state = ?2, phase = ?3, error = ?4, finished_at = ?5
                     WHERE id = ?1 AND finished_at IS NULL",
                    params![id, word(state), phase, error, now],
                )
                .map_err(explain)?;
            if let (1, Some((release, variables))) = (changed, served) {
                variables::apply(t, app, &variables)?;
                releases::serves(t, app, release, Some(&by))?;
            }
            Ok(changed > 0)
        });
        let known = known.await?;
        self.deploys.changed();
        Ok(known)
    }

    /// Fails the deploys whose source never came.
    pub async fn fail_stale_uploads(&self) -> Result<()> {
        let active: Vec<u64> =
            self.deploys.uploading.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let failed = self.store.with(move |t| {
            let mut query = t
                .prepare(
                    "SELECT id FROM deploys WHERE state = ?1 AND datetime(created_at) < datetime('now', ?2)",
                )
                .map_err(explain)?;
            let stale = query.query_map(params![word(State::Uploading), UPLOAD_WITHIN], |row| row.get(0));
            let stale: Vec<u64> = stale.and_then(Iterator::collect).map_err(explain)?;
            for id in stale.iter().filter(|id| !active.contains(id)) {
                fail(t, "id = ?1", &id.to_string(), "the source was not sent within an hour")?;
            }
            Ok(!stale.is_empty())
        });
        if failed.await? {
            self.deploys.changed();
        }
        Ok(())
    }
}

/// A release that serves. The app is held, since it is not on the disk yet what runs.
struct Served {
    number: u64,
    /// The rows it runs with.
    variables: Vec<i64>,
    _hold: Hold,
}

/// One deploy being carried out.
struct Work<'a> {
    platform: &'a Arc<Platform>,
    deploy: &'a Deploy,
    app: i64,
    network: i64,
    number: u64,
    directory: PathBuf,
}

impl Work<'_> {
    /// All of it.
    async fn all(&self, archive: &Path, state: &mut State) -> Result<Served> {
        self.enter(state, State::Unpacking).await?;
        let started = Instant::now();
        let unpacked = self.unpack(archive).await?;
        self.say(format!(
            "unpacked {} file{} ({} bytes) in {}",
            unpacked.entries,
            if unpacked.entries == 1 { "" } else { "s" },
            unpacked.bytes,
            human(started.elapsed())
        ))
        .await;
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
        for phase in release.plan.phases() {
            self.enter(state, phase).await?;
            release.env = self.platform.store.with(wanted.clone()).await?.0;
            build(phase, &release, self.platform.runtime.as_ref(), &self.platform.lines).await?;
        }
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
    async fn deleted(&self) -> Error {
        let (id, mut changes) = (self.deploy.id, self.platform.deploys.changes());
        let looked = move |t: &Transaction<'_>| goes_on(t, id);
        while !matches!(self.platform.store.with(looked).await, Ok(false)) && changes.changed().await.is_ok()
        {
        }
        deleted()
    }

    async fn unpack(&self, archive: &Path) -> Result<crate::archive::Unpacked> {
        let (archive, directory) = (archive.to_owned(), self.directory.clone());
        let limits = &self.platform.limits;
        let limits = Limits { bytes: limits.source_bytes, entries: limits.files };
        blocking(move || {
            // A leftover of a deploy that a crash cut off.
            let _ = sweep::remove(&directory);
            fs::create_dir_all(&directory).map_err(|error| disk("make", &directory, &error))?;
            let file = fs::File::open(&archive).map_err(|error| disk("read", &archive, &error))?;
            unpack(file, &directory, &limits)
        })
        .await
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
        NewLine { stored, ..NewLine::new(self.network, app, release, Source::Build, text) }
    }

    async fn say(&self, text: String) {
        // The writer only goes when the server does.
        let _ = self.platform.lines.send(self.line(text, None)).await;
    }

    /// Says it and waits until it and everything before it can be read: the end is told
    /// after that.
    async fn say_last(&self, text: String) {
        let (stored, wait) = oneshot::channel();
        if self.platform.lines.send(self.line(text, Some(stored))).await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(30), wait).await;
        }
    }

    async fn clear(&self) {
        let directory = self.directory.clone();
        let _ = tokio::task::spawn_blocking(move || sweep::remove(&directory)).await;
    }

    /// Removes the releases that are no longer kept, and in which nothing runs.
    async fn prune(&self) {
        let app = self.app;
        let kept = self.platform.store.with(move |t| releases::kept(t, app)).await;
        let (directory, used) = (self.platform.app_directory(app), self.platform.execs.releases(app));
        let pruned = tokio::task::spawn_blocking(move || sweep::prune(&directory, &[kept?, used].concat()));
        let pruned = pruned.await;
        if let Ok(Err(error)) = pruned {
            say!("cannot remove old releases: {error}");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the server failed at this step")))
}

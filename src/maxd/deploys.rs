//! Deploys: from the request over the upload and the build to the switch of traffic.
//! Each state is on the disk before anybody is told.

mod cancel;
mod incoming;
mod look;
mod rows;
mod upload;
mod work;

pub use cancel::cancel;
use cancel::{check, closed, deleted, goes_on, over, sent};
pub use rows::{fail_those_of, fail_unfinished, newest_deploys};

use super::access::{Access, admit};
use super::once::Once;
use super::platform::{Platform, find_app, find_network, insert_app};
use super::queue::{Queues, Turn};
use super::releases;
use super::store::{explain, held};
use super::variables;
use crate::error::{Error, Kind, Result};
use crate::name::Name;
use crate::time::rfc3339;
use crate::wire::deploy::{Create, Deploy, State};
use rows::{find, missing, word};
use rusqlite::{OptionalExtension, params};
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::task::TaskTracker;
use upload::{Source, Uploads};
use work::{Served, Work};

/// How many manifests are read at once: each may take a hundred megabytes of memory.
const READ_AT_ONCE: usize = 2;

/// The deploys under way; none yet by default.
pub struct Deploys {
    /// Bumped whenever a deploy changes.
    version: watch::Sender<u64>,
    uploads: Uploads,
    readers: Semaphore,
    /// One deploy of an app at a time.
    queues: Queues,
    tasks: TaskTracker,
}

impl Default for Deploys {
    fn default() -> Deploys {
        let (uploads, queues, tasks) = (Uploads::default(), Queues::default(), TaskTracker::new());
        Deploys {
            version: watch::Sender::new(0),
            uploads,
            readers: Semaphore::new(READ_AT_ONCE),
            queues,
            tasks,
        }
    }
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

    /// A place to read manifests, once there is one.
    pub async fn reader(&self) -> Option<SemaphorePermit<'_>> {
        self.readers.acquire().await.ok()
    }

    /// Ends the uploads of apps that are deleted.
    pub async fn end_uploads(&self, apps: &[i64]) {
        self.uploads.end(|_, app| apps.contains(&app)).await;
    }

    /// Ends the upload of a deploy that is cancelled.
    pub async fn end_upload(&self, deploy: u64) {
        self.uploads.end(|id, _| id == deploy).await;
    }

    /// Waits until those under way have ended, which they do by themselves when maxd stops.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
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
                    "INSERT INTO deploys(app, user, state, created_app, created_at, no_cache) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![
                        app.id, asks.user, word(State::Uploading), created.is_some(), rfc3339(SystemTime::now()),
                        request.no_cache.unwrap_or(false)
                    ],
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
            self.apps_created(who, &[row]).await;
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

    /// A deploy from its queue to its end.
    async fn run(
        self: Arc<Platform>,
        deploy: Deploy,
        mut turn: Turn,
        (app, network): (i64, i64),
        source: Source,
    ) {
        let number = deploy.release.unwrap_or(0);
        let work = Work {
            platform: &self,
            deploy: &deploy,
            app,
            network,
            number,
            directory: self.app_directory(app).join(number.to_string()),
            writing: Arc::default(),
        };
        if turn.waits() {
            work.say("waiting for the app's previous deploy".to_owned()).await;
        }
        let mut state = State::Queued;
        let mut stopping = self.stopping.clone();
        let all = async {
            turn.comes().await;
            work.all(&source, &mut state).await
        };
        let result = tokio::select! {
            biased;
            result = all => result,
            gone = work.deleted() => Err(gone),
            _ = stopping.wait_for(|stopping| *stopping) => {
                Err(Error::new(Kind::Failed, "maxd was stopped during this deploy"))
            }
        };
        if let Source::Archive(path) = source {
            let _ = tokio::task::spawn_blocking(move || fs::remove_file(path)).await;
        }
        let result = self.unless_cancelled(deploy.id, result).await;
        let last = match &result {
            Ok(_) => format!("release {number} serves"),
            Err(error) => format!("{}{error}", last_words(deploy.id)),
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

    /// Does the work of a request to its end, also when its connection breaks: between two
    /// steps it would be forgotten else.
    pub async fn to_its_end<T, F>(self: Arc<Platform>, work: impl FnOnce(Arc<Platform>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let done = self.deploys.tasks.spawn(work(Arc::clone(&self))).await;
        done.unwrap_or_else(|_| Err(step_failed()))
    }
}

/// How the line begins with which the log of a build ends when its deploy has failed. Who follows
/// the deploy gets the same with its state.
pub fn last_words(deploy: u64) -> String {
    format!("deploy {deploy} failed: ")
}

fn step_failed() -> Error {
    Error::new(Kind::Internal, "the server failed at this step")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(step_failed()))
}

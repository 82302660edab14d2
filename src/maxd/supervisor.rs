//! Keeps every app's release running.
//!
//! Each app has at most one [`Keeper`], which owns the instance that has its traffic
//! and starts it again when it ends. A switch starts the next release beside it, and
//! only when that one is healthy a new keeper takes the route; the old one answers
//! what it has begun and is stopped.

use super::instance::{Instance, Ports};
use super::keeper::{Keeper, Pace, View};
use super::line::NewLine;
use super::plan::{Plan, Run};
use super::pump::Journal;
use super::router::Routes;
use super::runtime::Runtime;
use crate::error::{Error, Kind, Result};
use crate::wire::app::{self, State};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A release that is unpacked and can be built or run.
#[derive(Clone)]
pub struct Release {
    /// The network's row in the state database.
    pub network: i64,
    /// The app's row.
    pub app: i64,
    /// Counts from 1 for each app.
    pub number: u64,
    /// Its files. The directory `cache` beside it keeps what builds download.
    pub dir: PathBuf,
    /// `APP.NETWORK.DOMAIN`.
    pub hostname: String,
    /// How it is built and run.
    pub plan: Plan,
    /// The user's variables.
    pub env: Vec<(String, String)>,
}

/// What an app does at the moment.
pub struct Status {
    /// What it does.
    pub state: State,
    /// Why, when that needs saying: `exited with code 1, 5 times in 40 s`.
    pub reason: Option<String>,
    /// Its running copies.
    pub instances: Vec<app::Instance>,
    /// The newest health checks, the newest last.
    pub checks: Vec<app::Check>,
}

/// The same, for who looks at all apps again and again.
pub struct Brief {
    /// What it does.
    pub state: State,
    /// Why, when that needs saying.
    pub reason: Option<String>,
    /// The release that this is about.
    pub release: Option<u64>,
}

/// Starts, watches and stops the apps' releases.
pub struct Supervisor {
    parts: Arc<Parts>,
    apps: Mutex<HashMap<i64, Arc<App>>>,
    /// What is resumed and has not been seen to be up, or down, yet.
    waking: Mutex<Vec<Arc<View>>>,
    /// Cancelled when maxd ends.
    ending: CancellationToken,
}

/// What keepers work with.
pub struct Parts {
    /// Where jobs run.
    pub runtime: Arc<dyn Runtime>,
    /// Where traffic comes from.
    pub routes: Arc<Routes>,
    /// The log.
    pub lines: mpsc::Sender<NewLine>,
    /// The instances' ports.
    pub ports: Arc<Ports>,
    /// The times they go by.
    pub pace: Pace,
}

struct App {
    /// Held during a switch; what has the traffic.
    keeper: tokio::sync::Mutex<Option<Arc<Keeper>>>,
    /// The release of the keeper, for who can't wait for a switch.
    serving: Mutex<Option<Release>>,
    /// What is shown: the view of the keeper, or of the first switch.
    view: Mutex<Arc<View>>,
    /// Cancelled when the app is removed.
    removed: CancellationToken,
    /// Keepers at work, also those that end after a switch.
    tasks: TaskTracker,
}

impl App {
    fn show(&self, view: &Arc<View>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view.clone();
    }

    fn serves(&self, release: &Release) {
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(release.clone());
    }

    fn shown(&self) -> Arc<View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Supervisor {
    /// A supervisor without apps. What a previous maxd left running according to the
    /// records in `run_dir` is ended first, so this may block for some seconds.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        routes: Arc<Routes>,
        lines: mpsc::Sender<NewLine>,
        run_dir: PathBuf,
        pace: Pace,
    ) -> Arc<Supervisor> {
        if let Err(error) = runtime.claim(&run_dir) {
            say!("what runs can't be recorded for the next start: {error}");
        }
        Supervisor::with(Parts { runtime, routes, lines, ports: Arc::default(), pace })
    }

    pub(super) fn with(parts: Parts) -> Arc<Supervisor> {
        let (apps, waking, ending) = (Mutex::default(), Mutex::default(), CancellationToken::new());
        Arc::new(Supervisor { parts: Arc::new(parts), apps, waking, ending })
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<i64, Arc<App>>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn app(&self, id: i64) -> Arc<App> {
        let fresh = || {
            Arc::new(App {
                keeper: tokio::sync::Mutex::new(None),
                serving: Mutex::new(None),
                view: Mutex::new(View::new(None, State::Empty)),
                removed: self.ending.child_token(),
                tasks: TaskTracker::new(),
            })
        };
        self.apps().entry(id).or_insert_with(fresh).clone()
    }

    /// Starts the release and, once it is healthy, gives it the app's traffic in place
    /// of the one before, which then ends by itself. When it never becomes healthy that
    /// one goes on serving, and nothing of the new one is left. So it is when the future
    /// is dropped.
    pub async fn switch(&self, release: Release) -> Result<()> {
        let app = self.app(release.app);
        let gone = || Error::new(Kind::Conflict, "the app was deleted, or maxd is stopping");
        tokio::select! {
            biased;
            () = app.removed.cancelled() => Err(gone()),
            result = self.replace(&app, release) => result,
        }
    }

    async fn replace(&self, app: &App, release: Release) -> Result<()> {
        let mut current = app.keeper.lock().await;
        let view = View::new(Some(release.number), State::Starting);
        // Only the first release is seen before it serves.
        let unseen = Unseen { app, before: current.is_none().then(|| app.shown()) };
        if current.is_none() {
            app.show(&view);
        }
        let journal = Journal::new(&release, &self.parts.lines);
        let instance = match &release.plan.run {
            Run::Static => None,
            Run::Command(command) => {
                let Parts { runtime, ports, .. } = &*self.parts;
                let started = |pid, since| view.started(pid, since);
                let start = Instance::start(command, &release, &**runtime, ports, &journal, started);
                Some(start.await.map_err(|unhealthy| unhealthy.error)?)
            }
        };
        // From here on nothing waits, so the switch happens or it does not.
        unseen.done();
        let old = current.take();
        if let Some(old) = &old {
            old.retire();
        }
        self.parts.routes.register(&release.hostname, release.network, release.app);
        app.show(&view);
        app.serves(&release);
        *current = Some(Keeper::begin(self.parts.clone(), release, view, instance, &app.tasks));
        if let Some(old) = old {
            let pace = self.parts.pace;
            app.tasks.spawn(async move { old.end(pace.drain).await });
        }
        Ok(())
    }

    /// Starts the app's current release after a restart of maxd, and goes on trying.
    pub fn resume(self: &Arc<Self>, release: Release) {
        let app = self.app(release.app);
        let view = View::new(Some(release.number), State::Starting);
        app.show(&view);
        self.lock_waking().push(view.clone());
        let parts = self.parts.clone();
        let task = app.clone();
        app.tasks.spawn(async move {
            let mut current = task.keeper.lock().await;
            if current.is_none() && !task.removed.is_cancelled() {
                parts.routes.register(&release.hostname, release.network, release.app);
                task.show(&view);
                task.serves(&release);
                *current = Some(Keeper::begin(parts, release, view, None, &task.tasks));
            }
        });
    }

    fn lock_waking(&self) -> MutexGuard<'_, Vec<Arc<View>>> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of the apps that were resumed have not had their first start yet, whatever
    /// came of it.
    pub fn waking(&self) -> usize {
        let mut waking = self.lock_waking();
        // A view that nobody else holds belongs to an app that was removed.
        waking.retain(|view| Arc::strong_count(view) > 1 && view.status().state == State::Starting);
        waking.len()
    }

    /// Stops everything of the app and forgets it; its hostname is the caller's to
    /// unregister afterwards.
    pub async fn remove(&self, app: i64) {
        let app = self.apps().remove(&app);
        if let Some(app) = app {
            Supervisor::end(&app).await;
        }
    }

    /// Stops all apps.
    pub async fn shutdown(&self) {
        self.ending.cancel();
        let apps = self.apps().values().cloned().collect::<Vec<_>>();
        futures_util::future::join_all(apps.iter().map(|app| Supervisor::end(app))).await;
        self.parts.runtime.release();
    }

    async fn end(app: &App) {
        app.removed.cancel();
        let keeper = app.keeper.lock().await.take();
        if let Some(keeper) = keeper {
            keeper.retire();
            keeper.close();
            keeper.end(std::time::Duration::ZERO).await;
        }
        app.tasks.close();
        app.tasks.wait().await;
    }

    /// What each app that was ever started does at the moment, by its row.
    pub fn all(&self) -> Vec<(i64, Brief)> {
        self.apps().iter().map(|(id, app)| (*id, app.shown().brief())).collect()
    }

    /// The release that has the app's traffic.
    pub fn release(&self, app: i64) -> Option<Release> {
        self.apps().get(&app)?.serving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the app does at the moment.
    pub fn status(&self, app: i64) -> Status {
        match self.apps().get(&app) {
            Some(app) => app.shown().status(),
            None => View::new(None, State::Empty).status(),
        }
    }
}

/// Shows again what was shown before, unless the switch is done.
struct Unseen<'a> {
    app: &'a App,
    before: Option<Arc<View>>,
}

impl Unseen<'_> {
    fn done(mut self) {
        self.before = None;
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            self.app.show(before);
        }
    }
}

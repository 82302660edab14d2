//! Keeps every app's release running.
//!
//! ```text
//! app ─ set, which has the route ─┬► keeper ─► instance 1
//!        of one release           └► keeper ─► instance 2
//! ```
//!
//! A keeper owns one instance and starts it again when it ends. A switch starts the
//! instances of the next set beside those of the present one, and only when all are
//! healthy the next set takes the route; the old instances answer what they have begun and
//! are stopped. Whoever changes an app's instances holds it ([`Hold`]), so that changes
//! take turns.

mod hold;
mod set;

pub use hold::Hold;

use super::instance::Ports;
use super::keeper::Pace;
use super::keeper::view::{self, View};
use super::line::NewLine;
use super::plan::Plan;
use super::router::Routes;
use super::runtime::Runtime;
use super::secrets::Environment;
use crate::error::{Error, Kind, Result};
use crate::wire::app::{self, State};
use set::Set;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
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
    /// How it is built and run.
    pub plan: Plan,
    /// The user's variables and secrets.
    pub env: Environment,
}

/// What an app does at the moment.
pub struct Status {
    /// What it does.
    pub state: State,
    /// Why, when that needs saying: `exited with code 1, 5 times in 40 s`.
    pub reason: Option<String>,
    /// Its instances.
    pub instances: Vec<app::Instance>,
    /// The newest health checks, the newest last.
    pub checks: Vec<app::Check>,
}

/// The same, for who looks at all apps again and again.
pub struct Brief {
    /// What it does.
    pub state: State,
    /// The release that this is about.
    pub release: Option<u64>,
    /// The state of each instance, and why.
    pub instances: Vec<(State, Option<String>)>,
}

/// Starts, watches and stops the apps' releases.
pub struct Supervisor {
    parts: Arc<Parts>,
    apps: Mutex<HashMap<i64, Arc<App>>>,
    /// What is resumed and has not been seen to be up, or down, yet.
    waking: Mutex<Vec<Vec<Arc<View>>>>,
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
    /// Held by who changes it: the instances that have the traffic.
    set: Arc<tokio::sync::Mutex<Option<Set>>>,
    /// The newest release that served, also when the app is stopped.
    serving: Mutex<Option<Release>>,
    shown: Mutex<Shown>,
    /// Cancelled when the app is removed.
    removed: CancellationToken,
    /// It will be.
    doomed: AtomicBool,
    /// Told when the app is to be stopped, whatever is under way.
    stopping: Notify,
    /// Keepers at work, also those that end after a switch.
    tasks: TaskTracker,
}

/// What an app that is being deleted has here.
pub struct Doomed {
    id: i64,
    app: Arc<App>,
}

impl Doomed {
    /// The app was not deleted after all.
    pub fn spare(&self) {
        self.app.doomed.store(false, Ordering::SeqCst);
    }
}

/// What is shown of an app.
#[derive(Clone)]
enum Shown {
    /// It has no instances, and is in this state.
    Nothing(State),
    /// Its instances.
    Instances(Vec<Arc<View>>),
}

impl App {
    fn show(&self, shown: Shown) -> Shown {
        std::mem::replace(&mut *self.lock_shown(), shown)
    }

    fn serves(&self, release: &Release) {
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(release.clone());
    }

    fn lock_shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> Vec<Arc<View>> {
        match &*self.lock_shown() {
            Shown::Nothing(_) => Vec::new(),
            Shown::Instances(views) => views.clone(),
        }
    }

    fn brief(&self) -> Brief {
        let (views, nothing) = match &*self.lock_shown() {
            Shown::Nothing(state) => (Vec::new(), Some(*state)),
            Shown::Instances(views) => (views.clone(), None),
        };
        let instances: Vec<_> = views.iter().map(|view| view.state()).collect();
        let state = nothing.unwrap_or_else(|| view::together(&instances).0);
        Brief { state, release: views.first().map(|view| view.release), instances }
    }

    /// What `work` gives, unless the app is removed before.
    async fn unless_removed<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.removed.cancelled() => {
                Err(Error::new(Kind::Conflict, "the app was deleted, or maxd is stopping"))
            }
            done = work => Ok(done),
        }
    }

    /// The same, unless it is to be stopped.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.stopping.notified() => {
                Err(Error::new(Kind::Conflict, "the app was stopped meanwhile"))
            }
            done = self.unless_removed(work) => done,
        }
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
                set: Arc::default(),
                serving: Mutex::new(None),
                shown: Mutex::new(Shown::Nothing(State::Empty)),
                removed: self.ending.child_token(),
                doomed: AtomicBool::new(false),
                stopping: Notify::new(),
                tasks: TaskTracker::new(),
            })
        };
        self.apps().entry(id).or_insert_with(fresh).clone()
    }

    /// Waits until nobody else changes the app's instances, and keeps everybody from it.
    pub async fn hold(&self, app: i64) -> Result<Hold> {
        let app = self.app(app);
        let set = app.unless_removed(Arc::clone(&app.set).lock_owned()).await?;
        Ok(Hold { parts: Arc::clone(&self.parts), app, set })
    }

    /// Gives up a hold of an app that turned out to be deleted: nothing is kept of it, unless
    /// somebody else waits to hold it, since it was restored.
    pub fn dismiss(&self, id: i64, hold: Hold) {
        let mut apps = self.apps();
        // Who waits has it from here, under this lock.
        if !hold.runs() && Arc::strong_count(&hold.app) == 2 {
            apps.remove(&id);
        }
    }

    /// Holds the app to stop it: who holds it gives up what is being started.
    pub async fn interrupt(&self, app: i64) -> Result<Hold> {
        self.app(app).stopping.notify_waiters();
        self.hold(app).await
    }

    /// Starts so many instances of the app's current release, and goes on trying. For the
    /// start of maxd, before anybody can ask for anything.
    pub fn resume(&self, release: Release, count: u64) {
        let app = self.app(release.app);
        let mut set = Set::new(Arc::clone(&self.parts), release, app.tasks.clone());
        let views = set.fresh(count);
        app.show(Shown::Instances(views.clone()));
        app.serves(&set.release);
        self.lock_waking().push(views.clone());
        // Nobody can ask for anything yet.
        if let Ok(mut current) = app.set.try_lock() {
            set.open(&self.parts.routes);
            set.keep(views.into_iter().map(|view| (view, None)).collect());
            *current = Some(set);
        }
    }

    /// Knows the app's current release, and that it is stopped.
    pub fn rest(&self, release: &Release) {
        let app = self.app(release.app);
        app.show(Shown::Nothing(State::Stopped));
        app.serves(release);
        self.parts.routes.stop(release.app);
    }

    fn lock_waking(&self) -> MutexGuard<'_, Vec<Vec<Arc<View>>>> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of the apps that were resumed have an instance that has not had its first
    /// start yet, whatever comes of it.
    pub fn waking(&self) -> usize {
        let mut waking = self.lock_waking();
        // A view that nobody else holds belongs to an app that was removed.
        let wakes = |view: &Arc<View>| Arc::strong_count(view) > 1 && view.is(State::Starting);
        waking.retain(|views| views.iter().any(wakes));
        waking.len()
    }

    /// What an app that is being deleted has here: that ends, and nothing else, even if the app
    /// is restored before it has. The deletion may still fail: then it is spared.
    pub fn doom(&self, id: i64) -> Doomed {
        let app = self.app(id);
        app.doomed.store(true, Ordering::SeqCst);
        Doomed { id, app }
    }

    /// Stops everything of an app that was deleted and forgets it. Its route is the caller's.
    pub async fn remove(&self, Doomed { id, app }: &Doomed) {
        {
            let mut apps = self.apps();
            if apps.get(id).is_some_and(|present| Arc::ptr_eq(present, app)) {
                apps.remove(id);
            }
        }
        Supervisor::end(app).await;
    }

    /// Holds an app that was restored, once nothing is left of what was deleted.
    pub async fn hold_restored(&self, id: i64) -> Result<Hold> {
        let app = self.app(id);
        if app.doomed.load(Ordering::SeqCst) {
            self.remove(&Doomed { id, app }).await;
        }
        self.hold(id).await
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
        let set = app.set.lock().await.take();
        if let Some(set) = set {
            set.retire();
            set.end(Duration::ZERO).await;
        }
        app.tasks.close();
        app.tasks.wait().await;
    }

    /// What each app that was ever started does at the moment, by its row.
    pub fn all(&self) -> Vec<(i64, Brief)> {
        self.apps().iter().map(|(id, app)| (*id, app.brief())).collect()
    }

    /// What an app does, if it was ever started.
    pub fn brief(&self, app: i64) -> Option<Brief> {
        self.apps().get(&app).map(|app| app.brief())
    }

    /// The release that has the app's traffic, or had it when the app was stopped.
    pub fn release(&self, app: i64) -> Option<Release> {
        self.apps().get(&app)?.serving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The numbers of the app's instances that run, each with its port on 127.0.0.1.
    pub fn instances(&self, app: i64) -> Vec<(u64, u16)> {
        let app = self.apps().get(&app).cloned();
        let views = app.map(|app| app.views()).unwrap_or_default();
        views.iter().filter_map(|view| Some((view.number, view.port()?))).collect()
    }

    /// What the app does at the moment.
    pub fn status(&self, app: i64) -> Status {
        let Some(app) = self.apps().get(&app).cloned() else {
            let (reason, instances, checks) = Default::default();
            return Status { state: State::Empty, reason, instances, checks };
        };
        let (Brief { state, instances, .. }, views) = (app.brief(), app.views());
        Status {
            state,
            reason: view::together(&instances).1,
            instances: views.iter().map(|view| view.document()).collect(),
            checks: view::checks(&views),
        }
    }
}

//! The instances of one release that share a site's requests: each request goes to the
//! one with the fewest under way, those with equally many take turns.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Targets that share the traffic.
pub struct Pool {
    /// Their release.
    pub release: u64,
    targets: Mutex<Vec<Arc<Target>>>,
    /// Counts the requests.
    turns: AtomicUsize,
}

/// What answers requests.
pub struct Target {
    /// Where it is.
    pub place: Place,
    /// Its health check fails.
    sick: AtomicBool,
    requests: TaskTracker,
}

/// Where a target is.
pub enum Place {
    /// A port of 127.0.0.1.
    Port(u16),
    /// A directory of static files.
    Files(PathBuf),
}

/// A target as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its port, unless it is a directory.
    pub port: Option<u16>,
    /// Whether its health check succeeds.
    pub well: bool,
}

/// A request's target, which is not stopped while the token is held.
pub struct Turn {
    /// Who answers.
    pub target: Arc<Target>,
    /// Held until it has.
    pub token: TaskTrackerToken,
}

impl Target {
    /// A healthy target.
    pub fn new(place: Place) -> Arc<Target> {
        Arc::new(Target { place, sick: AtomicBool::new(false), requests: TaskTracker::new() })
    }

    /// Says whether its health check fails: then it gets requests only when that of all
    /// others does.
    pub fn set_sick(&self, sick: bool) {
        self.sick.store(sick, Ordering::Relaxed);
    }

    /// The port, unless it is a directory.
    pub fn port(&self) -> Option<u16> {
        match self.place {
            Place::Port(port) => Some(port),
            Place::Files(_) => None,
        }
    }

    fn is_well(&self) -> bool {
        !self.sick.load(Ordering::Relaxed)
    }

    /// Waits until the requests it got are answered, at most so long. It must not be
    /// in a site's pool any more.
    pub async fn drain(&self, limit: Duration) {
        self.requests.close();
        let _ = tokio::time::timeout(limit, self.requests.wait()).await;
    }
}

impl Pool {
    /// A pool without targets for a release.
    pub fn new(release: u64) -> Arc<Pool> {
        Arc::new(Pool { release, targets: Mutex::default(), turns: AtomicUsize::new(0) })
    }

    fn targets(&self) -> MutexGuard<'_, Vec<Arc<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `target` take part.
    pub fn add(&self, target: Arc<Target>) {
        self.targets().push(target);
    }

    /// Gives no more requests to `target`.
    pub fn remove(&self, target: &Arc<Target>) {
        self.targets().retain(|one| !Arc::ptr_eq(one, target));
    }

    /// Those that take part.
    pub fn seats(&self) -> Vec<Seat> {
        self.targets().iter().map(|one| Seat { port: one.port(), well: one.is_well() }).collect()
    }

    /// Who answers the next request, apart from those `tried` with it already.
    pub fn pick(&self, tried: &[Arc<Target>]) -> Option<Turn> {
        let targets = self.targets();
        let fresh = |one: &&Arc<Target>| !tried.iter().any(|other| Arc::ptr_eq(one, other));
        let left = || targets.iter().filter(fresh);
        // A page that is wrong in part is better than none.
        let all_sick = !left().any(|one| one.is_well());
        let usable: Vec<_> = left().filter(|one| all_sick || one.is_well()).collect();
        let first = self.turns.fetch_add(1, Ordering::Relaxed) % usable.len().max(1);
        let in_turn = usable.iter().cycle().skip(first).take(usable.len());
        let target = Arc::clone(in_turn.min_by_key(|one| one.requests.len())?);
        Some(Turn { token: target.requests.token(), target })
    }
}

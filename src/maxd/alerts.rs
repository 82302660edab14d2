//! Alerts: what is wrong with the apps and the host by itself, until it is not any more.
//!
//! ```text
//! supervisor, metrics, deploys, disk ─► rules ─► book ─► rows (state.db) ─► webhooks
//!                                      verdict  change        └─► memory: who asks
//! ```
//!
//! The apps are looked at every two seconds and when a deploy changes. A change is on
//! the disk, together with the messages about it, before anybody sees it; so a restart of
//! maxd neither loses an alert nor raises it twice.

mod book;
mod rows;
mod rules;

#[cfg(test)]
mod tests;

pub use book::Pace;
pub use rows::{forget_old, rename_app, resolve_app, resolve_network};

use super::access::Access;
use super::metrics::Reading;
use super::platform::{Platform, find_network};
use super::store::Store;
use super::supervisor::Brief;
use crate::error::Result;
use crate::wire::alert::{Alert, Cause, Filter, List};
use book::{Book, Change, Key};
use rows::Active;
use rules::{Sight, Verdict};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// The causes that a look at an app judges.
const OF_APPS: &[Cause] = &[Cause::CrashLoop, Cause::Unhealthy, Cause::ErrorRate, Cause::Memory];

/// Whose alerts are asked for.
pub enum Scope {
    /// These networks, and the host.
    Networks(Vec<i64>),
    /// This network, and the host, which every network depends on.
    Network(i64),
    /// This app alone.
    App(i64),
}

/// How alerts are watched for.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    /// How long something must last.
    pub pace: Pace,
    /// How much of the disk must be free, in place of a share of it.
    pub disk: Option<u64>,
}

/// The alerts that last, in memory.
pub struct Alerts {
    store: Arc<Store>,
    settings: Settings,
    known: Mutex<Known>,
    /// Held from before a change is stored until memory has it, so that what a deletion
    /// removes does not come back.
    turn: tokio::sync::Mutex<()>,
    version: watch::Sender<u64>,
}

struct Known {
    book: Book,
    /// The newest first.
    active: Vec<Active>,
}

/// What there is to judge by in one look.
struct Looked {
    apps: Vec<(i64, Sight)>,
    /// Only when a deploy has changed.
    deploys: Option<Vec<(i64, Option<String>)>>,
    /// Free and all bytes.
    disk: Option<(u64, u64)>,
}

/// A change with what is stored of it.
struct Entry {
    change: Change,
    id: Option<i64>,
    release: Option<u64>,
}

impl Alerts {
    /// With the alerts that lasted when maxd was stopped.
    pub fn open(store: Arc<Store>, settings: Settings) -> Result<Arc<Alerts>> {
        let (mut book, active) = (Book::default(), store.run(rows::active)?);
        for one in &active {
            book.raised(one.key, one.alert.message.clone(), one.release, None);
        }
        let (known, turn) = (Mutex::new(Known { book, active }), tokio::sync::Mutex::default());
        Ok(Arc::new(Alerts { store, settings, known, turn, version: watch::Sender::default() }))
    }

    /// What is wrong at the moment, the newest first.
    pub fn active(&self, scope: Scope) -> Vec<Alert> {
        let within = |one: &&Active| match &scope {
            Scope::Networks(networks) => one.network.is_none_or(|of| networks.contains(&of)),
            Scope::Network(network) => one.network.is_none_or(|of| of == *network),
            Scope::App(app) => one.key.app == Some(*app),
        };
        self.known().active.iter().filter(within).map(|one| one.alert.clone()).collect()
    }

    /// Told whenever [`active`](Alerts::active) may give something else, and when there are
    /// new messages for webhooks.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Reads anew what apps and networks are called in what lasts.
    pub async fn reread(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let active = self.store.with(rows::active).await?;
        self.known().active = active;
        self.version.send_modify(|version| *version += 1);
        Ok(())
    }

    /// These apps are gone, and what was wrong with them has been told as over.
    pub async fn forget(&self, apps: &[i64]) {
        let _turn = self.turn.lock().await;
        let mut known = self.known();
        let gone = |key: Key| key.app.is_some_and(|app| apps.contains(&app));
        known.active.retain(|one| !gone(one.key));
        known.book.forget(gone);
        drop(known);
        self.version.send_modify(|version| *version += 1);
    }

    /// Judges what was seen, and stores and shows what has changed.
    async fn judge(&self, looked: Looked) -> Result<()> {
        let _turn = self.turn.lock().await;
        let entries = self.entries(looked, Instant::now());
        if entries.is_empty() {
            return Ok(());
        }
        let stored = self.store.with(move |t| {
            let now = SystemTime::now();
            let mut done = Vec::new();
            for entry in entries {
                let raised = match (&entry.change, entry.id) {
                    (Change::Raise(key, message, lasted), _) => {
                        let since = now.checked_sub(*lasted).unwrap_or(now);
                        rows::raise(t, *key, message, entry.release, since)?
                    }
                    (Change::Reword(_, message), Some(id)) => rows::reword(t, id, message).map(|()| None)?,
                    (Change::Resolve(_), Some(id)) => rows::resolve(t, id, now).map(|()| None)?,
                    (_, None) => None,
                };
                done.push((entry.change, raised));
            }
            Ok(done)
        });
        let (stored, now) = (stored.await?, Instant::now());
        let mut known = self.known();
        for (change, raised) in stored {
            known.happen(change, raised, now);
        }
        drop(known);
        self.version.send_modify(|version| *version += 1);
        Ok(())
    }

    /// What changes by this look.
    fn entries(&self, looked: Looked, now: Instant) -> Vec<Entry> {
        let (mut known, pace) = (self.known(), self.settings.pace);
        let mut entries = Vec::new();
        for (app, sight) in &looked.apps {
            for cause in OF_APPS {
                let key = Key { cause: *cause, app: Some(*app) };
                let verdict = rules::app(*cause, sight, known.book.release(key));
                entries.extend(known.take(key, verdict, sight.release, now, pace));
            }
        }
        for (app, failed) in looked.deploys.into_iter().flatten() {
            let key = Key { cause: Cause::DeployFailed, app: Some(app) };
            let verdict = failed.map_or(Verdict::Settled, Verdict::Wrong);
            entries.extend(known.take(key, verdict, None, now, pace));
        }
        if let Some((free, total)) = looked.disk {
            let wanted = self.settings.disk.unwrap_or_else(|| rules::wanted(total));
            let key = Key { cause: Cause::Disk, app: None };
            entries.extend(known.take(key, rules::disk(free, total, wanted), None, now, pace));
        }
        entries
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take(
        &mut self,
        key: Key,
        verdict: Verdict,
        release: Option<u64>,
        now: Instant,
        pace: Pace,
    ) -> Option<Entry> {
        let change = self.book.take(key, verdict, now, pace)?;
        let id = self.active.iter().find(|one| one.key == key).map(|one| one.id);
        Some(Entry { change, id, release })
    }

    /// A change is stored; `raised` is the new alert, unless its app is gone.
    fn happen(&mut self, change: Change, raised: Option<Active>, now: Instant) {
        match change {
            Change::Raise(key, message, _) => match raised {
                Some(active) => {
                    self.book.raised(key, message, active.release, Some(now));
                    self.active.insert(0, active);
                }
                None => self.book.resolved(key),
            },
            Change::Reword(key, message) => {
                for one in self.active.iter_mut().filter(|one| one.key == key) {
                    one.alert.message.clone_from(&message);
                }
            }
            Change::Resolve(key) => {
                self.book.resolved(key);
                self.active.retain(|one| one.key != key);
            }
        }
    }
}

/// Watches until maxd stops.
pub async fn watch(platform: Arc<Platform>) {
    let mut looks = interval(platform.alerts.settings.pace.fixed.unwrap_or(LOOK));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deploys = platform.deploys.changes();
    deploys.mark_changed();
    let mut failed = None;
    loop {
        let changed = tokio::select! {
            _ = looks.tick() => deploys.has_changed(),
            changed = deploys.changed() => changed.map(|()| true),
        };
        let Ok(changed) = changed else { return };
        deploys.mark_unchanged();
        let done = match platform.look(changed).await {
            Ok(looked) => platform.alerts.judge(looked).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => failed = None,
            Err(error) => {
                deploys.mark_changed();
                // Once, since it may go on for long.
                if failed.replace(error.message().to_owned()).as_deref() != Some(error.message()) {
                    say!("cannot keep the alerts: {error}");
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

impl Platform {
    async fn look(&self, deploys: bool) -> Result<Looked> {
        let apps = self.supervisor.all().into_iter().map(|(app, Brief { state, release, instances })| {
            let Reading { fullest, traffic, .. } = self.metrics.reading(app);
            (app, Sight { state, instances, release, usage: fullest, traffic })
        });
        let apps = apps.collect();
        let deploys = match deploys {
            true => Some(self.store.with(rows::deploys).await?),
            false => None,
        };
        let disk = rustix::fs::statvfs(&self.data).ok();
        let disk = disk.map(|disk| (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize));
        Ok(Looked { apps, deploys, disk })
    }

    /// `alert:list`.
    pub async fn list_alerts(&self, who: &Access, request: Filter) -> Result<List> {
        let who = who.clone();
        let alerts = self.store.with(move |t| {
            let network = match &request.network {
                Some(name) => Some(find_network(t, &who, name)?),
                None => None,
            };
            rows::list(t, &who, network, request.all.unwrap_or(false))
        });
        Ok(List { alerts: alerts.await? })
    }
}

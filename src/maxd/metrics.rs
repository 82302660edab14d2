//! What is measured of every app, every two seconds.
//!
//! ```text
//! runtime (CPU, memory of each job) ─┐
//!                                    ├─► round ─► series of each app ─► reading, past, history
//! router  (a meter for each app) ────┘             └─ once a minute ─► archive (SQLite)
//! ```
//!
//! An hour is kept step by step in memory; a day in minutes and thirty days in hours are
//! on the disk.

mod archive;
pub mod expose;
pub mod histogram;
mod series;

#[cfg(test)]
mod tests;

use super::router::Routes;
use super::router::meter::Meter;
use super::runtime::{Measured, Runtime};
use crate::error::{Error, Result};
use crate::time::rfc3339;
use crate::wire::dashboard::Past;
use crate::wire::metrics::{History, Sample, Traffic, Usage};
use archive::{Archive, Batch};
use series::{Series, Totals};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Between two rounds.
pub const STEP: Duration = Duration::from_secs(2);
/// Steps that are kept in memory: an hour.
const KEPT: u64 = 1800;
/// Steps of a small picture, and of the minute that traffic is told of.
const MINUTE: u64 = 30;

/// Measures the apps, and knows what was measured.
pub struct Metrics {
    runtime: Arc<dyn Runtime>,
    routes: Arc<Routes>,
    state: Mutex<State>,
    archive: Archive,
    ticks: watch::Sender<u64>,
    /// How often each request was made; as many as there are in the table of requests.
    asked: Mutex<BTreeMap<&'static str, u64>>,
}

/// What was measured of an app in the newest round.
#[derive(Clone, Default)]
pub struct Reading {
    /// What all its processes use together.
    pub usage: Usage,
    /// What that one uses which is nearest to its memory limit.
    pub fullest: Usage,
    /// Its requests of the last minute.
    pub traffic: Traffic,
    /// Its requests of the last step.
    pub beat: u64,
}

#[derive(Default)]
struct State {
    apps: HashMap<i64, Series>,
    /// When each of the newest rounds ended; the last is that of `tick`.
    times: VecDeque<SystemTime>,
    /// Counts the rounds.
    tick: u64,
    /// The minute, counted from 1970, that is being collected.
    minute: u64,
    /// Apps whose rows in the archive have to go.
    forgotten: Vec<i64>,
}

/// The thread that measures; it ends with [`Collector::end`].
pub struct Collector {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Ends it, behind its last write. Blocks for some milliseconds.
    pub fn end(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            say!("the collector of metrics failed");
        }
    }
}

impl Metrics {
    /// Opens (or makes) the archive. Nothing is measured before [`Metrics::begin`].
    pub fn open(path: &Path, runtime: Arc<dyn Runtime>, routes: Arc<Routes>) -> Result<Arc<Metrics>> {
        let archive = Archive::open(path)?;
        Ok(Arc::new(Metrics {
            runtime,
            routes,
            state: Mutex::default(),
            archive,
            ticks: watch::channel(0).0,
            asked: Mutex::default(),
        }))
    }

    /// Begins to measure, in a thread of its own.
    pub fn begin(self: &Arc<Self>) -> Result<Collector> {
        let (stop, stopped) = mpsc::channel();
        let metrics = Arc::clone(self);
        let run = move || {
            let mut last = Instant::now();
            while stopped.recv_timeout(STEP.saturating_sub(last.elapsed())).is_err_and(is_timeout) {
                let now = Instant::now();
                metrics.round(now - last, SystemTime::now());
                last = now;
            }
            metrics.write(metrics.state().batch());
        };
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(run);
        Ok(Collector { stop, thread: thread.map_err(|error| Error::io("start", "the collector", &error))? })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures once; the time since the round before was `elapsed`.
    fn round(&self, elapsed: Duration, now: SystemTime) {
        let (measured, meters) = (self.runtime.measure(), self.routes.meters());
        let (tick, batch) = {
            let mut state = self.state();
            let batch = state.turn_minute(now);
            state.round(&measured, &meters, elapsed, now);
            (state.tick, batch)
        };
        self.ticks.send_replace(tick);
        self.write(batch);
    }

    fn write(&self, batch: Batch) {
        // What can't be written is lost: measuring goes on.
        if let Err(error) = self.archive.write(&batch) {
            say!("cannot keep what was measured: {error}");
        }
    }

    /// What was measured last; zeros for an app without processes and requests.
    pub fn reading(&self, app: i64) -> Reading {
        let state = self.state();
        state.apps.get(&app).map(|series| series.reading(state.tick)).unwrap_or_default()
    }

    /// What several apps use and were asked together.
    pub fn together(&self, apps: &[i64]) -> (Usage, Traffic) {
        let state = self.state();
        let all = || apps.iter().filter_map(|app| state.apps.get(app));
        let mut usage = Usage::default();
        for reading in all().map(|series| series.reading(state.tick)) {
            usage.cpu += reading.usage.cpu;
            usage.memory += reading.usage.memory;
        }
        (usage, series::traffic(all().flat_map(Series::minute)))
    }

    /// What the job of this process uses, if it is one of the app's.
    pub fn instance(&self, app: i64, pid: u64) -> Option<Usage> {
        self.state().apps.get(&app).and_then(|series| series.job(pid))
    }

    /// What an app has used and answered since maxd was started.
    pub fn totals(&self, app: i64) -> Totals {
        self.state().apps.get(&app).map(Series::totals).unwrap_or_default()
    }

    /// The steps of the last minute.
    pub fn past(&self, app: i64) -> Past {
        let state = self.state();
        let steps = state.apps.get(&app).map(|series| series.newest(state.tick, MINUTE)).unwrap_or_default();
        let number = |get: fn(&series::Step) -> u32| steps.iter().map(|step| u64::from(get(step))).collect();
        Past { cpu: number(|step| step.cpu), requests: number(|step| step.requests) }
    }

    /// What was measured in so many seconds, in steps that fit. Blocks.
    pub fn history(&self, app: i64, seconds: u64) -> Result<History> {
        let now = SystemTime::now();
        match seconds {
            1..=3600 => Ok(self.state().samples(app, seconds, now)),
            3601..=86_400 => self.archived(app, archive::MINUTE, seconds, now),
            86_401..=archive::LONGEST => self.archived(app, archive::HOUR, seconds, now),
            _ => Err(Error::usage("that is no span of history")
                .hint("from a second to thirty days")
                .field("seconds")),
        }
    }

    fn archived(&self, app: i64, step: u64, seconds: u64, now: SystemTime) -> Result<History> {
        let (minute, fresh) = {
            let state = self.state();
            (state.minute, state.apps.get(&app).map(|series| series.pending().clone()).unwrap_or_default())
        };
        let now = unix(now);
        let mut pieces = self.archive.read(app, step, now.saturating_sub(seconds))?;
        if !fresh.is_empty() {
            pieces.entry(minute * 60 / step * step).or_default().add(&fresh);
        }
        let time = |start: u64| rfc3339(UNIX_EPOCH + Duration::from_secs((start + step).min(now)));
        let samples = pieces.iter().map(|(start, piece)| piece.sample(time(*start)));
        Ok(History { step, samples: samples.collect() })
    }

    /// Counts the finished rounds.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Counts a request.
    pub fn count(&self, request: &'static str) {
        *self.asked().entry(request).or_default() += 1;
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an app that was deleted.
    pub fn forget(&self, app: i64) {
        let mut state = self.state();
        state.apps.remove(&app);
        state.forgotten.push(app);
    }

    /// Forgets what is kept on the disk of all but these apps. Blocks.
    pub fn retain(&self, apps: &[i64]) -> Result<()> {
        self.archive.retain(apps)
    }
}

fn is_timeout(error: mpsc::RecvTimeoutError) -> bool {
    error == mpsc::RecvTimeoutError::Timeout
}

/// Seconds since 1970.
fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl State {
    fn round(
        &mut self,
        measured: &[Measured],
        meters: &[(i64, Arc<Meter>)],
        elapsed: Duration,
        now: SystemTime,
    ) {
        self.tick += 1;
        self.times.push_back(now);
        if self.times.len() as u64 > KEPT {
            self.times.pop_front();
        }
        let mut jobs: HashMap<i64, Vec<Measured>> = HashMap::new();
        for one in measured {
            jobs.entry(one.app).or_default().push(*one);
        }
        let mut by_app: HashMap<i64, Vec<&Arc<Meter>>> = HashMap::new();
        for (app, meter) in meters {
            by_app.entry(*app).or_default().push(meter);
        }
        for app in jobs.keys().chain(by_app.keys()) {
            self.apps.entry(*app).or_default();
        }
        for (app, series) in &mut self.apps {
            let jobs = jobs.remove(app).unwrap_or_default();
            series.round(self.tick, &jobs, by_app.get(app).map_or(&[], Vec::as_slice), elapsed);
        }
        self.apps.retain(|app, series| by_app.contains_key(app) || !series.is_empty());
    }

    /// What is to be written once a new minute has begun; otherwise nothing.
    fn turn_minute(&mut self, now: SystemTime) -> Batch {
        let minute = unix(now) / 60;
        if self.minute == minute {
            return Batch::default();
        }
        let batch = self.batch();
        self.minute = minute;
        batch
    }

    /// Takes what has been collected of the minute.
    fn batch(&mut self) -> Batch {
        let pieces = self.apps.iter_mut().map(|(app, series)| (*app, series.take_pending()));
        let pieces = pieces.filter(|(_, piece)| !piece.is_empty()).collect();
        Batch { start: self.minute * 60, pieces, forgotten: std::mem::take(&mut self.forgotten) }
    }

    fn samples(&self, app: i64, seconds: u64, now: SystemTime) -> History {
        let oldest = now.checked_sub(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
        let first = self.tick + 1 - (self.times.len() as u64).min(self.tick + 1);
        let time = |tick: u64| self.times.get(usize::try_from(tick.checked_sub(first)?).ok()?).copied();
        let steps = self.apps.get(&app).into_iter().flat_map(Series::steps);
        let samples = steps.filter_map(|step| {
            let time = time(step.tick.into()).filter(|time| *time > oldest)?;
            Some(Sample { time: rfc3339(time), ..step.sample() })
        });
        History { step: STEP.as_secs(), samples: samples.collect() }
    }
}

//! Keeps one instance of a release running until it is told to end: when it ends by itself
//! it is started again, after a pause that doubles with each failure.

#[cfg(test)]
mod tests;
pub mod view;

use super::instance::{self, Instance, Unhealthy};
use super::plan::Run;
use super::pump::Journal;
use super::router::{Place, Pool, Target};
use super::supervisor::{Parts, Release};
use crate::wire::app::State;
use crate::wire::log::Source;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant as Moment, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use view::View;

/// So many failures without a healthy while between them are a crash loop.
const LOOP: u32 = 5;

/// So many failed checks in a row make an instance unhealthy, and so many end it.
const SICK: u32 = 3;
const DEAD: u32 = 6;

/// The times a keeper goes by.
#[derive(Clone, Copy)]
pub struct Pace {
    /// The pause after the first failure.
    pub pause: Duration,
    /// The longest pause, and the one of a crash loop.
    pub longest: Duration,
    /// After running so long, earlier failures are forgotten.
    pub healthy: Duration,
    /// Between two health checks.
    pub check: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long an old instance may go on answering.
    pub drain: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            pause: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            healthy: Duration::from_secs(30),
            check: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

/// Keeps one instance running.
pub struct Keeper {
    parts: Arc<Parts>,
    release: Arc<Release>,
    /// Where its traffic comes from.
    pool: Arc<Pool>,
    /// What is shown of it.
    pub view: Arc<View>,
    gate: Mutex<Gate>,
    /// Cancelled when it has to end.
    stop: CancellationToken,
    /// Holds the task that keeps.
    task: TaskTracker,
}

/// The way into the pool: whoever is retired does not get there any more.
#[derive(Default)]
struct Gate {
    retired: bool,
    target: Option<Arc<Target>>,
}

impl Keeper {
    /// Puts the instance into the pool at once if there is one, which is healthy, or if maxd
    /// serves the files itself; otherwise as soon as it is healthy. Works in a task of
    /// `tasks` until [`end`](Keeper::end).
    pub fn begin(
        parts: Arc<Parts>,
        release: Arc<Release>,
        pool: Arc<Pool>,
        view: Arc<View>,
        instance: Option<Instance>,
        tasks: &TaskTracker,
    ) -> Arc<Keeper> {
        let (gate, stop, task) = (Mutex::default(), CancellationToken::new(), TaskTracker::new());
        let keeper = Arc::new(Keeper { parts, release, pool, view, gate, stop, task });
        match (&keeper.release.plan.run, &instance) {
            (Run::Static, _) => keeper.serve(Place::Files(keeper.release.dir.clone())),
            (Run::Command(_), Some(instance)) => keeper.serve(Place::Port(instance.port())),
            (Run::Command(_), None) => {}
        }
        let (token, clone) = (keeper.task.token(), keeper.clone());
        tasks.spawn(async move {
            clone.keep(instance).await;
            drop(token);
        });
        keeper
    }

    /// Takes traffic to `place`.
    fn serve(&self, place: Place) {
        self.open(place);
        // What ends again and again is no healthier for having started.
        if !self.view.is(State::CrashLoop) {
            self.view.set(State::Running, None);
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes traffic, unless retired.
    fn open(&self, place: Place) {
        let mut gate = self.gate();
        if !gate.retired {
            let target = Target::new(place);
            self.pool.add(Arc::clone(&target));
            gate.target = Some(target);
        }
    }

    /// Takes no more traffic.
    pub fn close(&self) {
        if let Some(target) = &self.gate().target {
            self.pool.remove(target);
        }
    }

    /// Says whether others should have its traffic.
    fn set_sick(&self, sick: bool) {
        if let Some(target) = &self.gate().target {
            target.set_sick(sick);
        }
    }

    /// From now on it gets no traffic that it does not have, and a failure is nobody's matter.
    pub fn retire(&self) {
        self.gate().retired = true;
    }

    /// Waits until what was begun is answered, at most so long, and ends it.
    pub async fn end(&self, drain: Duration) {
        let target = self.gate().target.clone();
        if let Some(target) = target {
            target.drain(drain).await;
        }
        self.stop.cancel();
        self.task.close();
        self.task.wait().await;
    }

    async fn keep(&self, instance: Option<Instance>) {
        let journal = Journal::new(&self.release, Some(self.view.number), &self.parts.lines);
        match self.release.plan.run.clone() {
            Run::Static => {
                self.serves(&journal).await;
                self.stop.cancelled().await;
            }
            Run::Command(command) => self.run(&command, instance, &journal).await,
        }
        self.view.stopped();
    }

    async fn serves(&self, journal: &Journal) {
        journal.write(Source::Event, format!("release {} serves", self.release.number)).await;
    }

    async fn run(&self, command: &str, mut next: Option<Instance>, journal: &Journal) {
        let mut failures = Failures::default();
        loop {
            let how = match self.once(command, next.take(), journal, &mut failures).await {
                Some(how) => how,
                None => return,
            };
            self.close();
            if self.gate().retired {
                return;
            }
            let pause = failures.add(&self.parts.pace);
            match failures.count {
                LOOP.. => self.view.set(State::CrashLoop, Some(failures.told(&how))),
                _ => self.view.set(State::Restarting, Some(how.clone())),
            }
            self.view.restart();
            journal.write(Source::Event, format!("{how}; starting again in {}", seconds(pause))).await;
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// One life of an instance. How it ended; none when it was told to.
    async fn once(
        &self,
        command: &str,
        healthy: Option<Instance>,
        journal: &Journal,
        failures: &mut Failures,
    ) -> Option<String> {
        let mut instance = match healthy {
            Some(instance) => instance,
            None => tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                started = self.start(command, journal) => match started {
                    Ok(instance) => {
                        self.serve(Place::Port(instance.port()));
                        instance
                    }
                    Err(unhealthy) => return Some(unhealthy.short),
                },
            },
        };
        self.serves(journal).await;
        let port = instance.port();
        let ended = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            exit = instance.exited() => Some((instance.told(exit), Duration::ZERO)),
            sick = self.watch(port, journal) => Some((sick, self.parts.pace.grace)),
            () = self.forgive(failures) => None,
        };
        self.close();
        if let Some((how, grace)) = ended {
            instance.stop(grace).await;
            return Some(how);
        }
        let exit = instance.stop(self.parts.pace.grace).await;
        journal.write_last(Source::Event, format!("release {} stopped: {exit}", self.release.number)).await;
        None
    }

    /// Checks the instance's health again and again, until it has failed too often: how.
    async fn watch(&self, port: u16, journal: &Journal) -> String {
        let mut failed = 0;
        loop {
            let check = {
                let host = self.parts.routes.hostname(self.release.app);
                instance::check(self.view.number, port, &self.release, &host).await
            };
            let reason = check.reason.clone();
            self.view.checked(check);
            failed = if reason.is_some() { failed + 1 } else { 0 };
            match reason {
                None => {
                    self.set_sick(false);
                    if self.view.turn(State::Unhealthy, State::Running, None) {
                        journal.write(Source::Event, "healthy again").await;
                    }
                }
                Some(reason) if failed == DEAD => {
                    return format!("unhealthy: {reason}, {DEAD} times in a row");
                }
                Some(reason) if failed == SICK => {
                    let how = format!("{reason}, {SICK} times in a row");
                    self.view.turn(State::Running, State::Unhealthy, Some(how.clone()));
                    self.set_sick(true);
                    journal.write(Source::Event, format!("unhealthy: {how}")).await;
                }
                _ => {}
            }
            sleep(self.parts.pace.check).await;
        }
    }

    /// Forgets the failures when the instance has been healthy for long; never returns.
    async fn forgive(&self, failures: &mut Failures) {
        loop {
            sleep(self.parts.pace.healthy).await;
            if !self.view.fails() {
                break;
            }
        }
        *failures = Failures::default();
        self.view.turn(State::CrashLoop, State::Running, None);
        std::future::pending().await
    }

    async fn start(&self, command: &str, journal: &Journal) -> Result<Instance, Unhealthy> {
        let started = |instance: &Instance| self.view.started(instance);
        Instance::start(command, &self.release, &self.parts, journal, started).await
    }
}

/// Failures without a healthy while between them.
#[derive(Default)]
struct Failures {
    count: u32,
    first: Option<Moment>,
}

impl Failures {
    /// One more; how long to pause now.
    fn add(&mut self, pace: &Pace) -> Duration {
        self.first.get_or_insert_with(Moment::now);
        self.count += 1;
        match self.count {
            LOOP.. => pace.longest,
            count => (pace.pause * 2_u32.pow(count - 1)).min(pace.longest),
        }
    }

    fn told(&self, how: &str) -> String {
        let time = self.first.map_or(Duration::ZERO, |first| first.elapsed());
        format!("{how}, {} times in {} s", self.count, time.as_secs().max(1))
    }
}

/// `0.5 s`, `4 s`.
fn seconds(time: Duration) -> String {
    match time.subsec_millis() / 100 {
        0 => format!("{} s", time.as_secs()),
        tenths => format!("{}.{tenths} s", time.as_secs()),
    }
}

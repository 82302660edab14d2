//! Keepers and switches with jobs that are no processes and times that are short.
#![allow(clippy::unwrap_used)]

use super::view::CHECKS;
use super::*;
use crate::maxd::instance::Ports;
use crate::maxd::line::NewLine;
use crate::maxd::plan::{Health, Limits, Plan};
use crate::maxd::router::Routes;
use crate::maxd::runtime::{Exit, Future, Job, Pipe, Runtime, Task};
use crate::maxd::supervisor::{Status, Supervisor};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

const LONG: Duration = Duration::from_secs(20);
const PACE: Pace = Pace {
    pause: Duration::from_millis(100),
    longest: Duration::from_millis(500),
    healthy: Duration::from_millis(400),
    check: Duration::from_millis(20),
    grace: Duration::from_millis(50),
    drain: Duration::from_millis(50),
};

/// What becomes of a job.
#[derive(Clone, Copy)]
enum Life {
    /// Listens until it is stopped.
    Serves,
    /// Listens for a moment, then ends with this code.
    Crashes(i32),
    /// Ends with this code at once.
    Ends(i32),
    /// Neither listens nor ends.
    Sulks,
    /// Listens, but not while the stage is told to sleep.
    Naps,
}

/// Starts the lives of a script, one after another.
struct Theatre {
    script: Mutex<VecDeque<Life>>,
    alive: Arc<AtomicI64>,
    asleep: watch::Receiver<bool>,
}

struct Actor {
    life: Life,
    listener: Option<TcpListener>,
    napping: Option<AbortOnDropHandle<()>>,
    alive: Arc<AtomicI64>,
}

/// Listens while it is not asleep.
async fn nap(port: String, mut asleep: watch::Receiver<bool>) {
    loop {
        asleep.wait_for(|asleep| !*asleep).await.unwrap();
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
        asleep.wait_for(|asleep| *asleep).await.unwrap();
        drop(listener);
    }
}

impl Runtime for Theatre {
    fn start(&self, task: Task) -> Future<'_, crate::error::Result<Box<dyn Job>>> {
        let life = self.script.lock().unwrap().pop_front().unwrap_or(Life::Sulks);
        let port = task.env.into_iter().find(|(name, _)| name == "PORT").unwrap().1;
        self.alive.fetch_add(1, Ordering::SeqCst);
        let mut actor = Actor { life, listener: None, napping: None, alive: self.alive.clone() };
        let asleep = self.asleep.clone();
        Box::pin(async move {
            if matches!(life, Life::Serves | Life::Crashes(_)) {
                actor.listener = Some(TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap());
            }
            if matches!(life, Life::Naps) {
                actor.napping = Some(AbortOnDropHandle::new(tokio::spawn(nap(port, asleep))));
            }
            Ok(Box::new(actor) as Box<dyn Job>)
        })
    }

    fn claim(&self, _run: &Path) -> crate::error::Result<()> {
        Ok(())
    }
}

impl Job for Actor {
    fn pid(&self) -> Option<u64> {
        Some(7)
    }

    fn outputs(&mut self) -> Option<(Pipe, Pipe)> {
        Some((Box::new(tokio::io::empty()), Box::new(tokio::io::empty())))
    }

    fn signal(&self, _number: i32) -> bool {
        true
    }

    fn wait(&mut self) -> Future<'_, Exit> {
        let life = self.life;
        Box::pin(async move {
            match life {
                Life::Ends(code) => Exit { code },
                Life::Crashes(code) => {
                    // Long enough to be found healthy.
                    sleep(Duration::from_millis(100)).await;
                    Exit { code }
                }
                Life::Serves | Life::Sulks | Life::Naps => std::future::pending().await,
            }
        })
    }

    fn stop(&mut self, _grace: Duration) -> Future<'_, Exit> {
        (self.listener, self.napping) = (None, None);
        Box::pin(async { Exit { code: 143 } })
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Stage {
    supervisor: Arc<Supervisor>,
    alive: Arc<AtomicI64>,
    events: Arc<Mutex<Vec<String>>>,
    sleep: watch::Sender<bool>,
}

impl Stage {
    fn new(script: &[Life]) -> Stage {
        let (lines, mut log) = mpsc::channel::<NewLine>(16);
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        tokio::spawn(async move {
            while let Some(line) = log.recv().await {
                told.lock().unwrap().push(line.text);
                line.stored.map(|stored| stored.send(()));
            }
        });
        let alive = Arc::new(AtomicI64::new(0));
        let script = Mutex::new(script.iter().copied().collect());
        let (sleep, asleep) = watch::channel(false);
        let runtime = Arc::new(Theatre { script, alive: alive.clone(), asleep });
        let routes = Routes::new(lines.clone(), "test".to_owned());
        let ports: Arc<Ports> = Arc::default();
        let supervisor = Supervisor::with(Parts { runtime, routes, lines, ports, pace: PACE });
        Stage { supervisor, alive, events, sleep }
    }

    /// Release `number` of the app.
    fn release(number: u64) -> Release {
        let health = Health { path: None, timeout: Duration::from_millis(300) };
        let run = Run::Command("act".to_owned());
        let plan = Plan {
            kind: "procfile".to_owned(),
            build: Vec::new(),
            release: None,
            run,
            health,
            limits: Limits::default(),
        };
        Release { network: 1, app: 1, number, dir: PathBuf::from("/"), plan, env: Default::default() }
    }

    async fn switch(&self, release: Release) -> crate::error::Result<()> {
        self.switch_to(release, 1).await
    }

    /// Gives the traffic to so many instances of the release.
    async fn switch_to(&self, release: Release, count: u64) -> crate::error::Result<()> {
        self.supervisor.hold(1).await?.switch(release, count).await.map(drop)
    }

    fn alive(&self) -> i64 {
        self.alive.load(Ordering::SeqCst)
    }

    /// Waits until the app is in this state.
    async fn until(&self, state: State) -> Status {
        let deadline = Moment::now() + LONG;
        loop {
            let status = self.supervisor.status(1);
            if status.state == state {
                return status;
            }
            assert!(Moment::now() < deadline, "waited too long; {:?}", self.events.lock().unwrap());
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn said(&self, word: &str) -> Vec<String> {
        self.events.lock().unwrap().iter().filter(|line| line.contains(word)).cloned().collect()
    }
}

#[tokio::test]
async fn pauses_double_into_a_crash_loop_and_a_healthy_while_ends_it() {
    let stage = Stage::new(&[
        Life::Serves,
        Life::Crashes(9),
        Life::Ends(8),
        Life::Crashes(9),
        Life::Ends(8),
        Life::Crashes(9),
        Life::Serves,
    ]);
    // The first serves until a second release takes over, which is the one that crashes.
    stage.switch(Stage::release(1)).await.unwrap();
    assert_eq!(stage.supervisor.status(1).state, State::Running);
    stage.switch(Stage::release(2)).await.unwrap();
    let status = stage.until(State::CrashLoop).await;
    let reason = status.reason.unwrap();
    assert!(reason.starts_with("exited with code 9, 5 times in "), "{reason}");
    assert_eq!((status.instances[0].release, status.instances[0].restarts), (2, 5));
    let expected = [
        "exited with code 9; starting again in 0.1 s",
        "exited with code 8; starting again in 0.2 s",
        "exited with code 9; starting again in 0.4 s",
        "exited with code 8; starting again in 0.5 s",
        "exited with code 9; starting again in 0.5 s",
    ];
    assert_eq!(stage.said("again"), expected);
    // The sixth life lasts.
    let status = stage.until(State::Running).await;
    assert_eq!((status.reason, status.instances[0].restarts), (None, 5));
    assert_eq!(stage.alive(), 1);
    stage.supervisor.shutdown().await;
    assert_eq!(stage.alive(), 0);
}

#[tokio::test]
async fn failures_long_apart_do_not_add_up() {
    let mut failures = Failures::default();
    assert_eq!(failures.add(&PACE), Duration::from_millis(100));
    assert_eq!(failures.add(&PACE), Duration::from_millis(200));
    let stage = Stage::new(&[]);
    let (view, pool) = (View::new(1, 1), Pool::new(1));
    let release = Arc::new(Stage::release(1));
    let parts = Parts {
        runtime: Arc::new(Theatre {
            script: Mutex::default(),
            alive: stage.alive.clone(),
            asleep: stage.sleep.subscribe(),
        }),
        routes: Routes::new(mpsc::channel(1).0, "test".to_owned()),
        lines: mpsc::channel(1).0,
        ports: Arc::default(),
        pace: PACE,
    };
    let (gate, stop, task) = (Mutex::default(), CancellationToken::new(), TaskTracker::new());
    let keeper = Keeper { parts: Arc::new(parts), release, pool, view, gate, stop, task };
    let forgiven = tokio::time::timeout(PACE.healthy * 2, keeper.forgive(&mut failures)).await;
    assert!(forgiven.is_err());
    assert_eq!(failures.add(&PACE), Duration::from_millis(100));
}

#[tokio::test]
async fn a_release_that_fails_leaves_the_old_one_and_nothing_of_itself() {
    let stage = Stage::new(&[Life::Serves, Life::Ends(3), Life::Sulks]);
    stage.switch(Stage::release(1)).await.unwrap();
    let error = stage.switch(Stage::release(2)).await.unwrap_err();
    assert_eq!(error.message(), "'act' exited with code 3 before it was healthy");
    let error = stage.switch(Stage::release(3)).await.unwrap_err();
    assert!(error.message().ends_with(" (PORT) within 300 ms"), "{error}");
    let status = stage.supervisor.status(1);
    assert_eq!((status.state, status.instances[0].release), (State::Running, 1));
    assert_eq!(stage.alive(), 1);
}

#[tokio::test]
async fn a_switch_that_is_given_up_leaves_nothing() {
    let stage = Stage::new(&[Life::Sulks]);
    let given_up = tokio::time::timeout(PACE.drain, stage.switch(Stage::release(1))).await;
    assert!(given_up.is_err());
    assert_eq!(stage.supervisor.status(1).state, State::Empty);
    assert_eq!(stage.alive(), 0);
}

#[tokio::test]
async fn a_crashed_release_that_is_replaced_does_not_come_back() {
    let stage = Stage::new(&[Life::Crashes(1), Life::Serves, Life::Serves]);
    stage.switch(Stage::release(1)).await.unwrap();
    stage.until(State::Restarting).await;
    stage.switch(Stage::release(2)).await.unwrap();
    assert_eq!(stage.supervisor.status(1).instances[0].release, 2);
    stage.supervisor.shutdown().await;
    assert_eq!(stage.said("started release 1").len(), 1);
    assert_eq!(stage.alive(), 0);
}

#[tokio::test]
async fn after_a_restart_of_maxd_a_release_is_tried_until_it_runs() {
    let stage = Stage::new(&[Life::Ends(1), Life::Ends(1), Life::Serves]);
    stage.supervisor.resume(Stage::release(4), 1);
    let status = stage.until(State::Running).await;
    assert_eq!((status.instances[0].release, status.instances[0].restarts), (4, 2));
    // A pause does not keep anybody who stops.
    stage.supervisor.remove(&stage.supervisor.doom(1)).await;
    assert_eq!((stage.alive(), stage.supervisor.status(1).state), (0, State::Empty));
}

#[tokio::test]
async fn what_is_doomed_ends_and_what_was_restored_meanwhile_does_not() {
    let stage = Stage::new(&[Life::Serves, Life::Serves]);
    stage.switch(Stage::release(1)).await.unwrap();
    let doomed = stage.supervisor.doom(1);
    let mut hold = stage.supervisor.hold_restored(1).await.unwrap();
    assert_eq!((stage.alive(), hold.runs()), (0, false));
    hold.switch(Stage::release(2), 1).await.unwrap();
    drop(hold);
    stage.supervisor.remove(&doomed).await;
    assert_eq!((stage.alive(), stage.supervisor.status(1).state), (1, State::Running));
    // One that is spared is held as it is.
    stage.supervisor.doom(1).spare();
    assert!(stage.supervisor.hold_restored(1).await.unwrap().runs());
}

#[tokio::test]
async fn a_dismissed_app_is_forgotten_unless_somebody_waits_for_it() {
    let stage = Stage::new(&[]);
    let known = || stage.supervisor.all().into_iter().map(|(app, _)| app).collect::<Vec<_>>();
    let hold = stage.supervisor.hold(5).await.unwrap();
    assert_eq!(known(), [5]);
    stage.supervisor.dismiss(5, hold);
    assert_eq!(known(), Vec::<i64>::new());
    let hold = stage.supervisor.hold(5).await.unwrap();
    let mut waits = std::pin::pin!(stage.supervisor.hold(5));
    assert!(tokio::time::timeout(Duration::ZERO, waits.as_mut()).await.is_err());
    stage.supervisor.dismiss(5, hold);
    assert_eq!(known(), [5]);
    assert!(!waits.await.unwrap().runs());
}

#[tokio::test]
async fn what_fails_its_checks_is_unhealthy_until_it_passes_one() {
    let stage = Stage::new(&[Life::Naps]);
    stage.switch(Stage::release(1)).await.unwrap();
    stage.sleep.send_replace(true);
    let status = stage.until(State::Unhealthy).await;
    let reason = status.reason.unwrap();
    assert!(
        reason.starts_with("it does not listen on port ") && reason.ends_with(", 3 times in a row"),
        "{reason}"
    );
    assert_eq!(status.instances[0].state, State::Unhealthy);
    assert!(status.checks.iter().rev().take(3).all(|check| !check.healthy && check.reason.is_some()));
    stage.sleep.send_replace(false);
    let status = stage.until(State::Running).await;
    assert_eq!((status.reason, status.instances[0].restarts), (None, 0));
    assert!(status.checks.last().unwrap().healthy);
    assert_eq!(stage.said("healthy"), [format!("unhealthy: {reason}"), "healthy again".to_owned()]);
    // Only the newest are kept.
    let deadline = Moment::now() + LONG;
    while stage.supervisor.status(1).checks.iter().any(|check| !check.healthy) {
        assert!(Moment::now() < deadline, "waited too long");
        sleep(PACE.check).await;
    }
    assert_eq!(stage.supervisor.status(1).checks.len(), CHECKS);
}

#[tokio::test]
async fn what_stays_unhealthy_is_started_again_and_again() {
    let stage = Stage::new(&[Life::Naps, Life::Serves]);
    stage.switch(Stage::release(1)).await.unwrap();
    stage.sleep.send_replace(true);
    let status = stage.until(State::Restarting).await;
    let reason = status.reason.unwrap();
    assert!(reason.starts_with("unhealthy: it does not listen on port "), "{reason}");
    assert!(reason.ends_with(", 6 times in a row"), "{reason}");
    let status = stage.until(State::Running).await;
    assert_eq!((status.instances[0].restarts, stage.alive()), (1, 1));
    assert_eq!(stage.said("again in"), [format!("{reason}; starting again in 0.1 s")]);
}

#[tokio::test]
async fn several_instances_share_a_release_and_fail_each_for_itself() {
    let stage = Stage::new(&[Life::Serves, Life::Crashes(9), Life::Serves, Life::Serves]);
    stage.switch_to(Stage::release(1), 3).await.unwrap();
    let status = stage.supervisor.status(1);
    assert_eq!(status.instances.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(stage.supervisor.instances(1).len(), 3);
    let deadline = Moment::now() + LONG;
    let reason = loop {
        let status = stage.supervisor.status(1);
        assert_eq!(status.state, State::Running);
        if let Some(reason) = status.reason {
            break reason;
        }
        assert!(Moment::now() < deadline, "waited too long");
        sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(reason, "1 of 3 instances has ended and is started again: exited with code 9");
    while stage.supervisor.status(1).reason.is_some() {
        assert!(Moment::now() < deadline, "waited too long");
        sleep(Duration::from_millis(2)).await;
    }
    let restarts: Vec<_> = stage.supervisor.status(1).instances.iter().map(|one| one.restarts).collect();
    assert_eq!((restarts.iter().sum::<u64>(), stage.alive()), (1, 3));
    stage.supervisor.shutdown().await;
    assert_eq!(stage.alive(), 0);
}

#[tokio::test]
async fn an_app_is_scaled_by_whole_steps_or_not_at_all() {
    let stage = Stage::new(&[Life::Serves, Life::Serves, Life::Sulks, Life::Serves, Life::Serves]);
    stage.switch(Stage::release(1)).await.unwrap();
    let mut hold = stage.supervisor.hold(1).await.unwrap();
    assert!(hold.scale(3).await.is_err());
    assert_eq!((stage.alive(), stage.supervisor.status(1).instances.len()), (1, 1));
    hold.scale(3).await.unwrap();
    assert_eq!((stage.alive(), stage.supervisor.status(1).instances.len()), (3, 3));
    hold.scale(2).await.unwrap();
    assert_eq!((stage.alive(), stage.supervisor.status(1).instances.len()), (2, 2));
    hold.stop().await;
    assert_eq!((stage.alive(), stage.supervisor.status(1).state), (0, State::Stopped));
    assert!(!hold.runs() && hold.release().is_some());
}

#[tokio::test]
async fn a_restart_whose_instances_never_get_healthy_leaves_the_old_ones() {
    let stage = Stage::new(&[Life::Serves, Life::Serves, Life::Serves, Life::Ends(1)]);
    stage.switch_to(Stage::release(1), 2).await.unwrap();
    let before: Vec<_> = stage.supervisor.instances(1);
    assert!(stage.switch_to(Stage::release(1), 2).await.is_err());
    assert_eq!((stage.supervisor.instances(1), stage.alive()), (before, 2));
}

//! What is shown of instances, each by itself and all of an app together.

use crate::maxd::instance::Instance;
use crate::time::rfc3339;
use crate::wire::app::{self, State};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// So many checks are kept.
pub const CHECKS: usize = 20;

/// What is shown of an instance.
pub struct View {
    /// Counts from 1 for each app.
    pub number: u64,
    /// Its release.
    pub release: u64,
    now: Mutex<Now>,
}

struct Now {
    state: State,
    reason: Option<String>,
    pid: Option<u64>,
    port: Option<u16>,
    since: Option<SystemTime>,
    restarts: u64,
    /// The newest health checks.
    checks: VecDeque<app::Check>,
}

impl View {
    /// A view of an instance that is being started.
    pub fn new(number: u64, release: u64) -> Arc<View> {
        let (reason, pid, port, since, restarts, checks) = Default::default();
        let now = Mutex::new(Now { state: State::Starting, reason, pid, port, since, restarts, checks });
        Arc::new(View { number, release, now })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process was started.
    pub fn started(&self, instance: &Instance) {
        let mut now = self.now();
        (now.pid, now.port, now.since) = (instance.pid(), Some(instance.port()), Some(instance.since));
    }

    /// It is in this state now.
    pub fn set(&self, state: State, reason: Option<String>) {
        let mut now = self.now();
        (now.state, now.reason) = (state, reason);
        if now.state == State::Running {
            now.since.get_or_insert_with(SystemTime::now);
        }
    }

    /// Goes from one state to another; whether it was in the one.
    pub fn turn(&self, from: State, to: State, reason: Option<String>) -> bool {
        let mut now = self.now();
        let turns = now.state == from;
        if turns {
            (now.state, now.reason) = (to, reason);
        }
        turns
    }

    /// Its health was checked.
    pub fn checked(&self, check: app::Check) {
        let mut now = self.now();
        now.checks.push_back(check);
        if now.checks.len() > CHECKS {
            now.checks.pop_front();
        }
    }

    /// Whether the newest check has failed.
    pub fn fails(&self) -> bool {
        self.now().checks.back().is_some_and(|check| !check.healthy)
    }

    /// Whether it is in this state.
    pub fn is(&self, state: State) -> bool {
        self.now().state == state
    }

    /// Its process has ended and another one is started.
    pub fn restart(&self) {
        let mut now = self.now();
        (now.pid, now.port) = (None, None);
        now.restarts += 1;
    }

    /// It has ended for good.
    pub fn stopped(&self) {
        let mut now = self.now();
        (now.state, now.reason, now.pid, now.port) = (State::Stopped, None, None, None);
    }

    /// Where its process listens on 127.0.0.1.
    pub fn port(&self) -> Option<u16> {
        self.now().port
    }

    /// Its state and why.
    pub fn state(&self) -> (State, Option<String>) {
        let now = self.now();
        (now.state, now.reason.clone())
    }

    /// As a document.
    pub fn document(&self) -> app::Instance {
        let now = self.now();
        app::Instance {
            number: self.number,
            release: self.release,
            pid: now.pid,
            state: now.state,
            reason: now.reason.clone(),
            started_at: now.since.map(rfc3339),
            restarts: now.restarts,
            usage: None,
        }
    }
}

/// The newest health checks of several instances, the newest last.
pub fn checks(views: &[Arc<View>]) -> Vec<app::Check> {
    let mut all: Vec<app::Check> = views.iter().flat_map(|view| view.now().checks.clone()).collect();
    // Of times with a fixed number of digits the text has the same order.
    all.sort_by(|one, other| one.time.cmp(&other.time));
    all.split_off(all.len().saturating_sub(CHECKS))
}

/// What instances do that are not running, the worst first, and in which words it is said of
/// one and of several.
const DOINGS: &[(State, &str, &str)] = &[
    (State::Unhealthy, "is unhealthy", "are unhealthy"),
    (State::CrashLoop, "ends again and again", "end again and again"),
    (State::Restarting, "has ended and is started again", "have ended and are started again"),
    (State::Starting, "is starting", "are starting"),
    (State::Stopped, "is stopping", "are stopping"),
];

/// The state of an app with these instances, and why: it runs when one of them does. An
/// unhealthy one may serve, so it comes before what can't.
pub fn together(instances: &[(State, Option<String>)]) -> (State, Option<String>) {
    let is = |wanted: State| instances.iter().any(|(state, _)| *state == wanted);
    let first = DOINGS.iter().map(|(state, ..)| *state).find(|state| is(*state));
    let state = if is(State::Running) { Some(State::Running) } else { first };
    (state.unwrap_or(State::Empty), first.and_then(|state| how_many(instances, state)))
}

/// How many of the instances are in this state, and why; of a single one only why.
pub fn how_many(instances: &[(State, Option<String>)], wanted: State) -> Option<String> {
    let such = || instances.iter().filter(|(state, _)| *state == wanted);
    let reason = such().find_map(|(_, reason)| reason.as_deref());
    let (count, all) = (such().count(), instances.len());
    if all == 1 {
        return reason.map(str::to_owned);
    }
    let (_, one, several) = DOINGS.iter().find(|(state, ..)| *state == wanted)?;
    let does = if count == 1 { one } else { several };
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("{count} of {all} instances {does}{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_what_its_instances_are_together() {
        use State::*;
        let table: &[(&[State], State, Option<&str>)] = &[
            (&[], Empty, None),
            (&[Starting], Starting, Some("r")),
            (&[CrashLoop], CrashLoop, Some("r")),
            (&[Running, Running], Running, None),
            (&[Running, Unhealthy, Running], Running, Some("1 of 3 instances is unhealthy: r")),
            (&[CrashLoop, Running, CrashLoop], Running, Some("2 of 3 instances end again and again: r")),
            (&[CrashLoop, Unhealthy], Unhealthy, Some("1 of 2 instances is unhealthy: r")),
            (&[Restarting, CrashLoop], CrashLoop, Some("1 of 2 instances ends again and again: r")),
            (&[Starting, Running], Running, Some("1 of 2 instances is starting: r")),
            (&[Stopped, Stopped], Stopped, Some("2 of 2 instances are stopping: r")),
        ];
        for (states, state, reason) in table {
            let why = |state: &State| (*state != Running).then(|| "r".to_owned());
            let instances: Vec<_> = states.iter().map(|state| (*state, why(state))).collect();
            assert_eq!(together(&instances), (*state, reason.map(str::to_owned)), "{states:?}");
        }
    }
}

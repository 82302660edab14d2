//! What is wrong, judged from values alone: one look at an app or at the disk gives a
//! verdict for each cause. How long a verdict must last is `book`'s affair.

use crate::maxd::keeper::view::how_many;
use crate::wire::alert::Cause;
use crate::wire::app::State;
use crate::wire::metrics::{Traffic, Usage};

/// What one look says of one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is wrong, in these words.
    Wrong(String),
    /// It can't be told, or it is between wrong and well: all stays as it is.
    Unsure,
    /// It is well; when that lasts, the alert is over.
    Well,
    /// It is well for good: the alert is over at once.
    Settled,
}

/// What is seen of an app.
pub struct Sight {
    /// What it does.
    pub state: State,
    /// The state of each instance, and why.
    pub instances: Vec<(State, Option<String>)>,
    /// The release that has its traffic.
    pub release: Option<u64>,
    /// What that instance uses which is nearest to its memory limit.
    pub usage: Usage,
    /// Its requests of the last minute.
    pub traffic: Traffic,
}

/// So many requests in a minute say something about an app.
const ENOUGH: u64 = 20;

/// The verdict on an app whose alert of this cause was raised under `release`, if it was.
pub fn app(cause: Cause, sight: &Sight, release: Option<u64>) -> Verdict {
    match cause {
        Cause::CrashLoop | Cause::Unhealthy | Cause::ErrorRate if stopped(sight) => Verdict::Settled,
        Cause::CrashLoop => state(sight, State::CrashLoop, "it ends again and again", release),
        Cause::Unhealthy => state(sight, State::Unhealthy, "its health check fails", release),
        Cause::ErrorRate => errors(&sight.traffic),
        Cause::Memory => memory(&sight.usage),
        Cause::DeployFailed | Cause::Disk => Verdict::Unsure,
    }
}

/// Whether the app's user has stopped it. When maxd stops, there are instances that do.
fn stopped(sight: &Sight) -> bool {
    sight.state == State::Stopped && sight.instances.is_empty()
}

/// Whether an instance is in the `wrong` state. Only an app whose instances all run is well:
/// between two crashes one starts, and after a restart of maxd all of them do.
fn state(sight: &Sight, wrong: State, words: &str, raised: Option<u64>) -> Verdict {
    let all = |fits: &dyn Fn(State) -> bool| sight.instances.iter().all(|(state, _)| fits(*state));
    match sight.state {
        _ if !all(&|state| state != wrong) => {
            Verdict::Wrong(how_many(&sight.instances, wrong).unwrap_or_else(|| words.to_owned()))
        }
        State::Running if all(&|state| state == State::Running) => match raised {
            Some(release) if sight.release != Some(release) => Verdict::Settled,
            _ => Verdict::Well,
        },
        // What ends again and again is another matter than what is unhealthy.
        State::CrashLoop | State::Running
            if wrong == State::Unhealthy
                && all(&|state| matches!(state, State::Running | State::CrashLoop)) =>
        {
            Verdict::Well
        }
        _ => Verdict::Unsure,
    }
}

/// At least 5 % of the answers are errors, until less than 3 % are.
fn errors(traffic: &Traffic) -> Verdict {
    let Traffic { requests, errors, .. } = *traffic;
    let share = errors.saturating_mul(1000) / requests.max(1);
    match share {
        _ if requests < ENOUGH => Verdict::Well,
        50.. => Verdict::Wrong(format!(
            "{errors} of {requests} requests in a minute were answered with 500 or above ({}.{} %)",
            share / 10,
            share % 10
        )),
        30.. => Verdict::Unsure,
        _ => Verdict::Well,
    }
}

/// At least 90 % of the limit is used, until less than 85 % is.
fn memory(usage: &Usage) -> Verdict {
    let Some(limit) = usage.memory_limit.filter(|limit| *limit > 0) else { return Verdict::Well };
    let share = usage.memory.saturating_mul(100) / limit;
    match share {
        90.. => Verdict::Wrong(format!("uses {} of {} memory", size(usage.memory), size(limit))),
        85.. => Verdict::Unsure,
        _ => Verdict::Well,
    }
}

const GIB: u64 = 1 << 30;

/// How much of a disk must be free, by default: a tenth, but not more than 20 GiB and not
/// less than 1 GiB.
pub fn wanted(total: u64) -> u64 {
    (total / 10).clamp(GIB, 20 * GIB)
}

/// The verdict on the disk with so much free space: enough again is a tenth more than `wanted`.
pub fn disk(free: u64, total: u64, wanted: u64) -> Verdict {
    match free {
        _ if free < wanted => {
            Verdict::Wrong(format!("{} of {} are free on the disk of Max", size(free), size(total)))
        }
        _ if free - wanted < wanted / 10 => Verdict::Unsure,
        _ => Verdict::Well,
    }
}

/// A size for people: `14.2 GiB`, `460 MiB`.
fn size(bytes: u64) -> String {
    match bytes {
        GIB.. => format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(state: State, reason: Option<&str>, release: u64) -> Sight {
        let (usage, traffic) = Default::default();
        let instances = vec![(state, reason.map(str::to_owned))];
        Sight { state, instances, release: Some(release), usage, traffic }
    }

    fn wrong(text: &str) -> Verdict {
        Verdict::Wrong(text.to_owned())
    }

    #[test]
    fn states_are_wrong_well_or_unsure() {
        use State::*;
        let table = [
            (Cause::CrashLoop, CrashLoop, None, wrong("r")),
            (Cause::CrashLoop, CrashLoop, Some(1), wrong("r")),
            (Cause::CrashLoop, Running, None, Verdict::Well),
            (Cause::CrashLoop, Running, Some(2), Verdict::Well),
            (Cause::CrashLoop, Running, Some(1), Verdict::Settled),
            (Cause::CrashLoop, Unhealthy, Some(1), Verdict::Unsure),
            (Cause::CrashLoop, Starting, Some(1), Verdict::Unsure),
            (Cause::CrashLoop, Restarting, Some(2), Verdict::Unsure),
            (Cause::CrashLoop, Stopped, Some(2), Verdict::Unsure),
            (Cause::Unhealthy, Unhealthy, None, wrong("r")),
            (Cause::Unhealthy, CrashLoop, Some(2), Verdict::Well),
            (Cause::Unhealthy, Running, Some(1), Verdict::Settled),
            (Cause::Unhealthy, Starting, Some(2), Verdict::Unsure),
            (Cause::DeployFailed, Running, Some(2), Verdict::Unsure),
        ];
        for (cause, state, raised, verdict) in table {
            assert_eq!(app(cause, &sight(state, Some("r"), 2), raised), verdict, "{cause:?} {state:?}");
        }
        let mut several = sight(Running, None, 2);
        several.instances.extend([(CrashLoop, Some("r".to_owned())), (Running, None)]);
        assert_eq!(app(Cause::CrashLoop, &several, None), wrong("1 of 3 instances ends again and again: r"));
        assert_eq!(app(Cause::Unhealthy, &several, None), Verdict::Well);
        several.instances[1].0 = Restarting;
        assert_eq!(app(Cause::CrashLoop, &several, Some(2)), Verdict::Unsure);
        let mut stopped = sight(Stopped, None, 2);
        stopped.instances.clear();
        for cause in [Cause::CrashLoop, Cause::Unhealthy, Cause::ErrorRate] {
            assert_eq!(app(cause, &stopped, Some(2)), Verdict::Settled);
        }
        let silent = app(Cause::Unhealthy, &sight(Unhealthy, None, 1), None);
        assert_eq!(silent, wrong("its health check fails"));
    }

    #[test]
    fn errors_count_from_twenty_requests_and_five_percent() {
        for (requests, errors, verdict) in [
            (0, 0, Verdict::Well),
            (19, 19, Verdict::Well),
            (20, 0, Verdict::Well),
            (1000, 29, Verdict::Well),
            (1000, 30, Verdict::Unsure),
            (1000, 49, Verdict::Unsure),
            (20, 1, wrong("1 of 20 requests in a minute were answered with 500 or above (5.0 %)")),
            (30, 30, wrong("30 of 30 requests in a minute were answered with 500 or above (100.0 %)")),
        ] {
            let mut sight = sight(State::Running, None, 1);
            sight.traffic = Traffic { requests, errors, ..Traffic::default() };
            assert_eq!(app(Cause::ErrorRate, &sight, None), verdict, "{errors}/{requests}");
        }
    }

    #[test]
    fn memory_counts_against_its_limit() {
        for (memory, limit, verdict) in [
            (1 << 40, None, Verdict::Well),
            (1 << 40, Some(0), Verdict::Well),
            (84 << 20, Some(100 << 20), Verdict::Well),
            (85 << 20, Some(100 << 20), Verdict::Unsure),
            (90 << 20, Some(100 << 20), wrong("uses 90 MiB of 100 MiB memory")),
            (3 << 30, Some(3 << 30), wrong("uses 3.0 GiB of 3.0 GiB memory")),
        ] {
            let mut sight = sight(State::Running, None, 1);
            sight.usage = Usage { memory, memory_limit: limit, ..Usage::default() };
            assert_eq!(app(Cause::Memory, &sight, None), verdict, "{memory} of {limit:?}");
        }
    }

    #[test]
    fn a_disk_wants_a_tenth_free_within_bounds() {
        for (total, least) in [(GIB, GIB), (50 * GIB, 5 * GIB), (5000 * GIB, 20 * GIB)] {
            assert_eq!(wanted(total), least);
        }
        let total = 100 * GIB;
        let at = |free| disk(free, total, wanted(total));
        assert_eq!(at(11 * GIB), Verdict::Well);
        assert_eq!(at(10 * GIB), Verdict::Unsure);
        assert_eq!(at(10 * GIB - 1), wrong("9.9 GiB of 100.0 GiB are free on the disk of Max"));
        assert_eq!(disk(0, total, 0), Verdict::Well);
    }
}

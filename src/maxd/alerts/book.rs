//! Which alerts last: verdicts and the time in, changes out. A thing that may flap is
//! raised only when it has been wrong for a while, and over only when it has been well
//! for one.
//!
//! ```text
//!          wrong            wrong for `raise`              well for `clear`, or settled
//! (nothing) ───▶ Suspected ───────────────────▶ Raised ─────────────────────────────▶ (nothing)
//! ```
//!
//! A change is only proposed: it happens once it was stored, with [`Book::raised`] and
//! [`Book::resolved`], and is proposed again until then.

use super::rules::Verdict;
use crate::wire::alert::Cause;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often an alert that lasts may change its numbers.
const REWORD: Duration = Duration::from_secs(60);

/// What can be wrong: a cause, and the app it concerns; none is the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The cause.
    pub cause: Cause,
    /// The app's row.
    pub app: Option<i64>,
}

/// The times of alerts.
#[derive(Clone, Copy, Default)]
pub struct Pace {
    /// In place of each cause's own times, in tests.
    pub fixed: Option<Duration>,
}

impl Pace {
    /// How long a cause must be wrong to be raised, and well to be over.
    fn of(self, cause: Cause) -> (Duration, Duration) {
        let (raise, clear) = match cause {
            Cause::CrashLoop => (0, 30),
            Cause::Unhealthy => (10, 30),
            Cause::DeployFailed => (0, 0),
            Cause::ErrorRate | Cause::Memory | Cause::Disk => (10, 60),
        };
        let time = |seconds| match self.fixed {
            Some(fixed) if seconds > 0 => fixed,
            _ => Duration::from_secs(seconds),
        };
        (time(raise), time(clear))
    }
}

/// What becomes different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something has been wrong for so long.
    Raise(Key, String, Duration),
    /// It is wrong in other words.
    Reword(Key, String),
    /// It is over.
    Resolve(Key),
}

/// What is known of everything that is or may be wrong.
#[derive(Default)]
pub struct Book(HashMap<Key, Watch>);

enum Watch {
    /// Wrong since then, and not raised.
    Suspected(Instant),
    Raised(Raised),
}

struct Raised {
    message: String,
    /// When the message was given.
    told: Option<Instant>,
    /// Under which release.
    release: Option<u64>,
    /// Well since then.
    well: Option<Instant>,
}

impl Book {
    /// Whether this was raised, and under which release.
    pub fn release(&self, key: Key) -> Option<u64> {
        match self.0.get(&key) {
            Some(Watch::Raised(raised)) => raised.release,
            _ => None,
        }
    }

    /// Takes a verdict; what should change because of it.
    pub fn take(&mut self, key: Key, verdict: Verdict, now: Instant, pace: Pace) -> Option<Change> {
        let (raise, clear) = pace.of(key.cause);
        match (self.0.get_mut(&key), verdict) {
            (Some(Watch::Raised(raised)), Verdict::Wrong(message)) => raised.wrong(key, message, now),
            (Some(Watch::Raised(raised)), Verdict::Unsure) => {
                raised.well = None;
                None
            }
            (Some(Watch::Raised(raised)), Verdict::Well) => {
                let since = *raised.well.get_or_insert(now);
                (now.duration_since(since) >= clear).then_some(Change::Resolve(key))
            }
            (Some(Watch::Raised(_)), Verdict::Settled) => Some(Change::Resolve(key)),
            (watch, Verdict::Wrong(message)) => {
                let since = match watch {
                    Some(Watch::Suspected(since)) => *since,
                    _ => {
                        self.0.insert(key, Watch::Suspected(now));
                        now
                    }
                };
                let lasted = now.duration_since(since);
                (lasted >= raise).then_some(Change::Raise(key, message, lasted))
            }
            (Some(Watch::Suspected(_)), _) => {
                self.0.remove(&key);
                None
            }
            (None, _) => None,
        }
    }

    /// It was raised; `now` is none for what a former maxd raised.
    pub fn raised(&mut self, key: Key, message: String, release: Option<u64>, now: Option<Instant>) {
        self.0.insert(key, Watch::Raised(Raised { message, told: now, release, well: None }));
    }

    /// It is over, or not to be known any more.
    pub fn resolved(&mut self, key: Key) {
        self.0.remove(&key);
    }

    /// What it concerns is gone.
    pub fn forget(&mut self, gone: impl Fn(Key) -> bool) {
        self.0.retain(|key, _| !gone(*key));
    }
}

impl Raised {
    /// Numbers would change at each look; what else is said changes rarely.
    fn wrong(&mut self, key: Key, message: String, now: Instant) -> Option<Change> {
        self.well = None;
        let counts = matches!(key.cause, Cause::ErrorRate | Cause::Memory | Cause::Disk);
        let soon = counts && self.told.is_some_and(|told| now.duration_since(told) < REWORD);
        if self.message == message || soon {
            return None;
        }
        (self.told, self.message) = (Some(now), message.clone());
        Some(Change::Reword(key, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verdict as one letter, and an optional change as one: what happens when each
    /// stands for five seconds.
    fn play(cause: Cause, script: &[(char, char)]) {
        let (mut book, start) = (Book::default(), Instant::now());
        let key = Key { cause, app: Some(1) };
        for (step, (verdict, expected)) in script.iter().enumerate() {
            let now = start + Duration::from_secs(5 * step as u64);
            let verdict = match verdict {
                'w' => Verdict::Wrong("bad".to_owned()),
                'v' => Verdict::Wrong("worse".to_owned()),
                '?' => Verdict::Unsure,
                '.' => Verdict::Well,
                _ => Verdict::Settled,
            };
            let change = book.take(key, verdict, now, Pace::default());
            let found = match &change {
                Some(Change::Raise(_, message, _)) => {
                    book.raised(key, message.clone(), Some(1), Some(now));
                    '+'
                }
                Some(Change::Reword(..)) => '~',
                Some(Change::Resolve(_)) => {
                    book.resolved(key);
                    '-'
                }
                None => ' ',
            };
            assert_eq!(found, *expected, "{cause:?}, step {step}: {change:?}");
        }
    }

    #[test]
    fn what_may_flap_is_raised_after_a_while_and_over_after_one() {
        // Three looks, ten seconds apart, raise it; less does not.
        play(Cause::Unhealthy, &[('w', ' '), ('w', ' '), ('.', ' '), ('w', ' '), ('w', ' '), ('w', '+')]);
        play(Cause::Unhealthy, &[('w', ' '), ('?', ' '), ('w', ' '), ('w', ' '), ('w', '+'), ('s', '-')]);
        // Well for thirty seconds ends it; a doubt in between begins anew.
        let mut script = vec![('w', ' '), ('w', ' '), ('w', '+'), ('.', ' '), ('.', ' '), ('?', ' ')];
        script.extend([('.', ' '); 6]);
        script.push(('.', '-'));
        script.extend([('.', ' '), ('w', ' ')]);
        play(Cause::Unhealthy, &script);
        let mut script = vec![('w', ' '), ('w', ' '), ('w', '+')];
        script.extend([('.', ' '); 12]);
        script.push(('.', '-'));
        play(Cause::Memory, &script);
    }

    #[test]
    fn a_crash_loop_is_raised_at_once_and_a_failed_deploy_is_over_at_once() {
        play(Cause::CrashLoop, &[('w', '+'), ('w', ' '), ('?', ' '), ('.', ' '), ('s', '-'), ('s', ' ')]);
        play(Cause::DeployFailed, &[('w', '+'), ('v', '~'), ('v', ' '), ('.', '-'), ('.', ' ')]);
    }

    #[test]
    fn words_change_at_once_and_numbers_once_a_minute() {
        play(Cause::CrashLoop, &[('w', '+'), ('v', '~'), ('w', '~')]);
        let mut script = vec![('w', ' '), ('w', ' '), ('w', '+')];
        script.extend([('v', ' '); 11]);
        script.extend([('v', '~'), ('w', ' ')]);
        play(Cause::ErrorRate, &script);
    }

    #[test]
    fn it_says_how_long_it_has_been_wrong_and_proposes_until_it_is_stored() {
        let (mut book, start) = (Book::default(), Instant::now());
        let key = Key { cause: Cause::Disk, app: None };
        let at = |seconds| start + Duration::from_secs(seconds);
        let wrong = || Verdict::Wrong("full".to_owned());
        assert_eq!(book.take(key, wrong(), at(0), Pace::default()), None);
        for seconds in [10, 12] {
            let lasted = Duration::from_secs(seconds);
            let proposed = book.take(key, wrong(), at(seconds), Pace::default());
            assert_eq!(proposed, Some(Change::Raise(key, "full".to_owned(), lasted)));
        }
        book.raised(key, "full".to_owned(), None, Some(at(12)));
        assert_eq!(book.take(key, wrong(), at(14), Pace::default()), None);
        assert_eq!(book.take(key, Verdict::Settled, at(15), Pace::default()), Some(Change::Resolve(key)));
        assert_eq!(book.take(key, Verdict::Settled, at(16), Pace::default()), Some(Change::Resolve(key)));
    }

    #[test]
    fn what_a_former_server_raised_is_not_raised_again_and_what_is_gone_is_forgotten() {
        let (mut book, now) = (Book::default(), Instant::now());
        let key = |app| Key { cause: Cause::CrashLoop, app: Some(app) };
        let wrong = || Verdict::Wrong("bad".to_owned());
        for app in [1, 2] {
            book.raised(key(app), "bad".to_owned(), Some(7), None);
            assert_eq!(book.take(key(app), wrong(), now, Pace::default()), None);
            assert_eq!(book.release(key(app)), Some(7));
        }
        book.forget(|key| key.app == Some(1));
        assert_eq!((book.release(key(1)), book.release(key(2))), (None, Some(7)));
    }

    #[test]
    fn the_pace_of_a_test_leaves_what_is_instant() {
        let fixed = Some(Duration::from_millis(5));
        assert_eq!(Pace { fixed }.of(Cause::CrashLoop), (Duration::ZERO, Duration::from_millis(5)));
        assert_eq!(Pace { fixed }.of(Cause::Disk), (Duration::from_millis(5), Duration::from_millis(5)));
    }
}

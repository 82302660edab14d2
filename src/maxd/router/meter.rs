//! What the router counts of an app's requests, without a lock: answers by their class,
//! and how long each took to begin.

use crate::maxd::metrics::histogram::{BUCKETS, Counts, bucket};
use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counts of one app since maxd was started.
pub struct Meter {
    /// Told last, so that whoever reads it sees the others of the same answer.
    total: AtomicU64,
    /// By the first digit of the status, from 1.
    classes: [AtomicU64; 5],
    buckets: [AtomicU64; BUCKETS],
    time_us: AtomicU64,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            total: AtomicU64::new(0),
            classes: from_fn(|_| AtomicU64::new(0)),
            buckets: from_fn(|_| AtomicU64::new(0)),
            time_us: AtomicU64::new(0),
        }
    }
}

/// What a meter said the last time.
pub struct Seen {
    total: u64,
    /// Answers by class, from `1xx`.
    pub classes: [u64; 5],
    /// Answers by bucket.
    pub buckets: Box<[u64; BUCKETS]>,
    /// How long all of them took together.
    pub time_us: u64,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { total: 0, classes: [0; 5], buckets: Box::new([0; BUCKETS]), time_us: 0 }
    }
}

/// What came since then.
#[derive(Default)]
pub struct Fresh {
    /// Answers with 500 or above.
    pub errors: u64,
    /// How long the answers took.
    pub counts: Counts,
}

impl Meter {
    /// A request was answered with `status`, which took so long to begin.
    pub fn answered(&self, status: u16, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let add = |counter: Option<&AtomicU64>, count| {
            if let Some(counter) = counter {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(self.buckets.get(bucket(us)), 1);
        add(self.classes.get(usize::from(status / 100).saturating_sub(1)), 1);
        add(Some(&self.time_us), us);
        self.total.fetch_add(1, Ordering::Release);
    }

    /// What came since `seen`, which is brought up to date.
    pub fn read(&self, seen: &mut Seen) -> Fresh {
        let total = self.total.load(Ordering::Acquire);
        if total == seen.total {
            return Fresh::default();
        }
        seen.total = total;
        let differ = |counter: &AtomicU64, old: &mut u64| {
            let now = counter.load(Ordering::Relaxed);
            now.saturating_sub(std::mem::replace(old, now))
        };
        let buckets = self.buckets.iter().zip(seen.buckets.iter_mut());
        let counts = Counts::of(buckets.map(|(counter, old)| differ(counter, old)));
        let classes = self.classes.iter().zip(&mut seen.classes);
        let errors = classes.map(|(counter, old)| differ(counter, old)).last().unwrap_or(0);
        differ(&self.time_us, &mut seen.time_us);
        Fresh { errors, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_told_once() {
        let (meter, mut seen) = (Meter::default(), Seen::default());
        assert_eq!(meter.read(&mut seen).counts.total(), 0);
        for status in [101, 200, 302, 404, 502, 503] {
            meter.answered(status, Duration::from_millis(3));
        }
        let fresh = meter.read(&mut seen);
        assert_eq!((fresh.counts.total(), fresh.errors), (6, 2));
        assert_eq!((seen.classes, seen.time_us), ([1, 1, 1, 1, 2], 18_000));
        meter.answered(200, Duration::MAX);
        let fresh = meter.read(&mut seen);
        assert_eq!((fresh.counts.total(), fresh.errors), (1, 0));
        assert_eq!(meter.read(&mut seen).counts.total(), 0);
    }
}

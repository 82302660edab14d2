//! What is known of one app: its newest reading, its steps of an hour, and what the
//! current minute has brought so far. It grows only with what the app does.

use super::histogram::{BUCKETS, Counts};
use super::{KEPT, MINUTE, Reading};
use crate::maxd::router::meter::{Meter, Seen};
use crate::maxd::runtime::Measured;
use crate::wire::metrics::{Sample, Traffic, Usage};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// One app's measurements.
#[derive(Default)]
pub struct Series {
    usage: Usage,
    traffic: Traffic,
    jobs: Vec<Job>,
    /// What its meters said last, in the order they were told in.
    seen: Vec<(Arc<Meter>, Seen)>,
    steps: VecDeque<Step>,
    minute: VecDeque<Asked>,
    pending: Piece,
    /// CPU time since maxd was started, in microseconds.
    cpu_us: u64,
}

/// What an app has used and answered since maxd was started.
pub struct Totals {
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Answers by class, from `1xx`.
    pub classes: [u64; 5],
    /// Answers by bucket.
    pub buckets: [u64; BUCKETS],
    /// How long the answers took together, in microseconds.
    pub time_us: u64,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals { cpu_us: 0, classes: [0; 5], buckets: [0; BUCKETS], time_us: 0 }
    }
}

struct Job {
    pid: u64,
    cpu_us: u64,
    usage: Usage,
}

/// A step that brought requests.
pub struct Asked {
    tick: u64,
    errors: u64,
    counts: Counts,
}

/// What steps brought together.
pub fn traffic<'a>(steps: impl Iterator<Item = &'a Asked>) -> Traffic {
    let mut errors = 0;
    let counts = Counts::sum(steps.map(|step| {
        errors += step.errors;
        &step.counts
    }));
    let (requests, percentile) = (counts.total(), |percent| counts.percentile(percent));
    Traffic { requests, errors, p50_us: percentile(50), p95_us: percentile(95) }
}

/// A step in which something was measured.
#[derive(Clone, Copy)]
pub struct Step {
    /// The round; small, since there are many of these.
    pub tick: u32,
    /// CPU, in thousandths of a core.
    pub cpu: u32,
    /// Memory, in KiB.
    pub memory: u32,
    /// Requests that were answered.
    pub requests: u32,
    /// Those of them with 500 or above.
    pub errors: u32,
    /// 95 % of them began within so many microseconds; 0 without requests.
    pub p95: u32,
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Step {
    /// As it is told; without its time.
    pub fn sample(&self) -> Sample {
        Sample {
            time: String::new(),
            cpu: self.cpu.into(),
            memory: u64::from(self.memory) << 10,
            requests: self.requests.into(),
            errors: self.errors.into(),
            p95_us: (self.requests > 0).then_some(self.p95.into()),
        }
    }
}

/// What several steps have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// So many steps.
    pub steps: u64,
    /// The sum of their CPU.
    pub cpu: u64,
    /// The most memory, in bytes.
    pub memory: u64,
    /// Requests with 500 or above.
    pub errors: u64,
    /// How long the requests took.
    pub counts: Counts,
}

impl Piece {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// Adds what came at another time.
    pub fn add(&mut self, other: &Piece) {
        self.steps += other.steps;
        self.cpu += other.cpu;
        self.memory = self.memory.max(other.memory);
        self.errors += other.errors;
        self.counts = Counts::sum([&self.counts, &other.counts].into_iter());
    }

    /// As it is told.
    pub fn sample(&self, time: String) -> Sample {
        Sample {
            time,
            cpu: self.cpu / self.steps.max(1),
            memory: self.memory,
            requests: self.counts.total(),
            errors: self.errors,
            p95_us: self.counts.percentile(95),
        }
    }
}

impl Series {
    /// Takes what a round has brought.
    pub fn round(&mut self, tick: u64, jobs: &[Measured], meters: &[&Arc<Meter>], elapsed: Duration) {
        self.measure(jobs, elapsed);
        let (errors, counts) = self.requests(meters);
        let requests = counts.total();
        if !jobs.is_empty() || requests > 0 {
            self.steps.push_back(Step {
                tick: small(tick),
                cpu: small(self.usage.cpu),
                memory: small(self.usage.memory >> 10),
                requests: small(requests),
                errors: small(errors),
                p95: small(counts.percentile(95).unwrap_or(0)),
            });
            let (cpu, memory) = (self.usage.cpu, self.usage.memory);
            self.pending.add(&Piece { steps: 1, cpu, memory, errors, counts: counts.clone() });
        }
        while self.steps.front().is_some_and(|step| u64::from(step.tick) + KEPT <= tick) {
            self.steps.pop_front();
        }
        self.slide(tick, errors, counts);
    }

    fn measure(&mut self, jobs: &[Measured], elapsed: Duration) {
        let elapsed = elapsed.as_micros().max(1);
        let before = std::mem::take(&mut self.jobs);
        self.usage = Usage::default();
        for job in jobs {
            let spent = before.iter().find(|old| old.pid == job.pid).map_or(0, |old| old.cpu_us);
            // Less than before: another process got the number.
            let fresh = job.cpu_us.checked_sub(spent).unwrap_or(job.cpu_us);
            let cpu = u64::try_from(u128::from(fresh) * 1000 / elapsed).unwrap_or(u64::MAX);
            let (cpu_limit, memory_limit) = (job.limits.cpu, job.limits.memory);
            let usage = Usage { cpu, memory: job.memory, cpu_limit, memory_limit };
            self.cpu_us += fresh;
            self.usage.cpu += usage.cpu;
            self.usage.memory += usage.memory;
            // Each has its own, so that together they may use the sum.
            let sum = |one: Option<u64>, other: Option<u64>| {
                one.into_iter().chain(other).reduce(u64::saturating_add)
            };
            self.usage.cpu_limit = sum(self.usage.cpu_limit, cpu_limit);
            self.usage.memory_limit = sum(self.usage.memory_limit, memory_limit);
            self.jobs.push(Job { pid: job.pid, cpu_us: job.cpu_us, usage });
        }
    }

    fn requests(&mut self, meters: &[&Arc<Meter>]) -> (u64, Counts) {
        self.seen.retain(|(meter, _)| meters.iter().any(|one| Arc::ptr_eq(one, meter)));
        let (mut errors, mut all) = (0, Vec::new());
        for meter in meters {
            if !self.seen.iter().any(|(known, _)| Arc::ptr_eq(known, meter)) {
                self.seen.push((Arc::clone(meter), Seen::default()));
            }
        }
        for (meter, seen) in &mut self.seen {
            let fresh = meter.read(seen);
            errors += fresh.errors;
            all.push(fresh.counts);
        }
        (errors, Counts::sum(all.iter()))
    }

    /// Moves the minute that traffic is told of.
    fn slide(&mut self, tick: u64, errors: u64, counts: Counts) {
        let before = self.minute.len();
        while self.minute.front().is_some_and(|old| old.tick + MINUTE <= tick) {
            self.minute.pop_front();
        }
        if counts.total() > 0 {
            self.minute.push_back(Asked { tick, errors, counts });
        } else if self.minute.len() == before {
            return;
        }
        self.traffic = traffic(self.minute());
    }

    /// The steps of the last minute that brought requests.
    pub fn minute(&self) -> impl Iterator<Item = &Asked> {
        self.minute.iter()
    }

    /// What the round `tick` has brought.
    pub fn reading(&self, tick: u64) -> Reading {
        let newest = self.steps.back().filter(|step| u64::from(step.tick) == tick);
        Reading {
            usage: self.usage.clone(),
            fullest: self.fullest(),
            traffic: self.traffic.clone(),
            beat: newest.map_or(0, |step| step.requests.into()),
        }
    }

    /// What that job uses which is nearest to its memory limit.
    fn fullest(&self) -> Usage {
        let share = |usage: &&Usage| {
            let limit = usage.memory_limit.filter(|limit| *limit > 0);
            limit.map(|limit| u128::from(usage.memory) * 1000 / u128::from(limit))
        };
        self.jobs.iter().map(|job| &job.usage).max_by_key(share).cloned().unwrap_or_default()
    }

    /// What one of its jobs uses.
    pub fn job(&self, pid: u64) -> Option<Usage> {
        self.jobs.iter().find(|job| job.pid == pid).map(|job| job.usage.clone())
    }

    /// What it has used and answered since maxd was started.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { cpu_us: self.cpu_us, ..Totals::default() };
        for (_, seen) in &self.seen {
            let add = |sum: &mut [u64], more: &[u64]| {
                sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            };
            add(&mut totals.classes, &seen.classes);
            add(&mut totals.buckets, seen.buckets.as_slice());
            totals.time_us += seen.time_us;
        }
        totals
    }

    /// The steps in which something was measured.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// The newest steps up to the round `tick`, at most `count`; one without measurements
    /// is empty.
    pub fn newest(&self, tick: u64, count: u64) -> Vec<Step> {
        let (first, tick) = (small((tick + 1).saturating_sub(count)), small(tick));
        let mut known = self.steps.iter().filter(|step| step.tick >= first).peekable();
        let Some(begin) = known.peek().map(|step| step.tick) else { return Vec::new() };
        let empty = |tick| Step { tick, cpu: 0, memory: 0, requests: 0, errors: 0, p95: 0 };
        (begin..=tick)
            .map(|tick| known.next_if(|step| step.tick == tick).copied().unwrap_or_else(|| empty(tick)))
            .collect()
    }

    /// What the current minute has brought so far.
    pub fn pending(&self) -> &Piece {
        &self.pending
    }

    /// Takes it.
    pub fn take_pending(&mut self) -> Piece {
        std::mem::take(&mut self.pending)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.pending.is_empty()
    }
}

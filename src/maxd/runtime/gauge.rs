//! What the running jobs use. The process table is read once for all of them.

use super::Measured;
use super::cgroup::Group;
use super::proc::{self, Stat};
use crate::maxd::plan::Limits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The jobs that are measured, by their process.
#[derive(Default)]
pub struct Gauge {
    jobs: Mutex<HashMap<i32, Running>>,
}

/// A job that is measured until this is dropped.
pub struct Tracking {
    gauge: Arc<Gauge>,
    pid: i32,
}

impl Tracking {
    /// Whether the kernel has ended a process of the job, which was over its memory limit.
    pub fn starved(&self) -> bool {
        let jobs = self.gauge.jobs();
        let group = jobs.get(&self.pid).and_then(|one| one.job.group.as_ref());
        group.is_some_and(|group| group.killed() > 0)
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.gauge.jobs().remove(&self.pid);
    }
}

/// A job as it is told to the gauge.
pub struct Tracked {
    /// Whose it is.
    pub app: i64,
    /// What it may use.
    pub limits: Limits,
    /// What it started is below it in the tree, not in its process group.
    pub nested: bool,
    /// Where it is measured; without one in the process table.
    pub group: Option<Group>,
}

struct Running {
    job: Tracked,
    spent: Spent,
}

impl Gauge {
    fn jobs(&self) -> MutexGuard<'_, HashMap<i32, Running>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures the job of this process from now on.
    pub fn track(self: &Arc<Self>, pid: i32, job: Tracked) -> Tracking {
        self.jobs().insert(pid, Running { job, spent: Spent::default() });
        Tracking { gauge: self.clone(), pid }
    }

    /// What each job has used.
    pub fn measure(&self) -> Vec<Measured> {
        let by_table = self.jobs().values().any(|one| one.job.group.is_none());
        let table = if by_table { Table::new(proc::table()) } else { Table::default() };
        let mut jobs = self.jobs();
        let measured = jobs.iter_mut().filter_map(|(pid, Running { job, spent })| {
            let (cpu_us, memory) = match &job.group {
                Some(group) => group.usage()?,
                None => spent.add(&table.members(*pid, job.nested)),
            };
            let pid = u64::try_from(*pid).ok()?;
            Some(Measured { app: job.app, pid, cpu_us, memory, limits: job.limits })
        });
        measured.collect()
    }
}

/// The kernel's ticks in microseconds.
pub fn micros(ticks: u64) -> u64 {
    ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// The process table, with ways into it.
#[derive(Default)]
struct Table {
    all: Vec<Stat>,
    groups: HashMap<i32, Vec<usize>>,
    children: HashMap<i32, Vec<usize>>,
}

impl Table {
    fn new(all: Vec<Stat>) -> Table {
        let mut table = Table::default();
        for (index, one) in all.iter().enumerate() {
            table.groups.entry(one.group).or_default().push(index);
            table.children.entry(one.parent).or_default().push(index);
        }
        table.all = all;
        table
    }

    /// What belongs to the job that the process leads.
    fn members(&self, leader: i32, nested: bool) -> Vec<&Stat> {
        let at = |map: &HashMap<i32, Vec<usize>>, key| map.get(&key).cloned().unwrap_or_default();
        if !nested {
            return at(&self.groups, leader).iter().filter_map(|index| self.all.get(*index)).collect();
        }
        let mut found: Vec<&Stat> = self.all.iter().find(|one| one.pid == leader).into_iter().collect();
        let mut next = 0;
        while let Some(parent) = found.get(next).map(|one| one.pid) {
            found.extend(at(&self.children, parent).iter().filter_map(|index| self.all.get(*index)));
            next += 1;
        }
        found
    }
}

/// What a job has spent, from one look at its processes to the next.
///
/// A process that ends is counted by its parent when that waits for it (`cutime`). Where
/// the parent is none of the job, what was seen last of it is kept here; what it spent
/// after that look is not known.
#[derive(Default)]
struct Spent {
    last: HashMap<i32, Stat>,
    orphans: u64,
    ticks: u64,
}

impl Spent {
    /// CPU time so far in microseconds, and memory now in bytes.
    fn add(&mut self, members: &[&Stat]) -> (u64, u64) {
        let now: HashMap<i32, Stat> = members.iter().map(|one| (one.pid, **one)).collect();
        let gone =
            self.last.values().filter(|old| now.get(&old.pid).is_none_or(|one| one.start != old.start));
        let alone = gone.filter(|old| !now.contains_key(&old.parent));
        // When all is gone, nobody is left who could have counted them.
        self.orphans += alone.map(|old| old.ticks).sum::<u64>();
        let total = now.values().map(|one| one.ticks).sum::<u64>() + self.orphans;
        // Never less than was told before.
        self.ticks = self.ticks.max(total);
        let pages = now.values().map(|one| one.pages).sum::<u64>();
        self.last = now;
        (micros(self.ticks), pages * rustix::param::page_size() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, parent: i32, group: i32, ticks: u64) -> Stat {
        Stat { pid, parent, group, session: group, start: 1, ticks, pages: 10, ended: false }
    }

    fn pids(members: &[&Stat]) -> Vec<i32> {
        members.iter().map(|one| one.pid).collect()
    }

    #[test]
    fn a_job_is_its_group_or_what_is_below_it() {
        let table = Table::new(vec![
            stat(10, 1, 10, 1),
            stat(11, 10, 10, 1),
            stat(12, 11, 12, 1),
            stat(13, 1, 10, 1),
            stat(14, 1, 14, 1),
        ]);
        assert_eq!(pids(&table.members(10, false)), [10, 11, 13]);
        assert_eq!(pids(&table.members(10, true)), [10, 11, 12]);
        assert_eq!(pids(&table.members(99, true)), [0; 0]);
    }

    #[test]
    fn what_has_ended_stays_counted_once() {
        let mut spent = Spent::default();
        let ticks = |us: u64| us * rustix::param::clock_ticks_per_second() / 1_000_000;
        let (leader, child) = (stat(10, 1, 10, 100), stat(11, 10, 10, 50));
        assert_eq!(ticks(spent.add(&[&leader, &child]).0), 150);
        // The leader waited for it: its time, and what it spent since, is the leader's.
        let leader = Stat { ticks: 170, ..leader };
        assert_eq!(ticks(spent.add(&[&leader]).0), 170);
        // One whose parent is somebody else.
        let orphan = stat(12, 1, 10, 30);
        assert_eq!(ticks(spent.add(&[&leader, &orphan]).0), 200);
        assert_eq!(ticks(spent.add(&[&leader]).0), 200);
        let leader = Stat { ticks: 180, ..leader };
        let (us, memory) = spent.add(&[&leader]);
        assert_eq!(ticks(us), 210);
        assert_eq!(memory, 10 * rustix::param::page_size() as u64);
    }
}

//! The process table, as Linux shows it in `/proc` (proc(5)).

use rustix::process::{Pid, Signal};
use std::fs;
use std::io::Read;
use std::ops::RangeInclusive;

/// A process that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proc {
    /// Its number, which may be given to another one later.
    pub pid: i32,
    /// When it was started, in ticks since the system was; with `pid` unique.
    pub start: u64,
    parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session: all that belongs to one terminal.
    pub session: i32,
}

impl Proc {
    /// The process with this number.
    pub fn find(pid: i32) -> Option<Proc> {
        Proc::of(Stat::find(pid)?)
    }

    fn of(stat: Stat) -> Option<Proc> {
        let Stat { pid, start, parent, group, session, ended, .. } = stat;
        (!ended).then_some(Proc { pid, start, parent, group, session })
    }

    /// Whether it has not ended yet.
    pub fn lives(&self) -> bool {
        Proc::find(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// Sends it a signal; that it has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.lives()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether its environment, as it was when it began, holds `variable=value`.
    pub fn has_env(&self, pair: &str) -> bool {
        let environ = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|one| one == pair.as_bytes())
    }
}

/// A process in the table with what it uses; it may be one that has ended and that nobody
/// has waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// When it was started, in ticks since the system was.
    pub start: u64,
    /// The CPU time of it and of the children it has waited for, in ticks.
    pub ticks: u64,
    /// Its memory, in pages.
    pub pages: u64,
    /// Whether it has ended.
    pub ended: bool,
}

impl Stat {
    /// The entry of this number. A name may be no UTF-8, but nobody hides behind that.
    fn find(pid: i32) -> Option<Stat> {
        // A name of at most 64 bytes, and 51 numbers.
        let mut line = [0; 1500];
        let length =
            fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line)).ok()?;
        Stat::parse(&String::from_utf8_lossy(line.get(..length)?))
    }

    /// `PID (NAME) STATE PPID PGRP SESSION … STARTTIME …`; the name may hold anything.
    fn parse(stat: &str) -> Option<Stat> {
        Stat::parse_with(stat, 11..=14)
    }

    /// The same, where `times` are the fields that make up its CPU time.
    fn parse_with(stat: &str, times: RangeInclusive<usize>) -> Option<Stat> {
        let (pid, rest) = stat.split_once(" (")?;
        let (_, rest) = rest.rsplit_once(") ")?;
        let mut fields = [""; 22];
        fields.iter_mut().zip(rest.split(' ')).for_each(|(field, text)| *field = text);
        let number = |index: usize| fields.get(index)?.trim_end().parse::<u64>().ok();
        Some(Stat {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start: number(19)?,
            ticks: times.filter_map(number).sum(),
            pages: number(21).unwrap_or(0),
            ended: matches!(fields.first(), Some(&("Z" | "X"))),
        })
    }
}

/// Everything in the table.
pub fn table() -> Vec<Stat> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = dir.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(Stat::find).collect()
}

/// All processes that can be seen.
pub fn all() -> Vec<Proc> {
    table().into_iter().filter_map(Proc::of).collect()
}

/// This process; without the children it has waited for, which are apps.
pub fn own() -> Option<Stat> {
    Stat::parse_with(&fs::read_to_string("/proc/self/stat").ok()?, 11..=12)
}

/// When the system was started, in seconds since 1970.
pub fn booted() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok())
}

/// Everything below the process `root`, without itself. What lost its parent is found
/// too when `root` is the outer end of a process namespace.
pub fn descendants(root: i32) -> Vec<Proc> {
    let mut rest = all();
    let mut found: Vec<Proc> = Vec::new();
    loop {
        let is_child = |one: &Proc| one.parent == root || found.iter().any(|other| other.pid == one.parent);
        let (children, others) = rest.into_iter().partition::<Vec<_>, _>(is_child);
        if children.is_empty() {
            return found;
        }
        found.extend(children);
        rest = others;
    }
}

/// Sends a signal to every process of the group; that there is none is no error.
pub fn signal_group(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group).filter(|_| group > 1) {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let tail = "7 5 6 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 999";
        let parse = |text: &str| Stat::parse(text).and_then(Proc::of);
        let one = parse(&format!("42 (a) S 1 (b) S {tail}")).unwrap();
        assert_eq!(one, Proc { pid: 42, start: 12345, parent: 7, group: 5, session: 6 });
        assert_eq!(parse(&format!("42 (a) Z {tail}")), None);
        let stat = Stat::parse(&format!("42 (a) Z {tail} 77 0\n")).unwrap();
        assert_eq!(Proc::of(stat), None);
        assert_eq!((stat.ended, stat.ticks, stat.pages), (true, 5 + 6 + 7 + 8, 77));
        assert_eq!(parse("42 (a"), None);
    }

    #[test]
    fn this_process_is_found_and_lives() {
        let me = Proc::find(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.lives());
        assert!(!Proc { start: me.start + 1, ..me }.lives());
        assert!(descendants(me.parent).contains(&me));
    }
}

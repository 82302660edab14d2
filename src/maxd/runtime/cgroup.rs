//! Control groups, where maxd may make some (cgroups(7)): they measure a job exactly, and
//! hold it to its limits. Version 2, or version 1 with its hierarchies apart.
//!
//! ```text
//! v1: CONTROLLER/OWN/maxd-PID/job-PID-N   for memory, cpu and cpuacct
//! v2: OWN/maxd-PID/job-N                  and maxd itself in OWN/maxd-PID/main, since a
//!                                         group with controllers holds no process itself
//! ```
//!
//! Where this does not work nothing is changed, and jobs are measured by the process table.

use crate::maxd::plan::Limits;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Puts the shell into the groups it is given, and becomes the command behind them. What
/// it starts is in them from the beginning.
const ENTER: &str = r#"while [ "$1" != -- ]; do { echo $$ >"$1/cgroup.procs"; } 2>/dev/null; shift; done
shift; exec "$@""#;

/// The length of a period in which CPU is measured out, in microseconds.
const PERIOD: u64 = 100_000;

/// maxd's own place in the hierarchies.
pub struct Cgroups {
    places: Places,
    /// Groups that could not be removed yet: something in them was still ending.
    remains: Mutex<Vec<PathBuf>>,
}

/// Directories of one group; in version 2 all are the same.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Places {
    unified: bool,
    memory: PathBuf,
    cpu: PathBuf,
    account: PathBuf,
}

impl Places {
    /// Those of them that differ.
    fn each(&self) -> Vec<&Path> {
        let mut all = vec![self.memory.as_path(), &self.cpu, &self.account];
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The groups of this name in them.
    fn below(&self, name: &str) -> Places {
        let at = |place: &Path| place.join(name);
        let (memory, cpu, account) = (at(&self.memory), at(&self.cpu), at(&self.account));
        Places { unified: self.unified, memory, cpu, account }
    }

    fn make(&self) -> io::Result<()> {
        self.each().into_iter().try_for_each(|place| match fs::create_dir(place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        })
    }

    fn remove(&self) {
        for place in self.each() {
            let _ = fs::remove_dir(place);
        }
    }
}

/// A job's group; dropping it removes it.
pub struct Group {
    places: Places,
    home: Arc<Cgroups>,
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut remains = self.home.remains.lock().unwrap_or_else(PoisonError::into_inner);
        remains.extend(self.places.each().into_iter().map(Path::to_path_buf));
        sweep(&mut remains);
    }
}

/// Removes what can be removed.
fn sweep(remains: &mut Vec<PathBuf>) {
    remains.retain(|place| match fs::remove_dir(place) {
        Ok(()) => false,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    });
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Cgroups {
    /// A place for groups, if there is one for this process. What earlier ones left is
    /// removed. Blocks for some milliseconds.
    pub fn claim() -> Option<Arc<Cgroups>> {
        let read = |path: &str| fs::read_to_string(path).ok();
        let own = find(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
        Cgroups::within(&own, std::process::id())
    }

    fn within(own: &Places, pid: u32) -> Option<Arc<Cgroups>> {
        for place in own.each() {
            remove_old(place);
        }
        let places = own.below(&format!("maxd-{pid}"));
        let ready =
            places.make().and_then(|()| if own.unified { delegate(own, &places, pid) } else { Ok(()) });
        let cgroups = Arc::new(Cgroups { places, remains: Mutex::default() });
        if ready.is_ok() && cgroups.works() {
            return Some(cgroups);
        }
        None
    }

    /// Whether a process can be put into a group and is measured there.
    fn works(self: &Arc<Self>) -> bool {
        let Some(group) = self.group(Limits { memory: Some(64 << 20), cpu: Some(1000) }) else {
            return false;
        };
        let mut words = group.enter().into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("true").stdin(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()) && group.usage().is_some_and(|(cpu, _)| cpu > 0)
    }

    /// A new group with these limits.
    pub fn group(self: &Arc<Self>, limits: Limits) -> Option<Group> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("job-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let group = Group { places: self.places.below(&name), home: Arc::clone(self) };
        group.places.make().and_then(|()| group.limit(limits)).ok().map(|()| group)
    }

    /// Removes what is left of it. Blocks for a moment where something is still ending.
    pub fn remove(&self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.sweep() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.places.remove();
    }

    /// Removes the groups that could not be before; whether none is left.
    pub fn sweep(&self) -> bool {
        let mut remains = self.remains.lock().unwrap_or_else(PoisonError::into_inner);
        sweep(&mut remains);
        remains.is_empty()
    }
}

impl Group {
    /// The words of a command that enters the group and runs the command that follows.
    pub fn enter(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["/bin/sh", "-c", ENTER, "sh"].map(OsString::from).into();
        words.extend(self.places.each().into_iter().map(OsString::from));
        words.push("--".into());
        words
    }

    fn limit(&self, limits: Limits) -> io::Result<()> {
        let Places { unified, memory, cpu, .. } = &self.places;
        if let Some(bytes) = limits.memory {
            let bytes = bytes.to_string();
            match unified {
                true => fs::write(memory.join("memory.max"), &bytes)?,
                false => fs::write(memory.join("memory.limit_in_bytes"), &bytes)?,
            }
            // Not every kernel counts swap; and an app ends as a whole where that can be said.
            let (swap, none) =
                if *unified { ("memory.swap.max", "0") } else { ("memory.memsw.limit_in_bytes", &*bytes) };
            let _ = fs::write(memory.join(swap), none);
            let _ = unified.then(|| fs::write(memory.join("memory.oom.group"), "1"));
        }
        if let Some(thousandths) = limits.cpu {
            let quota = thousandths * PERIOD / 1000;
            match unified {
                true => fs::write(cpu.join("cpu.max"), format!("{quota} {PERIOD}"))?,
                false => {
                    fs::write(cpu.join("cpu.cfs_period_us"), PERIOD.to_string())?;
                    fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// CPU time so far in microseconds, and memory now in bytes, without what the kernel
    /// has cached of files and can give up at once.
    pub fn usage(&self) -> Option<(u64, u64)> {
        let Places { unified, memory, account, .. } = &self.places;
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let (used, cached, cpu) = match unified {
            true => ("memory.current", "inactive_file", line(&account.join("cpu.stat"), "usage_usec")?),
            false => (
                "memory.usage_in_bytes",
                "total_inactive_file",
                number(account.join("cpuacct.usage"))? / 1000,
            ),
        };
        let cached = line(&memory.join("memory.stat"), cached).unwrap_or(0);
        Some((cpu, number(memory.join(used))?.saturating_sub(cached)))
    }

    /// How many of its processes the kernel has ended because they were over the limit.
    pub fn killed(&self) -> u64 {
        let file = if self.places.unified { "memory.events" } else { "memory.oom_control" };
        line(&self.places.memory.join(file), "oom_kill").unwrap_or(0)
    }
}

/// The number in the line `NAME NUMBER` of a file.
fn line(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name)?.1.parse().ok())
}

/// Version 2: maxd moves into a group of its own, so that the one it came from can hand
/// its controllers on.
fn delegate(own: &Places, places: &Places, pid: u32) -> io::Result<()> {
    let main = places.memory.join("main");
    let _ = fs::create_dir(&main);
    fs::write(main.join("cgroup.procs"), pid.to_string())?;
    let hand_on = |place: &Path| fs::write(place.join("cgroup.subtree_control"), "+memory +cpu");
    let handed = hand_on(&own.memory).and_then(|()| hand_on(&places.memory));
    if handed.is_err() {
        let _ = fs::write(own.memory.join("cgroup.procs"), pid.to_string());
        let _ = fs::remove_dir(&main);
    }
    handed
}

/// Removes the groups of a maxd that is gone.
fn remove_old(place: &Path) {
    let items = fs::read_dir(place).into_iter().flatten().flatten();
    let pid = |path: &Path| path.file_name()?.to_str()?.strip_prefix("maxd-")?.parse::<u32>().ok();
    for path in items.map(|item| item.path()) {
        if pid(&path).is_none_or(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            continue;
        }
        // What still has a process in it can't be removed.
        for inner in fs::read_dir(&path).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(inner.path());
        }
        let _ = fs::remove_dir(&path);
    }
}

/// This process' own groups, by `/proc/self/mountinfo` and `/proc/self/cgroup`
/// (proc_pid_mountinfo(5), cgroups(7)).
fn find(mounts: &str, groups: &str) -> Option<Places> {
    // `HIERARCHY:CONTROLLERS:PATH`; version 2 has no controllers.
    let own = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
            names.split(',').any(|name| name == controller).then_some(path)
        })
    };
    // `… ROOT MOUNTPOINT … - TYPE SOURCE OPTIONS`
    let place = |kind: &str, controller: &str| {
        let path = own(controller)?;
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
            let (root, point) = (left.next()?, left.next()?);
            let (fs, options) = (right.next()?, right.nth(1)?);
            let fits =
                fs == kind && (controller.is_empty() || options.split(',').any(|one| one == controller));
            let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
            fits.then(|| Path::new(point).join(below.trim_start_matches('/')))
        })
    };
    if let Some(place) = place("cgroup2", "") {
        let has = fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
        if ["memory", "cpu"].iter().all(|wanted| has.split_whitespace().any(|one| one == *wanted)) {
            return Some(Places { unified: true, memory: place.clone(), cpu: place.clone(), account: place });
        }
    }
    let [memory, cpu, account] = ["memory", "cpu", "cpuacct"].map(|name| place("cgroup", name));
    Some(Places { unified: false, memory: memory?, cpu: cpu?, account: account? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_groups_are_found_in_version_one() {
        let mounts = "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu\n\
                      33 31 0:30 / /cg/cpuacct rw - cgroup cgroup rw,cpuacct\n\
                      35 31 0:32 /docker/a /cg/memory rw shared:7 - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "4:memory:/docker/a/b\n2:cpuacct:/\n1:cpu:/x\n0::/\n";
        let found = find(mounts, groups).unwrap();
        assert_eq!(found.each(), ["/cg/cpu/x", "/cg/cpuacct", "/cg/memory/b"].map(Path::new));
        assert_eq!(found.below("n").memory, Path::new("/cg/memory/b/n"));
        assert_eq!(find(mounts, "0::/\n"), None);
        // Both on one hierarchy, as most systems have it.
        let both = "32 31 0:29 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                    35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n";
        let found = find(both, "4:memory:/\n1:cpu,cpuacct:/\n").unwrap();
        assert_eq!(found.each(), ["/cg/cpu,cpuacct", "/cg/memory"].map(Path::new));
    }

    /// A directory that looks like a group of version 2.
    fn unified(dir: &Path) -> Places {
        fs::write(dir.join("cgroup.controllers"), "cpuset cpu memory pids\n").unwrap();
        let mounts = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", dir.display());
        find(&mounts, "0::/\n").unwrap()
    }

    #[test]
    fn version_two_is_limited_and_read_by_its_own_names() {
        let dir = tempfile::tempdir().unwrap();
        let places = unified(dir.path());
        assert_eq!((places.unified, places.each()), (true, vec![dir.path()]));
        let home = Arc::new(Cgroups { places, remains: Mutex::default() });
        let group = home.group(Limits { memory: Some(4096), cpu: Some(250) }).unwrap();
        let at = |name: &str| group.places.memory.join(name);
        for (name, text) in [
            ("memory.max", "4096"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("cpu.max", "25000 100000"),
        ] {
            assert_eq!(fs::read_to_string(at(name)).unwrap(), text, "{name}");
        }
        fs::write(at("memory.current"), "5000\n").unwrap();
        fs::write(at("memory.stat"), "anon 900\ninactive_file 904\n").unwrap();
        fs::write(at("cpu.stat"), "usage_usec 77\nuser_usec 70\n").unwrap();
        fs::write(at("memory.events"), "oom 1\noom_kill 2\n").unwrap();
        assert_eq!((group.usage(), group.killed()), (Some((77, 4096)), 2));
    }

    #[test]
    fn maxd_moves_aside_and_hands_its_controllers_on() {
        let dir = tempfile::tempdir().unwrap();
        let own = unified(dir.path());
        let places = own.below("maxd-5");
        places.make().unwrap();
        delegate(&own, &places, 5).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("maxd-5/main/cgroup.procs"), "5");
        assert_eq!(read("cgroup.subtree_control"), "+memory +cpu");
        assert_eq!(read("maxd-5/cgroup.subtree_control"), "+memory +cpu");
    }

    #[test]
    fn what_an_earlier_maxd_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mine = format!("maxd-{}", std::process::id());
        for name in ["maxd-4194999/job-1", "other", &mine] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        remove_old(dir.path());
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [mine.as_str(), "other"].map(OsString::from));
    }

    #[test]
    fn a_real_group_holds_a_job_to_its_limits() {
        let Some(home) = Cgroups::claim() else {
            eprintln!("skipped: no control group can be made here");
            return;
        };
        let run = |limits, script: &str| {
            let group = home.group(limits).unwrap();
            let mut command = Command::new("/usr/bin/env");
            let status = command.args(group.enter()).args(["/bin/sh", "-c", script]).status().unwrap();
            (group, status)
        };
        let unlimited = Limits::default();
        let (group, status) = run(unlimited, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
        assert!(status.success() && group.usage().unwrap().0 > 1000);
        // What needs 32 MiB is ended at 8.
        let hungry = "x=$(head -c 33554432 /dev/zero | tr '\\0' x); test ${#x} = 33554432";
        assert!(run(unlimited, hungry).1.success());
        let (group, status) = run(Limits { memory: Some(8 << 20), cpu: None }, hungry);
        assert!(!status.success() && group.killed() > 0, "{status}");
        let place = group.places.memory.clone();
        assert!(place.exists());
        drop(group);
        // What was in it may still be ending.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !home.sweep() {
            assert!(Instant::now() < deadline, "{} stays", place.display());
            std::thread::yield_now();
        }
        assert!(!place.exists());
    }
}

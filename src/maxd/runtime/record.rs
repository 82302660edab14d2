//! What is running, on disk: one file for each process group, named after it. After
//! a `kill -9` of maxd the next one reads here what it must end before it starts
//! anything itself.

use super::proc::{self, Proc};
use crate::error::{Error, Result};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long leftovers get between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// The directory of the records.
pub struct Records {
    dir: PathBuf,
    /// Process numbers and start times mean nothing after a restart of the system.
    boot: String,
}

/// A group that is running; dropping it removes the file.
pub struct Record {
    path: PathBuf,
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Tells starts of the system apart; empty where nothing does.
pub fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

impl Records {
    /// Ends what the records in `dir` say is running, and goes on with none.
    pub fn open(dir: &Path) -> Result<Records> {
        let subject = dir.to_string_lossy();
        fs::create_dir_all(dir).map_err(|error| Error::io("create", &subject, &error))?;
        let records = Records { dir: dir.to_path_buf(), boot: boot() };
        let entries = fs::read_dir(dir).map_err(|error| Error::io("read", &subject, &error))?;
        let paths = entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        let groups = paths.iter().filter_map(|path| records.group(path)).collect::<Vec<_>>();
        end(&groups);
        for path in paths {
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path.to_string_lossy(), &error))?;
        }
        Ok(records)
    }

    /// Records the group that the process `pid` leads, whose `HOME` is `home`.
    pub fn add(&self, pid: i32, home: &Path) -> Result<Record> {
        let path = self.dir.join(pid.to_string());
        let start = Proc::find(pid).map_or(0, |one| one.start);
        let text = format!("{} {start} {}", self.boot, home.display());
        fs::write(&path, text).map_err(|error| Error::io("write", &path.to_string_lossy(), &error))?;
        Ok(Record { path })
    }

    /// The recorded group, if anything of it is left. When its leader has ended, its
    /// number may belong to somebody else by now: then the others must show that they
    /// are ours by their `HOME`.
    fn group(&self, path: &Path) -> Option<i32> {
        let group = path.file_name()?.to_str()?.parse::<i32>().ok()?;
        let text = fs::read_to_string(path).ok()?;
        let mut fields = text.splitn(3, ' ');
        if fields.next()? != self.boot {
            return None;
        }
        let start = fields.next()?.parse::<u64>().ok()?;
        let home = format!("HOME={}", fields.next()?);
        let ours = match Proc::find(group) {
            Some(leader) => leader.start == start,
            None => members(group).iter().any(|one| one.has_env(&home)),
        };
        ours.then_some(group)
    }
}

fn members(group: i32) -> Vec<Proc> {
    let mut all = proc::all();
    all.retain(|one| one.group == group);
    all
}

fn end(groups: &[i32]) {
    for group in groups {
        proc::signal_group(*group, Signal::TERM);
    }
    let wait = |deadline: Instant| {
        while groups.iter().any(|group| !members(*group).is_empty()) {
            if Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(Instant::now() + GRACE);
    for group in groups {
        if !members(*group).is_empty() {
            proc::signal_group(*group, Signal::KILL);
        }
    }
    wait(Instant::now() + GRACE);
}

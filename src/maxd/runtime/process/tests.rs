//! Real processes, with and without the sandbox.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::super::shell;
use super::*;
use crate::maxd::plan::Limits;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

const LONG: Duration = Duration::from_secs(20);

fn task(dir: &Path, command: &str) -> Task {
    let (argv, dir, limits) = (shell(command), dir.to_path_buf(), Limits::default());
    Task { argv, streams: Streams::Output, dir, writable: Vec::new(), env: Vec::new(), app: None, limits }
}

/// Both ways to run a job; only one where bubblewrap does not work.
fn runtimes(data: &Path) -> Vec<Process> {
    let mut all = vec![Process::plain().unwrap(), Process::new(data, None, Isolation::Auto).unwrap()];
    all.retain({
        let mut first = true;
        move |one| std::mem::take(&mut first) || one.sandbox.is_some()
    });
    all
}

async fn output(runtime: &Process, task: Task) -> (String, Exit) {
    let mut job = runtime.start(task).await.unwrap();
    let (mut stdout, mut stderr) = job.outputs().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let both = async { tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err)) };
    let _ = tokio::time::timeout(LONG, both).await.expect("output ends");
    let exit = job.wait().await;
    (out + &err, exit)
}

async fn gone(one: Proc) {
    let deadline = Instant::now() + LONG;
    while one.lives() {
        assert!(Instant::now() < deadline, "process {} lives on", one.pid);
        sleep(POLL).await;
    }
}

/// The process whose command line is `sleep SECONDS`.
async fn sleeper(seconds: &str) -> Proc {
    let wanted = format!("sleep\0{seconds}\0");
    let deadline = Instant::now() + LONG;
    loop {
        let is = |one: &Proc| {
            std::fs::read(format!("/proc/{}/cmdline", one.pid)).is_ok_and(|line| line == wanted.as_bytes())
        };
        if let Some(one) = proc::all().into_iter().find(is) {
            return one;
        }
        assert!(Instant::now() < deadline, "no 'sleep {seconds}' was started");
        sleep(POLL).await;
    }
}

#[tokio::test]
async fn a_job_gets_its_own_environment_and_nothing_of_maxd() {
    let data = tempfile::tempdir().unwrap();
    for runtime in runtimes(data.path()) {
        let mut task = task(data.path(), "env; pwd; cat");
        task.env = vec![("GREETING".to_owned(), "hello\nworld".to_owned())];
        let (text, exit) = output(&runtime, task).await;
        assert_eq!(exit, Exit { code: 0 });
        let home = data.path().canonicalize().unwrap();
        for line in [format!("HOME={}", home.display()), home.display().to_string(), "world".to_owned()] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        assert!(!text.contains("CARGO"), "{text}");
    }
}

#[tokio::test]
async fn exits_are_told_as_shells_do() {
    let data = tempfile::tempdir().unwrap();
    for runtime in runtimes(data.path()) {
        for (command, text) in [
            ("exit 7", "exited with code 7"),
            ("kill -SEGV $$", "exited with code 139 (SIGSEGV)"),
            ("./missing", "exited with code 127"),
        ] {
            assert_eq!(output(&runtime, task(data.path(), command)).await.1.to_string(), text);
        }
    }
}

#[tokio::test]
async fn the_sandbox_hides_other_apps_and_keeps_the_system_as_it_is() {
    let data = tempfile::tempdir_in("target").unwrap();
    let keys = tempfile::tempdir_in("target").unwrap();
    let secret = keys.path().join("key.pem");
    std::fs::write(&secret, "secret").unwrap();
    let runtime = Process::new(data.path(), Some(&secret), Isolation::Auto).unwrap();
    if runtime.sandbox.is_none() {
        return;
    }
    let (mine, other, cache) = (data.path().join("mine"), data.path().join("other"), data.path().join("c"));
    for dir in [&mine, &other, &cache] {
        std::fs::create_dir(dir).unwrap();
    }
    std::fs::write(data.path().join("max.db"), "secret").unwrap();
    let script = format!(
        "cat {0}/max.db {1}; ls {0}; touch /etc/x /usr/x; echo ok >./file; echo ok >{0}/c/file; \
         echo $$ processes; ls /proc | grep -c '^[0-9]'; touch /tmp/x && ls /tmp | grep -v maxd",
        data.path().canonicalize().unwrap().display(),
        secret.canonicalize().unwrap().display()
    );
    let mut task = task(&mine, &script);
    task.writable = vec![cache.clone()];
    let (text, _) = output(&runtime, task).await;
    assert!(!text.contains("secret") && !text.lines().any(|line| line == "other"), "{text}");
    assert!(text.matches("Read-only file system").count() == 2, "{text}");
    assert!(text.lines().any(|line| line == "2 processes"), "{text}");
    assert!(mine.join("file").exists() && cache.join("file").exists());
}

#[tokio::test]
async fn stopping_asks_first_and_reaches_grandchildren() {
    let data = tempfile::tempdir().unwrap();
    for (i, runtime) in runtimes(data.path()).iter().enumerate() {
        let seconds = format!("{}.{i}", 31_000 + std::process::id());
        let script = format!("trap 'echo stopping; exit 3' TERM; (sleep {seconds} & wait) & echo up; wait");
        let mut job = runtime.start(task(data.path(), &script)).await.unwrap();
        let (stdout, _stderr) = job.outputs().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("up"));
        let child = sleeper(&seconds).await;
        let exit = tokio::time::timeout(LONG, job.stop(Duration::from_secs(10))).await.unwrap();
        assert_eq!(exit, Exit { code: 3 });
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("stopping"));
        assert!(!child.lives());
    }
}

#[tokio::test]
async fn what_ignores_the_signal_is_killed_after_the_grace() {
    let data = tempfile::tempdir().unwrap();
    for (i, runtime) in runtimes(data.path()).iter().enumerate() {
        let seconds = format!("{}.{i}", 32_000 + std::process::id());
        let script = format!("trap '' TERM; echo up; sleep {seconds}; sleep 60");
        let mut job = runtime.start(task(data.path(), &script)).await.unwrap();
        let child = sleeper(&seconds).await;
        let exit = tokio::time::timeout(LONG, job.stop(Duration::from_millis(200))).await.unwrap();
        assert_eq!(exit, Exit { code: 137 });
        gone(child).await;
    }
}

#[tokio::test]
async fn a_job_that_is_dropped_or_ends_takes_everything_with_it() {
    let data = tempfile::tempdir().unwrap();
    for (i, runtime) in runtimes(data.path()).iter().enumerate() {
        let seconds = format!("{}.{i}", 33_000 + std::process::id());
        let job = runtime.start(task(data.path(), &format!("sleep {seconds} & wait"))).await.unwrap();
        let child = sleeper(&seconds).await;
        drop(job);
        gone(child).await;
        let seconds = format!("{}.{i}", 34_000 + std::process::id());
        let script = format!("sleep {seconds} & read line <fifo{i}");
        assert!(
            std::process::Command::new("mkfifo").arg(data.path().join(format!("fifo{i}"))).status().is_ok()
        );
        let mut job = runtime.start(task(data.path(), &script)).await.unwrap();
        let child = sleeper(&seconds).await;
        std::fs::write(data.path().join(format!("fifo{i}")), "go\n").unwrap();
        assert_eq!(job.wait().await, Exit { code: 0 });
        gone(child).await;
    }
}

#[tokio::test]
async fn the_next_maxd_ends_what_the_last_one_left() {
    let data = tempfile::tempdir().unwrap();
    let run = data.path().join("run");
    let runtime = Process::plain().unwrap();
    runtime.claim(&run).unwrap();
    let seconds = format!("{}", 35_000 + std::process::id());
    let script = format!("trap '' TERM HUP; sleep {seconds} & wait");
    let job = runtime.start(task(data.path(), &script)).await.unwrap();
    let child = sleeper(&seconds).await;
    // As after kill -9: nobody stops the job, and its record stays.
    std::mem::forget(job);
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 1);
    let next = Process::plain().unwrap();
    tokio::task::spawn_blocking(move || next.claim(&run).unwrap()).await.unwrap();
    gone(child).await;
    assert_eq!(std::fs::read_dir(data.path().join("run")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stranger_with_a_recorded_number_is_left_alone() {
    let run = tempfile::tempdir().unwrap();
    let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = i32::try_from(stranger.id()).unwrap();
    let one = Proc::find(pid).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for (boot, start) in [(boot.trim(), one.start + 1), ("another-boot", one.start)] {
        std::fs::write(run.path().join(pid.to_string()), format!("{boot} {start} /data/1")).unwrap();
        Records::open(run.path()).unwrap();
        assert!(one.lives());
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

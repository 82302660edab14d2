//! Runs a release's build commands, and its release command, in its directory and through the runtime.
//!
//! What package managers download is kept in `cache` beside the release, so that the
//! next build of the app is faster.

use super::instance;
use super::line::NewLine;
use super::plan::Limits;
use super::pump::Journal;
use super::runtime::{Runtime, Streams, Task, shell};
use super::supervisor::Release;
use crate::error::{Error, Kind, Result};
use crate::wire::deploy::State;
use crate::wire::log::Source;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long a command that took too long may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the commands of this phase one after the other; their output, and themselves,
/// become build lines. Dropping the future ends them.
pub async fn build(
    phase: State,
    release: &Release,
    runtime: &dyn Runtime,
    lines: &mpsc::Sender<NewLine>,
) -> Result<()> {
    let journal = Journal::new(release, None, lines);
    if phase == State::Releasing {
        let Some(command) = &release.plan.release else { return Ok(()) };
        // As a program of the app.
        let (argv, dir, env) = (shell(command), release.dir.clone(), instance::environment(release)?);
        let (writable, app, limits) = (Vec::new(), Some(release.app), release.plan.limits);
        let task = Task { argv, streams: Streams::Output, dir, writable, env, app, limits };
        return carry_out(command, task, runtime, &journal, TIMEOUT).await;
    }
    for command in &release.plan.build {
        run(command, release, runtime, &journal, TIMEOUT).await?;
    }
    Ok(())
}

async fn run(
    command: &str,
    release: &Release,
    runtime: &dyn Runtime,
    journal: &Journal,
    limit: Duration,
) -> Result<()> {
    let cache = release.dir.with_file_name("cache");
    tokio::fs::create_dir_all(&cache)
        .await
        .map_err(|error| Error::io("create", &cache.to_string_lossy(), &error))?;
    let env = environment(&cache, release.env.open()?);
    let (dir, limits) = (release.dir.clone(), Limits::default());
    let task = Task {
        argv: shell(command),
        streams: Streams::Output,
        dir,
        writable: vec![cache],
        env,
        app: None,
        limits,
    };
    carry_out(command, task, runtime, journal, limit).await
}

async fn carry_out(
    command: &str,
    task: Task,
    runtime: &dyn Runtime,
    journal: &Journal,
    limit: Duration,
) -> Result<()> {
    journal.write(Source::Build, format!("$ {command}")).await;
    let mut job = runtime.start(task).await?;
    let pumps = journal.follow(job.as_mut(), Source::Build, Source::Build);
    let ended = timeout(limit, job.wait()).await;
    if ended.is_err() {
        job.stop(GRACE).await;
    }
    pumps.drain().await;
    let failed = match ended {
        Ok(exit) if exit.code == 0 => return Ok(()),
        Ok(exit) if job.starved() => format!("'{}' {exit}, over its memory limit", brief(command)),
        Ok(exit) => format!("'{}' {exit}", brief(command)),
        Err(_) => format!("'{}' did not end within {} min", brief(command), limit.as_secs() / 60),
    };
    Err(Error::new(Kind::DeployFailed, failed))
}

/// The user's variables win over these.
fn environment(cache: &Path, user: Vec<(String, String)>) -> Vec<(String, String)> {
    let at = |name: &str| cache.join(name).to_string_lossy().into_owned();
    let mut env = [
        ("CI", "1".to_owned()),
        ("NO_COLOR", "1".to_owned()),
        ("npm_config_cache", at("npm")),
        ("npm_config_audit", "false".to_owned()),
        ("npm_config_fund", "false".to_owned()),
        ("npm_config_update_notifier", "false".to_owned()),
        ("PIP_CACHE_DIR", at("pip")),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
        ("PIP_NO_INPUT", "1".to_owned()),
        ("PIP_PROGRESS_BAR", "off".to_owned()),
        ("PIP_ROOT_USER_ACTION", "ignore".to_owned()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    env.extend(user);
    env
}

/// A command line for an error: its first line, not too long.
pub fn brief(command: &str) -> String {
    let first = command.trim().lines().next().unwrap_or_default();
    let mut brief = first.chars().take(80).collect::<String>();
    if brief.len() < command.trim().len() {
        brief.push('…');
    }
    brief
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::maxd::plan::{Health, Plan, Run};
    use crate::maxd::runtime::process::Process;
    use crate::maxd::secrets::Environment;

    /// Runs the commands; what the log got, and how it ended.
    async fn build_with(commands: &[&str], limit: Duration) -> (Vec<String>, Result<()>) {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("1");
        std::fs::create_dir(&dir).unwrap();
        let build = commands.iter().map(|one| (*one).to_owned()).collect();
        let plan = Plan {
            kind: "rig.json".to_owned(),
            build,
            release: None,
            run: Run::Static,
            health: Health::default(),
            limits: Limits::default(),
        };
        let plain = vec![("MINE".to_owned(), "yes".to_owned())];
        let env = Environment::without_secrets(plain);
        let release = Release { network: 1, app: 2, number: 3, dir, plan, env };
        let (lines, mut log) = mpsc::channel::<NewLine>(1);
        let reader = tokio::spawn(async move {
            let mut texts = Vec::new();
            while let Some(line) = log.recv().await {
                assert!(line.source == Source::Build && line.app == Some(2) && line.release == Some(3));
                texts.push(line.text);
            }
            texts
        });
        let runtime = Process::plain().unwrap();
        let result = match limit {
            TIMEOUT => super::build(State::Building, &release, &runtime, &lines).await,
            _ => run(commands[0], &release, &runtime, &Journal::new(&release, None, &lines), limit).await,
        };
        drop(lines);
        (reader.await.unwrap(), result)
    }

    #[tokio::test]
    async fn commands_run_in_order_and_their_output_is_logged() {
        let commands = ["echo out; echo err >&2; echo made >file", "cat file; echo $MINE $CI $NO_COLOR"];
        let (mut lines, result) = build_with(&commands, TIMEOUT).await;
        result.unwrap();
        lines.get_mut(1..3).unwrap().sort_unstable();
        assert_eq!(
            lines,
            [
                "$ echo out; echo err >&2; echo made >file",
                "err",
                "out",
                "$ cat file; echo $MINE $CI $NO_COLOR",
                "made",
                "yes 1 1"
            ]
        );
    }

    #[tokio::test]
    async fn the_first_failure_ends_the_build() {
        let (lines, result) = build_with(&["echo no; exit 3", "echo never"], TIMEOUT).await;
        let error = result.unwrap_err();
        assert_eq!(
            (error.message(), error.kind()),
            ("'echo no; exit 3' exited with code 3", Kind::DeployFailed)
        );
        assert_eq!(lines, ["$ echo no; exit 3", "no"]);
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended() {
        let (_, result) = build_with(&["sleep 60"], Duration::from_millis(50)).await;
        assert_eq!(result.unwrap_err().message(), "'sleep 60' did not end within 0 min");
    }
}

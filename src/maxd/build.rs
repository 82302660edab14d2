//! Runs a release's build commands, and its release command, in its directory and through the runtime.
//!
//! What package managers download and install is kept for the next build of the app, which
//! installs nothing when nothing has changed of what it depends on.

use super::cache::Cache;
use super::cache::install::Install;
use super::instance;
use super::line::NewLine;
use super::plan::Limits;
use super::pump::Journal;
use super::runtime::{Runtime, Streams, Task, shell};
use super::supervisor::Release;
use crate::error::{Error, Kind, Result};
use crate::time::human;
use crate::wire::deploy::State;
use crate::wire::log::Source;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long one may take that tells versions, and how much it may say.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_MAX: u64 = 64 << 10;

/// How long a command that took too long may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the commands of this phase one after the other; their output, and themselves,
/// become build lines. Dropping the future ends them.
pub async fn build(
    phase: State,
    release: &Release,
    runtime: &dyn Runtime,
    lines: &mpsc::Sender<NewLine>,
    cache: &Cache,
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
    let build = Build { release, runtime, journal, cache, limit: TIMEOUT };
    let built = build.all().await;
    if let Err(error) = cache.tidy().await {
        say!("cannot clear up the cache of a build: {error}");
    }
    built
}

/// One build.
struct Build<'a> {
    release: &'a Release,
    runtime: &'a dyn Runtime,
    journal: Journal,
    cache: &'a Cache,
    /// How long one command may take.
    limit: Duration,
}

impl Build<'_> {
    async fn all(&self) -> Result<()> {
        let commands = &self.release.plan.build;
        let (dir, known) = (self.release.dir.clone(), commands.clone());
        let found = tokio::task::spawn_blocking(move || Install::find(&dir, &known)).await;
        let done = match found.unwrap_or(Ok(None))? {
            Some(install) => self.install(install).await?,
            None => 0,
        };
        self.run(commands.get(done..).unwrap_or_default()).await
    }

    async fn run(&self, commands: &[String]) -> Result<()> {
        for command in commands {
            let task = self.task(command).await?;
            carry_out(command, task, self.runtime, &self.journal, self.limit).await?;
        }
        Ok(())
    }

    async fn task(&self, command: &str) -> Result<Task> {
        let (dir, cache) = (self.release.dir.clone(), self.cache.downloads().await?);
        let env = environment(&cache, self.release.env.open()?);
        let (argv, writable, limits) = (shell(command), vec![cache], Limits::default());
        Ok(Task { argv, streams: Streams::Output, dir, writable, env, app: None, limits })
    }

    /// Installs packages, or takes what an earlier build has installed; tells how many of the commands
    /// are done.
    async fn install(&self, install: Install) -> Result<usize> {
        let commands = self.release.plan.build.get(..install.commands).unwrap_or_default();
        let Install { directory, commands: all, spared, .. } = install;
        if let Some(why) = install.unfit {
            self.run(commands).await?;
            self.say(format!("{directory} is not kept for the next release: {why}")).await;
            return Ok(all);
        }
        // Where no version can be told the commands will say why.
        let Some(versions) = self.answer(install.versions).await else { return Ok(0) };
        let (dir, number) = (&self.release.dir, self.release.number);
        let key = install.key(&versions, &self.release.env);
        match self.cache.reuse(&key, dir, directory).await {
            Ok(Some(from)) => {
                self.say(format!("dependencies unchanged: reusing {directory} of release {from}")).await;
                return Ok(spared);
            }
            Ok(None) => {}
            Err(error) => self.say(format!("{directory} of an earlier release can't be used: {error}")).await,
        }
        self.run(commands).await?;
        let started = Instant::now();
        let kept = match self.cache.keep(&key, dir, number, directory).await {
            Ok(bytes) => {
                let took = human(started.elapsed());
                format!("kept {directory} for the next release ({bytes} bytes) in {took}")
            }
            Err(error) => format!("{directory} is not kept for the next release: {error}"),
        };
        self.say(kept).await;
        Ok(all)
    }

    async fn say(&self, text: String) {
        self.journal.write(Source::Build, text).await;
    }

    /// What a command that does not fail writes.
    async fn answer(&self, command: &str) -> Option<Vec<u8>> {
        let mut job = self.runtime.start(self.task(command).await.ok()?).await.ok()?;
        let (out, mut err) = job.outputs()?;
        let (mut answer, mut sink) = (Vec::new(), tokio::io::sink());
        let mut out = out.take(ANSWER_MAX);
        let all = async {
            let (read, _) = tokio::join!(out.read_to_end(&mut answer), tokio::io::copy(&mut err, &mut sink));
            let exit = job.wait().await;
            read.is_ok() && exit.code == 0
        };
        let fine = timeout(ANSWER_WITHIN, all).await.unwrap_or(false);
        fine.then_some(answer)
    }
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
    use std::sync::Arc;

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
                // What comes at once comes as a run.
                texts.extend(line.text.lines().map(str::to_owned));
            }
            texts
        });
        let runtime = Process::plain().unwrap();
        let cache = Cache::new(temp.path().to_owned(), 1 << 20, Arc::default());
        let result = match limit {
            TIMEOUT => super::build(State::Building, &release, &runtime, &lines, &cache).await,
            _ => {
                let journal = Journal::new(&release, None, &lines);
                let build = Build { release: &release, runtime: &runtime, journal, cache: &cache, limit };
                build.all().await
            }
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

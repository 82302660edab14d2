//! How a release is built and run: what [`detect`](super::detect) found out.

use super::store::explain;
use crate::error::{Error, Kind, Result};
use crate::wire::deploy::State;
use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Value, json};
use std::time::Duration;

/// How to build and run a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What was recognised: `rig.json`, `procfile`, `node`, `python` or `static`.
    pub kind: String,
    /// Command lines for `sh -c`, in order.
    pub build: Vec<String>,
    /// A command line that runs once behind the build, before the release has traffic.
    pub release: Option<String>,
    /// What serves afterwards.
    pub run: Run,
    /// When a new instance counts as healthy.
    pub health: Health,
    /// What an instance may use.
    pub limits: Limits,
}

/// What an instance may use; without a limit what the host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// CPU, in thousandths of a core.
    pub cpu: Option<u64>,
}

/// What serves a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// A command line for `sh -c` that listens on `PORT`.
    Command(String),
    /// maxd itself: the release's files.
    Static,
}

/// When a new instance counts as healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The path that must answer 2xx or 3xx; without one the port must accept.
    pub path: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Health {
        Health { path: None, timeout: Duration::from_secs(60) }
    }
}

impl Plan {
    /// Where a deploy runs commands before it starts the release.
    pub fn phases(&self) -> impl Iterator<Item = State> + use<> {
        let build = (!self.build.is_empty()).then_some(State::Building);
        build.into_iter().chain(self.release.as_ref().map(|_| State::Releasing))
    }

    /// The plan as JSON, to be kept with its release.
    pub fn to_json(&self) -> String {
        let run = match &self.run {
            Run::Command(command) => Value::from(command.as_str()),
            Run::Static => Value::Null,
        };
        let timeout = u64::try_from(self.health.timeout.as_millis()).unwrap_or(u64::MAX);
        let health = json!({"path": self.health.path, "timeout_ms": timeout});
        let limits = json!({"memory": self.limits.memory, "cpu": self.limits.cpu});
        json!({"kind": self.kind, "build": self.build, "release": self.release, "run": run, "health": health, "limits": limits})
            .to_string()
    }

    /// Keeps it with its deploy.
    pub fn record(&self, t: &Transaction<'_>, deploy: u64) -> Result<()> {
        let query = "UPDATE deploys SET kind = ?2, plan = ?3 WHERE id = ?1";
        t.execute(query, params![deploy, self.kind, self.to_json()]).map(drop).map_err(explain)
    }

    /// The plan that was kept of an app's release; none of one that is older than this.
    pub fn recorded(t: &Transaction<'_>, app: i64, release: u64) -> Result<Option<Plan>> {
        let query = "SELECT plan FROM deploys WHERE app = ?1 AND release = ?2";
        let found = t.query_row(query, params![app, release], |row| row.get::<_, Option<String>>(0));
        let plan = found.optional().map_err(explain)?.flatten();
        plan.map(|plan| Plan::from_json(&plan)).transpose()
    }

    /// Reads what [`Plan::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Plan> {
        Plan::read(text).ok_or_else(|| Error::new(Kind::Internal, "the stored plan of a release is damaged"))
    }

    fn read(text: &str) -> Option<Plan> {
        let plan = serde_json::from_str::<Value>(text).ok()?;
        let strings = plan.get("build")?.as_array()?.iter().map(|one| one.as_str().map(str::to_owned));
        let health = plan.get("health")?;
        // A plan that is older than limits has none.
        let limit = |name: &str| plan.get("limits")?.get(name)?.as_u64();
        Some(Plan {
            kind: plan.get("kind")?.as_str()?.to_owned(),
            build: strings.collect::<Option<Vec<_>>>()?,
            // One that is older than this has none.
            release: plan.get("release").and_then(Value::as_str).map(str::to_owned),
            run: match plan.get("run")? {
                Value::Null => Run::Static,
                run => Run::Command(run.as_str()?.to_owned()),
            },
            health: Health {
                path: health.get("path")?.as_str().map(str::to_owned),
                timeout: Duration::from_millis(health.get("timeout_ms")?.as_u64()?),
            },
            limits: Limits { memory: limit("memory"), cpu: limit("cpu") },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_plan_survives_the_round_trip() {
        let health = Health { path: Some("/up".to_owned()), timeout: Duration::from_millis(1500) };
        let run = Run::Command("./server \"x\"".to_owned());
        let limits = Limits { memory: Some(1 << 28), cpu: Some(500) };
        let (kind, build, release) =
            ("node".to_owned(), vec!["npm ci".to_owned()], Some("./migrate".to_owned()));
        let plan = Plan { kind, build, release, run, health, limits };
        assert!(plan.phases().eq([State::Building, State::Releasing]));
        assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
        let plan = Plan { run: Run::Static, health: Health::default(), build: Vec::new(), ..plan };
        assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
        assert!(plan.phases().eq([State::Releasing]));
        let older = r#"{"kind":"static","build":[],"run":null,"health":{"path":null,"timeout_ms":1000}}"#;
        let older = Plan::from_json(older).unwrap();
        assert_eq!((older.limits, older.release), (Limits::default(), None));
        assert!(Plan::from_json("{}").is_err());
    }
}

//! The use-cases of configurations: details, history, and the way back.

use super::trash::Doomed;
use super::variables::{Place, place, staged};
use super::{AppRow, Platform, app_rows, find_app, find_network, network_row};
use crate::error::{Error, Result};
use crate::maxd::access::Access;
use crate::maxd::config;
use crate::maxd::once::Once;
use crate::maxd::plan::{Plan, Run};
use crate::maxd::store::{explain, held};
use crate::maxd::supervisor;
use crate::maxd::variables::{self, Scope, Variable};
use crate::wire::app::App;
use crate::wire::config as wire;
use crate::wire::config::{AppDetails, Changed, Filter, History, NetworkDetails, Rollback, Select, Version};
use crate::wire::secret::Secret;
use crate::wire::variable::{self, Rollout};
use miniserde::{Deserialize, Serialize};
use rusqlite::{Transaction, params};
use std::sync::{Arc, Mutex, PoisonError};

/// How many changes an answer holds unless the request says so.
const PAGE: u64 = 50;
/// The most that it may say.
const PAGE_MAX: u64 = 1000;

/// Variables and secrets of a scope.
type Told = (Vec<variable::Variable>, Vec<Secret>);

impl Platform {
    /// `app:details`.
    pub async fn app_details(&self, who: &Access, request: Select) -> Result<AppDetails> {
        let who = who.clone();
        let read = move |t: &Transaction<'_>| {
            let Select { network, app, at } = request;
            let row = find_app(t, &who, &network, app.as_deref().unwrap_or_default())?;
            let scope = Scope { network: row.network_id, app: Some(row.id) };
            let version = wanted(t, scope, at)?;
            let (of_network, then) = match at {
                Some(number) => config::network_then(t, scope, number)?,
                None => {
                    let of_network = Scope { app: None, ..scope };
                    (of_network, config::version(t, of_network)?)
                }
            };
            let own = variables::at(t, scope, version.number)?;
            let inherited = variables::at(t, of_network, then)?;
            // What is staged is about the present alone.
            let staged = if at.is_none() { staged(t, &row)? } else { Vec::new() };
            let told = told(&own, &inherited, &staged);
            let instances = config::instances(&config::recorded(t, scope, version.number)?);
            let webhooks = config::webhooks(&config::recorded(t, of_network, then)?);
            let plan = match row.release {
                Some(release) => Plan::recorded(t, row.id, release)?.map(document),
                None => None,
            };
            Ok((row, version, instances, plan, told, staged, webhooks))
        };
        let (row, version, instances, plan, (variables, secrets), staged, webhooks) =
            self.store.with(read).await?;
        let app = App { instances, ..self.app_document(&row) };
        Ok(AppDetails { app, version, plan, variables, secrets, staged, webhooks })
    }

    /// `network:details`.
    pub async fn network_details(&self, who: &Access, request: Select) -> Result<NetworkDetails> {
        let (who, domain) = (who.clone(), self.address.domain.clone());
        let read = move |t: &Transaction<'_>| {
            let id = find_network(t, &who, &request.network)?;
            let scope = Scope { network: id, app: None };
            let version = wanted(t, scope, request.at)?;
            let told = told(&[], &variables::at(t, scope, version.number)?, &[]);
            let webhooks = config::webhooks(&config::recorded(t, scope, version.number)?);
            Ok((network_row(t, id, &domain)?, version, app_rows(t, &who, Some(id))?, told, webhooks))
        };
        let (network, version, rows, (variables, secrets), webhooks) = self.store.with(read).await?;
        let apps = rows.iter().map(|row| self.app_document(row)).collect();
        Ok(NetworkDetails { network, version, apps, variables, secrets, webhooks })
    }

    /// `config:history`.
    pub async fn history(&self, who: &Access, request: Filter) -> Result<History> {
        let limit = request.limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            let message = format!("limit takes 1 to {PAGE_MAX}, not {limit}");
            return Err(Error::usage(message).hint("for instance `--limit 200`").field("limit"));
        }
        let who = who.clone();
        let read = move |t: &Transaction<'_>| {
            let Filter { network, app, before, .. } = request;
            let scope = place(t, &who, &network, app.as_deref())?.scope;
            let (entries, more) = config::entries(t, scope, before.unwrap_or(u64::MAX), limit)?;
            let before = entries.last().filter(|_| more).map(|last| last.number);
            Ok(History { network, app, entries, before })
        };
        self.store.with(read).await
    }

    /// `config:rollback`.
    pub async fn roll_back(self: &Arc<Self>, who: &Access, once: Once, request: Rollback) -> Result<Changed> {
        let Rollback { network, app, to, version, stage, preview } = request;
        let asks = who.clone();
        let make = move |t: &Transaction<'_>| {
            let Place { scope, apps } = place(t, &asks, &network, app.as_deref())?;
            config::numbered(t, scope, to).map_err(|error| error.field("to"))?;
            let (before, now) = (config::present(t, scope)?, config::version(t, scope)?);
            config::expecting(t, scope, version, &before, || restore(t, scope, to, &asks.name))?;
            let changes = config::differences(&before, &config::present(t, scope)?, None);
            let mut said = None;
            if !changes.is_empty() {
                config::record(t, scope, &asks.name, "rolled_back")?;
                said = Some(format!("configuration rolled back to {to} by {}", asks.name));
            }
            let version = if preview { now } else { config::version(t, scope)? };
            let (unset, webhooks) = Default::default();
            let answer = Changed { network, app, version, changes, unset, webhooks, apps: Vec::new() };
            Ok(Made { answer, scope, said, rows: apps, created: Vec::new(), removed: Vec::new() })
        };
        let how = How { stage, preview };
        self.settle(who, once, how, make, |answer, apps| Changed { apps, ..answer }).await
    }

    /// Makes a change in one transaction, tells of it, and brings the apps to it.
    pub(super) async fn settle<A>(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        how: How,
        make: impl FnOnce(&Transaction<'_>) -> Result<Made<A>> + Send + 'static,
        finish: fn(A, Vec<Rollout>) -> A,
    ) -> Result<A>
    where
        A: Serialize + Deserialize + Send + 'static,
    {
        if how.preview {
            return Ok(self.store.with(move |t| tried(t, || make(t))).await?.answer);
        }
        let who = who.clone();
        let work = |platform: Arc<Platform>, once: Once| async move {
            let once = Arc::new(once);
            let known = Arc::clone(&once);
            let running = Arc::new(Mutex::new(Vec::new()));
            let (supervisor, told) = (Arc::clone(&platform.supervisor), Arc::clone(&running));
            let made = platform.store.with(move |t| match known.kept::<A>(t)? {
                Some(kept) => Ok(Err(kept)),
                None => {
                    let made = make(t)?;
                    // Here, so that whoever restores it finds that this is under way.
                    let ends = made.removed.iter().flat_map(|doomed| &doomed.live);
                    let ends = ends.map(|app| supervisor.doom(*app));
                    told.lock().unwrap_or_else(PoisonError::into_inner).extend(ends);
                    Ok(Ok(made))
                }
            });
            let made = made.await;
            let running = std::mem::take(&mut *running.lock().unwrap_or_else(PoisonError::into_inner));
            if made.is_err() {
                running.iter().for_each(supervisor::Doomed::spare);
            }
            let made = match made? {
                Ok(made) => made,
                Err(kept) => return Ok(kept),
            };
            for (doomed, running) in made.removed.iter().zip(&running) {
                platform.put_out(&who, doomed, std::slice::from_ref(running)).await;
            }
            platform.apps_created(&who, &made.created).await;
            if let Some(said) = made.said {
                let later = if how.stage { ", staged" } else { "" };
                platform.event(made.scope.network, made.scope.app, format!("{said}{later}")).await;
            }
            let apps = match how.stage {
                true => platform.staged_for(made.rows).await?,
                false => platform.roll_out(&who, made.rows).await,
            };
            let answer = finish(made.answer, apps);
            Ok(platform.store.with(move |t| once.run(t, || Ok((answer, ())))).await?.0)
        };
        self.carry(once, work).await
    }
}

/// A change of configuration that was made.
pub(super) struct Made<A> {
    /// The answer, without what comes of it for apps.
    pub answer: A,
    /// Where it is told.
    pub scope: Scope,
    /// What is told of it.
    pub said: Option<String>,
    /// The apps that it is about.
    pub rows: Vec<AppRow>,
    /// Those that are new.
    pub created: Vec<AppRow>,
    /// Apps that go, each by itself.
    pub removed: Vec<Doomed>,
}

/// How a change is made.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Whether apps get it later.
    pub stage: bool,
    /// Whether it is not made.
    pub preview: bool,
}

/// What `work` gives; nothing of what it changes stays.
pub(super) fn tried<T>(t: &Transaction<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    t.execute_batch("SAVEPOINT tried").map_err(explain)?;
    let done = work();
    t.execute_batch("ROLLBACK TO tried; RELEASE tried").map_err(explain)?;
    done
}

/// The version that is asked for: the newest unless `at` says so.
fn wanted(t: &Transaction<'_>, scope: Scope, at: Option<u64>) -> Result<Version> {
    match at {
        Some(number) => config::numbered(t, scope, number),
        None => config::newest(t, scope),
    }
}

/// Makes variables, secrets and the number of instances what they were behind a change.
fn restore(t: &Transaction<'_>, scope: Scope, to: u64, user: &str) -> Result<()> {
    let number = config::version(t, scope)? + 1;
    let (then, now) = (variables::at(t, scope, to)?, variables::own(t, scope)?);
    let is_in =
        |all: &[Variable], one: &Variable| all.iter().any(|other| other.name == one.name && other.same(one));
    for one in now.iter().filter(|one| !is_in(&then, one)) {
        variables::end(t, one, number)?;
    }
    for one in then.iter().filter(|one| !is_in(&now, one)) {
        variables::again(t, scope, one, user, number)?;
    }
    if scope.app.is_some() {
        let instances = config::instances(&config::recorded(t, scope, to)?);
        let query = "UPDATE all_apps SET instances = ?2 WHERE id = ?1";
        t.execute(query, params![scope.app, held(instances)]).map_err(explain)?;
    }
    variables::check_limits(t, scope)
}

/// What an app has, its own and those of its network, as they are told.
fn told(own: &[Variable], inherited: &[Variable], staged: &[variable::Difference]) -> Told {
    let is_own = |name: &str| own.iter().any(|one| one.name == name);
    let mut all: Vec<&Variable> = inherited.iter().filter(|one| !is_own(&one.name)).chain(own).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut variables, mut secrets) = (Vec::new(), Vec::new());
    for one in all {
        let overrides = one.own && inherited.iter().any(|other| other.name == one.name);
        let staged = staged.iter().any(|other| other.name == one.name);
        match one.secret() {
            true => secrets.push(one.secret_document(overrides, staged)),
            false => variables.push(one.document(overrides, staged)),
        }
    }
    (variables, secrets)
}

fn document(plan: Plan) -> wire::Plan {
    let Plan { kind, build, release, run, health, limits } = plan;
    wire::Plan {
        kind,
        build,
        release,
        run: match run {
            Run::Command(line) => Some(line),
            Run::Static => None,
        },
        health: health.path,
        health_timeout_ms: u64::try_from(health.timeout.as_millis()).unwrap_or(u64::MAX),
        memory: limits.memory,
        cpu: limits.cpu,
    }
}

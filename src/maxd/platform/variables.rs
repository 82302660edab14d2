//! The use-cases of variables: change, list, export, and bringing apps to run with them.

use super::configuration::{How, Made};
use super::lifecycle::gone;
use super::{AppRow, Platform, app_in_row, app_rows, find_app, find_network};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::config;
use crate::maxd::once::Once;
use crate::maxd::plan::Run;
use crate::maxd::secrets::Vault;
use crate::maxd::supervisor::Release;
use crate::maxd::variables::{self, Content, Scope, Setting, Variable};
use crate::wire::exec;
use crate::wire::variable::{Applied, Change, Changed, Difference, Export, List, Query, Rollout, Select};
use futures_util::future::join_all;
use rusqlite::Transaction;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// So many apps of a network are brought to its new variables at the same time.
const AT_ONCE: usize = 4;
/// So many names stand in an event.
const NAMES: usize = 20;
/// The longest text of variables, in bytes.
const TEXT_MAX: usize = 1 << 20;

/// Which apps a request is about.
pub(super) struct Place {
    /// Whose variables.
    pub scope: Scope,
    /// Those that have a release, or the one that was named.
    pub apps: Vec<AppRow>,
}

/// A change of variables or secrets, and what is to be done with it.
pub(super) struct Request {
    /// The network's name.
    pub network: String,
    /// The app's, unless it is for all.
    pub app: Option<String>,
    /// The change itself.
    pub change: variables::Change,
    /// The version it was made from.
    pub version: Option<u64>,
    /// Whether apps get it later.
    pub stage: bool,
    /// Whether it is not made.
    pub preview: bool,
}

/// The scope that is named, and its apps.
pub(super) fn place(t: &Transaction<'_>, who: &Access, network: &str, app: Option<&str>) -> Result<Place> {
    if let Some(app) = app {
        let row = find_app(t, who, network, app)?;
        let scope = Scope { network: row.network_id, app: Some(row.id) };
        return Ok(Place { scope, apps: vec![row] });
    }
    let network = find_network(t, who, network)?;
    let apps = app_rows(t, who, Some(network))?.into_iter().filter(|row| row.release.is_some());
    Ok(Place { scope: Scope { network, app: None }, apps: apps.collect() })
}

/// What an app's instances do not have as they shall: nothing before its first release.
pub(super) fn staged(t: &Transaction<'_>, row: &AppRow) -> Result<Vec<Difference>> {
    if row.release.is_none() {
        return Ok(Vec::new());
    }
    let wanted = variables::wanted(t, row.network_id, row.id)?;
    Ok(variables::differences(&variables::applied(t, row.id)?, &wanted))
}

impl Platform {
    /// `var:list`.
    pub async fn list_variables(&self, who: &Access, request: Select) -> Result<List> {
        let (variables, staged, version) = self.listed(who, &request, false, Variable::document).await?;
        let Select { network, app } = request;
        Ok(List { network, app, variables, staged, version })
    }

    /// What a scope has that is `secret` or is not, what is staged in all, and the version.
    /// `told` is given whether it overrides one of the network's, and whether it is staged.
    pub(super) async fn listed<T: Send + 'static>(
        &self,
        who: &Access,
        of: &Select,
        secret: bool,
        told: fn(&Variable, bool, bool) -> T,
    ) -> Result<(Vec<T>, Vec<Difference>, u64)> {
        let (who, network, app) = (who.clone(), of.network.clone(), of.app.clone());
        let read = move |t: &Transaction<'_>| {
            let Place { scope, apps } = place(t, &who, &network, app.as_deref())?;
            let (all, staged) = match (scope.app, apps.first()) {
                (Some(id), Some(row)) => (variables::wanted(t, scope.network, id)?, staged(t, row)?),
                _ => (variables::own(t, scope)?, Vec::new()),
            };
            let of_network = variables::own(t, Scope { app: None, ..scope })?;
            let listed = all.iter().filter(|one| one.secret() == secret).map(|one| {
                let overrides = one.own && of_network.iter().any(|other| other.name == one.name);
                told(one, overrides, staged.iter().any(|other| other.name == one.name))
            });
            Ok((listed.collect(), staged, config::version(t, scope)?))
        };
        self.store.with(read).await
    }

    /// `var:export`.
    pub async fn export_variables(&self, who: &Access, request: Query) -> Result<Export> {
        let who = who.clone();
        let read = move |t: &Transaction<'_>| {
            let Query { network, app, own } = request;
            let scope = place(t, &who, &network, app.as_deref())?.scope;
            let rows = match scope.app {
                Some(id) if !own => variables::wanted(t, scope.network, id)?,
                _ => variables::own(t, scope)?,
            };
            let variables: Vec<_> = rows
                .into_iter()
                .filter(|one| !one.secret())
                .map(|one| exec::Variable { name: one.name, value: one.value })
                .collect();
            let text = variables::write(&variables);
            Ok(Export { network, app, variables, text })
        };
        self.store.with(read).await
    }

    /// `var:change`.
    pub async fn change_variables(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: Change,
    ) -> Result<Changed> {
        if request.text.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
            return Err(Error::new(
                Kind::TooLarge,
                format!("a text of variables has at most {TEXT_MAX} bytes"),
            )
            .field("text"));
        }
        let mut all = request.text.as_deref().map(variables::parse).transpose()?.unwrap_or_default();
        all.extend(request.set);
        let set = all.into_iter().map(|one| Setting { name: one.name, content: Content::Plain(one.value) });
        let change = variables::Change {
            secret: false,
            set: set.collect(),
            delete: request.delete,
            prune: request.prune,
        };
        let Change { network, app, version, stage, preview, .. } = request;
        self.change_environment(who, once, Request { network, app, change, version, stage, preview }).await
    }

    /// Makes a change and brings the apps to run with it.
    pub(super) async fn change_environment(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: Request,
    ) -> Result<Changed> {
        let Request { network, app, change, version, stage, preview } = request;
        let (asks, vault) = (who.clone(), Arc::clone(&self.vault));
        let make = move |t: &Transaction<'_>| {
            let Place { scope, apps } = place(t, &asks, &network, app.as_deref())?;
            let key = key_number(t, &vault, &change, scope)?;
            let (before, now) = (config::present(t, scope)?, config::version(t, scope)?);
            let (changes, unchanged) = config::expecting(t, scope, version, &before, || {
                change.make(t, scope, &asks.name, (key, now + 1))
            })?;
            let mut said = None;
            if !changes.is_empty() {
                let noun = if change.secret { "secrets" } else { "variables" };
                config::record(t, scope, &asks.name, noun)?;
                said = Some(format!("{noun} changed by {}: {}", asks.name, told(&changes)));
            }
            let version = if preview { now } else { config::version(t, scope)? };
            let answer = Changed { network, app, changes, unchanged, version, apps: Vec::new() };
            Ok(Made { answer, scope, said, rows: apps, created: Vec::new(), removed: Vec::new() })
        };
        let how = How { stage, preview };
        self.settle(who, once, how, make, |answer, apps| Changed { apps, ..answer }).await
    }

    /// `var:apply`.
    pub async fn apply_variables(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: Select,
    ) -> Result<Applied> {
        let who = who.clone();
        let work = |platform: Arc<Platform>, once: Once| async move {
            let Select { network, app } = request;
            let (asks, once) = (who.clone(), Arc::new(once));
            let (known, named) = (Arc::clone(&once), (network.clone(), app.clone()));
            let found = move |t: &Transaction<'_>| match known.kept::<Applied>(t)? {
                Some(kept) => Ok(Err(kept)),
                None => place(t, &asks, &named.0, named.1.as_deref()).map(Ok),
            };
            let rows = match platform.store.with(found).await? {
                Ok(place) => place.apps,
                Err(kept) => return Ok(kept),
            };
            let apps = platform.roll_out(&who, rows).await;
            let answer = move || Ok((Applied { network, app, apps }, ()));
            Ok(platform.store.with(move |t| once.run(t, answer)).await?.0)
        };
        self.carry(once, work).await
    }

    /// Those of the apps for which something is staged.
    pub(super) async fn staged_for(&self, rows: Vec<AppRow>) -> Result<Vec<Rollout>> {
        let read = move |t: &Transaction<'_>| {
            let mut apps = Vec::new();
            for row in rows {
                let changes = staged(t, &row)?;
                if !changes.is_empty() {
                    apps.push(rollout(&row, "staged", changes));
                }
            }
            Ok(apps)
        };
        self.store.with(read).await
    }

    /// Brings apps to run with what they shall; one that fails does not keep the others
    /// from it.
    pub(super) async fn roll_out(&self, who: &Access, rows: Vec<AppRow>) -> Vec<Rollout> {
        let turns = Semaphore::new(AT_ONCE);
        let all = join_all(rows.iter().map(|row| async {
            let _turn = turns.acquire().await;
            let mut stopping = self.stopping.clone();
            let done = tokio::select! {
                biased;
                done = self.bring(row) => done,
                _ = stopping.wait_for(|stopping| *stopping) => {
                    Err((Error::new(Kind::Failed, "maxd was stopped before"), Vec::new()))
                }
            };
            self.outcome(who, row, done).await
        }));
        all.await.into_iter().flatten().collect()
    }

    /// Says what came of one app; none when nothing was different for it.
    async fn outcome(
        &self,
        who: &Access,
        row: &AppRow,
        done: Result<Option<Rollout>, (Error, Vec<Difference>)>,
    ) -> Option<Rollout> {
        let (network, app) = (row.network_id, Some(row.id));
        match done {
            Ok(done) => {
                let said = match done.as_ref().map(|done| done.state.as_str()) {
                    Some("restarted") => Some("restarted with its variables"),
                    Some("scaled") => Some("scaled as it is configured"),
                    _ => None,
                };
                if let Some(said) = said {
                    self.event(network, app, format!("{said} by {}", who.name)).await;
                }
                done
            }
            Err((error, changes)) => {
                let text = format!("not restarted with its variables, as {} asked: {error}", who.name);
                self.event(network, app, text).await;
                let message = format!("app '{}' does not run with its variables: {error}", row.name);
                let more = error.hint_text().map_or(String::new(), |hint| format!("; {hint}"));
                let name = format!("{}.{}", row.name, row.network);
                let hint = format!(
                    "what ran goes on as it was, and they are staged: correct them, or `rig apply {name}` tries again{more}"
                );
                let (error, hint) = (Some(message), Some(hint));
                Some(Rollout { error, hint, ..rollout(row, "failed", changes) })
            }
        }
    }

    /// Starts new instances of an app with what it shall run with, and switches to them. Where
    /// nothing runs, what starts next has it.
    async fn bring(&self, row: &AppRow) -> Result<Option<Rollout>, (Error, Vec<Difference>)> {
        let plain = |error| (error, Vec::new());
        let (network, app) = (row.network_id, row.id);
        let mut hold = self.supervisor.hold(app).await.map_err(plain)?;
        let vault = Arc::clone(&self.vault);
        let read = move |t: &Transaction<'_>| {
            let row = app_in_row(t, app)?.ok_or_else(gone)?;
            let wanted = variables::wanted(t, network, app)?;
            let env = variables::environment(t, &vault, network, &wanted)?;
            Ok((row, wanted, variables::applied(t, app)?, env))
        };
        let (row, wanted, applied, env) = self.store.with(read).await.map_err(plain)?;
        let changes = variables::differences(&applied, &wanted);
        let Some(release) = hold.release() else {
            // Its first deploy takes them.
            return Ok((!changes.is_empty()).then(|| rollout(&row, "ready", changes)));
        };
        let release = Release { env, ..release };
        let runs = hold.runs() && release.plan.run != Run::Static;
        let (mut ending, mut state) = (None, "restarted");
        if !runs {
            state = "ready";
            hold.equip(&release);
        } else if !changes.is_empty() {
            match hold.switch(release, row.instances).await {
                Ok(old) => ending = Some(old),
                Err(error) => return Err((error, changes)),
            }
        } else if hold.instances() != row.instances {
            state = "scaled";
            hold.scale(row.instances).await.map_err(plain)?;
        }
        let ids = variables::rows_of(&wanted);
        let kept = self.store.with(move |t| variables::apply(t, app, &ids)).await;
        kept.map_err(|error| (error, changes.clone()))?;
        if let Some(ending) = ending {
            ending.ended().await;
        }
        let different = state == "scaled" || !changes.is_empty();
        Ok(different.then(|| rollout(&row, state, changes)))
    }
}

/// The number of the network's key, which only sealed values ask for.
fn key_number(t: &Transaction<'_>, vault: &Vault, change: &variables::Change, scope: Scope) -> Result<u64> {
    match change.secret && !change.set.is_empty() {
        true => Ok(vault.key(t, scope.network)?.number),
        false => Ok(0),
    }
}

fn rollout(row: &AppRow, state: &str, changes: Vec<Difference>) -> Rollout {
    Rollout { app: row.name.clone(), state: state.to_owned(), error: None, hint: None, changes }
}

/// `A added, B removed`.
fn told(changes: &[Difference]) -> String {
    let names = changes.iter().take(NAMES).map(|one| format!("{} {}", one.name, one.change));
    let more = changes.len().saturating_sub(NAMES);
    let more = (more > 0).then(|| format!("and {more} more"));
    names.chain(more).collect::<Vec<_>>().join(", ")
}

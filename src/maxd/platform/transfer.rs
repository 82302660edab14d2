//! The use-cases that carry configurations: export, import, and what is different.

use super::configuration::{How, Made, tried};
use super::trash::Doomed;
use super::variables::place;
use super::{AppRow, Platform, app_rows, find_app, find_network, insert_app, insert_network};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::{Access, Level};
use crate::maxd::config::document::Document;
use crate::maxd::config::{self, Items, Outcome, item};
use crate::maxd::once::Once;
use crate::maxd::plan::{Plan, Run};
use crate::maxd::variables::{self, Scope};
use crate::name::Name;
use crate::time::rfc3339;
use crate::wire::config::{Change, Changed, Diff, Export, Exported, Import};
use rusqlite::Transaction;
use std::sync::Arc;
use std::time::SystemTime;

/// A document and where it goes.
struct Carried {
    document: Document,
    /// The network's name here.
    network: String,
    /// The app's, of an app's document.
    app: Option<String>,
    /// Whether secrets are set too.
    secrets: bool,
    /// Whether they are opened, which is not needed to see which are other ones.
    open: bool,
    prune: bool,
    /// The state it was made from.
    state: Option<u64>,
    /// Whether a network that there is not is created.
    creates: bool,
    /// Whether nothing of it stays.
    preview: bool,
}

impl Carried {
    fn new(document: &str, network: Option<String>, app: Option<String>) -> Result<Carried> {
        let document = Document::parse(document)?;
        if document.app.is_none() && app.is_some() {
            let message = "this is the document of a network, and goes to no app";
            return Err(Error::usage(message).hint("name a network alone").field("app"));
        }
        let network = network.unwrap_or_else(|| document.network.clone());
        Name::parse("network", &network)?;
        let app = app.or_else(|| document.app.clone());
        if let Some(app) = &app {
            Name::parse("app", app)?;
        }
        let (secrets, open, prune, state, creates, preview) = (true, false, true, None, false, true);
        Ok(Carried { document, network, app, secrets, open, prune, state, creates, preview })
    }
}

impl Platform {
    /// `config:export`.
    pub async fn export_config(&self, who: &Access, request: Export) -> Result<Exported> {
        let who = if request.secrets { who.at_least(Level::Deploy) } else { who.clone() };
        let vault = Arc::clone(&self.vault);
        let read = move |t: &Transaction<'_>| {
            let scope = place(t, &who, &request.network, request.app.as_deref())?.scope;
            let vault = Some(&*vault).filter(|_| request.secrets);
            let document = config::export(t, scope, &who.name, vault)?;
            // Else nobody could import it.
            Document::parse(&document).map_err(|error| {
                Error::new(Kind::TooLarge, format!("the document can't be read again: {error}"))
            })?;
            Ok(Exported { document })
        };
        self.store.with(read).await
    }

    /// `config:import`.
    pub async fn import_config(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: Import,
    ) -> Result<Changed> {
        let Import { document, network, app, prune, secrets, version, stage, preview } = request;
        let carried = Carried::new(&document, network, app)?;
        let (open, state, creates) = (secrets, version, true);
        let carried = Carried { prune, secrets, open, state, creates, preview, ..carried };
        for url in self.new_webhooks(who, &carried).await? {
            self.admit_webhook(&url).await?;
        }
        let (asks, platform) = (who.clone(), Arc::clone(self));
        let make = move |t: &Transaction<'_>| platform.carry_over(t, &asks, &carried);
        self.settle(who, once, How { stage, preview }, make, |answer, apps| Changed { apps, ..answer }).await
    }

    /// Where webhooks of the document lead that are not there. Names are looked up for owners
    /// alone.
    async fn new_webhooks(&self, who: &Access, carried: &Carried) -> Result<Vec<String>> {
        let (who, network) = (who.clone(), carried.network.clone());
        let urls = carried.document.own.webhooks.clone().unwrap_or_default();
        if urls.is_empty() {
            return Ok(urls);
        }
        let read = move |t: &Transaction<'_>| {
            let there = match find_network(t, &who, &network) {
                Ok(network) => config::webhooks(&config::present(t, Scope { network, app: None })?),
                Err(error) if error.kind() == Kind::NotFound => {
                    who.check_scope()?;
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            Ok(urls.into_iter().filter(|url| !there.contains(url)).collect())
        };
        self.store.with(read).await
    }

    /// `config:diff`.
    pub async fn diff_config(self: &Arc<Self>, who: &Access, request: Diff) -> Result<Changed> {
        let who = who.clone();
        let Diff { document, network, app, other_network, other_app } = request;
        if let Some(document) = document {
            let carried = Carried::new(&document, network, app)?;
            let platform = Arc::clone(self);
            let made = self.store.with(move |t| tried(t, || platform.carry_over(t, &who, &carried)));
            return Ok(made.await?.answer);
        }
        let (network, app) = (network.unwrap_or_default(), app.unwrap_or_default());
        let read = move |t: &Transaction<'_>| {
            let first = effective(t, &find_app(t, &who, &network, &app)?)?;
            let (other_network, other_app) =
                (other_network.unwrap_or_default(), other_app.unwrap_or_default());
            let second = effective(t, &find_app(t, &who, &other_network, &other_app)?)?;
            let changes = config::differences(&first, &second, None);
            let app = Some(app);
            Ok(Changed {
                network,
                app,
                version: 0,
                changes,
                unset: Vec::new(),
                webhooks: Vec::new(),
                apps: Vec::new(),
            })
        };
        self.store.with(read).await
    }

    /// Makes what there is what a document says.
    fn carry_over(&self, t: &Transaction<'_>, who: &Access, carried: &Carried) -> Result<Made<Changed>> {
        let Carried { document, network, app, .. } = carried;
        let mut changes = Vec::new();
        let id = match (find_network(t, who, network), app) {
            (Err(error), None) if carried.creates && error.kind() == Kind::NotFound => {
                let name = Name::parse("network", network)?;
                let now = rfc3339(SystemTime::now());
                changes.push(whole(None, "network", network, true));
                insert_network(t, who, Some(name), now, &self.address)?.1
            }
            (found, _) => found?,
        };
        let known = match app {
            Some(app) => find_app(t, who, network, app).ok().map(|row| row.id),
            None => None,
        };
        // Of an app that there is not yet there is nothing that could have been changed.
        let state = if app.is_some() && known.is_none() { 0 } else { config::state(t, id, known)? };
        let key = match (&document.key, carried.open) {
            (Some(key), true) => Some(self.vault.unwrap(key, &who.name)?),
            (None, true) if document.holds_secrets() => {
                let message = "the document has sealed secrets, and not the 'key' that opens them";
                return Err(Error::usage(message).field("document"));
            }
            _ => None,
        };
        let import = config::Import {
            document,
            network,
            vault: &self.vault,
            key,
            secrets: carried.secrets,
            prune: carried.prune,
            user: &who.name,
        };
        let mut all = Outcome::default();
        let mut take = |outcome: Outcome, app: Option<&str>| {
            let Outcome { changes, unset, webhooks } = outcome;
            all.changes.extend(changes);
            let name = |secret: String| app.map_or(secret.clone(), |app| format!("{secret} of app {app}"));
            all.unset.extend(unset.into_iter().map(name));
            all.webhooks.extend(webhooks);
        };
        if app.is_none() {
            take(import.apply(t, Scope { network: id, app: None }, (None, None), &document.own)?, None);
        }
        let mut created = Vec::new();
        for (name, part) in &document.apps {
            let target = app.as_deref().unwrap_or(name);
            let row = match insert_app(t, id, &Name::parse("app", target)?, &who.name)? {
                Some(row) => {
                    changes.push(whole(Some(target), "app", target, true));
                    let id = row.id;
                    created.push(row);
                    id
                }
                None => find_app(t, who, network, target)?.id,
            };
            let scope = Scope { network: id, app: Some(row) };
            take(import.apply(t, scope, (Some(name), Some(target)), part)?, Some(target));
        }
        let mut removed = Vec::new();
        if carried.prune && document.whole {
            let grace = self.kept_for(None);
            for row in app_rows(t, who, Some(id))?.iter().filter(|row| !document.apps.contains_key(&row.name))
            {
                changes.push(whole(Some(&row.name), "app", &row.name, false));
                let doomed = Doomed::app(row, &who.name, grace);
                doomed.go(t)?;
                removed.push(doomed);
            }
        }
        changes.extend(all.changes);
        if let Some(expected) = carried.state.filter(|expected| *expected != state) {
            let theirs = config::since(t, id, known, expected)?;
            let message = format!("it was changed since this was looked at: {theirs}");
            let hint =
                format!("yours was: {}; look at what there is, then try again", config::told(&changes));
            return Err(Error::new(Kind::Conflict, message).hint(hint).field("version"));
        }
        let is_of_it = |row: &AppRow| app.is_none() || known == Some(row.id);
        let rows = app_rows(t, who, Some(id))?.into_iter();
        let rows = rows.filter(|row| row.release.is_some() && is_of_it(row)).collect();
        let (unset, webhooks) = (all.unset, all.webhooks);
        let webhooks = if carried.preview { Vec::new() } else { webhooks };
        let said = (!changes.is_empty()).then(|| format!("configuration imported by {}", who.name));
        let scope = Scope { network: id, app: known };
        let (network, app) = (network.clone(), app.clone());
        let answer = Changed { network, app, version: state, changes, unset, webhooks, apps: Vec::new() };
        Ok(Made { answer, scope, said, rows, created, removed })
    }
}

/// That a whole network or app is there or gone.
fn whole(app: Option<&str>, kind: &str, name: &str, added: bool) -> Change {
    let change = if added { "added" } else { "removed" };
    let (app, kind, name) = (app.map(str::to_owned), kind.to_owned(), name.to_owned());
    Change { app, kind, name, change: change.to_owned(), before: None, after: None }
}

/// All that decides how an app runs, but its name. Secrets of two apps are never the same, so that
/// only whether there are some of a name is compared.
fn effective(t: &Transaction<'_>, row: &AppRow) -> Result<Items> {
    let mut items: Items = config::items(&variables::wanted(t, row.network_id, row.id)?).collect();
    for (key, value) in &mut items {
        if key.0 == "secret" {
            value.clear();
        }
    }
    items.extend([item("instances", "", row.instances.to_string())]);
    let plan = match row.release {
        Some(release) => Plan::recorded(t, row.id, release)?,
        None => None,
    };
    items.extend(plan.map(of_plan).unwrap_or_default());
    Ok(items)
}

/// How a release is built and run.
pub(super) fn of_plan(plan: Plan) -> Items {
    let Plan { kind, build, release, run, health, limits } = plan;
    let run = match run {
        Run::Command(line) => Some(line),
        Run::Static => None,
    };
    let limit = |value: Option<u64>| value.map(|value| value.to_string());
    let all = [
        ("kind", Some(kind)),
        ("health_timeout", Some(format!("{} ms", health.timeout.as_millis()))),
        ("build", Some(build.join("; ")).filter(|build| !build.is_empty())),
        ("release", release),
        ("run", run),
        ("health", health.path),
        ("memory", limit(limits.memory)),
        ("cpu", limit(limits.cpu)),
    ];
    all.into_iter().filter_map(|(kind, value)| Some(item(kind, "", value?))).collect()
}

//! The use-cases: what a user can ask for, each one transaction. A network is looked up for
//! who asks, so that one he is no member of is simply not found.

mod cancel;
mod compare;
mod configuration;
mod lifecycle;
mod probation;
mod releases;
mod rename;
mod restore;
mod secrets;
mod status;
mod transfer;
mod trash;
mod under_way;
mod variables;

pub use under_way::Lifecycle;

use super::access::{Access, Level, SEEN, admit};
use super::alerts::Alerts;
use super::auth::{Auth, Identity};
use super::config;
use super::contents::Contents;
use super::deploys::Deploys;
use super::exec::Execs;
use super::line::NewLine;
use super::logs::Logs;
use super::members;
use super::metrics::Metrics;
use super::near;
use super::once::Once;
use super::plan::Run;
use super::releases::Retention;
use super::router::Routes;
use super::runtime::Runtime;
use super::secrets::Vault;
use super::sockets::Sockets;
use super::store::{Store, explain};
use super::supervisor::Supervisor;
use super::variables::Scope;
use super::webhooks::Webhooks;
use crate::error::{Error, Kind, Result};
use crate::name::Name;
use crate::time::rfc3339;
use crate::wire::app::{self, App};
use crate::wire::log::Source;
use crate::wire::network::{self, Network};
use crate::wire::{Limits, Welcome};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};

/// Where the server and its apps are reached.
#[derive(Clone)]
pub struct Address {
    /// The domain under which apps are.
    pub domain: String,
    /// `http` or `https`, of the apps.
    pub scheme: &'static str,
    /// `:7080`, or nothing for the scheme's own port.
    pub port: String,
}

impl Address {
    /// `APP.NETWORK.DOMAIN`.
    pub fn hostname(&self, network: &str, app: &str) -> String {
        format!("{app}.{network}.{}", self.domain)
    }

    /// Where an app answers.
    pub fn url(&self, network: &str, app: &str) -> String {
        format!("{}://{}{}/", self.scheme, self.hostname(network, app), self.port)
    }
}

/// The server's parts, shared by all connections.
pub struct Platform {
    /// The state.
    pub store: Arc<Store>,
    /// What opens secrets.
    pub vault: Arc<Vault>,
    /// Users and sessions.
    pub auth: Auth,
    /// The lines.
    pub logs: Arc<Logs>,
    /// Where new lines go.
    pub lines: mpsc::Sender<NewLine>,
    /// The running releases.
    pub supervisor: Arc<Supervisor>,
    /// Where builds run.
    pub runtime: Arc<dyn Runtime>,
    /// The hostnames.
    pub routes: Arc<Routes>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// The deploys under way.
    pub deploys: Deploys,
    /// What deploys consist of.
    pub contents: Arc<Contents>,
    /// Which releases stay.
    pub keep: Retention,
    /// How much an app's builds may leave for the next ones, in bytes.
    pub cache_bytes: u64,
    /// What starts, stops and scales apps at the moment.
    pub lifecycle: Lifecycle,
    /// Commands and shells.
    pub execs: Execs,
    /// What is wrong.
    pub alerts: Arc<Alerts>,
    /// How those are told who want to hear of it.
    pub webhooks: Webhooks,
    /// What is accepted.
    pub limits: Limits,
    /// How long what is deleted can be restored.
    pub grace: Duration,
    /// Where apps are reached.
    pub address: Address,
    /// The data directory.
    pub data: PathBuf,
    /// The connections of channels.
    pub sockets: Arc<Sockets>,
    /// True once the server shuts down.
    pub stopping: watch::Receiver<bool>,
}

/// An app's row.
pub struct AppRow {
    /// Its row.
    pub id: i64,
    /// Its network's row.
    pub network_id: i64,
    network: String,
    /// Its name.
    pub name: String,
    created_at: String,
    /// The release that serves.
    pub release: Option<u64>,
    deployed_at: Option<String>,
    /// How many instances it has when it runs.
    pub instances: u64,
    /// Its user has stopped it.
    pub stopped: bool,
}

impl Platform {
    /// The answer to joining `control`.
    pub fn welcome(&self, identity: &Identity) -> Welcome {
        Welcome {
            user: identity.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            domain: self.address.domain.clone(),
            limits: self.limits.clone(),
            manifests: Some(true),
        }
    }

    /// `network:create`.
    pub async fn create_network(
        &self,
        who: &Access,
        once: Once,
        request: network::Create,
    ) -> Result<Network> {
        let wanted = match request.name {
            Some(name) => Some(Name::parse("network", &name)?),
            None => None,
        };
        who.check_scope()?;
        let (asks, now, address) = (who.clone(), rfc3339(SystemTime::now()), self.address.clone());
        let (network, created) =
            self.store.with(move |t| once.run(t, || insert_network(t, &asks, wanted, now, &address))).await?;
        if let Some(id) = created {
            self.event(id, None, format!("network {} created by {}", network.name, who.name)).await;
        }
        Ok(network)
    }

    /// `network:list`.
    pub async fn list_networks(&self, who: &Identity) -> Result<network::List> {
        let (who, domain) = (who.clone(), self.address.domain.clone());
        let networks = self.store.with(move |t| {
            let query = format!("{NETWORKS} WHERE {SEEN} ORDER BY n.name");
            let mut query = t.prepare(&query).map_err(explain)?;
            let rows = query.query_map(params![who.user, who.network], |row| network_document(row, &domain));
            rows.and_then(Iterator::collect).map_err(explain)
        });
        Ok(network::List { networks: networks.await? })
    }

    /// `app:create`.
    pub async fn create_app(&self, who: &Access, once: Once, request: app::Select) -> Result<App> {
        let name = Name::parse("app", &request.app)?;
        let (asks, show) = (who.clone(), self.shows());
        let (app, created) = self
            .store
            .with(move |t| {
                once.run(t, || {
                    let network = find_network(t, &asks, &request.network)?;
                    let row = insert_app(t, network, &name, &asks.name)?.ok_or_else(|| {
                        let message = format!("app '{name}' already exists in network '{}'", request.network);
                        Error::new(Kind::Conflict, message)
                            .hint("choose another name, or deploy to it")
                            .field("name")
                    })?;
                    Ok((show(&row), row))
                })
            })
            .await?;
        if let Some(row) = created {
            self.apps_created(who, &[row]).await;
        }
        Ok(app)
    }

    /// What follows from new apps of one network.
    pub async fn apps_created(&self, who: &Access, rows: &[AppRow]) {
        if let Some(first) = rows.first() {
            self.route(first.network_id).await;
        }
        for row in rows {
            let text = format!("app {} created by {}", row.name, who.name);
            self.event(row.network_id, Some(row.id), text).await;
        }
    }

    /// `app:list`.
    pub async fn list_apps(&self, who: &Access, request: app::Filter) -> Result<app::List> {
        let who = who.clone();
        let rows = self.store.with(move |t| {
            let network = match &request.network {
                Some(name) => Some(find_network(t, &who, name)?),
                None => None,
            };
            app_rows(t, &who, network)
        });
        Ok(app::List { apps: rows.await?.iter().map(|row| self.app_document(row)).collect() })
    }

    /// Brings the routes to what apps the network has now; none when it is gone.
    pub async fn route(&self, network: i64) {
        let (routes, address) = (Arc::clone(&self.routes), self.address.clone());
        let followed = self.store.with(move |t| {
            let apps = apps_in_row(t, network)?;
            let hostname = |row: AppRow| (row.id, address.hostname(&row.network, &row.name));
            // Within the transaction: so the last to look has the last word.
            routes.follow(network, apps.into_iter().map(hostname).collect());
            Ok(())
        });
        if let Err(error) = followed.await {
            say!("cannot lead requests to the apps of network {network}: {error}");
        }
    }

    /// Writes a line about what Max did.
    pub async fn event(&self, network: i64, app: Option<i64>, text: String) {
        let line = NewLine::new(network, app, None, Source::Event, text);
        // The writer only goes when the server does.
        let _ = self.lines.send(line).await;
    }

    /// Where an app's releases are.
    pub fn app_directory(&self, app: i64) -> PathBuf {
        self.data.join("apps").join(app.to_string())
    }

    fn app_document(&self, row: &AppRow) -> App {
        app_document(row, &self.supervisor, &self.address)
    }

    /// [`Platform::app_document`] for use within a transaction.
    fn shows(&self) -> impl Fn(&AppRow) -> App + Send + 'static {
        let (supervisor, address) = (Arc::clone(&self.supervisor), self.address.clone());
        move |row| app_document(row, &supervisor, &address)
    }
}

fn app_document(row: &AppRow, supervisor: &Supervisor, address: &Address) -> App {
    let status = supervisor.status(row.id);
    let is_static = supervisor.release(row.id).is_some_and(|release| release.plan.run == Run::Static);
    let instances = if is_static { 1 } else { row.instances };
    let running = status.instances.iter().filter(|one| one.state == app::State::Running).count();
    App {
        name: row.name.clone(),
        network: row.network.clone(),
        hostname: address.hostname(&row.network, &row.name),
        url: address.url(&row.network, &row.name),
        state: status.state,
        reason: status.reason,
        instances,
        running: running as u64,
        release: row.release,
        deployed_at: row.deployed_at.clone(),
        created_at: row.created_at.clone(),
    }
}

/// Inserts a network with the wanted name or an unused one: its document and its row.
fn insert_network(
    t: &Transaction<'_>,
    who: &Access,
    wanted: Option<Name>,
    now: String,
    address: &Address,
) -> Result<(Network, i64)> {
    if who.network.is_some() {
        return Err(Error::new(Kind::Forbidden, "this token is for one network, and can't create another")
            .hint("use a token that is for all: `rig create token` without --network"));
    }
    let name = match wanted {
        Some(name) => name.to_string(),
        None => unused_name(t)?,
    };
    let inserted = t.execute(
        "INSERT INTO all_networks(name, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![name, now],
    );
    if inserted.map_err(explain)? == 0 {
        return Err(Error::new(Kind::Conflict, format!("network '{name}' already exists"))
            .hint("choose another name, or leave it out and Max assigns one")
            .field("name"));
    }
    let (id, domain) = (t.last_insert_rowid(), format!("{name}.{}", address.domain));
    members::add(t, id, who.user, Level::Admin)?;
    config::record(t, Scope { network: id, app: None }, &who.name, "created")?;
    Ok((Network { name, domain, apps: 0, created_at: now }, id))
}

const NETWORKS: &str =
    "SELECT n.name, n.created_at, (SELECT count(*) FROM apps WHERE network = n.id) FROM networks n";

fn network_row(t: &Transaction<'_>, id: i64, domain: &str) -> Result<Network> {
    let query = format!("{NETWORKS} WHERE n.id = ?1");
    t.query_row(&query, [id], |row| network_document(row, domain)).map_err(explain)
}

/// The network of this name, if `who` may do there what he asks for.
pub fn find_network(t: &Transaction<'_>, who: &Access, name: &str) -> Result<i64> {
    let missing = || {
        let seen = format!("SELECT n.name FROM networks n WHERE {SEEN}");
        let own = params![who.user, who.network];
        Error::new(Kind::NotFound, format!("network '{name}' does not exist"))
            .hint(near::hint(t, name, &seen, own, "see `rig list networks`"))
            .field("network")
    };
    let found = t.query_row("SELECT id FROM networks WHERE name = ?1", [name], |row| row.get(0));
    let id = found.optional().map_err(explain)?.ok_or_else(missing)?;
    admit(t, who, id, missing).map(|_| id)
}

/// The app of this name, if `who` may do there what he asks for.
pub fn find_app(t: &Transaction<'_>, who: &Access, network: &str, app: &str) -> Result<AppRow> {
    let id = find_network(t, who, network)?;
    let query = format!("{APP_ROWS} WHERE n.id = ?1 AND a.name = ?2");
    t.query_row(&query, params![id, app], app_row).optional().map_err(explain)?.ok_or_else(|| {
        let all = "SELECT name FROM apps WHERE network = ?1";
        let see = format!("see `rig list apps --network {network}`");
        Error::new(Kind::NotFound, format!("app '{app}' does not exist in network '{network}'"))
            .hint(near::hint(t, app, all, [id], &see))
            .field("app")
    })
}

/// The app in this row, if it is still there.
pub fn app_in_row(t: &Transaction<'_>, app: i64) -> Result<Option<AppRow>> {
    t.query_row(&format!("{APP_ROWS} WHERE a.id = ?1"), [app], app_row).optional().map_err(explain)
}

/// The name of the network in this row, if it is still there.
pub fn network_in_row(t: &Transaction<'_>, network: i64) -> Result<Option<String>> {
    let found = t.query_row("SELECT name FROM networks WHERE id = ?1", [network], |row| row.get(0));
    found.optional().map_err(explain)
}

/// The apps of the network in this row; none when it is gone.
pub fn apps_in_row(t: &Transaction<'_>, network: i64) -> Result<Vec<AppRow>> {
    let mut query = t.prepare(&format!("{APP_ROWS} WHERE n.id = ?1 ORDER BY a.name")).map_err(explain)?;
    let rows = query.query_map([network], app_row);
    rows.and_then(Iterator::collect).map_err(explain)
}

/// Inserts an app; none when there is one of this name.
pub fn insert_app(t: &Transaction<'_>, network: i64, name: &Name, user: &str) -> Result<Option<AppRow>> {
    let inserted = t
        .execute(
            "INSERT INTO all_apps(network, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![network, name.as_str(), rfc3339(SystemTime::now())],
        )
        .map_err(explain)?;
    if inserted == 0 {
        return Ok(None);
    }
    let app = t.last_insert_rowid();
    config::record(t, Scope { network, app: Some(app) }, user, "created")?;
    app_in_row(t, app)
}

/// Every app with the names it is reached by; used at the start.
pub fn all_apps(t: &Transaction<'_>) -> Result<Vec<(AppRow, String, String)>> {
    let mut query = t.prepare(APP_ROWS).map_err(explain)?;
    let rows = query.query_map([], |row| {
        let app = app_row(row)?;
        let (network, name) = (app.network.clone(), app.name.clone());
        Ok((app, network, name))
    });
    rows.and_then(Iterator::collect).map_err(explain)
}

/// The rows of all apps and networks, also of those in the trash.
pub fn kept_rows(t: &Transaction<'_>) -> Result<(Vec<i64>, Vec<i64>)> {
    let all = |table: &str| {
        let mut query = t.prepare(&format!("SELECT id FROM {table}")).map_err(explain)?;
        let rows = query.query_map([], |row| row.get(0));
        rows.and_then(Iterator::collect::<rusqlite::Result<Vec<i64>>>).map_err(explain)
    };
    Ok((all("all_apps")?, all("all_networks")?))
}

const APP_ROWS: &str = "SELECT a.id, n.id, n.name, a.name, a.created_at, a.release, a.deployed_at,
     a.instances, a.stopped
     FROM apps a JOIN networks n ON n.id = a.network";

/// The apps of all networks that `who` sees, or of one.
fn app_rows(t: &Transaction<'_>, who: &Identity, network: Option<i64>) -> Result<Vec<AppRow>> {
    let query = format!("{APP_ROWS} WHERE {SEEN} AND n.id = ifnull(?3, n.id) ORDER BY n.name, a.name");
    let mut query = t.prepare(&query).map_err(explain)?;
    let rows = query.query_map(params![who.user, who.network, network], app_row);
    rows.and_then(Iterator::collect).map_err(explain)
}

fn app_row(row: &Row<'_>) -> rusqlite::Result<AppRow> {
    Ok(AppRow {
        id: row.get(0)?,
        network_id: row.get(1)?,
        network: row.get(2)?,
        name: row.get(3)?,
        created_at: row.get(4)?,
        release: row.get(5)?,
        deployed_at: row.get(6)?,
        instances: row.get(7)?,
        stopped: row.get(8)?,
    })
}

fn network_document(row: &Row<'_>, domain: &str) -> rusqlite::Result<Network> {
    let name: String = row.get(0)?;
    Ok(Network { domain: format!("{name}.{domain}"), name, created_at: row.get(1)?, apps: row.get(2)? })
}

/// A readable name that no network has.
fn unused_name(t: &Transaction<'_>) -> Result<String> {
    for _ in 0..100 {
        let Some(name) = petname::petname(2, "-") else { break };
        let taken: bool = t
            .query_row("SELECT EXISTS (SELECT 1 FROM networks WHERE name = ?1)", [&name], |row| row.get(0))
            .map_err(explain)?;
        if !taken && Name::parse("network", &name).is_ok() {
            return Ok(name);
        }
    }
    Err(Error::new(Kind::Internal, "the server found no unused name")
        .hint("choose one: `rig create network NAME`"))
}

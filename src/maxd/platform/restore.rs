//! Restoring what is in the trash: its rows first, in one transaction, and then what ran of it.
//!
//! That takes as long as the apps do ([`under_way`](super::under_way)).

use super::lifecycle::gone;
use super::rename::{name_app, name_network};
use super::trash::{APP, NETWORK, Wanted, find, look, missing};
use super::{AppRow, Platform, app_in_row, apps_in_row, find_network, network_row};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::once::Once;
use crate::maxd::secrets::Vault;
use crate::maxd::store::explain;
use crate::name::Name;
use crate::wire::app::{self, App};
use crate::wire::network::{self, Network};
use futures_util::future::join_all;
use miniserde::{Deserialize, Serialize};
use rusqlite::Transaction;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// So many apps of a network are started at the same time.
const AT_ONCE: usize = 4;

/// What is there again.
struct Back {
    network: i64,
    /// The app, when it is one.
    app: Option<i64>,
    /// Those to start.
    rows: Vec<AppRow>,
    /// `network blue`.
    what: String,
}

impl Platform {
    /// `app:restore`.
    pub async fn restore_app(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: app::Restore,
    ) -> Result<App> {
        let (asks, vault, grace) = (who.clone(), Arc::clone(&self.vault), self.grace);
        let back = move |t: &Transaction<'_>| app_back(t, &asks, &vault, grace, &request);
        let show = self.shows();
        let document = move |t: &Transaction<'_>, back: &Back| {
            let row = app_in_row(t, back.app.unwrap_or_default())?.ok_or_else(gone)?;
            Ok(show(&row))
        };
        self.restore(who, once, back, document).await
    }

    /// `network:restore`, with the apps that were deleted with it.
    pub async fn restore_network(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: network::Restore,
    ) -> Result<Network> {
        let (asks, vault, grace) = (who.clone(), Arc::clone(&self.vault), self.grace);
        let back = move |t: &Transaction<'_>| network_back(t, &asks, &vault, grace, &request);
        let domain = self.address.domain.clone();
        let document = move |t: &Transaction<'_>, back: &Back| network_row(t, back.network, &domain);
        self.restore(who, once, back, document).await
    }

    async fn restore<T: Serialize + Deserialize + Send + 'static>(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        back: impl FnOnce(&Transaction<'_>) -> Result<Back> + Send + 'static,
        document: impl FnOnce(&Transaction<'_>, &Back) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let by = who.name.clone();
        let work = |platform: Arc<Platform>, once: Once| async move {
            let once = Arc::new(once);
            let known = Arc::clone(&once);
            let found = platform.store.with(move |t| match known.kept(t)? {
                Some(kept) => Ok(Err(kept)),
                None => back(t).map(Ok),
            });
            let back = match found.await? {
                Ok(back) => back,
                Err(kept) => return Ok(kept),
            };
            platform.route(back.network).await;
            platform.event(back.network, back.app, format!("{} restored by {by}", back.what)).await;
            platform.deploys.changed();
            platform.wake_all(&back, &by).await?;
            let kept = platform.store.with(move |t| once.run(t, || Ok((document(t, &back)?, ()))));
            Ok(kept.await?.0)
        };
        self.carry(once, work).await
    }

    /// Starts what ran when it was deleted.
    async fn wake_all(&self, back: &Back, by: &str) -> Result<()> {
        let turns = &Semaphore::new(AT_ONCE);
        let all = join_all(back.rows.iter().map(|row| async move {
            let _turn = turns.acquire().await;
            let mut stopping = self.stopping.clone();
            let done = tokio::select! {
                biased;
                done = self.wake(row.id, by) => done,
                _ = stopping.wait_for(|stopping| *stopping) => {
                    Err(Error::new(Kind::Failed, "maxd was stopped before; it starts with the next one"))
                }
            };
            done.map_err(|error| (row, error))
        }));
        let failed: Vec<_> = all.await.into_iter().filter_map(Result::err).collect();
        for (row, error) in &failed {
            self.event(row.network_id, Some(row.id), format!("not started: {error}")).await;
        }
        let Some((row, error)) = failed.first() else { return Ok(()) };
        let name = format!("{}.{}", row.name, row.network);
        let more = match failed.len() {
            1 => String::new(),
            count => format!("; so it is with {} more: see `rig status network {}`", count - 1, row.network),
        };
        let hint = error.hint_text().map_or(String::new(), |hint| format!("; {hint}"));
        let message = format!("{} was restored, but app '{}' not started: {error}", back.what, row.name);
        Err(Error::new(Kind::Failed, message).hint(format!("`rig start app {name}` tries again{hint}{more}")))
    }

    /// Starts an app that was in the trash, unless it was stopped, or somebody did so meanwhile.
    /// When it does not become healthy it is stopped.
    async fn wake(&self, app: i64, by: &str) -> Result<()> {
        let mut hold = self.supervisor.hold_restored(app).await?;
        let Some(row) = self.store.with(move |t| app_in_row(t, app)).await? else {
            self.supervisor.dismiss(app, hold);
            return Err(gone());
        };
        if hold.runs() {
            return Ok(());
        }
        let Some(release) = self.release_of(&row).await? else { return Ok(()) };
        self.supervisor.rest(&release);
        if row.stopped {
            return Ok(());
        }
        match hold.switch(release, row.instances).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // What was interrupted is somebody else's, or the next start's, to bring up.
                if error.kind() != Kind::Conflict {
                    self.keep(by, &row, row.instances, true).await?;
                }
                Err(error)
            }
        }
    }
}

/// The name that something gets.
fn wanted_name(kind: &str, wanted: Option<&str>, before: &str) -> Result<Name> {
    Name::parse(kind, wanted.unwrap_or(before))
}

/// A name that is taken can be another one here.
fn with_as(error: Error) -> Error {
    match error.kind() {
        Kind::Conflict => error.hint("give it another name: --as NAME"),
        _ => error,
    }
}

fn app_back(
    t: &Transaction<'_>,
    who: &Access,
    vault: &Vault,
    grace: Duration,
    request: &app::Restore,
) -> Result<Back> {
    let found = match (request.id, &request.network, &request.app) {
        (Some(id), ..) => {
            let wanted = Wanted { kind: Some(APP), id: Some(id), ..Wanted::default() };
            find(t, who, &wanted, grace, || missing(APP, id))?
        }
        (None, Some(network), Some(app)) => {
            let row = find_network(t, who, network)
                .or_else(|error| Err(in_trash(t, who, grace, network, error)?))?;
            let (name, network_row) = (Some(app.as_str()), Some(row));
            let wanted = Wanted { kind: Some(APP), name, network: network_row, ..Wanted::default() };
            find(t, who, &wanted, grace, || nothing(format!("app '{app}' of network '{network}'")))?
        }
        _ => return Err(Error::usage("say which app: its number, or its names").field("id")),
    };
    if found.stranded {
        let (app, network) = (&found.item.name, &found.item.network);
        return Err(stranded(format!("network '{network}' of app '{app}' is in the trash too"), network));
    }
    let name = wanted_name(APP, request.name.as_deref(), &found.item.name)?;
    name_app(t, vault, who, found.network, found.id, &name).map_err(with_as)?;
    let row = app_in_row(t, found.id)?.ok_or_else(gone)?;
    let what = format!("app '{}' of network '{}'", row.name, row.network);
    Ok(Back { network: found.network, app: Some(found.id), rows: vec![row], what })
}

fn network_back(
    t: &Transaction<'_>,
    who: &Access,
    vault: &Vault,
    grace: Duration,
    request: &network::Restore,
) -> Result<Back> {
    let found = match (request.id, &request.network) {
        (Some(id), _) => {
            let wanted = Wanted { kind: Some(NETWORK), id: Some(id), ..Wanted::default() };
            find(t, who, &wanted, grace, || missing(NETWORK, id))?
        }
        (None, Some(network)) => {
            let wanted = Wanted { kind: Some(NETWORK), name: Some(network), ..Wanted::default() };
            find(t, who, &wanted, grace, || nothing(format!("network '{network}'")))?
        }
        _ => return Err(Error::usage("say which network: its number, or its name").field("id")),
    };
    let name = wanted_name(NETWORK, request.name.as_deref(), &found.item.name)?;
    // Before the names, so that these are unique among what is there.
    let with = "UPDATE OR IGNORE all_apps SET deleted_at = NULL, deleted_by = NULL WHERE network = ?1 AND deleted_at =
         (SELECT deleted_at FROM all_networks WHERE id = ?1)";
    t.execute(with, [found.id]).map_err(explain)?;
    name_network(t, vault, who, found.id, &name).map_err(with_as)?;
    let rows = apps_in_row(t, found.id)?;
    Ok(Back { network: found.id, app: None, rows, what: format!("network '{name}'") })
}

fn nothing(what: String) -> Error {
    Error::new(Kind::NotFound, format!("{what} is not in the trash")).hint("see `rig list trash`")
}

fn stranded(message: String, network: &str) -> Error {
    Error::new(Kind::NotFound, message).hint(format!("restore that first: `rig restore network {network}`"))
}

/// Why a network was not found, in which an app is to be restored.
fn in_trash(
    t: &Transaction<'_>,
    who: &Access,
    grace: Duration,
    network: &str,
    error: Error,
) -> Result<Error> {
    let wanted = Wanted { kind: Some(NETWORK), name: Some(network), ..Wanted::default() };
    match error.kind() == Kind::NotFound && !look(t, who, &wanted, grace)?.is_empty() {
        true => Ok(stranded(format!("network '{network}' is in the trash too"), network)),
        false => Ok(error),
    }
}

//! New names for apps and networks. All goes by rows, so that what runs, is read and is under
//! way goes on; only what is sealed knows names, and is sealed again.

use super::lifecycle::gone;
use super::{Platform, app_in_row, find_app, find_network, network_in_row, network_row};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::alerts;
use crate::maxd::config;
use crate::maxd::once::Once;
use crate::maxd::secrets::Vault;
use crate::maxd::store::explain;
use crate::maxd::variables::{Scope, sealed_in};
use crate::name::Name;
use crate::wire::app::{self, App};
use crate::wire::network::{self, Network};
use rusqlite::{Transaction, params};
use std::sync::Arc;

/// From now on the app has this name and is there, also if it was in the trash.
pub(super) fn name_app(
    t: &Transaction<'_>,
    vault: &Vault,
    who: &Access,
    network: i64,
    app: i64,
    name: &Name,
) -> Result<()> {
    let others = "SELECT EXISTS (SELECT 1 FROM apps WHERE network = ?1 AND id != ?2 AND name = ?3)";
    let with = params![network, app, name.as_str()];
    if t.query_row(others, with, |row| row.get(0)).map_err(explain)? {
        let network = network_in_row(t, network)?.unwrap_or_default();
        return Err(taken(format!("app '{name}' already exists in network '{network}'")));
    }
    sealed_again(t, vault, network, || {
        let set = "UPDATE all_apps SET name = ?2, deleted_at = NULL, deleted_by = NULL WHERE id = ?1";
        t.execute(set, params![app, name.as_str()]).map_err(explain)?;
        alerts::rename_app(t, app, name.as_str())
    })?;
    note(t, Scope { network, app: Some(app) }, who)
}

/// The same for a network.
pub(super) fn name_network(
    t: &Transaction<'_>,
    vault: &Vault,
    who: &Access,
    network: i64,
    name: &Name,
) -> Result<()> {
    let others = "SELECT EXISTS (SELECT 1 FROM networks WHERE id != ?1 AND name = ?2)";
    if t.query_row(others, params![network, name.as_str()], |row| row.get(0)).map_err(explain)? {
        return Err(taken(format!("network '{name}' already exists")));
    }
    sealed_again(t, vault, network, || {
        let set = "UPDATE all_networks SET name = ?2, deleted_at = NULL, deleted_by = NULL WHERE id = ?1";
        t.execute(set, params![network, name.as_str()]).map(drop).map_err(explain)
    })?;
    note(t, Scope { network, app: None }, who)
}

/// Notes in the history that there is another name, if there is.
fn note(t: &Transaction<'_>, scope: Scope, who: &Access) -> Result<()> {
    let before = config::recorded(t, scope, config::version(t, scope)?)?;
    let name = |items: &config::Items| items.get(&("name".to_owned(), String::new())).cloned();
    match name(&before) == name(&config::present(t, scope)?) {
        true => Ok(()),
        false => config::record(t, scope, &who.name, "renamed"),
    }
}

fn taken(message: String) -> Error {
    Error::new(Kind::Conflict, message).hint("choose another name").field("name")
}

/// Makes a change of names, and has what is sealed in the network open under the new ones.
fn sealed_again(
    t: &Transaction<'_>,
    vault: &Vault,
    network: i64,
    change: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = sealed_in(t, network)?;
    change()?;
    vault.reseal(t, network, &before, &sealed_in(t, network)?)
}

impl Platform {
    /// `app:rename`.
    pub async fn rename_app(&self, who: &Access, once: Once, request: app::Rename) -> Result<App> {
        let name = Name::parse("app", &request.name)?;
        let (asks, show, vault) = (who.clone(), self.shows(), Arc::clone(&self.vault));
        let renamed = self.store.with(move |t| {
            once.run(t, || {
                let row = find_app(t, &asks, &request.network, &request.app)?;
                if request.app == name.as_str() {
                    return Ok((show(&row), None));
                }
                name_app(t, &vault, &asks, row.network_id, row.id, &name)?;
                let row = app_in_row(t, row.id)?.ok_or_else(gone)?;
                Ok((show(&row), Some((row, request.app))))
            })
        });
        let (app, renamed) = renamed.await?;
        if let Some((row, before)) = renamed.flatten() {
            let text = format!("renamed from {before} to {} by {}", row.name, who.name);
            self.renamed(row.network_id, Some(row.id), text).await;
        }
        Ok(app)
    }

    /// `network:rename`.
    pub async fn rename_network(
        &self,
        who: &Access,
        once: Once,
        request: network::Rename,
    ) -> Result<Network> {
        let name = Name::parse("network", &request.name)?;
        let (asks, domain, vault) = (who.clone(), self.address.domain.clone(), Arc::clone(&self.vault));
        let renamed = self.store.with(move |t| {
            once.run(t, || {
                let id = find_network(t, &asks, &request.network)?;
                let before = Some(request.network).filter(|before| before != name.as_str());
                if before.is_some() {
                    name_network(t, &vault, &asks, id, &name)?;
                }
                Ok((network_row(t, id, &domain)?, before.map(|before| (id, before))))
            })
        });
        let (network, renamed) = renamed.await?;
        if let Some((id, before)) = renamed.flatten() {
            let text = format!("network renamed from {before} to {} by {}", network.name, who.name);
            self.renamed(id, None, text).await;
        }
        Ok(network)
    }

    /// What follows from new names in a network.
    async fn renamed(&self, network: i64, app: Option<i64>, text: String) {
        self.route(network).await;
        if let Err(error) = self.alerts.reread().await {
            say!("cannot read the alerts again: {error}");
        }
        self.event(network, app, text).await;
        self.deploys.changed();
    }
}

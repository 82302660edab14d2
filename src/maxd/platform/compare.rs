//! What is different between two releases of an app.

use super::transfer::of_plan;
use super::{AppRow, Platform, find_app};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::config::{self, Items};
use crate::maxd::plan::Plan;
use crate::maxd::releases::{self, Compared};
use crate::maxd::variables::{self, Scope};
use crate::wire::release::{Diff, Difference};
use rusqlite::Transaction;

impl Platform {
    /// `release:diff`.
    pub async fn diff_releases(&self, who: &Access, request: Diff) -> Result<Difference> {
        let who = who.clone();
        let read = move |t: &Transaction<'_>| {
            let Diff { network, app, from, to } = request;
            let row = find_app(t, &who, &network, &app)?;
            let none = |what: &str| {
                let message = format!("app '{app}' has no release{what}");
                Error::new(Kind::Conflict, message).hint("see `rig list releases`")
            };
            let to = to.or(row.release).ok_or_else(|| none(" yet"))?;
            let second = release(t, &row, to, "to")?;
            let from = from.or(second.1).ok_or_else(|| none(&format!(" before {to}")))?;
            let first = release(t, &row, from, "from")?;
            let (mut before, mut after) = (plan(t, &row, from)?, plan(t, &row, to)?);
            // Of one that is older than this the configuration is not known.
            if let (Some(first), Some(second)) = (first.0, second.0) {
                before.extend(configuration(t, &row, first)?);
                after.extend(configuration(t, &row, second)?);
            }
            let changes = config::differences(&before, &after, None);
            Ok(Difference { network, app, from, to, changes })
        };
        self.store.with(read).await
    }
}

fn release(t: &Transaction<'_>, row: &AppRow, number: u64, field: &str) -> Result<Compared> {
    releases::compared(t, row.id, number)?.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("app '{}' has no release {number}", row.name))
            .hint("see `rig list releases`")
            .field(field)
    })
}

fn plan(t: &Transaction<'_>, row: &AppRow, release: u64) -> Result<Items> {
    Ok(Plan::recorded(t, row.id, release)?.map(of_plan).unwrap_or_default())
}

/// What an app had, its own and its network's, behind the change in this row of the history.
fn configuration(t: &Transaction<'_>, row: &AppRow, then: u64) -> Result<Items> {
    let own = Scope { network: row.network_id, app: Some(row.id) };
    let shared = Scope { app: None, ..own };
    let version = config::version_then(t, own, then)?;
    let mut items: Items = config::recorded(t, own, version)?;
    // A rename is no matter of the release.
    items.retain(|key, _| key.0 == "instances");
    let inherited = variables::at(t, shared, config::version_then(t, shared, then)?)?;
    let own = variables::at(t, own, version)?;
    let is_own = |name: &str| own.iter().any(|one| one.name == name);
    let inherited: Vec<_> = inherited.into_iter().filter(|one| !is_own(&one.name)).collect();
    items.extend(config::items(&inherited).chain(config::items(&own)));
    Ok(items)
}

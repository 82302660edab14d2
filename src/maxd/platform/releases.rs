//! The use-cases of releases: which there are, and the way back to one.

use super::lifecycle::gone;
use super::{AppRow, Platform, find_app};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::detect::detect;
use crate::maxd::plan::Plan;
use crate::maxd::releases::{self, Retention};
use crate::maxd::supervisor::Release;
use crate::maxd::variables;
use crate::wire::app::Select;
use crate::wire::release;
use rusqlite::Transaction;
use std::path::Path;
use std::sync::Arc;

impl Platform {
    /// `release:list`.
    pub async fn list_releases(self: &Arc<Self>, who: &Access, request: Select) -> Result<release::List> {
        let (who, platform) = (who.clone(), Arc::clone(self));
        let read = move |t: &Transaction<'_>| {
            let Select { network, app } = request;
            let row = find_app(t, &who, &network, &app)?;
            let releases = known(t, &row, platform.keep, &platform.app_directory(row.id))?;
            Ok(release::List { network, app, releases })
        };
        self.store.with(read).await
    }

    /// The release `to`, or else the one before that which serves, with the app's present
    /// configuration; and the rows of its variables. For who holds the app.
    pub(super) async fn former(&self, row: &AppRow, to: Option<u64>) -> Result<(Release, Vec<i64>)> {
        let (network, app, vault) = (row.network_id, row.id, Arc::clone(&self.vault));
        let (name, serving, directory) = (row.name.clone(), row.release, self.app_directory(app));
        let keep = self.keep;
        let read = move |t: &Transaction<'_>| {
            let Some(row) = super::app_in_row(t, app)? else { return Err(gone()) };
            let all = known(t, &row, keep, &directory)?;
            let number = wanted(&name, serving, &all, to)?;
            let wanted = variables::wanted(t, network, app)?;
            let env = variables::environment(t, &vault, network, &wanted)?;
            let dir = directory.join(number.to_string());
            let plan = match Plan::recorded(t, app, number)? {
                Some(plan) => plan,
                None => detect(&dir)?,
            };
            Ok((Release { network, app, number, dir, plan, env }, variables::rows_of(&wanted)))
        };
        self.store.with(read).await
    }

    /// Keeps on the disk that a former release serves, with these rows.
    pub(super) async fn keep_former(
        &self,
        app: i64,
        release: u64,
        rows: Vec<i64>,
        by: Option<String>,
    ) -> Result<()> {
        let kept = self.store.with(move |t| {
            variables::apply(t, app, &rows)?;
            releases::serves(t, app, release, by.as_deref())
        });
        if kept.await? { Ok(()) } else { Err(gone()) }
    }
}

/// The releases of an app whose files are in this directory.
fn known(
    t: &Transaction<'_>,
    row: &AppRow,
    keep: Retention,
    directory: &Path,
) -> Result<Vec<release::Release>> {
    releases::list(t, row.id, keep, |number, kept| {
        match kept && directory.join(number.to_string()).is_dir() {
            true if row.release == Some(number) => "serving",
            true => "kept",
            false => "gone",
        }
    })
}

/// The number of the release that is gone back to.
fn wanted(app: &str, serving: Option<u64>, all: &[release::Release], to: Option<u64>) -> Result<u64> {
    let there: Vec<String> =
        all.iter().filter(|one| one.state == "kept").map(|one| one.release.to_string()).collect();
    let hint = match there.as_slice() {
        [] => "there is no other that is kept; see `rig list releases`".to_owned(),
        [one] => format!("release {one} is kept; see `rig list releases`"),
        all => format!("releases {} are kept; see `rig list releases`", all.join(", ")),
    };
    let Some(to) = to else {
        // One from which Max has returned is no way back.
        let mut before = all.iter().filter(|one| Some(one.release) < serving && one.error.is_none());
        let before = before.find(|one| one.state == "kept").map(|one| one.release);
        return before.ok_or_else(|| {
            let serving = serving.map_or(String::new(), |serving| format!(" before {serving}"));
            Error::new(Kind::Conflict, format!("app '{app}' has no release{serving} to go back to"))
                .hint(hint)
        });
    };
    let message = match all.iter().find(|one| one.release == to) {
        Some(one) if one.state != "gone" => return Ok(to),
        Some(_) => format!("the files of release {to} of app '{app}' are not kept any more"),
        None => format!("app '{app}' has no release {to} that has served"),
    };
    Err(Error::new(Kind::NotFound, message).hint(hint).field("to"))
}

//! Releases as rows of the state database: those that have served are rows of their deploys.

use super::plan::Plan;
use super::store::{explain, held};
use crate::error::Result;
use crate::time::rfc3339;
use crate::wire::release::Release;
use rusqlite::types::FromSql;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::time::{Duration, SystemTime};

/// So many stay whatever they take: the one that serves and the one before it.
pub const ALWAYS: u64 = 2;
/// How many are listed.
const LISTED: i64 = 1000;

/// Which releases of an app stay on the disk.
#[derive(Clone, Copy)]
pub struct Retention {
    /// So many of those that served last …
    pub releases: u64,
    /// … as long as they take no more than this together, in bytes.
    pub bytes: u64,
}

/// A release has the app's traffic from now on; who gave it that, unless maxd did by itself. False
/// when the app was deleted.
pub fn serves(t: &Transaction<'_>, app: i64, release: u64, by: Option<&str>) -> Result<bool> {
    let now = rfc3339(SystemTime::now());
    t.execute(
        "UPDATE deploys SET since = ?3, since_by = ?4,
             since_from = (SELECT nullif(release, ?2) FROM all_apps WHERE id = ?1),
             config = iif(served_at IS NULL, (SELECT max(h.id) FROM history h JOIN all_apps a ON a.network = h.network
                 WHERE a.id = ?1 AND (h.app IS NULL OR h.app = ?1)), config),
             served_at = ifnull(served_at, ?3)
         WHERE app = ?1 AND release = ?2",
        params![app, release, now, by],
    )
    .map_err(explain)?;
    let update = "UPDATE all_apps SET release = ?2, deployed_at = ?3, stopped = 0 WHERE id = ?1 AND deleted_at IS NULL";
    Ok(t.execute(update, params![app, release, now]).map_err(explain)? > 0)
}

/// The release from which this one took the traffic when it was deployed; none when it has it for
/// another reason, or has not.
pub fn before(t: &Transaction<'_>, app: i64, release: u64) -> Result<Option<u64>> {
    let query = "SELECT d.since_from FROM deploys d JOIN apps a ON a.id = d.app AND a.release = d.release
         WHERE a.id = ?1 AND d.release = ?2 AND NOT a.stopped AND d.since = d.served_at";
    let found = t.query_row(query, params![app, release], |row| row.get(0)).optional();
    Ok(found.map_err(explain)?.flatten())
}

/// What a release is compared by.
pub struct Compared {
    /// Whether it has ever served.
    pub served: bool,
    /// The newest change of the configuration it was deployed with, when that is known.
    pub config: Option<u64>,
    /// From which release it took the traffic.
    pub from: Option<u64>,
    /// The name of its manifest.
    pub manifest: Option<String>,
    /// How it is built and run, when that is known.
    pub plan: Option<Plan>,
}

/// A release of an app; none when it has none of this number.
pub fn compared(t: &Transaction<'_>, app: i64, release: u64) -> Result<Option<Compared>> {
    let query = "SELECT served_at IS NOT NULL, config, since_from, manifest FROM deploys
         WHERE app = ?1 AND release = ?2";
    let found = t.query_row(query, params![app, held(release)], |row| {
        let (served, config, from, manifest) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Compared { served, config, from, manifest, plan: None })
    });
    let Some(found) = found.optional().map_err(explain)? else { return Ok(None) };
    Ok(Some(Compared { plan: Plan::recorded(t, app, release)?, ..found }))
}

/// Apps and their releases that a deploy has given the traffic within this time.
pub fn deployed_within(t: &Transaction<'_>, time: Duration) -> Result<Vec<(i64, u64)>> {
    let query = "SELECT a.id, a.release FROM apps a JOIN deploys d ON d.app = a.id AND d.release = a.release
         WHERE d.since = d.served_at AND d.since >= ?1";
    let mut query = t.prepare(query).map_err(explain)?;
    let rows = query
        .query_map([SystemTime::now().checked_sub(time).map(rfc3339)], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.and_then(Iterator::collect).map_err(explain)
}

/// A release did not stay healthy: its deploy has failed after all.
pub fn fails(t: &Transaction<'_>, app: i64, release: u64, error: &str) -> Result<()> {
    let set =
        "UPDATE deploys SET state = 'failed', phase = 'live', error = ?3 WHERE app = ?1 AND release = ?2";
    t.execute(set, params![app, release, error]).map(drop).map_err(explain)
}

/// The numbers of the releases of an app that stay on the disk: that which serves, and those that
/// have served last.
pub fn kept(t: &Transaction<'_>, app: i64, keep: Retention) -> Result<Vec<u64>> {
    Ok(stay(t, app, keep)?.into_iter().map(|release| release.0).collect())
}

/// Those with the names of their manifests.
fn stay(t: &Transaction<'_>, app: i64, keep: Retention) -> Result<Vec<(u64, Option<String>)>> {
    let query =
        "SELECT release, ifnull(bytes, 0), manifest FROM deploys WHERE app = ?1 AND served_at IS NOT NULL
         ORDER BY release = (SELECT release FROM all_apps WHERE id = ?1) DESC, since DESC, id DESC LIMIT ?2";
    let mut query = t.prepare_cached(query).map_err(explain)?;
    let row = |row: &Row<'_>| Ok(((row.get(0)?, row.get(2)?), row.get::<_, u64>(1)?));
    let rows = query.query_map(params![app, held(keep.releases.max(ALWAYS))], row);
    let rows = rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>).map_err(explain)?;
    let mut bytes = 0_u64;
    let within = (0..).zip(rows).take_while(|(at, (_, takes))| {
        bytes = bytes.saturating_add(*takes);
        *at < ALWAYS || bytes <= keep.bytes
    });
    Ok(within.map(|(_, (release, _))| release).collect())
}

/// The releases that have served and of which it is not known what they take on the disk: those
/// of a former maxd.
pub fn unmeasured(t: &Transaction<'_>, app: i64) -> Result<Vec<u64>> {
    let query = "SELECT release FROM deploys WHERE app = ?1 AND served_at IS NOT NULL AND bytes IS NULL";
    column(t, query, app)
}

/// What a release takes.
pub fn measured(t: &Transaction<'_>, app: i64, release: u64, bytes: u64) -> Result<()> {
    let set = "UPDATE deploys SET bytes = ?3 WHERE app = ?1 AND release = ?2";
    t.execute(set, params![app, release, held(bytes)]).map(drop).map_err(explain)
}

/// The names of the manifests that a network's releases and the deploys under way need.
pub fn needed_manifests(t: &Transaction<'_>, network: i64, keep: Retention) -> Result<Vec<String>> {
    let under_way = "SELECT d.manifest FROM deploys d JOIN all_apps a ON a.id = d.app
                     WHERE a.network = ?1 AND d.finished_at IS NULL AND d.manifest IS NOT NULL";
    let mut names = column(t, under_way, network)?;
    for app in column(t, "SELECT id FROM all_apps WHERE network = ?1", network)? {
        names.extend(stay(t, app, keep)?.into_iter().filter_map(|release| release.1));
    }
    Ok(names)
}

fn column<T: FromSql>(t: &Transaction<'_>, query: &str, key: i64) -> Result<Vec<T>> {
    let mut query = t.prepare(query).map_err(explain)?;
    let rows = query.query_map([key], |row| row.get(0));
    rows.and_then(Iterator::collect).map_err(explain)
}

/// The releases of an app that have served, the newest first. `state` is told whether one is among
/// the [`kept`].
pub fn list(
    t: &Transaction<'_>,
    app: i64,
    keep: Retention,
    state: impl Fn(u64, bool) -> &'static str,
) -> Result<Vec<Release>> {
    let kept = kept(t, app, keep)?;
    let query =
        "SELECT d.release, d.since, d.served_at, d.since_from, d.since_by, d.id, d.kind, u.name, d.error
         FROM deploys d JOIN users u ON u.id = d.user
         WHERE d.app = ?1 AND d.served_at IS NOT NULL ORDER BY d.release DESC LIMIT ?2";
    let mut query = t.prepare(query).map_err(explain)?;
    let document = |row: &Row<'_>| {
        let (release, since, deployed_at): (u64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let by: Option<String> = row.get(4)?;
        let what = match (since == deployed_at, &by) {
            (true, _) => "deployed",
            (false, Some(_)) => "rolled_back",
            (false, None) => "returned",
        };
        Ok(Release {
            release,
            state: state(release, kept.contains(&release)).to_owned(),
            since,
            what: what.to_owned(),
            from: row.get(3)?,
            by,
            deploy: row.get(5)?,
            kind: row.get(6)?,
            user: row.get(7)?,
            deployed_at,
            error: row.get(8)?,
        })
    };
    let rows = query.query_map(params![app, LISTED], document);
    rows.and_then(Iterator::collect).map_err(explain)
}

//! The trash: what is deleted ends at once, and waits there to be restored until its time is
//! over; then it is removed for good.

use super::{AppRow, Platform, apps_in_row, find_app, find_network};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::{Access, SEEN, admit};
use crate::maxd::alerts;
use crate::maxd::auth::Identity;
use crate::maxd::deploys::fail_those_of;
use crate::maxd::once::Once;
use crate::maxd::releases::{self, Retention};
use crate::maxd::store::{disk, explain, held};
use crate::maxd::supervisor;
use crate::maxd::sweep;
use crate::maxd::webhooks::queue;
use crate::time::{parse_rfc3339, rfc3339};
use crate::wire::trash::{Contents, Item, List, Select};
use crate::wire::{app, network};
use futures_util::future::join_all;
use rusqlite::{Row, Transaction, params};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The most that one answer holds.
const LIST_MOST: u64 = 1000;

/// The two kinds of what is deleted.
pub(super) const APP: &str = "app";
pub(super) const NETWORK: &str = "network";

/// Something that goes.
pub(super) struct Doomed {
    item: Item,
    /// Its row.
    id: i64,
    /// Its network's.
    network: i64,
    /// The apps that run until then.
    pub live: Vec<i64>,
    /// All apps that go, so those of a network that are in the trash too.
    apps: Vec<i64>,
    /// It is removed for good.
    purge: bool,
}

impl Doomed {
    fn is_network(&self) -> bool {
        self.item.kind == NETWORK
    }

    /// An app that there is.
    pub fn app(row: &AppRow, by: &str, grace: Option<Duration>) -> Doomed {
        let item = fresh(APP, row.id, &row.name, &row.network, by, grace);
        let apps = vec![row.id];
        let purge = grace.is_none();
        Doomed { item, id: row.id, network: row.network_id, live: apps.clone(), apps, purge }
    }

    /// A network that there is.
    fn network(
        t: &Transaction<'_>,
        id: i64,
        name: &str,
        by: &str,
        grace: Option<Duration>,
    ) -> Result<Doomed> {
        let item = fresh(NETWORK, id, name, name, by, grace);
        let live: Vec<i64> = apps_in_row(t, id)?.iter().map(|row| row.id).collect();
        let purge = grace.is_none();
        let apps = if purge { apps_ever(t, id)? } else { live.clone() };
        Ok(Doomed { item, id, network: id, live, apps, purge })
    }

    /// Something in the trash.
    fn trash(t: &Transaction<'_>, found: Found) -> Result<Doomed> {
        let Found { item, id, network, .. } = found;
        let apps = if item.kind == NETWORK { apps_ever(t, id)? } else { vec![id] };
        Ok(Doomed { item, id, network, live: Vec::new(), apps, purge: true })
    }

    /// Puts it into the trash, or removes its rows.
    pub fn go(&self, t: &Transaction<'_>) -> Result<()> {
        let Doomed { id, live, item, .. } = self;
        for app in live {
            fail_those_of(t, *app)?;
        }
        let table = if self.is_network() { "all_networks" } else { "all_apps" };
        match self.is_network() {
            false => alerts::resolve_app(t, *id, SystemTime::now())?,
            true => {
                alerts::resolve_network(t, *id, SystemTime::now())?;
                queue::forget(t, *id)?;
                t.execute("DELETE FROM api_tokens WHERE network = ?1", [id]).map_err(explain)?;
            }
        }
        if self.purge {
            return t.execute(&format!("DELETE FROM {table} WHERE id = ?1"), [id]).map(drop).map_err(explain);
        }
        let set = "SET deleted_at = ?2, deleted_by = ?3 WHERE deleted_at IS NULL AND";
        let with = params![id, item.deleted_at, item.deleted_by];
        t.execute(&format!("UPDATE {table} {set} id = ?1"), with).map_err(explain)?;
        if self.is_network() {
            t.execute(&format!("UPDATE all_apps {set} network = ?1"), with).map_err(explain)?;
        }
        Ok(())
    }

    /// What goes with it, but for what runs.
    fn contents(&self, t: &Transaction<'_>, keep: Retention) -> Result<Contents> {
        let (of_network, app) = (self.is_network(), Some(self.id).filter(|_| !self.is_network()));
        let count = |what: &str| {
            let query = format!("SELECT count(*) FROM {what}");
            t.query_row(&query, params![self.network, app], |row| row.get::<_, u64>(0)).map_err(explain)
        };
        let of_all = |table: &str| match of_network {
            true => count(&format!("{table} WHERE network = ?1 AND ?2 IS NULL")),
            false => Ok(0),
        };
        let mut releases = 0;
        for app in &self.apps {
            releases += releases::kept(t, *app, keep)?.len() as u64;
        }
        let variables =
            "variables WHERE until IS NULL AND network = ?1 AND (?2 IS NULL OR app = ?2) AND sealed IS";
        Ok(Contents {
            apps: if of_network { self.apps.len() as u64 } else { 0 },
            releases,
            instances: 0,
            variables: count(&format!("{variables} NULL"))?,
            secrets: count(&format!("{variables} NOT NULL"))?,
            webhooks: of_all("webhooks")?,
            members: of_all("members")?,
            sessions: 0,
            summary: String::new(),
        })
    }
}

/// What is not nothing, in words.
fn told(contents: &Contents) -> String {
    let all = [
        (contents.apps, "app"),
        (contents.releases, "release"),
        (contents.instances, "running instance"),
        (contents.variables, "variable"),
        (contents.secrets, "secret"),
        (contents.webhooks, "webhook"),
        (contents.members, "member"),
        (contents.sessions, "running session"),
    ];
    let some = all.into_iter().filter(|(count, _)| *count > 0);
    let words = some.map(|(count, noun)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" }));
    let words: Vec<String> = words.collect();
    if words.is_empty() { "nothing but the name".to_owned() } else { words.join(", ") }
}

/// What is deleted now, by whom and for how long.
fn fresh(kind: &str, id: i64, name: &str, network: &str, by: &str, grace: Option<Duration>) -> Item {
    let now = SystemTime::now();
    Item {
        kind: kind.to_owned(),
        id: id.unsigned_abs(),
        name: name.to_owned(),
        network: network.to_owned(),
        deleted_at: rfc3339(now),
        deleted_by: by.to_owned(),
        expires_at: grace.and_then(|grace| now.checked_add(grace)).map(rfc3339),
        contents: None,
    }
}

/// The rows of all apps of a network, also of those in the trash.
fn apps_ever(t: &Transaction<'_>, network: i64) -> Result<Vec<i64>> {
    let mut query = t.prepare("SELECT id FROM all_apps WHERE network = ?1").map_err(explain)?;
    let rows = query.query_map([network], |row| row.get(0));
    rows.and_then(Iterator::collect).map_err(explain)
}

/// Something in the trash.
pub(super) struct Found {
    /// What is told of it.
    pub item: Item,
    /// Its row.
    pub id: i64,
    /// Its network's.
    pub network: i64,
    /// It is an app whose network is in the trash too.
    pub stranded: bool,
}

/// What is looked for in the trash: all of it by default.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub kind: Option<&'a str>,
    pub id: Option<u64>,
    pub name: Option<&'a str>,
    /// The network's row.
    pub network: Option<i64>,
}

/// What `who` sees of it, the newest first.
pub(super) fn look(
    t: &Transaction<'_>,
    who: &Identity,
    wanted: &Wanted<'_>,
    grace: Duration,
) -> Result<Vec<Found>> {
    // An app that was deleted with its network has the network's time, and goes with it.
    let query = format!(
        "SELECT * FROM (
           SELECT 'app' AS kind, a.id AS id, a.name AS name, n.name, a.deleted_at AS deleted_at, a.deleted_by,
                  n.id AS network, n.deleted_at IS NOT NULL
           FROM all_apps a JOIN all_networks n ON n.id = a.network
           WHERE a.deleted_at IS NOT NULL AND a.deleted_at IS NOT n.deleted_at AND {SEEN}
           UNION ALL
           SELECT 'network', n.id, n.name, n.name, n.deleted_at, n.deleted_by, n.id, 0
           FROM all_networks n WHERE n.deleted_at IS NOT NULL AND {SEEN})
         WHERE kind = ifnull(?3, kind) AND id = ifnull(?4, id) AND name = ifnull(?5, name)
           AND network = ifnull(?6, network)
         ORDER BY deleted_at DESC, id DESC LIMIT {LIST_MOST}"
    );
    let mut query = t.prepare(&query).map_err(explain)?;
    let Wanted { kind, id, name, network } = wanted;
    let rows = query.query_map(params![who.user, who.network, kind, id.map(held), name, network], |row| {
        found(row, grace)
    });
    rows.and_then(Iterator::collect).map_err(explain)
}

fn found(row: &Row<'_>, grace: Duration) -> rusqlite::Result<Found> {
    let (id, deleted_at): (i64, String) = (row.get(1)?, row.get(4)?);
    let expires = parse_rfc3339(&deleted_at).and_then(|then| then.checked_add(grace));
    let item = Item {
        kind: row.get(0)?,
        id: id.unsigned_abs(),
        name: row.get(2)?,
        network: row.get(3)?,
        expires_at: expires.map(rfc3339),
        deleted_at,
        deleted_by: row.get(5)?,
        contents: None,
    };
    Ok(Found { item, id, network: row.get(6)?, stranded: row.get(7)? })
}

/// The newest of what is wanted, if `who` may do there what he asks for.
pub(super) fn find(
    t: &Transaction<'_>,
    who: &Access,
    wanted: &Wanted<'_>,
    grace: Duration,
    missing: impl FnOnce() -> Error,
) -> Result<Found> {
    match look(t, who, wanted, grace)?.into_iter().next() {
        Some(found) => admit(t, who, found.network, missing).map(|_| found),
        None => Err(missing()),
    }
}

/// There is nothing with this number.
pub(super) fn missing(kind: &str, id: u64) -> Error {
    Error::new(Kind::NotFound, format!("{kind} {id} is not in the trash"))
        .hint("see `rig list trash`")
        .field("id")
}

impl Platform {
    /// `app:delete`.
    pub async fn delete_app(&self, who: &Access, once: Once, request: app::Delete) -> Result<Item> {
        let (asks, grace) = (who.clone(), self.kept_for(request.purge));
        let preview = request.preview == Some(true);
        let find = move |t: &Transaction<'_>| {
            let row = find_app(t, &asks, &request.network, &request.app)?;
            Ok(Doomed::app(&row, &asks.name, grace))
        };
        self.delete(who, once, preview, find).await
    }

    /// `network:delete`, with its apps.
    pub async fn delete_network(&self, who: &Access, once: Once, request: network::Delete) -> Result<Item> {
        let (asks, grace) = (who.clone(), self.kept_for(request.purge));
        let preview = request.preview == Some(true);
        let find = move |t: &Transaction<'_>| {
            let id = find_network(t, &asks, &request.network)?;
            Doomed::network(t, id, &request.network, &asks.name, grace)
        };
        self.delete(who, once, preview, find).await
    }

    /// `trash:delete`: for good.
    pub async fn delete_trash(&self, who: &Access, once: Once, request: Select) -> Result<Item> {
        let (asks, grace, preview) = (who.clone(), self.grace, request.preview == Some(true));
        let lost = move |t: &Transaction<'_>| {
            let Select { kind, id, .. } = &request;
            let wanted = Wanted { kind: Some(kind), id: Some(*id), ..Wanted::default() };
            let found = find(t, &asks, &wanted, grace, || missing(kind, *id))?;
            let mut doomed = Doomed::trash(t, found)?;
            doomed.item.expires_at = None;
            Ok(doomed)
        };
        self.delete(who, once, preview, lost).await
    }

    /// `trash:list`.
    pub async fn list_trash(&self, who: &Access) -> Result<List> {
        let (who, grace) = (who.clone(), self.grace);
        let found = self.store.with(move |t| look(t, &who, &Wanted::default(), grace)).await?;
        Ok(List { items: found.into_iter().map(|found| found.item).collect() })
    }

    /// How long what is deleted now is kept; none when it is removed for good.
    pub(super) fn kept_for(&self, purge: Option<bool>) -> Option<Duration> {
        Some(self.grace).filter(|grace| purge != Some(true) && !grace.is_zero())
    }

    async fn delete(
        &self,
        who: &Access,
        once: Once,
        preview: bool,
        find: impl FnOnce(&Transaction<'_>) -> Result<Doomed> + Send + 'static,
    ) -> Result<Item> {
        if preview {
            let keep = self.keep;
            let (doomed, contents) = self
                .store
                .with(move |t| {
                    let doomed = find(t)?;
                    let contents = doomed.contents(t, keep)?;
                    Ok((doomed, contents))
                })
                .await?;
            let instances = doomed.live.iter().map(|app| self.supervisor.instances(*app).len() as u64).sum();
            let app = Some(doomed.id).filter(|_| !doomed.is_network());
            let sessions = self.execs.count(doomed.network, app);
            let counted = Contents { instances, sessions, ..contents };
            let contents = Some(Contents { summary: told(&counted), ..counted });
            return Ok(Item { contents, ..doomed.item });
        }
        let running = Arc::new(Mutex::new(Vec::new()));
        let (supervisor, told) = (Arc::clone(&self.supervisor), Arc::clone(&running));
        let deleted = self.store.with(move |t| {
            once.run(t, || {
                let doomed = find(t)?;
                doomed.go(t)?;
                // Here, so that whoever restores it finds that this is under way.
                let ends = doomed.live.iter().map(|app| supervisor.doom(*app));
                told.lock().unwrap_or_else(PoisonError::into_inner).extend(ends);
                Ok((doomed.item.clone(), doomed))
            })
        });
        let deleted = deleted.await;
        let running = std::mem::take(&mut *running.lock().unwrap_or_else(PoisonError::into_inner));
        if deleted.is_err() {
            running.iter().for_each(supervisor::Doomed::spare);
        }
        let (item, doomed) = deleted?;
        if let Some(doomed) = doomed {
            self.put_out(who, &doomed, &running).await;
        }
        Ok(item)
    }

    /// Ends what ran of something that is in the trash now or has no rows any more, and says so.
    pub(super) async fn put_out(&self, who: &Access, doomed: &Doomed, running: &[supervisor::Doomed]) {
        self.route(doomed.network).await;
        self.deploys.end_uploads(&doomed.live).await;
        if doomed.is_network() {
            self.execs.forget_network(doomed.id);
        }
        join_all(doomed.live.iter().zip(running).map(|(app, running)| async {
            self.execs.forget(*app).await;
            self.supervisor.remove(running).await;
        }))
        .await;
        self.alerts.forget(&doomed.live).await;
        let Doomed { purge, network, item, .. } = doomed;
        if *purge {
            self.wipe(*network, &doomed.apps, doomed.is_network()).await;
        }
        let how = if *purge { "for good " } else { "" };
        // What has no rows has no log.
        if !(doomed.is_network() && *purge) {
            let text = format!("{} {} deleted {how}by {}", item.kind, item.name, who.name);
            self.event(*network, None, text).await;
        }
        self.deploys.changed();
    }

    /// Removes what apps without rows have left, and with `whole` their network. What can't be
    /// removed now is removed at the next start.
    async fn wipe(&self, network: i64, apps: &[i64], whole: bool) {
        apps.iter().for_each(|app| self.metrics.forget(*app));
        let (logs, contents, apps) = (Arc::clone(&self.logs), Arc::clone(&self.contents), apps.to_vec());
        let directories: Vec<_> = apps.iter().map(|app| self.app_directory(*app)).collect();
        let removed = tokio::task::spawn_blocking(move || {
            let report = |error: Error| say!("cannot remove all of what was deleted: {error}");
            for directory in &directories {
                match sweep::remove(directory) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        report(disk("remove", directory, &error));
                    }
                    _ => {}
                }
            }
            let streams = apps.into_iter().map(Some).chain(whole.then_some(None));
            streams.for_each(|app| logs.forget(network, app).unwrap_or_else(report));
            if whole {
                contents.forget(network).unwrap_or_else(report);
            }
        });
        let _ = removed.await;
        if !whole {
            self.collect(network, Duration::ZERO).await;
        }
    }

    /// Removes for good what has been in the trash for long enough.
    pub async fn sweep_trash(&self) -> Result<()> {
        let cutoff = rfc3339(SystemTime::now().checked_sub(self.grace).unwrap_or(UNIX_EPOCH));
        let swept = self.store.with(move |t| {
            let ids = |query: &str| {
                let mut query = t.prepare(query).map_err(explain)?;
                let rows = query.query_map([&cutoff], |row| Ok((row.get(0)?, row.get(1)?)));
                rows.and_then(Iterator::collect::<rusqlite::Result<Vec<(i64, i64)>>>).map_err(explain)
            };
            let mut swept = Vec::new();
            for (network, _) in ids("SELECT id, 0 FROM all_networks WHERE deleted_at <= ?1")? {
                swept.push((network, apps_ever(t, network)?, true));
                t.execute("DELETE FROM all_networks WHERE id = ?1", [network]).map_err(explain)?;
            }
            for (network, app) in ids("SELECT network, id FROM all_apps WHERE deleted_at <= ?1")? {
                swept.push((network, vec![app], false));
                t.execute("DELETE FROM all_apps WHERE id = ?1", [app]).map_err(explain)?;
            }
            Ok(swept)
        });
        for (network, apps, whole) in swept.await? {
            self.wipe(network, &apps, whole).await;
        }
        Ok(())
    }
}

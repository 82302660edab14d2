//! What is different between two releases of an app.

use super::transfer::of_plan;
use super::{AppRow, Platform, find_app};
use crate::archive::{Node, Tree, shown};
use crate::error::{Error, Kind, Result};
use crate::manifest::{order, parse_hex};
use crate::maxd::access::Access;
use crate::maxd::config::{self, Items};
use crate::maxd::releases::{self, Compared};
use crate::maxd::variables::{self, Scope};
use crate::wire::release::{Diff, Difference, File};
use rusqlite::Transaction;
use std::cmp::Ordering;
use std::sync::Arc;

/// So many files are listed.
const LISTED: usize = 1000;

impl Platform {
    /// `release:diff`.
    pub async fn diff_releases(self: &Arc<Self>, who: &Access, request: Diff) -> Result<Difference> {
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
            let from = from.or(second.from).ok_or_else(|| none(&format!(" before {to}")))?;
            let first = release(t, &row, from, "from")?;
            let (mut before, mut after) = (Items::default(), Items::default());
            // Of one that is older than these they are not known.
            if let (Some(first), Some(second)) = (first.plan, second.plan) {
                before.extend(of_plan(first));
                after.extend(of_plan(second));
            }
            if let (Some(first), Some(second)) = (first.config, second.config) {
                before.extend(configuration(t, &row, first)?);
                after.extend(configuration(t, &row, second)?);
            }
            let changes = config::differences(&before, &after, None);
            let manifests = first.manifest.zip(second.manifest);
            let answer = Difference { network, app, from, to, changes, files: None, more: 0 };
            Ok((answer, row.network_id, manifests))
        };
        let (mut answer, network, manifests) = self.store.with(read).await?;
        let Some((first, second)) = manifests else { return Ok(answer) };
        let _place = self.deploys.reader().await;
        let pool = self.contents.pool(network);
        let found = tokio::task::spawn_blocking(move || {
            let tree = |name: &str| parse_hex(name.as_bytes()).map_or(Ok(None), |name| pool.manifest(&name));
            Ok(tree(&first)?.zip(tree(&second)?).map(|(first, second)| files(&first, &second)))
        });
        let found = found
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the server failed at its manifests")));
        if let Some((files, more)) = found? {
            (answer.files, answer.more) = (Some(files), more);
        }
        Ok(answer)
    }
}

fn release(t: &Transaction<'_>, row: &AppRow, number: u64, field: &str) -> Result<Compared> {
    let found = releases::compared(t, row.id, number)?;
    // What has failed before it was known how it is built has nothing to compare.
    found.filter(|found| found.served || found.plan.is_some()).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("app '{}' has no release {number}", row.name))
            .hint("see `rig list releases`")
            .field(field)
    })
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

/// What of a file or link can be different: its permission bits, which a link has not, its bytes,
/// and what is in it. Directories are what is in them.
fn leaf(node: &Node) -> Option<(Option<u32>, u64, &[u8])> {
    match node {
        Node::File { mode, size, hash } => Some((Some(*mode), *size, hash.as_slice())),
        Node::Link { target } => Some((None, target.len() as u64, target.as_slice())),
        Node::Dir { .. } => None,
    }
}

/// The files that are different, and how many more than are listed.
fn files(first: &Tree, second: &Tree) -> (Vec<File>, u64) {
    let leaves = |tree| Tree::nodes(tree).filter_map(|(path, node)| Some((path, leaf(node)?)));
    let (mut before, mut after) = (leaves(first).peekable(), leaves(second).peekable());
    let (mut listed, mut more) = (Vec::new(), 0);
    loop {
        let which = match (before.peek(), after.peek()) {
            (None, None) => return (listed, more),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => order(&one.0, &other.0),
        };
        let old = if which.is_le() { before.next() } else { None };
        let new = if which.is_ge() { after.next() } else { None };
        if old == new {
            continue;
        }
        let change = match (&old, &new) {
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        if listed.len() >= LISTED {
            more += 1;
            continue;
        }
        let size = |one: &Option<(_, (_, u64, _))>| one.as_ref().map(|one| one.1.1);
        let mode = |one: &Option<(_, (Option<u32>, _, _))>| one.as_ref().and_then(|one| one.1.0);
        let modes = mode(&old).zip(mode(&new)).filter(|(old, new)| old != new);
        listed.push(File {
            change: change.to_owned(),
            before: size(&old),
            after: size(&new),
            mode: modes.map(|(old, new)| format!("{old:04o} -> {new:04o}")),
            path: old.or(new).map(|one| shown(&one.0)).unwrap_or_default(),
        });
    }
}

//! The rows of variables and secrets, and a change of them.

use super::{COUNT_MAX, TOTAL_MAX};
use crate::env::{check_name, check_size, check_value};
use crate::error::{Error, Kind, Result};
use crate::maxd::near;
use crate::maxd::secrets::{Environment, OVERHEAD, Sealed, Vault};
use crate::maxd::store::{explain, held};
use crate::time::rfc3339;
use crate::wire::variable::Difference;
use crate::wire::{secret, variable};
use rusqlite::{Row, Transaction, params};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

/// Whose variables.
#[derive(Clone, Copy)]
pub struct Scope {
    /// The network's row.
    pub network: i64,
    /// The app's; none for those of all of the network's apps.
    pub app: Option<i64>,
}

/// What a variable holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A value.
    Plain(String),
    /// A sealed one, and the number of the key it is sealed to.
    Sealed(Vec<u8>, u64),
}

/// A variable's row.
pub struct Variable {
    /// The row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its value; empty when it is secret.
    pub value: String,
    /// It is the app's own.
    pub own: bool,
    /// Since which change of its scope it is, or was, current.
    pub since: u64,
    updated_by: String,
    updated_at: String,
    sealed: Option<Vec<u8>>,
    fingerprint: Option<String>,
    network: String,
    app: Option<String>,
}

impl Variable {
    /// Whether it is a secret.
    pub fn secret(&self) -> bool {
        self.sealed.is_some()
    }

    /// As it is sealed; none when it is no secret.
    pub fn sealed(&self) -> Option<Sealed> {
        let about = secret::about(&self.network, self.app.as_deref(), &self.name);
        Some(Sealed { name: self.name.clone(), about, bytes: self.sealed.clone()? })
    }

    /// Which secret it is; none when it is no secret.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    fn size(&self) -> usize {
        self.sealed.as_ref().map_or(self.value.len(), |sealed| sealed.len().saturating_sub(OVERHEAD))
    }

    fn from(&self) -> String {
        if self.own { "app" } else { "network" }.to_owned()
    }

    /// Whether the other one of its name is the same for a program.
    pub fn same(&self, other: &Variable) -> bool {
        self.value == other.value && self.fingerprint == other.fingerprint
    }

    /// As it is told, but for what depends on others.
    pub fn document(&self, overrides: bool, staged: bool) -> variable::Variable {
        variable::Variable {
            name: self.name.clone(),
            value: self.value.clone(),
            from: self.from(),
            overrides,
            staged,
            updated_by: self.updated_by.clone(),
            updated_at: self.updated_at.clone(),
        }
    }

    /// The same of a secret.
    pub fn secret_document(&self, overrides: bool, staged: bool) -> secret::Secret {
        secret::Secret {
            name: self.name.clone(),
            from: self.from(),
            overrides,
            staged,
            fingerprint: self.fingerprint.clone().unwrap_or_default(),
            size: self.size() as u64,
            updated_by: self.updated_by.clone(),
            updated_at: self.updated_at.clone(),
        }
    }
}

const COLUMNS: &str = "SELECT v.id, v.name, v.value, v.app IS NOT NULL, v.updated_by, v.updated_at,
     v.sealed, v.fingerprint, n.name, a.name, v.since
     FROM variables v JOIN all_networks n ON n.id = v.network LEFT JOIN all_apps a ON a.id = v.app";

fn read(row: &Row<'_>) -> rusqlite::Result<Variable> {
    Ok(Variable {
        id: row.get(0)?,
        name: row.get(1)?,
        value: row.get(2)?,
        own: row.get(3)?,
        updated_by: row.get(4)?,
        updated_at: row.get(5)?,
        sealed: row.get(6)?,
        fingerprint: row.get(7)?,
        network: row.get(8)?,
        app: row.get(9)?,
        since: row.get(10)?,
    })
}

fn rows(t: &Transaction<'_>, filter: &str, values: impl rusqlite::Params) -> Result<Vec<Variable>> {
    let mut query = t.prepare_cached(&format!("{COLUMNS} {filter} ORDER BY v.name")).map_err(explain)?;
    let rows = query.query_map(values, read);
    rows.and_then(Iterator::collect).map_err(explain)
}

/// The variables of this scope itself, by name.
pub fn own(t: &Transaction<'_>, scope: Scope) -> Result<Vec<Variable>> {
    rows(t, "WHERE v.network = ?1 AND v.app IS ?2 AND v.until IS NULL", params![scope.network, scope.app])
}

/// The variables of this scope itself behind the change of this number, by name.
pub fn at(t: &Transaction<'_>, scope: Scope, number: u64) -> Result<Vec<Variable>> {
    let filter =
        "WHERE v.network = ?1 AND v.app IS ?2 AND v.since <= ?3 AND (v.until IS NULL OR v.until > ?3)";
    rows(t, filter, params![scope.network, scope.app, held(number)])
}

/// Those that the change of this number has ended, and those that it has begun.
pub fn changed_at(t: &Transaction<'_>, scope: Scope, number: u64) -> Result<(Vec<Variable>, Vec<Variable>)> {
    let filter = "WHERE v.network = ?1 AND v.app IS ?2 AND (v.until = ?3 AND v.since < ?3 OR v.since = ?3)";
    let all = rows(t, filter, params![scope.network, scope.app, held(number)])?;
    Ok(all.into_iter().partition(|one| one.since < number))
}

/// What an app shall run with, by name: its own and, of other names, its network's.
pub fn wanted(t: &Transaction<'_>, network: i64, app: i64) -> Result<Vec<Variable>> {
    // Apart, so that neither looks at the variables of other apps.
    let filter = "WHERE v.id IN (
         SELECT id FROM variables WHERE network = ?1 AND app = ?2 AND until IS NULL UNION ALL
         SELECT s.id FROM variables s WHERE s.network = ?1 AND s.app IS NULL AND s.until IS NULL AND NOT EXISTS
             (SELECT 1 FROM variables o WHERE o.app = ?2 AND o.name = s.name AND o.until IS NULL))";
    rows(t, filter, params![network, app])
}

/// What an app runs with, or did when it was stopped, by name.
pub fn applied(t: &Transaction<'_>, app: i64) -> Result<Vec<Variable>> {
    rows(t, "WHERE v.id IN (SELECT variable FROM applied WHERE app = ?1)", [app])
}

/// All that is sealed in a network, also what only instances still run with, and the rows.
pub fn sealed_in(t: &Transaction<'_>, network: i64) -> Result<Vec<(i64, Sealed)>> {
    let all = rows(t, "WHERE v.network = ?1 AND v.sealed IS NOT NULL", [network])?;
    Ok(all.iter().filter_map(|one| Some((one.id, one.sealed()?))).collect())
}

/// The rows' numbers.
pub fn rows_of(variables: &[Variable]) -> Vec<i64> {
    variables.iter().map(|one| one.id).collect()
}

/// From now on the app runs with these rows.
pub fn apply(t: &Transaction<'_>, app: i64, variables: &[i64]) -> Result<()> {
    t.execute("DELETE FROM applied WHERE app = ?1", [app]).map_err(explain)?;
    for id in variables {
        // The app may be gone with all of its.
        let insert = "INSERT INTO applied(app, variable)
             SELECT a.id, v.id FROM all_apps a, variables v WHERE a.id = ?1 AND v.id = ?2";
        t.execute(insert, params![app, id]).map_err(explain)?;
    }
    Ok(())
}

/// Forgets the scope's former values that neither its history tells of nor an instance runs with.
pub fn forget_unused(t: &Transaction<'_>, scope: Scope) -> Result<()> {
    let unused = "DELETE FROM variables WHERE network = ?1 AND app IS ?2 AND until <=
             (SELECT min(number) FROM history WHERE network = ?1 AND app IS ?2)
         AND NOT EXISTS (SELECT 1 FROM applied WHERE variable = variables.id)";
    t.execute(unused, params![scope.network, scope.app]).map(drop).map_err(explain)
}

/// As a program of the network finds them.
pub fn environment(
    t: &Transaction<'_>,
    vault: &Arc<Vault>,
    network: i64,
    variables: &[Variable],
) -> Result<Environment> {
    let plain = variables.iter().filter(|one| !one.secret());
    let plain = plain.map(|one| (one.name.clone(), one.value.clone())).collect();
    Environment::new(t, vault, network, plain, variables.iter().filter_map(Variable::sealed).collect())
}

/// What it takes from one to the other, by name.
pub fn differences(before: &[Variable], after: &[Variable]) -> Vec<Difference> {
    let by_name = |all: &'_ [Variable]| -> BTreeMap<String, usize> {
        all.iter().enumerate().map(|(at, one)| (one.name.clone(), at)).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let old = old.get(name).and_then(|at| before.get(*at));
        let new = new.get(name).and_then(|at| after.get(*at));
        match (old, new) {
            (Some(old), Some(new)) if old.same(new) => None,
            (Some(_), Some(_)) => Some("changed"),
            (None, _) => Some("added"),
            (_, None) => Some("removed"),
        }
    };
    let told = |name: &String| Some(Difference { name: name.clone(), change: change(name)?.to_owned() });
    names.into_iter().filter_map(told).collect()
}

/// One to set.
#[derive(Clone)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// What it shall hold.
    pub content: Content,
}

/// A change of the variables, or of the secrets, of one scope.
pub struct Change {
    /// Whether secrets are changed: then all to set are sealed, else none is.
    pub secret: bool,
    /// Those to set; of two of one name the last counts.
    pub set: Vec<Setting>,
    /// Those to delete.
    pub delete: Vec<String>,
    /// Whether all others are deleted.
    pub prune: bool,
}

impl Change {
    /// `variable` or `secret`.
    fn noun(&self) -> &'static str {
        if self.secret { "secret" } else { "variable" }
    }

    /// Makes it, as part of the change of this `number`: what is different, and how many were so
    /// already. Refused as a whole. `key` is the number of the network's key.
    pub fn make(
        &self,
        t: &Transaction<'_>,
        scope: Scope,
        by: &str,
        (key, number): (u64, u64),
    ) -> Result<(Vec<Difference>, u64)> {
        let all = own(t, scope)?;
        let (before, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.secret() == self.secret);
        let set: BTreeMap<&str, &Content> =
            self.set.iter().map(|one| (one.name.as_str(), &one.content)).collect();
        for (name, content) in &set {
            check(name, content, key)?;
            if others.iter().any(|one| one.name == *name) {
                return Err(self.taken(name));
            }
        }
        for name in &self.delete {
            if !before.iter().any(|one| one.name == *name) {
                return Err(self.missing(t, scope, name, (&before, &others))?);
            }
        }
        let unchanged = |one: &Variable| match set.get(one.name.as_str()) {
            Some(Content::Plain(value)) => *value == one.value,
            // Nobody here knows what is sealed.
            _ => false,
        };
        let kept: BTreeSet<&str> =
            before.iter().filter(|one| unchanged(one)).map(|one| one.name.as_str()).collect();
        for one in &before {
            let name = one.name.as_str();
            let replaced = set.contains_key(name) && !kept.contains(name);
            let gone = !set.contains_key(name) && (self.prune || self.delete.contains(&one.name));
            if replaced || gone {
                end(t, one, number)?;
            }
        }
        for (name, content) in set.iter().filter(|(name, _)| !kept.contains(*name)) {
            insert(t, scope, name, content, by, number)?;
        }
        check_limits(t, scope)?;
        let after: Vec<_> = own(t, scope)?.into_iter().filter(|one| one.secret() == self.secret).collect();
        Ok((differences(&before, &after), kept.len() as u64))
    }

    /// What those of the other kind are called, and where they are deleted.
    fn other_kind(&self) -> (&'static str, &'static str) {
        if self.secret { ("variable", "var") } else { ("secret", "secret") }
    }

    fn taken(&self, name: &str) -> Error {
        let (is, delete) = self.other_kind();
        Error::new(Kind::Conflict, format!("'{name}' is a {is} already"))
            .hint(format!("delete that first: `rig delete {delete} {name}`"))
            .field("set")
    }

    fn missing(
        &self,
        t: &Transaction<'_>,
        scope: Scope,
        name: &str,
        (these, others): (&[Variable], &[Variable]),
    ) -> Result<Error> {
        let noun = self.noun();
        let error = Error::new(Kind::NotFound, format!("there is no {noun} '{name}'")).field("delete");
        let is = |one: &Variable| one.name == name;
        if others.iter().any(is) {
            let (is, delete) = self.other_kind();
            return Ok(error.hint(format!("it is a {is}: `rig delete {delete} {name}`")));
        }
        let of_network = scope.app.is_some() && own(t, Scope { app: None, ..scope })?.iter().any(is);
        if of_network {
            return Ok(error.hint("the network has it: delete it there, with --network alone"));
        }
        let see = if self.secret { "see `rig list secrets`" } else { "see `rig list vars`" };
        Ok(error.hint(near::among(name, these.iter().map(|one| one.name.as_str()), see)))
    }
}

fn check(name: &str, content: &Content, key: u64) -> Result<()> {
    check_name(name)?;
    match content {
        Content::Plain(value) => check_value(name, value),
        Content::Sealed(_, number) if *number != key => {
            let message = format!("'{name}' is sealed to key {number}; the network has key {key} now");
            Err(Error::new(Kind::Conflict, message).hint("try again").field("key"))
        }
        Content::Sealed(bytes, _) => match bytes.len().checked_sub(OVERHEAD) {
            Some(size) => check_size(name, size),
            None => Err(Error::usage(format!("'{name}' is not sealed")).field("sealed")),
        },
    }
}

/// Has a variable be former from the change of this number on.
pub fn end(t: &Transaction<'_>, one: &Variable, number: u64) -> Result<()> {
    let query = "UPDATE variables SET until = ?2 WHERE id = ?1";
    t.execute(query, params![one.id, held(number)]).map(drop).map_err(explain)
}

fn insert(
    t: &Transaction<'_>,
    scope: Scope,
    name: &str,
    content: &Content,
    by: &str,
    number: u64,
) -> Result<()> {
    let (value, sealed, fingerprint) = match content {
        Content::Plain(value) => (value.as_str(), None, None),
        Content::Sealed(bytes, _) => {
            let hash = Sha256::digest(bytes);
            let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            ("", Some(bytes.as_slice()), Some(hex))
        }
    };
    add(t, scope, (name, value), (sealed, fingerprint.as_deref()), by, number)
}

/// Has a former variable of the scope be current again from the change of this number on.
pub fn again(t: &Transaction<'_>, scope: Scope, one: &Variable, by: &str, number: u64) -> Result<()> {
    add(t, scope, (&one.name, &one.value), (one.sealed.as_deref(), one.fingerprint()), by, number)
}

/// Inserts a variable, or a secret as it is sealed with its fingerprint, that is current from the
/// change of this number on.
pub fn add(
    t: &Transaction<'_>,
    scope: Scope,
    (name, value): (&str, &str),
    (sealed, fingerprint): (Option<&[u8]>, Option<&str>),
    by: &str,
    number: u64,
) -> Result<()> {
    let (network, app, now) = (scope.network, scope.app, rfc3339(SystemTime::now()));
    t.execute(
        "INSERT INTO variables(network, app, name, value, updated_by, updated_at, sealed, fingerprint, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![network, app, name, value, by, now, sealed, fingerprint, held(number)],
    )
    .map(drop)
    .map_err(explain)
}

/// Refuses more than an app can have, whose variables are its own and its network's.
pub fn check_limits(t: &Transaction<'_>, scope: Scope) -> Result<()> {
    fits(&own(t, scope)?, "")?;
    let mut query = t
        .prepare("SELECT id, name FROM apps WHERE network = ?1 AND (?2 IS NULL OR id = ?2)")
        .map_err(explain)?;
    let apps = query.query_map(params![scope.network, scope.app], |row| Ok((row.get(0)?, row.get(1)?)));
    let apps: Vec<(i64, String)> = apps.and_then(Iterator::collect).map_err(explain)?;
    for (app, name) in apps {
        fits(&wanted(t, scope.network, app)?, &format!(" in app '{name}'"))?;
    }
    Ok(())
}

fn fits(variables: &[Variable], place: &str) -> Result<()> {
    let total: usize = variables.iter().map(|one| one.name.len() + one.size()).sum();
    let message = if variables.len() > COUNT_MAX {
        format!("there would be {} variables{place}; at most {COUNT_MAX} are taken", variables.len())
    } else if total > TOTAL_MAX {
        format!("the variables would have {total} bytes together{place}; at most {TOTAL_MAX} are taken")
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::TooLarge, message).hint("keep what is large in a file of the app").field("set"))
}

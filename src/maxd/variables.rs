//! The variables of apps and networks: which names and sizes there are, what is wanted and
//! what the instances run with.
//!
//! ```text
//! var:change ──▶ wanted ── rolled out ──▶ applied
//!                (rows that are current)  (rows that the instances have)
//! ```
//!
//! A row is never changed: a new value is a new row, and the old one stays for as long as an
//! app runs with it. So it is known at any time, also after a crash, what an app runs with
//! and what is only staged.

pub mod dotenv;

use super::store::explain;
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::exec;
use crate::wire::variable::{self, Difference};
use rusqlite::{Row, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// The longest value, in bytes.
pub const VALUE_MAX: usize = 64 << 10;
/// The longest name, in bytes.
const NAME_MAX: usize = 255;
/// The names and values of one app together, in bytes.
const TOTAL_MAX: usize = 256 << 10;
/// The most an app has.
const COUNT_MAX: usize = 500;

/// Variables that are Max's own, and why.
const RESERVED: &[(&str, &str)] = &[
    ("PORT", "it tells an instance where to listen"),
    ("HOST", "it tells an instance where to listen"),
    ("PATH", "it leads to what the release has installed"),
    ("HOME", "it is the release's directory"),
];

/// Whether a program is led by it to load code of the app's before it is inside the sandbox.
pub fn loads_code(name: &str) -> bool {
    name.starts_with("LD_")
        || name.starts_with("BASH_FUNC_")
        || ["GLIBC_TUNABLES", "GCONV_PATH"].contains(&name)
}

/// Refuses a name that a variable of an app can't have.
pub fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || name.len() > NAME_MAX {
        return Err(Error::usage(format!("'{name}' is no variable's name"))
            .hint(format!(
                "a name has 1 to {NAME_MAX} of A-Z, a-z, 0-9 and _, and does not start with a digit"
            ))
            .field("name"));
    }
    if let Some((name, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
        let message = format!("'{name}' is Max's own: {why}");
        return Err(Error::usage(message).hint("choose another name").field("name"));
    }
    if loads_code(name) {
        let message = format!("'{name}' would change the programs that start the app");
        return Err(Error::usage(message).hint("set it in the command that runs the app").field("name"));
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<()> {
    if value.len() > VALUE_MAX {
        let message =
            format!("the value of '{name}' has {} bytes; at most {VALUE_MAX} are taken", value.len());
        return Err(Error::new(Kind::TooLarge, message).field("value"));
    }
    if value.contains('\0') {
        let message = format!("the value of '{name}' holds a zero byte, which no environment can");
        return Err(Error::usage(message).field("value"));
    }
    Ok(())
}

/// Whose variables.
#[derive(Clone, Copy)]
pub struct Scope {
    /// The network's row.
    pub network: i64,
    /// The app's; none for those of all of the network's apps.
    pub app: Option<i64>,
}

/// A variable's row.
pub struct Variable {
    /// The row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// It is the app's own.
    pub own: bool,
    updated_by: String,
    updated_at: String,
}

impl Variable {
    /// As it is told, but for what depends on others.
    pub fn document(&self, overrides: bool, staged: bool) -> variable::Variable {
        variable::Variable {
            name: self.name.clone(),
            value: self.value.clone(),
            from: if self.own { "app" } else { "network" }.to_owned(),
            overrides,
            staged,
            updated_by: self.updated_by.clone(),
            updated_at: self.updated_at.clone(),
        }
    }
}

const COLUMNS: &str = "SELECT v.id, v.name, v.value, v.app IS NOT NULL, v.updated_by, v.updated_at
     FROM variables v";

fn read(row: &Row<'_>) -> rusqlite::Result<Variable> {
    Ok(Variable {
        id: row.get(0)?,
        name: row.get(1)?,
        value: row.get(2)?,
        own: row.get(3)?,
        updated_by: row.get(4)?,
        updated_at: row.get(5)?,
    })
}

fn rows(t: &Transaction<'_>, filter: &str, values: impl rusqlite::Params) -> Result<Vec<Variable>> {
    let mut query = t.prepare(&format!("{COLUMNS} {filter} ORDER BY v.name")).map_err(explain)?;
    let rows = query.query_map(values, read);
    rows.and_then(Iterator::collect).map_err(explain)
}

/// The variables of this scope itself, by name.
pub fn own(t: &Transaction<'_>, scope: Scope) -> Result<Vec<Variable>> {
    rows(t, "WHERE v.network = ?1 AND v.app IS ?2 AND v.current", params![scope.network, scope.app])
}

/// What an app shall run with, by name: its own and, of other names, its network's.
pub fn wanted(t: &Transaction<'_>, network: i64, app: i64) -> Result<Vec<Variable>> {
    let filter = "WHERE v.network = ?1 AND v.current AND (v.app = ?2 OR v.app IS NULL AND NOT EXISTS
         (SELECT 1 FROM variables o WHERE o.app = ?2 AND o.name = v.name AND o.current))";
    rows(t, filter, params![network, app])
}

/// What an app runs with, or did when it was stopped, by name.
pub fn applied(t: &Transaction<'_>, app: i64) -> Result<Vec<Variable>> {
    rows(t, "WHERE v.id IN (SELECT variable FROM applied WHERE app = ?1)", [app])
}

/// From now on the app runs with these rows. What nobody runs with any more is forgotten.
pub fn apply(t: &Transaction<'_>, app: i64, variables: &[i64]) -> Result<()> {
    t.execute("DELETE FROM applied WHERE app = ?1", [app]).map_err(explain)?;
    for id in variables {
        // The app may be gone with all of its.
        let insert = "INSERT INTO applied(app, variable)
             SELECT a.id, v.id FROM apps a, variables v WHERE a.id = ?1 AND v.id = ?2";
        t.execute(insert, params![app, id]).map_err(explain)?;
    }
    forget_unused(t)
}

fn forget_unused(t: &Transaction<'_>) -> Result<()> {
    t.execute("DELETE FROM variables WHERE NOT current AND id NOT IN (SELECT variable FROM applied)", [])
        .map(drop)
        .map_err(explain)
}

/// As a program finds them.
pub fn environment(variables: &[Variable]) -> Vec<(String, String)> {
    variables.iter().map(|one| (one.name.clone(), one.value.clone())).collect()
}

/// What it takes from one to the other, by name.
pub fn differences(before: &[Variable], after: &[Variable]) -> Vec<Difference> {
    let by_name = |all: &[Variable]| -> BTreeMap<String, String> {
        all.iter().map(|one| (one.name.clone(), one.value.clone())).collect()
    };
    let (before, after) = (by_name(before), by_name(after));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| match (before.get(name), after.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(_), Some(_)) => Some("changed"),
        (None, _) => Some("added"),
        (_, None) => Some("removed"),
    };
    let told = |name: &String| Some(Difference { name: name.clone(), change: change(name)?.to_owned() });
    names.into_iter().filter_map(told).collect()
}

/// A change of the variables of one scope.
pub struct Change {
    /// Those to set; of two of one name the last counts.
    pub set: Vec<exec::Variable>,
    /// Those to delete.
    pub delete: Vec<String>,
    /// Whether all others are deleted.
    pub prune: bool,
}

impl Change {
    /// Makes it: what is different, and how many were so already. Refused as a whole.
    pub fn make(&self, t: &Transaction<'_>, scope: Scope, by: &str) -> Result<(Vec<Difference>, u64)> {
        let before = own(t, scope)?;
        let now = rfc3339(SystemTime::now());
        let set: BTreeMap<&str, &str> =
            self.set.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
        for (name, value) in &set {
            check_name(name)?;
            check_value(name, value)?;
        }
        for name in &self.delete {
            if !before.iter().any(|one| one.name == *name) {
                return Err(missing(t, scope, name)?);
            }
        }
        let unchanged = |one: &Variable| set.get(one.name.as_str()) == Some(&one.value.as_str());
        let kept: BTreeSet<&str> =
            before.iter().filter(|one| unchanged(one)).map(|one| one.name.as_str()).collect();
        for one in &before {
            let name = one.name.as_str();
            let replaced = set.contains_key(name) && !kept.contains(name);
            let gone = !set.contains_key(name) && (self.prune || self.delete.contains(&one.name));
            if replaced || gone {
                t.execute("UPDATE variables SET current = 0 WHERE id = ?1", [one.id]).map_err(explain)?;
            }
        }
        for (name, value) in set.iter().filter(|(name, _)| !kept.contains(*name)) {
            t.execute(
                "INSERT INTO variables(network, app, name, value, updated_by, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![scope.network, scope.app, name, value, by, now],
            )
            .map_err(explain)?;
        }
        forget_unused(t)?;
        let after = own(t, scope)?;
        check_limits(t, scope, &after)?;
        Ok((differences(&before, &after), kept.len() as u64))
    }
}

fn missing(t: &Transaction<'_>, scope: Scope, name: &str) -> Result<Error> {
    let of_network = match scope.app {
        Some(_) => own(t, Scope { app: None, ..scope })?.iter().any(|one| one.name == name),
        None => false,
    };
    let error = Error::new(Kind::NotFound, format!("there is no variable '{name}'")).field("delete");
    Ok(match of_network {
        true => error.hint("the network has it: delete it there, with --network alone"),
        false => error.hint("see `rig list vars`"),
    })
}

/// Refuses more than an app can have, whose variables are its own and its network's.
fn check_limits(t: &Transaction<'_>, scope: Scope, own: &[Variable]) -> Result<()> {
    fits(own, "")?;
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
    let total: usize = variables.iter().map(|one| one.name.len() + one.value.len()).sum();
    let message = if variables.len() > COUNT_MAX {
        format!("there would be {} variables{place}; at most {COUNT_MAX} are taken", variables.len())
    } else if total > TOTAL_MAX {
        format!("the variables would have {total} bytes together{place}; at most {TOTAL_MAX} are taken")
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::TooLarge, message).hint("keep what is large in a file of the app").field("set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_an_environment_and_not_max_s_own() {
        for name in ["A", "a", "_", "DATABASE_URL", "http_proxy", "x9", &"a".repeat(NAME_MAX)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "9", "a-b", "a.b", "é", "a b", "a=b", "PORT", "HOST", "PATH", "HOME", "LD_PRELOAD"]
        {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name(&"a".repeat(NAME_MAX + 1)).is_err());
    }
}

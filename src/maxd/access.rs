//! Who may do what. A user has a role in a network, a token has a scope; both are levels, and
//! what somebody may do in a network is the lesser of them. One table says what each request
//! takes, and every look for a network goes through [`admit`].

use super::auth::Identity;
use super::store::explain;
use crate::error::{Error, Kind, Result};
use rusqlite::{OptionalExtension, Transaction, params};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// What one may do, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// See everything, change nothing, run nothing.
    Read = 1,
    /// Also deploy, start, stop, scale, and run programs in apps.
    Deploy = 2,
    /// Everything.
    Admin = 3,
}

use Level::{Admin, Deploy, Read};

/// Each level with its word as a token's scope and as a member's role.
pub const LEVELS: &[(Level, &str, &str)] =
    &[(Read, "read", "viewer"), (Deploy, "deploy", "deployer"), (Admin, "admin", "owner")];

/// What each request, topic and path takes at least; none where nobody is asked who he is.
/// What is not in it is not answered.
const LEAST: &[(&str, Option<Level>)] = &[
    ("session:show", Some(Read)),
    ("network:create", Some(Admin)),
    ("network:list", Some(Read)),
    ("network:status", Some(Read)),
    ("network:rename", Some(Admin)),
    ("network:delete", Some(Admin)),
    ("network:restore", Some(Admin)),
    ("app:create", Some(Admin)),
    ("app:list", Some(Read)),
    ("app:status", Some(Read)),
    ("app:metrics", Some(Read)),
    ("app:rename", Some(Admin)),
    ("app:delete", Some(Admin)),
    ("app:restore", Some(Admin)),
    ("trash:list", Some(Read)),
    ("trash:delete", Some(Admin)),
    ("app:start", Some(Deploy)),
    ("app:stop", Some(Deploy)),
    ("app:restart", Some(Deploy)),
    ("app:scale", Some(Deploy)),
    ("app:rollback", Some(Deploy)),
    ("release:list", Some(Read)),
    ("release:diff", Some(Read)),
    ("app:details", Some(Read)),
    ("network:details", Some(Read)),
    ("config:history", Some(Read)),
    ("config:rollback", Some(Deploy)),
    // With secrets more: who could not set them does not get them sealed either.
    ("config:export", Some(Read)),
    ("config:import", Some(Admin)),
    ("config:diff", Some(Read)),
    ("var:change", Some(Deploy)),
    ("var:apply", Some(Deploy)),
    ("var:list", Some(Read)),
    ("var:export", Some(Read)),
    // Made when it is asked for first, and of use for a change alone.
    ("secret:key", Some(Deploy)),
    ("secret:change", Some(Deploy)),
    ("secret:list", Some(Read)),
    ("secret:rotate", Some(Admin)),
    ("deploy:create", Some(Deploy)),
    ("deploy:status", Some(Read)),
    ("deploy:cancel", Some(Deploy)),
    ("alert:list", Some(Read)),
    ("webhook:create", Some(Admin)),
    ("webhook:list", Some(Read)),
    ("webhook:delete", Some(Admin)),
    ("exec:create", Some(Deploy)),
    ("exec:list", Some(Read)),
    ("exec:delete", Some(Deploy)),
    ("audit:list", Some(Read)),
    ("token:create", Some(Admin)),
    ("token:list", Some(Read)),
    ("token:delete", Some(Admin)),
    ("member:create", Some(Admin)),
    ("member:list", Some(Read)),
    ("member:delete", Some(Admin)),
    ("topic control", Some(Read)),
    ("topic deploy", Some(Read)),
    ("topic logs", Some(Read)),
    ("topic exec", Some(Deploy)),
    ("topic dashboard", Some(Read)),
    ("topic echo", Some(Read)),
    ("GET /socket/websocket", Some(Read)),
    ("ANY /socket/longpoll", Some(Read)),
    ("PUT /api/v1/deploys/{id}/source", Some(Deploy)),
    ("PUT /api/v1/deploys/{id}/manifest", Some(Deploy)),
    ("PUT /api/v1/deploys/{id}/contents", Some(Deploy)),
    ("PUT /api/v1/networks/{name}/manifest", Some(Deploy)),
    ("POST /api/v1/auth/revoke", Some(Read)),
    ("POST /api/v1/auth/exchange", None),
    ("POST /api/v1/auth/refresh", None),
    ("GET /healthz", None),
    ("GET /readyz", None),
    // It has a token of its own.
    ("GET /metrics", None),
];

/// The networks `n` that a user (`?1`) with a token for one network (`?2`) or for all (null)
/// sees.
pub const SEEN: &str =
    "n.id IN (SELECT network FROM members WHERE user = ?1 AND network = ifnull(?2, network))";

impl Level {
    fn row(self) -> (&'static str, &'static str) {
        LEVELS.iter().find(|row| row.0 == self).map_or(("", ""), |row| (row.1, row.2))
    }

    /// Its word as a token's scope.
    pub fn scope(self) -> &'static str {
        self.row().0
    }

    /// Its word as a member's role.
    pub fn role(self) -> &'static str {
        self.row().1
    }

    fn word(self, field: &str) -> &'static str {
        if field == "role" { self.role() } else { self.scope() }
    }

    /// The level whose word this is, as the `field` (`role` or `scope`) of a request.
    pub fn named(field: &'static str, word: &str) -> Result<Level> {
        let mut all = LEVELS.iter().map(|row| row.0);
        all.find(|level| level.word(field) == word).ok_or_else(|| {
            let words: Vec<&str> = LEVELS.iter().map(|row| row.0.word(field)).collect();
            Error::usage(format!("{field} takes {}, not '{word}'", words.join(", ")))
                .hint(format!("for instance `--{field} {}`", Deploy.word(field)))
                .field(field)
        })
    }

    /// As the database holds it. What it can't hold may least.
    pub fn held(number: i64) -> Level {
        LEVELS.iter().map(|row| row.0).find(|level| *level as i64 == number).unwrap_or(Read)
    }
}

/// Somebody who asks for something.
#[derive(Clone)]
pub struct Access {
    who: Arc<Identity>,
    what: &'static str,
    least: Level,
    /// The network in which that was refused.
    refused: Arc<OnceLock<i64>>,
}

impl Deref for Access {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.who
    }
}

impl Identity {
    /// That he asks for `what`, which has to be in the table.
    pub fn asks(&self, what: &str) -> Result<Access> {
        match LEAST.iter().find(|row| row.0 == what) {
            Some((what, Some(least))) => {
                Ok(Access { who: Arc::new(self.clone()), what, least: *least, refused: Arc::default() })
            }
            _ => Err(unknown(what)),
        }
    }
}

/// The answer to what is not in the table.
pub fn unknown(what: &str) -> Error {
    Error::usage(format!("this server knows no request '{what}'"))
        .hint("rig and Max may be of different versions")
}

impl Access {
    /// What is asked for.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The network in which it was refused.
    pub fn refused(&self) -> Option<i64> {
        self.refused.get().copied()
    }

    /// The same, asking for something else besides.
    pub fn also(&self, what: &str) -> Result<Access> {
        let also = self.who.asks(what)?;
        Ok(Access { refused: Arc::clone(&self.refused), ..also })
    }

    /// The same, where the table's level is not enough.
    pub fn at_least(&self, level: Level) -> Access {
        Access { least: self.least.max(level), ..self.clone() }
    }

    /// Whether the token may do it, where the user may.
    pub fn is_in_scope(&self) -> bool {
        self.scope >= self.least
    }

    /// Refuses what the token may not do.
    pub fn check_scope(&self) -> Result<()> {
        if self.is_in_scope() {
            return Ok(());
        }
        let least = self.least.scope();
        let message = format!("this token has the scope {}, and this takes {least}", self.scope.scope());
        Err(Error::new(Kind::Forbidden, message)
            .hint(format!("use another token; an admin token makes one: `rig create token --scope {least}`")))
    }
}

/// A user's role in a network; none when the network is to look as if it did not exist.
pub fn role(t: &Transaction<'_>, who: &Identity, network: i64) -> Result<Option<Level>> {
    let query =
        "SELECT level FROM members WHERE user = ?1 AND network = ?3 AND network = ifnull(?2, network)";
    let found = t.query_row(query, params![who.user, who.network, network], |row| row.get(0));
    Ok(found.optional().map_err(explain)?.map(Level::held))
}

/// The networks a user sees, and his roles in them.
pub fn roles(t: &Transaction<'_>, who: &Identity) -> Result<Vec<(i64, Level)>> {
    let query = "SELECT network, level FROM members WHERE user = ?1 AND network = ifnull(?2, network)";
    let mut query = t.prepare_cached(query).map_err(explain)?;
    let rows =
        query.query_map(params![who.user, who.network], |row| Ok((row.get(0)?, Level::held(row.get(1)?))));
    rows.and_then(Iterator::collect).map_err(explain)
}

/// Lets somebody do in a network what he asks for: his role there. `missing` is the answer
/// where he is no member, the same as where there is nothing.
pub fn admit(
    t: &Transaction<'_>,
    who: &Access,
    network: i64,
    missing: impl FnOnce() -> Error,
) -> Result<Level> {
    let role = role(t, who, network)?.ok_or_else(missing)?;
    let checked = match role >= who.least {
        true => who.check_scope(),
        false => Err(lacking(t, network, role, who.least)?),
    };
    if checked.is_err() {
        let _ = who.refused.set(network);
    }
    checked.map(|()| role)
}

/// The refusal of what a role is too little for.
fn lacking(t: &Transaction<'_>, network: i64, role: Level, least: Level) -> Result<Error> {
    let name: String = t
        .query_row("SELECT name FROM all_networks WHERE id = ?1", [network], |row| row.get(0))
        .map_err(explain)?;
    let owners = "SELECT u.name FROM members m JOIN users u ON u.id = m.user
                  WHERE m.network = ?1 AND m.level = ?2 ORDER BY u.name LIMIT 5";
    let mut query = t.prepare(owners).map_err(explain)?;
    let owners = query.query_map(params![network, Admin as i64], |row| row.get(0));
    let owners: Vec<String> = owners.and_then(Iterator::collect).map_err(explain)?;
    let message =
        format!("your role in network '{name}' is {}, and this takes {}", role.role(), least.role());
    Ok(Error::new(Kind::Forbidden, message).hint(format!("ask an owner: {}", owners.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the sources hold between `before` and `after`.
    fn found<'a>(source: &'a str, before: &str, after: &str) -> Vec<&'a str> {
        let lines = source.lines().map(str::trim);
        lines.filter_map(|line| line.strip_prefix(before)?.split_once(after).map(|cut| cut.0)).collect()
    }

    fn table(wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let mut names: Vec<&str> = LEAST.iter().map(|row| row.0).filter(|name| wanted(name)).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn every_request_is_in_the_table_and_nothing_else() {
        let mut events = found(include_str!("control.rs"), "\"", "\" =>");
        events.sort_unstable();
        assert!(events.len() > 20);
        assert_eq!(table(|name| !name.contains(' ')), events);
    }

    #[test]
    fn every_topic_is_in_the_table_and_nothing_else() {
        let mut topics = found(include_str!("stream.rs"), "[\"", "\"");
        topics.push("control");
        topics.sort_unstable();
        topics.dedup();
        let topics: Vec<String> = topics.iter().map(|topic| format!("topic {topic}")).collect();
        assert_eq!(table(|name| name.starts_with("topic ")), topics);
    }

    #[test]
    fn every_path_is_in_the_table_and_nothing_else() {
        let mut paths = found(include_str!("http.rs"), ".route(\"", "\"");
        paths.sort_unstable();
        let mut known = table(|name| name.contains(" /"));
        known = known.iter().filter_map(|name| name.split_once(' ')).map(|cut| cut.1).collect();
        known.sort_unstable();
        assert_eq!(known, paths);
    }
}

//! API tokens: made, listed and deleted, by their user or by whoever runs the server.

use super::{hash, random, unix};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::{Access, Level};
use crate::maxd::audit::{self, Note, What};
use crate::maxd::once::Once;
use crate::maxd::platform::{Platform, find_network};
use crate::maxd::store::{Store, explain, held};
use crate::time::{parse_duration, parse_instant, rfc3339};
use crate::wire::token::{Create, List, Select, Token};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many a user may have.
const MOST: u64 = 1000;
/// The longest name, in bytes.
const NAME_MAX: usize = 64;
/// How much of a token is shown.
const PREFIX: usize = 10;

/// A token that somebody has presented.
pub(super) struct Found {
    pub id: i64,
    pub user: i64,
    pub name: String,
    pub network: Option<i64>,
    /// Unix seconds.
    pub expires: Option<i64>,
    pub revoked: bool,
}

/// The token with this hash.
pub(super) fn find(t: &Transaction<'_>, presented: &[u8]) -> Result<Option<Found>> {
    let query = "SELECT a.id, u.id, u.name, a.network, a.expires, a.revoked_at IS NOT NULL
                 FROM api_tokens a JOIN users u ON u.id = a.user WHERE a.hash = ?1";
    let found = |row: &Row<'_>| {
        let (id, user, name) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Found { id, user, name, network: row.get(3)?, expires: row.get(4)?, revoked: row.get(5)? })
    };
    t.query_row(query, [presented], found).optional().map_err(explain)
}

/// What a new token is to be.
struct New {
    user: i64,
    name: Option<String>,
    level: Level,
    network: Option<i64>,
    expires: Option<i64>,
}

/// The row of a new token, and the token.
fn insert(t: &Transaction<'_>, new: New, now: SystemTime) -> Result<(i64, String)> {
    let token = fresh()?;
    t.execute(
        "INSERT INTO api_tokens(user, hash, prefix, created_at, name, level, network, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            new.user,
            hash(&token),
            token.get(..PREFIX),
            rfc3339(now),
            new.name,
            new.level as i64,
            new.network,
            new.expires
        ],
    )
    .map_err(explain)?;
    Ok((t.last_insert_rowid(), token))
}

fn fresh() -> Result<String> {
    Ok(format!("max_{}", random(20)?))
}

/// Makes an API token of `user` that may everything, and the user when it is new. The token
/// alone.
pub fn create_token(store: &Store, user: &str, now: SystemTime) -> Result<String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    if user.is_empty() || user.len() > 64 || !user.chars().all(valid) {
        return Err(Error::usage(format!("'{user}' is no user name"))
            .hint("a user name has 1 to 64 letters, digits and . _ - @ +"));
    }
    store.run(|t| {
        t.execute(
            "INSERT INTO users(name, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![user, rfc3339(now)],
        )
        .map_err(explain)?;
        let user = user_named(t, user)?;
        let new = New { user, name: None, level: Level::Admin, network: None, expires: None };
        let (id, token) = insert(t, new, now)?;
        let about = Some(format!("token {id}, on the server"));
        audit::note(t, Note { user, token: None, what: What::TokenCreated, network: None, about })?;
        Ok(token)
    })
}

/// The row of the user of this name.
pub fn user_named(t: &Transaction<'_>, name: &str) -> Result<i64> {
    let found = t.query_row("SELECT id FROM users WHERE name = ?1", [name], |row| row.get(0));
    found.optional().map_err(explain)?.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("user '{name}' does not exist"))
            .hint(format!(
                "a user begins with a token, made on the server: `maxd token create --user {name}`"
            ))
            .field("user")
    })
}

const ROWS: &str =
    "SELECT a.id, a.name, a.prefix, a.level, n.name, a.created_at, a.used_at, a.expires, a.revoked_at
     FROM api_tokens a JOIN users u ON u.id = a.user LEFT JOIN networks n ON n.id = a.network";

fn document(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get(0)?,
        token: None,
        name: row.get(1)?,
        prefix: row.get(2)?,
        scope: Level::held(row.get(3)?).scope().to_owned(),
        network: row.get(4)?,
        created_at: row.get(5)?,
        used_at: row.get(6)?,
        expires_at: row
            .get::<_, Option<u64>>(7)?
            .map(|expires| rfc3339(UNIX_EPOCH + Duration::from_secs(expires))),
        current: false,
    })
}

/// The API tokens of `user`, oldest first, and when each was revoked.
pub fn list_tokens(store: &Store, user: &str) -> Result<Vec<(Token, Option<String>)>> {
    store.run(|t| {
        let mut query = t.prepare(&format!("{ROWS} WHERE u.name = ?1 ORDER BY a.id")).map_err(explain)?;
        let rows = query.query_map([user], |row| Ok((document(row)?, row.get(8)?)));
        rows.and_then(Iterator::collect).map_err(explain)
    })
}

/// Revokes a user's API token and with it every session it opened.
pub fn revoke_token(store: &Store, user: &str, id: i64, now: SystemTime) -> Result<()> {
    store.run(|t| {
        let query =
            "SELECT u.id FROM api_tokens a JOIN users u ON u.id = a.user WHERE u.name = ?1 AND a.id = ?2";
        let found = t.query_row(query, params![user, id], |row| row.get(0)).optional().map_err(explain)?;
        let user: i64 = found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("user '{user}' has no token {id}"))
                .hint("see `maxd token list`")
        })?;
        end(t, id, now)?;
        let about = Some(format!("token {id}, on the server"));
        audit::note(t, Note { user, token: None, what: What::TokenDeleted, network: None, about })
    })
}

/// Ends a token: the sessions that end with it.
fn end(t: &Transaction<'_>, id: i64, now: SystemTime) -> Result<Vec<i64>> {
    let query = "UPDATE api_tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
    t.execute(query, params![id, rfc3339(now)]).map_err(explain)?;
    let mut query = t.prepare("DELETE FROM sessions WHERE api_token = ?1 RETURNING id").map_err(explain)?;
    let ended = query.query_map([id], |row| row.get(0));
    ended.and_then(Iterator::collect).map_err(explain)
}

impl Platform {
    /// `token:create`. The token is kept nowhere; so when the answer was lost, the same request
    /// gets another one for the same row, unless the first was used.
    pub async fn create_token(&self, who: &Access, once: Once, request: Create) -> Result<Token> {
        who.check_scope()?;
        let level = request.scope.as_deref().map_or(Ok(Level::Read), |word| Level::named("scope", word))?;
        let (now, who) = (SystemTime::now(), who.clone());
        let name = request.name.as_deref().map(name).transpose()?;
        let wanted = request.expires.as_deref().map(|text| end_of(text, now)).transpose()?;
        let made = self.store.with(move |t| {
            let sees = who.also("network:status")?;
            let (mut document, made) = once.run(t, || {
                let network =
                    request.network.as_deref().map(|name| find_network(t, &sees, name)).transpose()?;
                let expires = bounds(t, &who, network, wanted)?;
                let (id, token) = insert(t, New { user: who.user, name, level, network, expires }, now)?;
                let document = own(t, &who, id)?.ok_or_else(|| missing(id as u64))?;
                let about = Some(describe(&document));
                let note =
                    Note { user: who.user, token: Some(who.token), what: What::TokenCreated, network, about };
                audit::note(t, note)?;
                Ok((document, token))
            })?;
            let token = made.map_or_else(|| anew(t, document.id), Ok)?;
            document.prefix = token.get(..PREFIX).unwrap_or_default().to_owned();
            document.token = Some(token);
            Ok(document)
        });
        made.await
    }

    /// `token:list`.
    pub async fn list_own_tokens(&self, who: &Access) -> Result<List> {
        let who = who.clone();
        let tokens = self.store.with(move |t| {
            let rest =
                "WHERE a.user = ?1 AND a.revoked_at IS NULL AND (?2 IS NULL OR a.network = ?2) ORDER BY a.id";
            let mut query = t.prepare(&format!("{ROWS} {rest}")).map_err(explain)?;
            let rows = query.query_map(params![who.user, who.network], document);
            let tokens: Vec<Token> = rows.and_then(Iterator::collect).map_err(explain)?;
            Ok(tokens.into_iter().map(|token| marked(token, &who)).collect())
        });
        Ok(List { tokens: tokens.await? })
    }

    /// `token:delete`, with the sessions it opened.
    pub async fn delete_token(&self, who: &Access, once: Once, request: Select) -> Result<Token> {
        who.check_scope()?;
        let (id, who) = (request.id, who.clone());
        let (token, ended) = self
            .store
            .with(move |t| {
                once.run(t, || {
                    let token = own(t, &who, held(id))?.ok_or_else(|| missing(id))?;
                    let query = "SELECT network FROM api_tokens WHERE id = ?1";
                    let network = t.query_row(query, [held(id)], |row| row.get(0)).map_err(explain)?;
                    let ended = end(t, held(id), SystemTime::now())?;
                    let about = Some(describe(&token));
                    let by = Some(who.token);
                    audit::note(
                        t,
                        Note { user: who.user, token: by, what: What::TokenDeleted, network, about },
                    )?;
                    Ok((token, ended))
                })
            })
            .await?;
        ended.into_iter().flatten().for_each(|session| self.auth.tell_revoked(session));
        Ok(token)
    }
}

/// The user's token with this number, as far as who asks sees it.
fn own(t: &Transaction<'_>, who: &Access, id: i64) -> Result<Option<Token>> {
    let rest = "WHERE a.id = ?3 AND a.user = ?1 AND a.revoked_at IS NULL AND (?2 IS NULL OR a.network = ?2)";
    let found = t.query_row(&format!("{ROWS} {rest}"), params![who.user, who.network, id], document);
    Ok(found.optional().map_err(explain)?.map(|token| marked(token, who)))
}

fn marked(token: Token, who: &Access) -> Token {
    Token { current: held(token.id) == who.token, ..token }
}

/// A new token in the place of one that nobody has used.
fn anew(t: &Transaction<'_>, id: u64) -> Result<String> {
    let token = fresh()?;
    let query = "UPDATE api_tokens SET hash = ?2, prefix = ?3 WHERE id = ?1 AND used_at IS NULL AND revoked_at IS NULL";
    match t.execute(query, params![held(id), hash(&token), token.get(..PREFIX)]).map_err(explain)? {
        1 => Ok(token),
        _ => Err(Error::new(
            Kind::Conflict,
            format!("token {id} was made by this request before, and was used"),
        )
        .hint("make another one")
        .field("idempotency_key")),
    }
}

/// Refuses a token that may more than the one that makes it; when the new one ends.
fn bounds(
    t: &Transaction<'_>,
    who: &Access,
    network: Option<i64>,
    wanted: Option<i64>,
) -> Result<Option<i64>> {
    if let (Some(own), None) = (who.network, network) {
        let query = "SELECT name FROM networks WHERE id = ?1";
        let name: String = t.query_row(query, [own], |row| row.get(0)).map_err(explain)?;
        let message = format!("this token is for network '{name}' alone, and can't make one for all");
        return Err(Error::new(Kind::Forbidden, message)
            .hint(format!("add --network {name}"))
            .field("network"));
    }
    let own: Option<i64> = t
        .query_row("SELECT expires FROM api_tokens WHERE id = ?1", [who.token], |row| row.get(0))
        .map_err(explain)?;
    if let (Some(own), Some(wanted)) = (own, wanted)
        && wanted > own
    {
        let message = "this token can't make one that lasts longer than itself";
        return Err(Error::new(Kind::Forbidden, message).hint("leave out --expires").field("expires"));
    }
    let count: u64 = t
        .query_row(
            "SELECT count(*) FROM api_tokens WHERE user = ?1 AND revoked_at IS NULL",
            [who.user],
            |row| row.get(0),
        )
        .map_err(explain)?;
    if count >= MOST {
        let message = format!("you have {MOST} tokens already");
        return Err(Error::new(Kind::Conflict, message).hint("delete some: `rig list tokens`"));
    }
    Ok(wanted.or(own))
}

fn name(text: &str) -> Result<String> {
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        let message = format!("name takes 1 to {NAME_MAX} bytes without control characters");
        return Err(Error::usage(message).hint("for instance `--name ci`").field("name"));
    }
    Ok(text.to_owned())
}

/// When a token ends, in Unix seconds.
fn end_of(text: &str, now: SystemTime) -> Result<i64> {
    let end = match parse_duration(text) {
        Some(duration) => now.checked_add(duration),
        None => parse_instant(text),
    };
    // Later than RFC 3339 can tell is not meant.
    let end = end.map(unix).filter(|end| *end > unix(now) && *end < 253_402_300_800);
    end.ok_or_else(|| {
        Error::usage(format!("expires takes a time that comes, not '{text}'"))
            .hint("for instance `--expires 30d`, `12h` or `2026-11-24T10:00:00Z`")
            .field("expires")
    })
}

/// A token in words, for the audit.
fn describe(token: &Token) -> String {
    let name = token.name.as_ref().map(|name| format!(" '{name}'")).unwrap_or_default();
    let network = token.network.as_ref().map(|network| format!(" for {network}")).unwrap_or_default();
    format!("token {}{name}, {}{network}", token.id, token.scope)
}

fn missing(id: u64) -> Error {
    Error::new(Kind::NotFound, format!("token {id} does not exist")).hint("see `rig list tokens`").field("id")
}

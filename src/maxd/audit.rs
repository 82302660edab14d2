//! Who did what: the sessions in apps, and what concerns who may do what. A user sees what he
//! did, and an owner of a network what happened in it.

use super::access::Access;
use super::logs::instant;
use super::platform::Platform;
use super::store::{explain, held};
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::audit::{Audit, Entry, Filter};
use rusqlite::{Row, Transaction, params};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries in an answer, unless the request says otherwise, and at most.
const PAGE: u64 = 50;
const PAGE_MAX: u64 = 1000;
/// How long it is known who did something.
const KNOWN: Duration = Duration::from_secs(90 * 24 * 3600);
/// What happens all the time is noted once in so long.
const OFTEN: Duration = Duration::from_secs(3600);

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A session.
    Command,
    /// A session: a login shell.
    Shell,
    /// A session: the console of a network.
    Console,
    /// An API token was exchanged for a session.
    Login,
    /// An API token was made.
    TokenCreated,
    /// An API token was deleted.
    TokenDeleted,
    /// A network has a new member.
    MemberAdded,
    /// A member has another role.
    MemberChanged,
    /// A network has lost a member.
    MemberRemoved,
    /// Somebody who is known was not allowed something.
    Refused,
}

/// Their words.
const WORDS: &[(What, &str)] = &[
    (What::Command, "command"),
    (What::Shell, "shell"),
    (What::Console, "console"),
    (What::Login, "login"),
    (What::TokenCreated, "token_created"),
    (What::TokenDeleted, "token_deleted"),
    (What::MemberAdded, "member_added"),
    (What::MemberChanged, "member_changed"),
    (What::MemberRemoved, "member_removed"),
    (What::Refused, "refused"),
];

/// The condition for what lasts, which are sessions.
pub const LASTS: &str = "what IN ('command', 'shell', 'console')";

impl What {
    /// Its word.
    pub fn word(self) -> &'static str {
        WORDS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

/// Something that has happened and is over.
pub struct Note {
    /// Who did it.
    pub user: i64,
    /// With which API token.
    pub token: Option<i64>,
    /// What it was.
    pub what: What,
    /// In which network.
    pub network: Option<i64>,
    /// With what or whom.
    pub about: Option<String>,
}

/// Notes it.
pub fn note(t: &Transaction<'_>, note: Note) -> Result<()> {
    note_unless(t, note, SystemTime::now() + OFTEN)
}

/// Notes it, unless the same has been noted within an hour.
pub fn note_seldom(t: &Transaction<'_>, note: Note) -> Result<()> {
    note_unless(t, note, SystemTime::now().checked_sub(OFTEN).unwrap_or(UNIX_EPOCH))
}

fn note_unless(t: &Transaction<'_>, note: Note, since: SystemTime) -> Result<()> {
    t.execute(
        "INSERT INTO audit(what, user, token, network, network_id, about, started_at)
         SELECT ?1, ?2, ?3, (SELECT name FROM all_networks WHERE id = ?4), ?4, ?5, ?6
         WHERE NOT EXISTS (SELECT 1 FROM audit WHERE user = ?2 AND started_at >= ?7 AND what = ?1
                           AND token IS ?3 AND network_id IS ?4 AND about IS ?5)",
        params![
            note.what.word(),
            note.user,
            note.token,
            note.network,
            note.about,
            rfc3339(SystemTime::now()),
            rfc3339(since)
        ],
    )
    .map(drop)
    .map_err(explain)
}

/// Forgets what is long over.
pub fn forget_old(t: &Transaction<'_>) -> Result<()> {
    let old = rfc3339(SystemTime::now().checked_sub(KNOWN).unwrap_or(UNIX_EPOCH));
    let query =
        format!("DELETE FROM audit WHERE coalesce(ended_at, CASE WHEN NOT {LASTS} THEN started_at END) < ?1");
    t.execute(&query, [old]).map(drop).map_err(explain)
}

impl Platform {
    /// Notes a refusal, which goes on to whoever was refused.
    pub async fn witness<T>(&self, who: &Access, done: Result<T>) -> Result<T> {
        if let Err(error) = &done
            && error.kind() == Kind::Forbidden
        {
            let about = Some(format!("{}: {}", who.what(), error.message()));
            let (user, token, network) = (who.user, Some(who.token), who.refused());
            let refused = Note { user, token, what: What::Refused, network, about };
            if let Err(error) = self.store.with(move |t| note_seldom(t, refused)).await {
                say!("cannot note that user '{}' was refused: {error}", who.name);
            }
        }
        done
    }

    /// `audit:list`.
    pub async fn audit(&self, who: &Access, request: Filter) -> Result<Audit> {
        let limit = request.limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            let message = format!("limit takes 1 to {PAGE_MAX}, not {limit}");
            return Err(Error::usage(message).hint("for instance `--limit 200`").field("limit"));
        }
        if let Some(what) = &request.what
            && !WORDS.iter().any(|row| row.1 == what)
        {
            let words: Vec<&str> = WORDS.iter().map(|row| row.1).collect();
            return Err(Error::usage(format!("what takes {}, not '{what}'", words.join(", ")))
                .hint("for instance `--what refused`")
                .field("what"));
        }
        let since = match &request.since {
            Some(text) => instant("since", text, SystemTime::now())?,
            None => 0,
        };
        let since = rfc3339(UNIX_EPOCH + Duration::from_millis(since));
        let (who, before) = (who.clone(), request.before.map_or(i64::MAX, held));
        let mut entries: Vec<Entry> = self
            .store
            .with(move |t| {
                let mut query = t.prepare_cached(LIST).map_err(explain)?;
                let Filter { what, network, app, .. } = request;
                // One more says whether there is more.
                let with = params![who.user, who.network, before, since, network, app, what, limit + 1];
                let rows = query.query_map(with, entry);
                rows.and_then(Iterator::collect).map_err(explain)
            })
            .await?;
        let more = entries.len() as u64 > limit;
        entries.truncate(limit as usize);
        Ok(Audit { before: entries.last().filter(|_| more).map(|last| last.id), entries })
    }
}

/// The user's own, and those of networks he owns. That goes by the network's row: one of the
/// same name that was another's before does not tell about him.
const LIST: &str = "
    SELECT audit.id, what, users.name, token, network, app, about, tty, detached, started_at,
           ended_at, code, reason
    FROM audit JOIN users ON users.id = audit.user
    WHERE (user = ?1 AND (?2 IS NULL OR network_id IN (SELECT network FROM members WHERE user = ?1 AND network = ?2))
           OR network_id IN (SELECT network FROM members WHERE user = ?1 AND level = 3 AND network = ifnull(?2, network)))
    AND audit.id < ?3 AND started_at >= ?4
    AND (?5 IS NULL OR network = ?5 OR network_id = (SELECT id FROM networks WHERE name = ?5)) AND (?6 IS NULL OR app = ?6) AND (?7 IS NULL OR what = ?7)
    ORDER BY audit.id DESC LIMIT ?8";

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        what: row.get(1)?,
        user: row.get(2)?,
        token: row.get(3)?,
        network: row.get(4)?,
        app: row.get(5)?,
        about: row.get(6)?,
        tty: row.get(7)?,
        detached: row.get(8)?,
        started_at: row.get(9)?,
        ended_at: row.get(10)?,
        code: row.get(11)?,
        reason: row.get(12)?,
    })
}

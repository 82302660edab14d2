//! The members of a network and their roles.

use super::access::{Access, Level};
use super::audit::{self, Note, What};
use super::auth::user_named;
use super::near;
use super::once::Once;
use super::platform::{Platform, find_network};
use super::store::explain;
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::member::{Create, Filter, List, Member, Select};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::time::SystemTime;

/// What has become of a member.
struct Change {
    network: i64,
    user: i64,
    /// His role; none when he is no member any more.
    level: Option<Level>,
    /// For the network's log.
    said: String,
}

impl Platform {
    /// `member:create`.
    pub async fn create_member(&self, who: &Access, once: Once, request: Create) -> Result<Member> {
        let role = request.role.as_deref().map(|word| Level::named("role", word)).transpose()?;
        let asks = who.clone();
        let (member, changed) = self
            .store
            .with(move |t| {
                once.run(t, || {
                    let network = find_network(t, &asks, &request.network)?;
                    let user = user_named(t, &request.user)?;
                    let change = set(t, &asks, network, (user, &request.user), role)?;
                    let member = find(t, network, user)?
                        .ok_or_else(|| missing(t, network, &request.user, &request.network))?;
                    Ok((member, change))
                })
            })
            .await?;
        self.member_changed(who, changed.flatten()).await;
        Ok(member)
    }

    /// `member:list`.
    pub async fn list_members(&self, who: &Access, request: Filter) -> Result<List> {
        let who = who.clone();
        let members = self.store.with(move |t| {
            let network = find_network(t, &who, &request.network)?;
            let mut query = t.prepare(&format!("{ROWS} ORDER BY u.name")).map_err(explain)?;
            let rows = query.query_map(params![network, None::<i64>], document);
            rows.and_then(Iterator::collect).map_err(explain)
        });
        Ok(List { members: members.await? })
    }

    /// `member:delete`.
    pub async fn delete_member(&self, who: &Access, once: Once, request: Select) -> Result<Member> {
        let asks = who.clone();
        let (member, changed) = self
            .store
            .with(move |t| {
                once.run(t, || {
                    let network = find_network(t, &asks, &request.network)?;
                    let gone = || missing(t, network, &request.user, &request.network);
                    let user = user_named(t, &request.user).map_err(|_| gone())?;
                    let member = find(t, network, user)?.ok_or_else(gone)?;
                    keep_an_owner(t, &member, network)?;
                    t.execute("DELETE FROM members WHERE network = ?1 AND user = ?2", params![network, user])
                        .map_err(explain)?;
                    let about = format!("{} as {}", member.user, member.role);
                    note(t, &asks, network, What::MemberRemoved, about)?;
                    let said = format!("member {} removed", member.user);
                    Ok((member, Change { network, user, level: None, said }))
                })
            })
            .await?;
        self.member_changed(who, changed).await;
        Ok(member)
    }

    /// What follows from a change of a member.
    async fn member_changed(&self, who: &Access, change: Option<Change>) {
        let Some(Change { network, user, level, said }) = change else { return };
        if level < Some(Level::Deploy) {
            self.execs.expel(user, network);
        }
        self.event(network, None, format!("{said} by {}", who.name)).await;
        // Whoever follows something there looks whether he still may.
        self.deploys.changed();
    }
}

/// Makes somebody a member, with this role; what has changed by that.
fn set(
    t: &Transaction<'_>,
    who: &Access,
    network: i64,
    (user, name): (i64, &str),
    role: Option<Level>,
) -> Result<Option<Change>> {
    let Some(member) = find(t, network, user)? else {
        let level = role.unwrap_or(Level::Read);
        add(t, network, user, level)?;
        note(t, who, network, What::MemberAdded, format!("{name} as {}", level.role()))?;
        let said = format!("member {name} added as {}", level.role());
        return Ok(Some(Change { network, user, level: Some(level), said }));
    };
    let Some(level) = role.filter(|level| level.role() != member.role) else { return Ok(None) };
    keep_an_owner(t, &member, network)?;
    let query = "UPDATE members SET level = ?3 WHERE network = ?1 AND user = ?2";
    t.execute(query, params![network, user, level as i64]).map_err(explain)?;
    let about = format!("{name} from {} to {}", member.role, level.role());
    note(t, who, network, What::MemberChanged, about.clone())?;
    Ok(Some(Change { network, user, level: Some(level), said: format!("member {about}") }))
}

/// Inserts a member.
pub fn add(t: &Transaction<'_>, network: i64, user: i64, level: Level) -> Result<()> {
    let query = "INSERT INTO members(network, user, level, added_at) VALUES (?1, ?2, ?3, ?4)";
    let now = rfc3339(SystemTime::now());
    t.execute(query, params![network, user, level as i64, now]).map(drop).map_err(explain)
}

/// Refuses to take the role from the last owner.
fn keep_an_owner(t: &Transaction<'_>, member: &Member, network: i64) -> Result<()> {
    let query = "SELECT count(*) FROM members WHERE network = ?1 AND level = ?2";
    let owners: u64 =
        t.query_row(query, params![network, Level::Admin as i64], |row| row.get(0)).map_err(explain)?;
    if owners > 1 || member.role != Level::Admin.role() {
        return Ok(());
    }
    let message = format!("user '{}' is the last owner of network '{}'", member.user, member.network);
    Err(Error::new(Kind::Conflict, message).hint(format!(
        "make another one first: `rig create member USER --network {} --role owner`",
        member.network
    )))
}

fn note(t: &Transaction<'_>, who: &Access, network: i64, what: What, about: String) -> Result<()> {
    let (token, network, about) = (Some(who.token), Some(network), Some(about));
    audit::note(t, Note { user: who.user, token, what, network, about })
}

const ROWS: &str = "SELECT n.name, u.name, m.level, m.added_at FROM members m
     JOIN networks n ON n.id = m.network JOIN users u ON u.id = m.user
     WHERE m.network = ?1 AND m.user = ifnull(?2, m.user)";

fn find(t: &Transaction<'_>, network: i64, user: i64) -> Result<Option<Member>> {
    t.query_row(ROWS, params![network, user], document).optional().map_err(explain)
}

fn document(row: &Row<'_>) -> rusqlite::Result<Member> {
    let role = Level::held(row.get(2)?).role().to_owned();
    Ok(Member { network: row.get(0)?, user: row.get(1)?, role, added_at: row.get(3)? })
}

fn missing(t: &Transaction<'_>, id: i64, user: &str, network: &str) -> Error {
    let all = "SELECT u.name FROM members m JOIN users u ON u.id = m.user WHERE m.network = ?1";
    let see = format!("see `rig list members --network {network}`");
    Error::new(Kind::NotFound, format!("user '{user}' is no member of network '{network}'"))
        .hint(near::hint(t, user, all, [id], &see))
        .field("user")
}

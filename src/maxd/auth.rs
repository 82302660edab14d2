//! Users, API tokens and sessions. Tokens are random and kept as hashes only.

mod tokens;

pub use tokens::{create_token, list_tokens, revoke_token, user_named};

use super::access::Level;
use super::audit::{self, Note, What};
use super::store::{Store, explain};
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::auth::{Session, Tokens};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;

/// How long an access token opens sockets unless the operator says otherwise.
pub const ACCESS: Duration = Duration::from_secs(15 * 60);
/// How long a session lives after its last refresh.
const SESSION: Duration = Duration::from_secs(30 * 24 * 3600);
/// The same for a session that is for one command, which ends without a word.
const BRIEF: Duration = Duration::from_secs(3600);

/// Who a request comes from.
#[derive(Clone)]
pub struct Identity {
    /// The user's row.
    pub user: i64,
    /// The user's name.
    pub name: String,
    /// The session's row.
    pub session: i64,
    /// The API token's row.
    pub token: i64,
    /// What that may.
    pub scope: Level,
    /// The only network it is for.
    pub network: Option<i64>,
}

/// Makes and checks tokens.
pub struct Auth {
    store: Arc<Store>,
    revoked: broadcast::Sender<i64>,
    access: Duration,
}

impl Auth {
    /// On this database. Access tokens live for `access`.
    pub fn new(store: Arc<Store>, access: Duration) -> Auth {
        Auth { store, revoked: broadcast::channel(256).0, access }
    }

    /// The sessions that are revoked from now on.
    pub fn revocations(&self) -> broadcast::Receiver<i64> {
        self.revoked.subscribe()
    }

    /// Exchanges an API token for a session.
    pub async fn exchange(&self, token: &str, brief: bool, now: SystemTime) -> Result<Tokens> {
        let (presented, access) = (hash(token), self.access);
        let session = if brief { BRIEF } else { SESSION };
        let exchanged = self.store.with(move |t| {
            let Some(found) = tokens::find(t, &presented)? else { return Ok(Err(invalid())) };
            let refusal = match found.expires {
                _ if found.revoked => Some(("a token that was deleted", invalid())),
                Some(expires) if expires <= unix(now) => Some(("a token that has expired", expired())),
                _ => None,
            };
            let note = |what, about| {
                let (user, token, network) = (found.user, Some(found.id), found.network);
                Note { user, token, what, network, about }
            };
            if let Some((about, error)) = refusal {
                audit::note_seldom(t, note(What::Refused, Some(about.to_owned())))?;
                return Ok(Err(error));
            }
            // A token that is used without a login is exchanged all the time.
            match brief {
                true => audit::note_seldom(t, note(What::Login, Some("for one command".to_owned())))?,
                false => audit::note(t, note(What::Login, None))?,
            }
            let pair = Pair::new(now, access, session, found.expires)?;
            t.execute("UPDATE api_tokens SET used_at = ?1 WHERE id = ?2", params![rfc3339(now), found.id])
                .map_err(explain)?;
            t.execute("DELETE FROM sessions WHERE expires < ?1", [unix(now)]).map_err(explain)?;
            t.execute(
                "INSERT INTO sessions(api_token, access_hash, access_expires, refresh_hash, expires, created_at, lifetime)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    found.id,
                    hash(&pair.access),
                    unix(pair.access_expires),
                    hash(&pair.refresh),
                    unix(pair.expires),
                    rfc3339(now),
                    session.as_secs()
                ],
            )
            .map_err(explain)?;
            Ok(Ok(pair.tokens(found.name)))
        });
        exchanged.await?
    }

    /// A new pair of tokens for a refresh token, which is good once. A used one that comes
    /// again was stolen, and ends the session; unless nobody has presented what it was
    /// exchanged for: then that answer was lost on its way.
    pub async fn refresh(&self, token: &str, now: SystemTime) -> Result<Tokens> {
        let (presented, access) = (hash(token), self.access);
        let renewed = self.store.with(move |t| {
            let Refreshed { session, user, lifetime, again, end } = find_refresh(t, &presented, now)?.ok_or_else(ended)?;
            if again == Some(true) {
                t.execute("DELETE FROM sessions WHERE id = ?1", [session]).map_err(explain)?;
                return Ok(Err(session));
            }
            let pair = Pair::new(now, access, Duration::from_secs(lifetime), end)?;
            // A pair that reached nobody leaves no trace.
            let former = match again {
                Some(_) => "former_access_hash, former_access_expires",
                None => "access_hash, access_expires",
            };
            let query = format!(
                "UPDATE sessions SET (former_access_hash, former_access_expires) = ({former}), access_hash = ?2,
                 access_expires = ?3, used_refresh_hash = ?4, refresh_hash = ?5, expires = ?6, pair_used = 0
                 WHERE id = ?1"
            );
            let (refresh, expires) = (hash(&pair.refresh), unix(pair.expires));
            t.execute(
                &query,
                params![session, hash(&pair.access), unix(pair.access_expires), presented, refresh, expires],
            )
            .map_err(explain)?;
            Ok(Ok(pair.tokens(user)))
        });
        match renewed.await? {
            Ok(tokens) => Ok(tokens),
            Err(session) => {
                self.tell_revoked(session);
                Err(ended())
            }
        }
    }

    /// Whose access token this is.
    pub async fn check(&self, token: &str, now: SystemTime) -> Result<Identity> {
        let presented = hash(token);
        self.store
            .with(move |t| {
                let found = t
                    .query_row(
                        "SELECT u.id, u.name, s.id, s.access_hash = ?1 AND s.pair_used = 0, a.id, a.level, a.network
                         FROM sessions s JOIN api_tokens a ON a.id = s.api_token JOIN users u ON u.id = a.user
                         WHERE ((s.access_hash = ?1 AND s.access_expires >= ?2)
                             OR (s.former_access_hash = ?1 AND s.former_access_expires >= ?2))
                           AND a.revoked_at IS NULL",
                        params![presented, unix(now)],
                        |row| {
                            let (user, name, session) = (row.get(0)?, row.get(1)?, row.get(2)?);
                            let (token, scope, network) = (row.get(4)?, Level::held(row.get(5)?), row.get(6)?);
                            let who = Identity { user, name, session, token, scope, network };
                            Ok((who, row.get::<_, bool>(3)?))
                        },
                    )
                    .optional()
                    .map_err(explain)?;
                let (who, first) = found.ok_or_else(ended)?;
                if first {
                    t.execute("UPDATE sessions SET pair_used = 1 WHERE id = ?1", [who.session])
                        .map_err(explain)?;
                }
                Ok(who)
            })
            .await
    }

    /// Whether the session still stands: its time may be over, or its API token revoked.
    pub async fn stands(&self, session: i64) -> bool {
        let found = self.store.with(move |t| session_row(t, session)).await;
        let now = unix(SystemTime::now()) as u64;
        !matches!(found, Ok(found) if found.as_ref().is_none_or(|(_, expires)| *expires < now))
    }

    /// The session, as `session:show` answers it.
    pub async fn show(&self, identity: &Identity) -> Result<Session> {
        let identity = identity.clone();
        self.store
            .with(move |t| {
                let (created_at, expires) = session_row(t, identity.session)?.ok_or_else(ended)?;
                let expires_at = rfc3339(UNIX_EPOCH + Duration::from_secs(expires));
                let network = identity.network.map(|network| {
                    let query = "SELECT name FROM networks WHERE id = ?1";
                    t.query_row(query, [network], |row| row.get(0)).map_err(explain)
                });
                Ok(Session {
                    id: identity.session as u64,
                    user: identity.name,
                    token: identity.token as u64,
                    scope: identity.scope.scope().to_owned(),
                    network: network.transpose()?,
                    created_at,
                    expires_at,
                })
            })
            .await
    }

    /// Ends a session and its sockets.
    pub async fn revoke(&self, session: i64) -> Result<()> {
        self.store
            .with(move |t| t.execute("DELETE FROM sessions WHERE id = ?1", [session]).map_err(explain))
            .await?;
        self.tell_revoked(session);
        Ok(())
    }

    /// Closes the sockets of a session that is over.
    pub fn tell_revoked(&self, session: i64) {
        // Nobody listens when no socket is open.
        let _ = self.revoked.send(session);
    }
}

/// What a refresh token belongs to.
struct Refreshed {
    session: i64,
    user: String,
    /// In seconds.
    lifetime: u64,
    /// For a token that was used before: whether what it was exchanged for was.
    again: Option<bool>,
    /// When the API token ends, in Unix seconds.
    end: Option<i64>,
}

fn find_refresh(t: &Transaction<'_>, presented: &[u8], now: SystemTime) -> Result<Option<Refreshed>> {
    t.query_row(
        "SELECT s.id, u.name, s.lifetime, CASE s.refresh_hash WHEN ?1 THEN NULL ELSE s.pair_used END, a.expires
         FROM sessions s JOIN api_tokens a ON a.id = s.api_token JOIN users u ON u.id = a.user
         WHERE (s.refresh_hash = ?1 OR s.used_refresh_hash = ?1) AND s.expires >= ?2 AND a.revoked_at IS NULL",
        params![presented, unix(now)],
        |row| {
            let (session, user, lifetime) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Refreshed { session, user, lifetime, again: row.get(3)?, end: row.get(4)? })
        },
    )
    .optional()
    .map_err(explain)
}

fn session_row(t: &Transaction<'_>, session: i64) -> Result<Option<(String, u64)>> {
    t.query_row(
        "SELECT s.created_at, s.expires FROM sessions s JOIN api_tokens a ON a.id = s.api_token
         WHERE s.id = ?1 AND a.revoked_at IS NULL",
        [session],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
    .map_err(explain)
}

struct Pair {
    access: String,
    access_expires: SystemTime,
    lifetime: Duration,
    refresh: String,
    expires: SystemTime,
}

impl Pair {
    /// Neither lasts longer than its API token, which ends at `end`.
    fn new(now: SystemTime, lifetime: Duration, session: Duration, end: Option<i64>) -> Result<Pair> {
        let left =
            end.map_or(Duration::MAX, |end| Duration::from_secs(end.saturating_sub(unix(now)).max(0) as u64));
        let (lifetime, session) = (lifetime.min(left), session.min(left));
        let (access_expires, expires) = (now + lifetime, now + session);
        let (access, refresh) = (format!("acc_{}", random(24)?), format!("ref_{}", random(24)?));
        Ok(Pair { access, access_expires, lifetime, refresh, expires })
    }

    fn tokens(self, user: String) -> Tokens {
        Tokens {
            user,
            access_token: self.access,
            access_expires_at: rfc3339(self.access_expires),
            access_expires_in: self.lifetime.as_secs(),
            refresh_token: self.refresh,
            expires_at: rfc3339(self.expires),
        }
    }
}

/// So many random bytes, in hexadecimal.
pub fn random(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Error::new(Kind::Internal, "the system has no random numbers"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

fn unix(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn invalid() -> Error {
    Error::new(Kind::Unauthenticated, "the API token is not valid")
        .hint("make a new one on the server: `maxd token create`")
}

fn expired() -> Error {
    Error::new(Kind::Unauthenticated, "the API token has expired")
        .hint("make a new one: `rig create token`, or on the server `maxd token create`")
}

fn ended() -> Error {
    Error::new(Kind::Unauthenticated, "the session has ended").hint("run `rig login`")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn world() -> (tempfile::TempDir, Arc<Store>, Auth, String, SystemTime) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        let now = SystemTime::now();
        let token = create_token(&store, "ada", now).unwrap();
        (dir, Arc::clone(&store), Auth::new(store, ACCESS), token, now)
    }

    #[tokio::test]
    async fn a_refresh_rotates_and_a_used_token_ends_the_session() {
        let (_dir, _store, auth, token, now) = world().await;
        let first = auth.exchange(&token, false, now).await.unwrap();
        let second = auth.refresh(&first.refresh_token, now).await.unwrap();
        let identity = auth.check(&second.access_token, now).await.unwrap();
        let mut revoked = auth.revocations();
        assert!(auth.refresh(&first.refresh_token, now).await.is_err());
        assert_eq!(revoked.try_recv().unwrap(), identity.session);
        assert!(auth.check(&second.access_token, now).await.is_err());
        assert!(auth.refresh(&second.refresh_token, now).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_that_was_lost_can_be_asked_for_again_until_it_was_used() {
        let (_dir, _store, auth, token, now) = world().await;
        let first = auth.exchange(&token, false, now).await.unwrap();
        let lost = auth.refresh(&first.refresh_token, now).await.unwrap();
        let again = auth.refresh(&first.refresh_token, now).await.unwrap();
        // What was lost is worth nothing; what was held before still is.
        assert!(auth.check(&lost.access_token, now).await.is_err());
        assert!(auth.check(&first.access_token, now).await.is_ok());
        assert!(auth.refresh(&lost.refresh_token, now).await.is_err());
        assert!(auth.check(&again.access_token, now).await.is_ok());
        assert!(auth.refresh(&first.refresh_token, now).await.is_err());
        assert!(auth.check(&again.access_token, now).await.is_err());
    }

    #[tokio::test]
    async fn a_former_access_token_is_good_until_its_time_is_over() {
        let (_dir, _store, auth, token, now) = world().await;
        let first = auth.exchange(&token, false, now).await.unwrap();
        let later = now + Duration::from_secs(600);
        let second = auth.refresh(&first.refresh_token, later).await.unwrap();
        assert!(auth.check(&first.access_token, later).await.is_ok());
        let end = now + ACCESS + Duration::from_secs(1);
        assert!(auth.check(&first.access_token, end).await.is_err());
        assert!(auth.check(&second.access_token, end).await.is_ok());
    }

    #[tokio::test]
    async fn tokens_end_with_their_time() {
        let (_dir, _store, auth, token, now) = world().await;
        let tokens = auth.exchange(&token, false, now).await.unwrap();
        assert!(auth.check(&tokens.access_token, now + ACCESS).await.is_ok());
        assert!(auth.check(&tokens.access_token, now + ACCESS + Duration::from_secs(1)).await.is_err());
        assert!(auth.refresh(&tokens.refresh_token, now + SESSION + Duration::from_secs(1)).await.is_err());
    }

    #[tokio::test]
    async fn a_revoked_api_token_ends_its_sessions() {
        let (_dir, store, auth, token, now) = world().await;
        let tokens = auth.exchange(&token, false, now).await.unwrap();
        let identity = auth.check(&tokens.access_token, now).await.unwrap();
        let id = list_tokens(&store, "ada").unwrap().first().unwrap().0.id as i64;
        assert!(revoke_token(&store, "bob", id, now).is_err());
        assert!(auth.stands(identity.session).await);
        revoke_token(&store, "ada", id, now).unwrap();
        assert!(!auth.stands(identity.session).await);
        assert!(auth.check(&tokens.access_token, now).await.is_err());
        assert!(auth.refresh(&tokens.refresh_token, now).await.is_err());
        assert!(auth.exchange(&token, false, now).await.is_err());
    }

    #[test]
    fn tokens_are_made_of_harmless_characters() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        let token = create_token(&store, "ada", SystemTime::now()).unwrap();
        assert!(token.starts_with("max_") && token.len() == 44);
        assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
        assert!(create_token(&store, "a b", SystemTime::now()).is_err());
    }
}

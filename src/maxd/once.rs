//! Requests that change something happen once: a request carries a key of the client's
//! choice, its answer is kept in the same transaction as the change, and the same key
//! gets the same answer again. So a client whose connection broke may simply repeat.

use super::access::Access;
use super::store::explain;
use crate::error::{Error, Kind, Result};
use miniserde::{Deserialize, Serialize, json};
use rusqlite::{OptionalExtension, Transaction, params};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long answers are kept, in seconds.
const KEEP: u64 = 24 * 3600;
/// The longest key.
const KEY_MAX: usize = 128;

/// A user, the network his token is for, and the key of a request.
pub type Key = (i64, i64, String);

/// One request.
pub struct Once {
    user: i64,
    /// The network that the token is for; 0 when it is for all.
    bound: i64,
    key: Option<String>,
    event: String,
}

impl Once {
    /// What `who` asks for, with the key in its payload, if it has one. A token that may not
    /// do it learns nothing of one that did.
    pub fn new(who: &Access, payload: &str) -> Result<Once> {
        let key = crate::json::member(payload, "idempotency_key").and_then(crate::json::string);
        let key = key.map(std::borrow::Cow::into_owned);
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_MAX) {
            return Err(
                Error::usage(format!("an idempotency key has 1 to {KEY_MAX} bytes")).field("idempotency_key")
            );
        }
        let (user, bound) = (who.user, who.network.unwrap_or(0));
        let key = key.filter(|_| who.is_in_scope());
        Ok(Once { user, bound, key, event: who.what().to_owned() })
    }

    /// The document `work` makes, or made when the request came before. What else it
    /// gives is for the first time only.
    pub fn run<T: Serialize + Deserialize, X>(
        &self,
        t: &Transaction<'_>,
        work: impl FnOnce() -> Result<(T, X)>,
    ) -> Result<(T, Option<X>)> {
        if let Some(document) = self.kept(t)? {
            return Ok((document, None));
        }
        let (document, more) = work()?;
        if let Some(key) = &self.key {
            t.execute(
                "INSERT INTO answers(user, bound, key, event, answer, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![self.user, self.bound, key, self.event, json::to_string(&document), now()],
            )
            .map_err(explain)?;
        }
        Ok((document, Some(more)))
    }

    /// Whose request it is and its key, if it has one.
    pub fn key(&self) -> Option<Key> {
        Some((self.user, self.bound, self.key.clone()?))
    }

    /// What is asked for.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// Refuses a key that was used for another `event`.
    pub fn check(&self, event: &str) -> Result<()> {
        match event == self.event {
            true => Ok(()),
            false => Err(Error::new(Kind::Conflict, format!("this idempotency key was used for '{event}'"))
                .field("idempotency_key")),
        }
    }

    /// The answer, when the request was done before.
    pub fn kept<T: Deserialize>(&self, t: &Transaction<'_>) -> Result<Option<T>> {
        let Some(key) = &self.key else { return Ok(None) };
        let found: Option<(String, String)> = t
            .query_row(
                "SELECT event, answer FROM answers WHERE user = ?1 AND bound = ?2 AND key = ?3",
                params![self.user, self.bound, key],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(explain)?;
        if let Some((event, answer)) = found {
            self.check(&event)?;
            let document = json::from_str(&answer)
                .map_err(|_| Error::new(Kind::Internal, "a kept answer is damaged"))?;
            return Ok(Some(document));
        }
        Ok(None)
    }
}

/// Forgets the answers nobody will ask for again.
pub fn forget_old(t: &Transaction<'_>) -> Result<()> {
    t.execute("DELETE FROM answers WHERE created < ?1", [now().saturating_sub(KEEP)])
        .map(drop)
        .map_err(explain)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::maxd::access::Level;
    use crate::maxd::auth::Identity;
    use crate::maxd::store::Store;
    use crate::wire::network::Select;

    #[test]
    fn a_key_gets_its_first_answer_again_and_an_error_keeps_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        store
            .run(|t| t.execute("INSERT INTO users(name, created_at) VALUES ('ada', '')", []).map_err(explain))
            .unwrap();
        let who =
            |scope, network| Identity { user: 1, name: String::new(), session: 1, token: 1, scope, network };
        let ask = |who: &Identity, event: &str, payload: &str, answer: Result<&str>| {
            let once = Once::new(&who.asks(event)?, payload)?;
            store.run(|t| {
                let (document, first) = once.run(t, || Ok((Select { network: answer?.to_owned() }, ())))?;
                Ok((document.network, first.is_some()))
            })
        };
        let once = |event: &str, payload: &str, answer| ask(&who(Level::Admin, None), event, payload, answer);
        let (a, b) = ("network:create", "app:create");
        let keyed = r#"{"name":"x","idempotency_key":"k1"}"#;
        assert!(once(a, keyed, Err(Error::usage("no"))).is_err());
        assert_eq!(once(a, keyed, Ok("one")).unwrap(), ("one".to_owned(), true));
        assert_eq!(once(a, keyed, Ok("two")).unwrap(), ("one".to_owned(), false));
        assert!(once(b, keyed, Ok("three")).err().unwrap().kind() == Kind::Conflict);
        assert_eq!(once(a, "{}", Ok("four")).unwrap(), ("four".to_owned(), true));
        assert!(once(a, r#"{"idempotency_key":""}"#, Ok("five")).is_err());
        // A token for one network, or one that may not do it, sees nothing of it.
        assert_eq!(ask(&who(Level::Admin, Some(7)), a, keyed, Ok("six")).unwrap(), ("six".to_owned(), true));
        assert_eq!(ask(&who(Level::Read, None), a, keyed, Ok("seven")).unwrap(), ("seven".to_owned(), true));
        store.run(forget_old).unwrap();
        assert_eq!(once(a, keyed, Ok("six")).unwrap(), ("one".to_owned(), false));
    }
}

//! The open connections of channels: who may open one, how many there are of a user,
//! and when the last has ended.

use super::auth::Identity;
use super::longpoll::Session;
use super::platform::Platform;
use super::trial::Trial;
use crate::error::{Error, Kind, Result};
use axum::http::{HeaderMap, Uri, header};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Where the access token stands in the list of subprotocols (phoenix.js `authToken`).
const BEARER: &str = "base64url.bearer.phx.";
/// Where it stands otherwise.
const AUTH_TOKEN: &str = "x-phoenix-authtoken";

/// All connections.
pub struct Sockets {
    /// Times and limits.
    pub trial: Trial,
    tasks: TaskTracker,
    counts: Mutex<HashMap<i64, usize>>,
    /// Long-polling sessions by their tokens, and whose they are.
    polled: Mutex<HashMap<String, (i64, Arc<Session>)>>,
}

/// A user's place for one connection, free again when it is dropped.
pub struct Place {
    sockets: Arc<Sockets>,
    user: i64,
    _token: TaskTrackerToken,
}

impl Sockets {
    /// None yet.
    pub fn new(trial: Trial) -> Arc<Sockets> {
        Arc::new(Sockets {
            trial,
            tasks: TaskTracker::new(),
            counts: Mutex::new(HashMap::new()),
            polled: Mutex::new(HashMap::new()),
        })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        lock(&self.counts).values().sum()
    }

    /// A place for one more connection of `user`.
    fn place(self: &Arc<Sockets>, who: &Identity) -> Result<Place> {
        let mut counts = lock(&self.counts);
        let count = counts.entry(who.user).or_default();
        if *count >= self.trial.sockets && !self.make_room(who.user) {
            let message = format!("user '{}' has {count} open connections, and may not have more", who.name);
            return Err(Error::new(Kind::TooLarge, message).hint("end some of them, and try again"));
        }
        *count += 1;
        Ok(Place { sockets: Arc::clone(self), user: who.user, _token: self.tasks.token() })
    }

    /// Ends the user's long-polling session that was polled longest ago, if there is one
    /// that nobody polls now: clients of such sessions leave without a word.
    fn make_room(&self, user: i64) -> bool {
        let mut polled = lock(&self.polled);
        let idle = polled.iter().filter(|(_, (owner, _))| *owner == user);
        let idle = idle.filter_map(|(token, (_, session))| Some((session.idle_since()?, token.clone())));
        let Some((_, token)) = idle.min() else { return false };
        polled.remove(&token).is_some_and(|(_, session)| {
            session.give_way();
            true
        })
    }

    /// Runs a task that the server's end waits for.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
        self.tasks.spawn(task);
    }

    /// Waits until there is no connection and no task any more.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Keeps a long-polling session under its token.
    pub fn keep(&self, token: &str, user: i64, session: Arc<Session>) {
        lock(&self.polled).insert(token.to_owned(), (user, session));
    }

    /// The long-polling session of this token.
    pub fn find(&self, token: &str) -> Option<Arc<Session>> {
        lock(&self.polled).get(token).map(|(_, session)| Arc::clone(session))
    }

    /// Forgets a long-polling session, which has ended.
    pub fn forget(&self, token: &str) {
        lock(&self.polled).remove(token);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.sockets.counts);
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who opens a connection with this request, and their place.
pub async fn enter(platform: &Platform, uri: &Uri, headers: &HeaderMap) -> Result<(Identity, Place)> {
    // Without `vsn` Phoenix speaks 1.0.0, with an unknown one it refuses: 403 in both
    // cases here, since this server speaks 2.0.0 only.
    if !query(uri, "vsn").is_some_and(is_spoken) {
        return Err(Error::new(Kind::Forbidden, "this server speaks version 2.0.0 of Phoenix channels only")
            .hint("connect with 'vsn=2.0.0'"));
    }
    let who = platform.auth.check(&token(headers), SystemTime::now()).await?;
    let place = platform.sockets.place(&who)?;
    Ok((who, place))
}

/// Elixir's `~> 2.0.0`.
fn is_spoken(version: &str) -> bool {
    version.strip_prefix("2.0.").is_some_and(|patch| patch.parse::<u32>().is_ok())
}

/// The access token; never from the URL.
fn token(headers: &HeaderMap) -> String {
    let protocols =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded =
        protocols.flat_map(|list| list.split(',')).find_map(|item| item.trim().strip_prefix(BEARER));
    match encoded {
        Some(encoded) => decode(encoded).unwrap_or_default(),
        None => {
            let value = headers.get(AUTH_TOKEN).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        }
    }
}

/// The last value of a query parameter, as it stands there.
pub fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
}

/// The bytes of base64 in either alphabet, with or without padding.
pub fn base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [&alphabet::STANDARD, &alphabet::URL_SAFE];
    alphabets.iter().find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(encoded).ok())
}

/// The text in base64.
fn decode(encoded: &str) -> Option<String> {
    String::from_utf8(base64(encoded.as_bytes())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_of_base64_are_read() {
        for (encoded, text) in
            [("", ""), ("Zg", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar"), ("Pz8_", "???"), ("Pz8/", "???")]
        {
            assert_eq!(decode(encoded).as_deref(), Some(text));
        }
        assert_eq!(decode("a b"), None);
        assert_eq!(decode("//79"), None);
    }

    #[test]
    fn only_version_two_is_spoken() {
        for (uri, spoken) in [
            ("/socket/websocket?vsn=2.0.0", true),
            ("/?token=x&vsn=2.0.17", true),
            ("/?vsn=1.0.0&vsn=2.0.0", true),
            ("/?vsn=2.0.0&vsn=1.0.0", false),
            ("/", false),
            ("/?vsn=", false),
            ("/?vsn=1.0.0", false),
            ("/?vsn=2.1.0", false),
            ("/?vsn=2.0.", false),
            ("/?vsn=2.0.0-rc.1", false),
            ("/?vsn=9.0.0", false),
            ("/?vsn=x", false),
        ] {
            assert_eq!(query(&Uri::from_static(uri), "vsn").is_some_and(is_spoken), spoken, "{uri}");
        }
    }

    #[test]
    fn the_token_stands_in_the_list_of_subprotocols_or_in_a_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers), "");
        headers.insert(AUTH_TOKEN, header::HeaderValue::from_static("acc_1"));
        assert_eq!(token(&headers), "acc_1");
        let list = header::HeaderValue::from_static("phoenix, base64url.bearer.phx.czNjcmV0");
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, list);
        assert_eq!(token(&headers), "s3cret");
    }
}

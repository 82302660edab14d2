//! `transport.json`: the servers a WebSocket could not reach lately. Only a hint, so that
//! it is not an error when it can't be read or written.

use super::atomic;
use crate::time::{parse_rfc3339, rfc3339};
use miniserde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long it is remembered: networks change.
const REMEMBER: Duration = Duration::from_secs(3600);

/// Servers that are reached by long polling.
#[derive(Serialize, Deserialize)]
struct Polled {
    servers: Vec<Server>,
}

#[derive(Serialize, Deserialize)]
struct Server {
    url: String,
    until: String,
}

fn file(directory: &Path) -> PathBuf {
    directory.join("transport.json")
}

fn load(directory: &Path, now: SystemTime) -> Polled {
    let text = atomic::read(&file(directory)).ok().flatten();
    let known = text.and_then(|text| miniserde::json::from_str(&text).ok());
    let mut polled = known.unwrap_or(Polled { servers: Vec::new() });
    polled.servers.retain(|server| parse_rfc3339(&server.until).is_some_and(|until| until > now));
    polled
}

/// Whether long polling was needed lately to reach `url`.
pub fn polls(directory: &Path, url: &str, now: SystemTime) -> bool {
    load(directory, now).servers.iter().any(|server| server.url == url)
}

/// Remembers whether it was.
pub fn remember(directory: &Path, url: &str, longpoll: bool, now: SystemTime) {
    let mut polled = load(directory, now);
    polled.servers.retain(|server| server.url != url);
    if longpoll {
        polled.servers.push(Server { url: url.to_owned(), until: rfc3339(now + REMEMBER) });
    }
    let _ = match polled.servers.is_empty() {
        true => atomic::remove(&file(directory)),
        false => atomic::write(&file(directory), miniserde::json::to_string(&polled).as_bytes()),
    };
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_remembered_for_a_while_and_per_server() {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let now = SystemTime::now();
        assert!(!polls(dir.path(), "a", now));
        remember(dir.path(), "a", true, now);
        assert!(polls(dir.path(), "a", now) && !polls(dir.path(), "b", now));
        assert!(!polls(dir.path(), "a", now + REMEMBER));
        remember(dir.path(), "a", false, now);
        assert!(!polls(dir.path(), "a", now));
        assert!(!file(dir.path()).exists());
        std::fs::write(file(dir.path()), "nonsense").unwrap_or_else(|error| panic!("{error}"));
        assert!(!polls(dir.path(), "a", now));
    }
}

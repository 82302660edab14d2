//! Max, as the commands see it: requests, subscriptions and uploads. One socket
//! carries all of it but uploads, and is opened by the first that needs it.

pub mod exec;
pub mod stream;

use crate::auth::Auth;
use crate::error::{Error, Kind, Result};
use crate::json::member;
use crate::net::dial::Route;
use crate::net::http::{Http, Source};
use crate::net::link::{Link, Memory, Options, Pending, Subscription, Transport};
use crate::net::url::Url;
use crate::packed::packed;
use miniserde::json::Value;
use miniserde::{Deserialize, Serialize, json};
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

/// A server and a session on it.
pub struct Max {
    /// The server.
    pub url: Url,
    /// Its HTTP side.
    pub http: Arc<Http>,
    /// The session.
    pub auth: Arc<Auth>,
    route: Arc<Route>,
    timeout: Duration,
    transport: Transport,
    memory: Memory,
    link: OnceCell<Link>,
}

impl Max {
    /// Nothing is sent yet. `memory` keeps which transport gets through.
    pub fn new(url: Url, http: Arc<Http>, auth: Auth, route: Arc<Route>, how: (Transport, Memory)) -> Max {
        let (timeout, (transport, memory)) = (http.timeout(), how);
        Max { url, http, auth: Arc::new(auth), route, timeout, transport, memory, link: OnceCell::new() }
    }

    /// Asks on `control` and gives the answer as Max wrote it.
    pub fn ask(&self, event: &str, payload: String) -> Result<String> {
        self.link()?.request(event, payload)
    }

    /// Asks on `control` without waiting for the answer.
    pub fn begin(&self, event: &str, payload: String) -> Result<Pending> {
        self.link()?.begin(event, payload)
    }

    /// Asks on `control` for a document to be shown.
    pub fn document(&self, event: &str, payload: &dyn Serialize) -> Result<Value> {
        decode(&self.ask(event, json::to_string(payload))?)
    }

    /// Asks on `control` for something that takes its time: the answer may come within
    /// `limit`.
    pub fn ask_within(&self, limit: Duration, event: &str, payload: String) -> Result<String> {
        self.link()?.request_within(limit, event, payload)
    }

    /// The server's words on joining `control`.
    pub fn welcome(&self) -> Result<Value> {
        decode(&self.link()?.welcome()?)
    }

    /// Joins `topic`: the answer, and what comes. `params` is asked at each join.
    pub fn subscribe(
        &self,
        topic: &str,
        params: Box<dyn FnMut() -> String + Send>,
    ) -> Result<(String, Subscription)> {
        self.link()?.subscribe(topic, params)
    }

    /// Sends `body` to `path`.
    pub fn upload(&self, path: &str, content_type: &str, body: &mut dyn Source) -> Result<String> {
        self.http.put(path, &self.auth.access(None)?.token, content_type, None, body)
    }

    fn link(&self) -> Result<&Link> {
        if let Some(link) = self.link.get() {
            return Ok(link);
        }
        let (auth, memory) = (Arc::clone(&self.auth), self.memory.clone());
        let opened = Link::open(Options {
            url: self.url.clone(),
            route: Arc::clone(&self.route),
            timeout: self.timeout,
            transport: self.transport,
            token: Arc::new(move |refused| {
                auth.access(refused).map(|access| (access.token, access.renew_at))
            }),
            memory,
        })?;
        Ok(self.link.get_or_init(|| opened))
    }

    /// Closes the socket in order.
    pub fn close(mut self) {
        if let Some(link) = self.link.take() {
            link.close();
        }
    }
}

/// Reads a document of Max.
pub fn decode<T: Deserialize>(text: &str) -> Result<T> {
    json::from_str(text).map_err(|_| unclear())
}

fn unclear() -> Error {
    Error::new(Kind::Failed, packed!("Max answered with something rig does not understand"))
        .hint(packed!("rig and Max may be of different versions"))
}

/// The number that is the member `name` of a document of Max.
fn number(text: &str, name: &str) -> Result<u64> {
    member(text, name).and_then(|raw| raw.parse().ok()).ok_or_else(unclear)
}

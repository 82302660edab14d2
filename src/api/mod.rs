//! Max, as the commands see it: requests, subscriptions and uploads. One socket
//! carries all of it but uploads, and is opened by the first that needs it.

pub mod stream;

use crate::auth::Auth;
use crate::error::{Error, Kind, Result};
use crate::net::http::{Http, Source};
use crate::net::link::{Link, Options};
use crate::net::url::Url;
use crate::redact::Secret;
use miniserde::json::Value;
use miniserde::{Deserialize, Serialize, json};
use rustls::ClientConfig;
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
    tls: Arc<ClientConfig>,
    timeout: Duration,
    link: OnceCell<Link>,
}

impl Max {
    /// Nothing is sent yet.
    pub fn new(url: Url, http: Arc<Http>, auth: Auth, tls: Arc<ClientConfig>, timeout: Duration) -> Max {
        Max { url, http, auth: Arc::new(auth), tls, timeout, link: OnceCell::new() }
    }

    /// Asks on `control` and gives the answer as Max wrote it.
    pub fn ask(&self, event: &str, payload: String) -> Result<String> {
        self.link()?.request(event, payload)
    }

    /// Asks on `control` for a document to be shown.
    pub fn document(&self, event: &str, payload: &dyn Serialize) -> Result<Value> {
        decode(&self.ask(event, json::to_string(payload))?)
    }

    /// The server's words on joining `control`.
    pub fn welcome<T: Deserialize>(&self) -> Result<T> {
        decode(&self.link()?.welcome()?)
    }

    /// Sends `body` to `path`.
    pub fn upload(&self, path: &str, content_type: &str, body: &mut dyn Source) -> Result<String> {
        self.http.put(path, &self.auth.access()?, content_type, None, body)
    }

    fn link(&self) -> Result<&Link> {
        if let Some(link) = self.link.get() {
            return Ok(link);
        }
        let token = self.auth.access()?;
        let opened = match self.open(token.clone()) {
            Err(error) if error.kind() == Kind::Unauthenticated => self.open(self.auth.renew(&token)?)?,
            opened => opened?,
        };
        Ok(self.link.get_or_init(|| opened))
    }

    fn open(&self, first: Secret) -> Result<Link> {
        let auth = Arc::clone(&self.auth);
        let mut first = Some(first);
        let token = move || match first.take() {
            Some(token) => Ok(token),
            None => auth.access(),
        };
        Link::open(Options {
            url: self.url.clone(),
            tls: Arc::clone(&self.tls),
            timeout: self.timeout,
            token: Box::new(token),
        })
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
    json::from_str(text).map_err(|_| {
        Error::new(Kind::Failed, "Max answered with something rig does not understand")
            .hint("rig and Max may be of different versions")
    })
}

//! The HTTP side of a server: one connection a request, over the same dialler and TLS
//! configuration as the socket. Follows no redirect: a token goes to its own server alone.

use super::dial::{Route, dial, lost};
pub use super::exchange::Source;
use super::exchange::{Body, Request, receive, send};
use super::url::Url;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::redact::Secret;
use crate::wire::Failure;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest answer that is read.
const MAX_ANSWER: usize = 8_000_000;
/// How rig names itself.
pub const USER_AGENT: &str = concat!("rig/", env!("CARGO_PKG_VERSION"));

/// The HTTP side of a server.
pub struct Http {
    url: Url,
    timeout: Duration,
    route: Arc<Route>,
}

impl Http {
    /// For the server at `url`. `timeout` limits each silence, not the whole transfer.
    pub fn new(url: Url, route: Arc<Route>, timeout: Duration) -> Http {
        Http { url, timeout, route }
    }

    /// How long each silence may last.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends JSON to `path` and gives the JSON that comes back (nothing for 204).
    pub fn post(&self, path: &str, bearer: Option<&Secret>, body: &str) -> Result<String> {
        self.authorized("POST", path, bearer, "application/json", Body::text(&mut body.as_bytes()))
    }

    /// Streams `body` to `path`; chunked when its length is not known. An answer that
    /// comes before the end (too large, disk full) is the answer.
    pub fn put(
        &self,
        path: &str,
        bearer: &Secret,
        content_type: &str,
        length: Option<u64>,
        body: &mut dyn Source,
    ) -> Result<String> {
        self.authorized("PUT", path, Some(bearer), content_type, Body { content: body, length })
    }

    fn authorized(
        &self,
        method: &str,
        path: &str,
        bearer: Option<&Secret>,
        content_type: &str,
        body: Body<'_>,
    ) -> Result<String> {
        let bearer = bearer.map(|token| Secret::new(format!("Bearer {}", token.reveal())));
        let headers =
            [("content-type", content_type), ("authorization", bearer.as_ref().map_or("", Secret::reveal))];
        let count = if bearer.is_some() { 2 } else { 1 };
        self.call(method, path, headers.get(..count).unwrap_or(&[]), Some(body))
    }

    /// Sends a request and gives the text of a good answer.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<String> {
        let mut headers = vec![("user-agent", USER_AGENT), ("connection", "close")];
        headers.extend_from_slice(more);
        let mut stream = dial(&self.url, &self.route, self.timeout)?;
        let request = Request { method, url: &self.url, path, headers: &headers };
        let lost = |error| lost(&self.url, self.timeout, &error);
        send(&mut stream, &request, body).map_err(lost)?;
        // From here on nothing depends on the size of anything.
        stream.until(Instant::now() + self.timeout);
        let answer = receive(&mut stream).map_err(lost)?;
        let status = answer.status;
        if (300..400).contains(&status) {
            let to = answer.header("location").unwrap_or("elsewhere");
            return Err(Error::new(Kind::Unreachable, format!("'{}' redirects to '{to}'", self.url))
                .hint(packed!("tokens are not sent on; log in at the address that is meant")));
        }
        let body = answer.body(&mut stream, MAX_ANSWER).map_err(lost)?;
        let text = String::from_utf8_lossy(&body);
        match status {
            200..300 => Ok(text.into_owned()),
            _ => Err(failure(&text, status, &self.url)),
        }
    }
}

/// What an answer with an error status says: Max's own words, or that it isn't Max.
pub fn failure(text: &str, status: u16, url: &Url) -> Error {
    match miniserde::json::from_str::<Failure>(text) {
        Ok(failure) => failure.into(),
        Err(_) => Error::new(
            Kind::Unreachable,
            format!("'{url}' answered with HTTP status {status}, and not as Max does"),
        )
        .hint(packed!("check the URL, and what stands between: a proxy may answer in its place")),
    }
}

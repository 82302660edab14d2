//! The HTTP agent: ureq over our own connections, so that HTTP and the socket share
//! one dialler and one TLS configuration. Follows no redirect: a token goes to its own
//! server alone.

use super::dial::{Route, Stream, dial, lost, silent};
use super::url::Url;
use crate::error::{Error, Kind, Result};
use crate::redact::Secret;
use crate::wire::Failure;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, SendBody};

/// The largest answer that is read.
const MAX_ANSWER: u64 = 8_000_000;
/// The size of ureq's two buffers.
const BUFFER: usize = 64 * 1024;
/// How rig names itself.
pub const USER_AGENT: &str = concat!("rig/", env!("CARGO_PKG_VERSION"));

/// The HTTP side of a server.
pub struct Http {
    url: Url,
    timeout: Duration,
    agent: Agent,
    broken: Arc<AtomicBool>,
}

impl Http {
    /// An agent for `url`. `timeout` limits each silence, not the whole transfer.
    pub fn new(url: Url, route: Arc<Route>, timeout: Duration) -> Http {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(USER_AGENT)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .build();
        let broken = Arc::new(AtomicBool::new(false));
        let dialler = Dialler { url: url.clone(), route, timeout, broken: Arc::clone(&broken) };
        Http { url, timeout, agent: Agent::with_parts(config, dialler, NoResolver), broken }
    }

    /// Sends JSON to `path` and gives the JSON that comes back (nothing for 204).
    pub fn post(&self, path: &str, bearer: Option<&Secret>, body: &str) -> Result<String> {
        let mut request = self.agent.post(self.address(path)).header("content-type", "application/json");
        if let Some(token) = bearer {
            request = request.header("authorization", authorization(token).reveal());
        }
        self.answer(request.send(body))
    }

    /// Streams `body` to `path`; chunked when its length is not known. An answer that
    /// comes before the end (too large, disk full) is the answer.
    pub fn put(
        &self,
        path: &str,
        bearer: &Secret,
        content_type: &str,
        length: Option<u64>,
        body: &mut dyn Read,
    ) -> Result<String> {
        let mut request = self
            .agent
            .put(self.address(path))
            .header("content-type", content_type)
            .header("authorization", authorization(bearer).reveal());
        if let Some(length) = length {
            request = request.header("content-length", length.to_string());
        }
        self.broken.store(false, Ordering::Relaxed);
        let mut body = UntilBroken { body, broken: &self.broken };
        self.answer(request.send(SendBody::from_reader(&mut body)))
    }

    fn address(&self, path: &str) -> String {
        let mut address = self.url.to_string();
        address.push_str(path);
        address
    }

    fn answer(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String> {
        let mut answer = answer.map_err(|error| self.explain(error))?;
        let status = answer.status().as_u16();
        if (300..400).contains(&status) {
            let to =
                answer.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or("elsewhere");
            return Err(Error::new(Kind::Unreachable, format!("'{}' redirects to '{to}'", self.url))
                .hint("tokens are not sent on; log in at the address that is meant"));
        }
        let text = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .map_err(|error| self.explain(error))?;
        match status {
            200..300 => Ok(text),
            _ => Err(failure(&text, status, &self.url)),
        }
    }

    fn explain(&self, error: ureq::Error) -> Error {
        match error {
            ureq::Error::Io(error) => match error.downcast::<Carried>() {
                Ok(carried) => carried.0,
                Err(error) => lost(&self.url, self.timeout, &error),
            },
            ureq::Error::Timeout(_) => silent(&self.url, self.timeout),
            other => {
                Error::new(Kind::Unreachable, format!("'{}' does not answer as Max does: {other}", self.url))
                    .hint("check the URL")
            }
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
        .hint("check the URL, and what stands between: a proxy may answer in its place"),
    }
}

fn authorization(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.reveal()))
}

/// A body that ends when the connection takes no more of it, so that the answer which
/// explains that is read.
struct UntilBroken<'a> {
    body: &'a mut dyn Read,
    broken: &'a AtomicBool,
}

impl Read for UntilBroken<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.broken.load(Ordering::Relaxed) { Ok(0) } else { self.body.read(out) }
    }
}

/// An error of ours on its way through ureq.
#[derive(Debug)]
struct Carried(Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

struct Dialler {
    url: Url,
    route: Arc<Route>,
    timeout: Duration,
    broken: Arc<AtomicBool>,
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialler")
    }
}

impl Connector<()> for Dialler {
    type Out = Wire;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Wire>, ureq::Error> {
        let stream = dial(&self.url, &self.route, self.timeout)
            .map_err(|error| ureq::Error::Io(io::Error::other(Carried(error))))?;
        let broken = Arc::clone(&self.broken);
        Ok(Some(Wire { stream, buffers: LazyBuffers::new(BUFFER, BUFFER), broken }))
    }
}

/// A connection as ureq uses one. Its time limits are the socket's.
struct Wire {
    stream: Stream,
    buffers: LazyBuffers,
    broken: Arc<AtomicBool>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let output = self.buffers.output().get(..amount).unwrap_or(&[]);
        match self.stream.write_all(output).and_then(|()| self.stream.flush()) {
            // The peer has had enough: it has answered already.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                self.broken.store(true, Ordering::Relaxed);
                Ok(())
            }
            result => Ok(result?),
        }
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

/// ureq wants an address; [`dial`] finds its own.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut one = self.empty();
        one.push(([0, 0, 0, 0], 0).into());
        Ok(one)
    }
}

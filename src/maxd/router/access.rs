//! One log line for each request, written when its answer has gone out.
//!
//! Requests don't wait for the log: a line it can't take at once is counted, and the
//! number is told with the next line that fits.

use super::meter::Meter;
use super::{Site, Traffic};
use crate::maxd::line::NewLine;
use crate::wire::log::Source;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use hyper::{Method, Request, Response};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The longest part of a path that is logged, in bytes.
const PATH_MAX: usize = 2048;

/// A request that is being answered. Its line is written when it is dropped.
pub struct Access {
    began: Instant,
    /// `GET /path`.
    request: String,
    status: u16,
    bytes: u64,
    complete: bool,
    /// The answer has no body, whatever its headers say.
    head: bool,
    network: i64,
    app: i64,
    release: Option<u64>,
    dropped: Arc<AtomicU64>,
    meter: Arc<Meter>,
    lines: mpsc::Sender<NewLine>,
}

impl Access {
    /// A request has come.
    pub fn begin<B>(request: &Request<B>, site: &Site, lines: mpsc::Sender<NewLine>) -> Access {
        let path = request.uri().path_and_query().map_or("*", |path| path.as_str());
        Access {
            began: Instant::now(),
            request: format!("{} {}", request.method(), escaped(path)),
            status: 0,
            bytes: 0,
            complete: false,
            head: request.method() == Method::HEAD,
            network: site.network,
            app: site.app,
            release: match &site.traffic {
                Traffic::Pool(pool) => Some(pool.release),
                Traffic::Nobody | Traffic::Stopped => None,
            },
            dropped: site.dropped.clone(),
            meter: site.meter.clone(),
            lines,
        }
    }

    /// Its answer, watched on its way out. `token` is held until then.
    pub fn watch(mut self, response: Response<Body>, token: Option<TaskTrackerToken>) -> Response<Body> {
        self.status = response.status().as_u16();
        self.meter.answered(self.status, self.began.elapsed());
        self.complete = self.head || response.body().is_end_stream();
        response.map(|inner| Body::new(Watched { inner, access: self, _token: token }))
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let Access { request, status, bytes, .. } = self;
        let time = self.began.elapsed().as_millis();
        let text = match (self.complete, *status) {
            (true, _) => format!("{request} {status} {time} ms {bytes} bytes"),
            (false, 0) => format!("{request} - {time} ms, the client left before the answer"),
            (false, _) => format!("{request} {status} {time} ms {bytes} bytes, broken off"),
        };
        let missed = self.dropped.swap(0, Ordering::Relaxed);
        if missed > 0 && !self.send(format!("({missed} requests before this one could not be logged)")) {
            self.dropped.fetch_add(missed, Ordering::Relaxed);
        }
        if !self.send(text) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Access {
    fn send(&self, text: String) -> bool {
        let (network, app, release) = (self.network, Some(self.app), self.release);
        self.lines.try_send(NewLine::new(network, app, release, Source::Access, text)).is_ok()
    }
}

/// A path without what could break a line or drive a terminal.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if out.len() >= PATH_MAX {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

struct Watched {
    inner: Body,
    access: Access,
    _token: Option<TaskTrackerToken>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.access.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                // With a known length nobody asks for the end.
                self.access.complete |= self.inner.is_end_stream();
            }
            Poll::Ready(None) => self.access.complete = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_short_and_harmless() {
        assert_eq!(escaped("/a\n\u{9b}x%0a"), "/a\\n\\u{9b}x%0a");
        assert_eq!(escaped(&"é".repeat(PATH_MAX)).len(), PATH_MAX + '…'.len_utf8());
    }
}

//! Brings a request for `APP.NETWORK.DOMAIN` to the app.
//!
//! ```text
//! request ─► site (by host) ─► target ─┬► proxy: the instance's port on 127.0.0.1
//!                                      └► files: the release's directory
//! ```
//!
//! A site is a hostname that exists; its target is the healthy instance that has the
//! traffic at the moment, if there is one. Requests hold a token of their target, so
//! that an old instance is stopped only when those have been answered.

mod access;
mod files;
pub mod meter;
mod page;
mod proxy;

#[cfg(test)]
mod tests;

use super::line::NewLine;
use access::Access;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use meter::Meter;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Which hostname leads where.
pub struct Routes {
    sites: RwLock<HashMap<String, Site>>,
    proxy: proxy::Proxy,
    lines: mpsc::Sender<NewLine>,
    domain: String,
}

/// A hostname that exists.
#[derive(Clone)]
struct Site {
    network: i64,
    app: i64,
    target: Option<Arc<Target>>,
    /// Access lines that the log could not take in time.
    dropped: Arc<AtomicU64>,
    /// Counts its answers.
    meter: Arc<Meter>,
}

/// What answers a site's requests.
pub struct Target {
    release: u64,
    place: Place,
    requests: TaskTracker,
}

/// Where a target is.
#[derive(Clone)]
pub enum Place {
    /// A port of 127.0.0.1.
    Port(u16),
    /// A directory of static files.
    Files(PathBuf),
}

impl Target {
    /// A target that has the traffic of `release`.
    pub fn new(release: u64, place: Place) -> Arc<Target> {
        Arc::new(Target { release, place, requests: TaskTracker::new() })
    }

    /// Waits until the requests it got are answered, at most so long. It must not be
    /// a site's target any more.
    pub async fn drain(&self, limit: Duration) {
        self.requests.close();
        let _ = tokio::time::timeout(limit, self.requests.wait()).await;
    }
}

impl Routes {
    /// No routes yet. Access lines go to `lines`; apps are below `domain`.
    pub fn new(lines: mpsc::Sender<NewLine>, domain: String) -> Arc<Routes> {
        let sites = RwLock::new(HashMap::new());
        Arc::new(Routes { sites, proxy: proxy::Proxy::new(), lines, domain })
    }

    /// Makes a hostname known; it answers 503 until an instance is healthy.
    pub fn register(&self, hostname: &str, network: i64, app: i64) {
        let site = Site { network, app, target: None, dropped: Arc::default(), meter: Arc::default() };
        let mut sites = self.write();
        let known = sites.entry(canonical(hostname)).or_insert_with(|| site.clone());
        if known.app != app || known.network != network {
            *known = site;
        }
    }

    /// Makes a hostname unknown again.
    pub fn unregister(&self, hostname: &str) {
        self.write().remove(&canonical(hostname));
    }

    /// Gives a known hostname's traffic to `target`.
    pub fn open(&self, hostname: &str, target: &Arc<Target>) {
        if let Some(site) = self.write().get_mut(&canonical(hostname)) {
            site.target = Some(target.clone());
        }
    }

    /// Takes the traffic away from `target`, if it has it.
    pub fn close(&self, hostname: &str, target: &Arc<Target>) {
        if let Some(site) = self.write().get_mut(&canonical(hostname))
            && site.target.as_ref().is_some_and(|current| Arc::ptr_eq(current, target))
        {
            site.target = None;
        }
    }

    /// Each app with the meter of one of its hostnames.
    pub fn meters(&self) -> Vec<(i64, Arc<Meter>)> {
        self.read().values().map(|site| (site.app, site.meter.clone())).collect()
    }

    /// The site, and its target with a token that keeps it from being stopped. Both
    /// under one lock, so that a request never slips in behind a drain.
    fn find(&self, host: &str) -> Option<(Site, Option<TaskTrackerToken>)> {
        let sites = self.read();
        let site = sites.get(&canonical(host))?;
        Some((site.clone(), site.target.as_ref().map(|target| target.requests.token())))
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Site>> {
        self.sites.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Site>> {
        self.sites.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hostname without port and trailing dot, in lower case.
fn canonical(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Answers one request that came from `peer`, over TLS if `secure`. The server must
/// serve its connections with upgrades.
pub async fn handle(
    routes: Arc<Routes>,
    request: Request<Incoming>,
    peer: SocketAddr,
    secure: bool,
) -> Response<Body> {
    let Some(host) = host(&request) else {
        return page::error(StatusCode::BAD_REQUEST, "The request does not say which host it is for.");
    };
    if request.method() == Method::CONNECT {
        return page::error(StatusCode::METHOD_NOT_ALLOWED, "This is no proxy.");
    }
    let Some((site, token)) = routes.find(&host) else {
        let text =
            format!("There is no app at '{}'. Apps are at APP.NETWORK.{}.", canonical(&host), routes.domain);
        return page::error(StatusCode::NOT_FOUND, &text);
    };
    let access = Access::begin(&request, &site, routes.lines.clone());
    let (Some(target), Some(token)) = (site.target, token) else {
        let text = format!("The app at '{}' is not running at the moment.", canonical(&host));
        let mut response = page::error(StatusCode::SERVICE_UNAVAILABLE, &text);
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        return access.watch(response, None);
    };
    let response = match &target.place {
        Place::Files(dir) => files::answer(dir, request).await,
        Place::Port(port) => {
            let origin = proxy::Origin { host: &host, peer, secure };
            return match routes.proxy.forward(request, *port, &origin).await {
                Ok((response, upgrade)) => {
                    let token = upgrade.carry(token);
                    access.watch(response, token)
                }
                Err(wrong) => access.watch(page::error(wrong.status, &wrong.text), Some(token)),
            };
        }
    };
    access.watch(response, Some(token))
}

/// The host the request is for (RFC 9112, 3.2.2: the target wins over the header).
fn host(request: &Request<Incoming>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().rsplit('@').next().unwrap_or_default().to_owned());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().filter(|host| !host.is_empty()).map(str::to_owned),
        _ => None,
    }
}

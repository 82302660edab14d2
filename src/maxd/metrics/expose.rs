//! `GET /metrics`: everything that is measured, in the text format of Prometheus (version
//! 0.0.4). It names the apps of all users, so it asks for a token of its own, which lies in
//! the data directory. A peer on loopback is not trusted: apps are there, too.

use super::histogram::{BUCKETS, most};
use crate::error::Result;
use crate::maxd::auth::random;
use crate::maxd::logs::Counter;
use crate::maxd::platform::{Platform, all_apps};
use crate::maxd::store::disk;
use crate::wire::app::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The token's file in the data directory.
const TOKEN: &str = "metrics-token";

/// Who may read the metrics: whoever has the token.
pub struct Door([u8; 32]);

impl Door {
    /// Reads the token, or makes one.
    pub fn open(data: &Path) -> Result<Door> {
        let path = data.join(TOKEN);
        let token = match fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => token,
            _ => {
                let (token, new) = (format!("{}\n", random(32)?), path.with_extension("new"));
                let options =
                    || fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
                options()
                    .and_then(|mut file| std::io::Write::write_all(&mut file, token.as_bytes()))
                    .and_then(|()| fs::rename(&new, &path))
                    .map_err(|error| disk("write", &path, &error))?;
                token
            }
        };
        Ok(Door(Sha256::digest(token.trim()).into()))
    }

    /// By their hashes, so that how long it takes tells nothing.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        token.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token.trim())) == self.0)
    }
}

/// Answers a scrape.
pub async fn answer(platform: Arc<Platform>, door: &Door, headers: &HeaderMap) -> Result<Response> {
    if !door.admits(headers) {
        let how = [(header::WWW_AUTHENTICATE, "Bearer")];
        let text = format!("The token for this is in the file '{TOKEN}' of the data directory.\n");
        return Ok((StatusCode::UNAUTHORIZED, how, text).into_response());
    }
    let apps = platform.store.with(all_apps).await?;
    let names = apps.into_iter().map(|(row, network, app)| (row.id, labels(&network, &app)));
    let text = page(&platform, &names.collect::<Vec<_>>());
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((StatusCode::OK, kind, text).into_response())
}

/// Names are RFC 1035 labels: nothing in them needs a quote.
fn labels(network: &str, app: &str) -> String {
    format!("network=\"{network}\",app=\"{app}\"")
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn alone(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.about(name, kind, help);
        self.sample(name, "", value);
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn page(platform: &Platform, apps: &[(i64, String)]) -> String {
    let mut page = Page::default();
    page.about("max_build_info", "gauge", "The version of maxd.");
    page.sample("max_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    page.alone("max_apps", "gauge", "Apps there are.", apps.len());
    page.alone("max_sockets", "gauge", "Open connections of clients.", platform.sockets.open());
    page.about("max_requests_total", "counter", "Requests of clients over channels.");
    for (request, count) in platform.metrics.asked().iter() {
        page.sample("max_requests_total", &format!("request=\"{request}\""), count);
    }
    own(&mut page);
    states(&mut page, platform, apps);
    usage(&mut page, platform, apps);
    requests(&mut page, platform, apps);
    logged(&mut page, platform, apps);
    page.0
}

/// What maxd itself uses, under the names every program has for it.
fn own(page: &mut Page) {
    let Some(own) = crate::maxd::runtime::own() else { return };
    page.alone("process_cpu_seconds_total", "counter", "CPU time of maxd.", seconds(own.cpu_us));
    page.alone("process_resident_memory_bytes", "gauge", "Memory of maxd.", own.memory);
    page.alone("process_open_fds", "gauge", "Open files of maxd.", own.files);
    page.alone("process_start_time_seconds", "gauge", "When maxd was started.", own.started);
}

fn states(page: &mut Page, platform: &Platform, apps: &[(i64, String)]) {
    const STATES: [(State, &str); 7] = [
        (State::Empty, "empty"),
        (State::Starting, "starting"),
        (State::Running, "running"),
        (State::Unhealthy, "unhealthy"),
        (State::Restarting, "restarting"),
        (State::CrashLoop, "crash_loop"),
        (State::Stopped, "stopped"),
    ];
    let all: Vec<_> = apps.iter().map(|(id, labels)| (platform.supervisor.status(*id), labels)).collect();
    page.about("max_app_state", "gauge", "What an app does: 1 for its state.");
    for (status, labels) in &all {
        if let Some((_, state)) = STATES.iter().find(|(state, _)| *state == status.state) {
            page.sample("max_app_state", &format!("{labels},state=\"{state}\""), 1);
        }
    }
    page.about("max_app_restarts_total", "counter", "Restarts since the release took over.");
    for (status, labels) in &all {
        let restarts: u64 = status.instances.iter().map(|instance| instance.restarts).sum();
        page.sample("max_app_restarts_total", labels, restarts);
    }
}

fn usage(page: &mut Page, platform: &Platform, apps: &[(i64, String)]) {
    let name = "max_app_cpu_seconds_total";
    page.about(name, "counter", "CPU time of an app's processes since maxd was started.");
    for (id, labels) in apps {
        page.sample(name, labels, seconds(platform.metrics.totals(*id).cpu_us));
    }
    let all: Vec<_> = apps.iter().map(|(id, labels)| (platform.metrics.reading(*id).usage, labels)).collect();
    page.about("max_app_memory_bytes", "gauge", "Memory of an app's processes.");
    for (usage, labels) in &all {
        page.sample("max_app_memory_bytes", labels, usage.memory);
    }
    page.about("max_app_memory_limit_bytes", "gauge", "How much memory an app may use.");
    for (usage, labels) in &all {
        if let Some(limit) = usage.memory_limit {
            page.sample("max_app_memory_limit_bytes", labels, limit);
        }
    }
    page.about("max_app_cpu_limit_cores", "gauge", "How much CPU an app may use.");
    for (usage, labels) in &all {
        if let Some(limit) = usage.cpu_limit {
            page.sample("max_app_cpu_limit_cores", labels, limit as f64 / 1000.0);
        }
    }
}

/// What apps, their builds and requests to them have written into their logs.
fn logged(page: &mut Page, platform: &Platform, apps: &[(i64, String)]) {
    type Value = fn(&Counter) -> u64;
    const ROWS: [(&str, &str, Value); 3] = [
        ("max_app_log_lines_total", "Lines kept in an app's log.", |counter| counter.lines),
        ("max_app_log_bytes_total", "Bytes kept in an app's log.", |counter| counter.bytes),
        (
            "max_app_log_dropped_lines_total",
            "Lines of an app that were dropped: over the rate, or for want of space.",
            |counter| counter.dropped,
        ),
    ];
    let counters: HashMap<i64, Counter> = platform.logs.counters().into_iter().collect();
    for (name, help, value) in ROWS {
        page.about(name, "counter", help);
        for (id, labels) in apps {
            page.sample(name, labels, value(&counters.get(id).copied().unwrap_or_default()));
        }
    }
}

fn requests(page: &mut Page, platform: &Platform, apps: &[(i64, String)]) {
    let all: Vec<_> = apps.iter().map(|(id, labels)| (platform.metrics.totals(*id), labels)).collect();
    let name = "max_app_requests_total";
    page.about(name, "counter", "Requests that were answered, by the class of the status.");
    for (totals, labels) in &all {
        for (class, count) in (1..).zip(totals.classes) {
            page.sample(name, &format!("{labels},code=\"{class}xx\""), count);
        }
    }
    let name = "max_app_response_seconds";
    page.about(name, "histogram", "How long answers took to begin.");
    for (totals, labels) in &all {
        let (mut sum, mut buckets) = (0, totals.buckets.iter().enumerate().peekable());
        // Each second doubling from a millisecond on.
        for edge in (79..BUCKETS - 1).step_by(16).map(most) {
            while let Some((_, count)) = buckets.next_if(|(bucket, _)| most(*bucket) <= edge) {
                sum += count;
            }
            let labels = format!("{labels},le=\"{}\"", seconds(edge + 1));
            page.sample("max_app_response_seconds_bucket", &labels, sum);
        }
        let total = sum + buckets.map(|(_, count)| count).sum::<u64>();
        page.sample("max_app_response_seconds_bucket", &format!("{labels},le=\"+Inf\""), total);
        page.sample("max_app_response_seconds_sum", labels, seconds(totals.time_us));
        page.sample("max_app_response_seconds_count", labels, total);
    }
}

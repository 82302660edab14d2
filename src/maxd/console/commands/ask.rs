//! The commands that only look.

use super::{Answer, COMMANDS, Call, LINES_MAX, named};
use crate::error::{Error, Result};
use crate::maxd::console::table::Table;
use crate::maxd::console::text::{bytes, safe};
use crate::maxd::logs::Filter;
use crate::maxd::router::Seat;
use crate::time::{human, parse_rfc3339};
use crate::wire::log::{Line, Source};
use crate::wire::metrics::Usage;
use crate::wire::{alert, app, network};
use miniserde::{Serialize, json};
use std::time::SystemTime;

/// So many lines are shown when no number is said.
const LINES: u64 = 20;
/// So many deploys are listed.
const DEPLOYS: u64 = 20;

impl Call {
    /// What was said in this place.
    pub fn arg(&self, at: usize) -> Option<&str> {
        self.args.get(at)?.as_deref()
    }

    /// The app that the first argument names.
    pub fn app(&self) -> app::Select {
        app::Select { network: self.network.clone(), app: self.arg(0).unwrap_or_default().to_owned() }
    }

    /// The number in this place.
    fn lines(&self, at: usize) -> Result<u64> {
        let Some(word) = self.arg(at) else { return Ok(LINES) };
        word.parse().ok().filter(|number| (1..=LINES_MAX).contains(number)).ok_or_else(|| {
            Error::usage(format!("'{word}' is no number of lines")).hint(format!("it is 1 to {LINES_MAX}"))
        })
    }
}

/// `help`.
pub fn help(call: &Call) -> Result<Answer> {
    let mut table = Table::with_text(&[]);
    let Some(word) = call.arg(0) else {
        for command in COMMANDS {
            table.row([command.usage(), command.summary.to_owned()]);
        }
        return Ok(Answer::Text(table.show(call.columns)));
    };
    let command = named(word)?;
    let mut paragraph = |text: &str| table.row([text.to_owned()]);
    paragraph(&command.usage());
    paragraph(command.summary);
    if !command.about.is_empty() {
        paragraph(command.about);
    }
    if let Some(alias) = command.alias {
        paragraph(&format!("The same is `{alias}`."));
    }
    Ok(Answer::Text(table.show(call.columns)))
}

/// `apps`.
pub async fn apps(call: &Call) -> Result<Answer> {
    let request = network::Select { network: call.network.clone() };
    let status = call.platform.network_status(&call.who.asks("network:status")?, request).await?;
    let mut table = Table::new(&["APP", "STATE", "RUN", "RELEASE", "CPU", "MEMORY", "REQUESTS", "DEPLOYED"]);
    for (app, reading) in status.apps.iter().zip(&status.readings) {
        table.row([
            app.name.clone(),
            word(&app.state),
            format!("{}/{}", app.running, app.instances),
            number(app.release),
            cores(reading.usage.cpu),
            bytes(reading.usage.memory),
            format!("{}/min", reading.traffic.requests),
            ago(app.deployed_at.as_deref()),
        ]);
    }
    Ok(Answer::Text(table.or("no apps yet: `rig deploy`", call.columns)))
}

/// `app`.
pub async fn app(call: &Call) -> Result<Answer> {
    let status = call.platform.app_status(&call.who.asks("app:status")?, call.app()).await?;
    let app = &status.app;
    let mut table = Table::with_text(&[]);
    let mut fact = |name: &str, text: String| {
        if !text.is_empty() {
            table.row([name.to_owned(), text]);
        }
    };
    fact("app", app.name.clone());
    fact("state", word(&app.state));
    fact("reason", app.reason.clone().unwrap_or_default());
    fact("url", app.url.clone());
    fact("instances", format!("{} of {} run", app.running, app.instances));
    fact("release", number(app.release));
    fact("deployed", ago(app.deployed_at.as_deref()));
    if let Some(usage) = &status.usage {
        fact("cpu", of(cores(usage.cpu), usage.cpu_limit.map(cores)));
        fact("memory", of(bytes(usage.memory), usage.memory_limit.map(bytes)));
    }
    fact("requests", format!("{}/min, {} failed", status.traffic.requests, status.traffic.errors));
    for alert in &status.alerts {
        fact("alert", format!("{}: {}", word(&alert.cause), alert.message));
    }
    let mut text = table.show(call.columns);
    if !status.instances.is_empty() {
        text.push_str("\r\n");
        text.push_str(&instances(&status.instances).show(call.columns));
    }
    Ok(Answer::Text(text))
}

fn instances(instances: &[app::Instance]) -> Table {
    let mut table = Table::new(&["INSTANCE", "STATE", "RELEASE", "CPU", "MEMORY", "RESTARTS", "STARTED"]);
    for instance in instances {
        let used = |show: fn(&Usage) -> String| instance.usage.as_ref().map(show).unwrap_or_default();
        table.row([
            instance.number.to_string(),
            word(&instance.state),
            instance.release.to_string(),
            used(|usage| cores(usage.cpu)),
            used(|usage| bytes(usage.memory)),
            instance.restarts.to_string(),
            ago(instance.started_at.as_deref()),
        ]);
    }
    table
}

/// `releases`.
pub async fn releases(call: &Call) -> Result<Answer> {
    let deploys = call.platform.list_deploys(&call.who.asks("deploy:status")?, call.app(), DEPLOYS).await?;
    let mut table = Table::with_text(&["RELEASE", "STATE", "WHEN", "BY", "WHAT"]);
    for deploy in deploys {
        let what = [deploy.kind, deploy.error].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let when = ago(deploy.finished_at.as_deref().or(Some(&deploy.created_at)));
        table.row([number(deploy.release), word(&deploy.state), when, deploy.user, what]);
    }
    Ok(Answer::Text(table.or("nothing was deployed yet: `rig deploy`", call.columns)))
}

/// `events`.
pub async fn events(call: &Call) -> Result<Answer> {
    let (network, app, count) = (call.network.clone(), call.arg(0).map(str::to_owned), call.lines(1)?);
    let events = Filter::of_events();
    let lines =
        call.platform.newest_lines(&call.who.asks("topic logs")?, network, app, events, count).await?;
    let mut table = Table::with_text(&["WHEN", "APP", "EVENT"]);
    for line in lines {
        table.row([ago(Some(&line.time)), line.app.unwrap_or_default(), line.text]);
    }
    Ok(Answer::Text(table.or("nothing has happened that is still known", call.columns)))
}

/// `logs`.
pub async fn logs(call: &Call) -> Result<Answer> {
    let (network, app, count) = (call.network.clone(), call.arg(0).map(str::to_owned), call.lines(1)?);
    let lines = call
        .platform
        .newest_lines(&call.who.asks("topic logs")?, network, app, Filter::default(), count)
        .await?;
    let mut table = Table::with_text(&[]);
    for line in lines {
        let clock = line.time.get(11..19).unwrap_or_default();
        let end = if line.partial { "…" } else { "" };
        table.row([format!("{clock}Z"), source(&line), format!("{}{end}", line.text)]);
    }
    Ok(Answer::Text(table.or("it has written nothing that is still known", call.columns)))
}

fn source(line: &Line) -> String {
    let name = match line.source {
        Source::Stdout => "out",
        Source::Stderr => "err",
        Source::Build => "build",
        Source::Access => "access",
        Source::Event => "max",
    };
    match line.instance {
        Some(instance) => format!("{name}.{instance}"),
        None => name.to_owned(),
    }
}

/// `routes`.
pub async fn routes(call: &Call) -> Result<Answer> {
    let request = app::Filter { network: Some(call.network.clone()) };
    let apps = call.platform.list_apps(&call.who.asks("app:list")?, request).await?.apps;
    let mut table = Table::with_text(&["HOSTNAME", "STATE", "RELEASE", "ANSWERED BY"]);
    for app in apps {
        let (release, by) = match call.platform.routes.answering(&app.hostname) {
            Some((release, seats)) => (release.to_string(), seats.iter().map(seat).collect::<Vec<_>>()),
            None => (String::new(), Vec::new()),
        };
        table.row([app.hostname, word(&app.state), release, by.join(", ")]);
    }
    Ok(Answer::Text(table.or("no apps yet: `rig deploy`", call.columns)))
}

fn seat(seat: &Seat) -> String {
    let place = match seat.port {
        Some(port) => format!("port {port}"),
        None => "Max".to_owned(),
    };
    if seat.well { place } else { format!("{place} (unhealthy)") }
}

/// `alerts`.
pub async fn alerts(call: &Call) -> Result<Answer> {
    let request = alert::Filter { network: Some(call.network.clone()), all: None };
    let list = call.platform.list_alerts(&call.who.asks("alert:list")?, request).await?;
    let mut table = Table::with_text(&["ALERT", "APP", "SINCE", "MESSAGE"]);
    for alert in list.alerts {
        table.row([
            word(&alert.cause),
            alert.app.unwrap_or_default(),
            ago(Some(&alert.since)),
            alert.message,
        ]);
    }
    Ok(Answer::Text(table.or("nothing is wrong", call.columns)))
}

/// `sessions`.
pub async fn sessions(call: &Call) -> Result<Answer> {
    let mut table = Table::new(&["SESSION", "APP", "USER", "RELEASE", "ATTACHED", "STARTED"]);
    let all = call.platform.list_execs(&call.who.asks("exec:list")?).await?.sessions.into_iter();
    for session in all.filter(|session| session.network == call.network) {
        table.row([
            session.id.to_string(),
            session.app.unwrap_or_else(|| "(console)".to_owned()),
            session.user,
            number(session.release),
            if session.attached { "yes" } else { "no" }.to_owned(),
            ago(Some(&session.started_at)),
        ]);
    }
    Ok(Answer::Text(table.or("no session", call.columns)))
}

/// The word of a state, as people write it.
fn word<T: Serialize>(state: &T) -> String {
    json::to_string(state).trim_matches('"').replace('_', " ")
}

fn number(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// Thousandths of a core, in percent of one.
fn cores(thousandths: u64) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

fn of(used: String, limit: Option<String>) -> String {
    match limit {
        Some(limit) => format!("{used} of {limit}"),
        None => used,
    }
}

/// How long ago that was.
fn ago(time: Option<&str>) -> String {
    let Some(text) = time else { return String::new() };
    let Some(time) = parse_rfc3339(text) else { return safe(text).into_owned() };
    match SystemTime::now().duration_since(time) {
        Ok(since) if since.as_secs() > 0 => format!("{} ago", human(since)),
        _ => "just now".to_owned(),
    }
}

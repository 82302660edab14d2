//! `rig status app`, `rig status network`, `rig status deploy`.

use super::list::ALERT_FIELDS;
use crate::api::decode;
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Result};
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::sys::terminal;
use crate::time::parse_duration;
use crate::view::{Field, Show, at, field, items, number, record, table};
use crate::wire::metrics;
use crate::wire::{app, deploy, network};
use miniserde::json::{Number, Object, Value};
use std::path::Path;

/// `--history`.
const HISTORY: Flag = Flag {
    long: word("history"),
    short: None,
    value: word("TIME"),
    help: packed!("what it used and was asked, up to 30d back"),
};

/// `rig status app`.
pub const APP: Command = Command {
    words: word("status app"),
    aliases: &[],
    summary: packed!("Show what an app does and why"),
    about: packed!(
        "CPU is that of the last two seconds, in percent of one core; requests are those of the last \
            minute. Of the health checks the newest stands last."
    ),
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, or APP.NETWORK (else rig.json)"),
        required: false,
    }],
    flags: &[&session::NETWORK, &HISTORY],
    examples: packed![
        ("The app of this directory's rig.json", "rig status app"),
        ("Any app", "rig status app web.blue"),
        ("Its last day", "rig status app web.blue --history 24h"),
        ("Its state in a script", "rig status app web.blue -o json | jq -r .app.state"),
    ],
    run: app,
};

/// `rig status network`.
pub const NETWORK: Command = Command {
    words: word("status network"),
    aliases: &[],
    summary: packed!("Show a network and its apps"),
    about: packed!(""),
    args: &[Arg { name: word("NETWORK"), help: packed!("the network (else rig.json)"), required: false }],
    flags: &[&session::NETWORK],
    examples: packed![("A network and what its apps do", "rig status network blue")],
    run: network,
};

/// `rig status deploy`.
pub const DEPLOY: Command = Command {
    words: word("status deploy"),
    aliases: &[],
    summary: packed!("Show where a deploy is, or how it ended"),
    about: packed!(""),
    args: &[Arg { name: word("ID"), help: packed!("its number (`rig deploy --detach`)"), required: true }],
    flags: &[],
    examples: packed![
        ("One of them", "rig status deploy 12"),
        ("Whether it serves, in a script", "rig status deploy 12 -o json | jq -r .state"),
    ],
    run: deploy,
};

const DEPLOY_STATUS: &[Field] = &[
    field("deploy", "id", Show::Plain),
    field("app", "app", Show::Plain),
    field("network", "network", Show::Plain),
    field("state", "state", Show::State),
    field("failed while", "phase", Show::Plain),
    field("error", "error", Show::Plain),
    field("release", "release", Show::Plain),
    field("kind", "kind", Show::Plain),
    field("by", "user", Show::Plain),
    field("began", "created_at", Show::Ago),
    field("ended", "finished_at", Show::Ago),
    field("url", "url", Show::Plain),
];

const APP_STATUS: &[Field] = &[
    field("app", "app.name", Show::Plain),
    field("network", "app.network", Show::Plain),
    field("state", "app.state", Show::State),
    field("reason", "app.reason", Show::Plain),
    field("url", "app.url", Show::Plain),
    field("instances", "app.running", Show::Of(word("app.instances"))),
    field("release", "app.release", Show::Plain),
    field("deployed", "app.deployed_at", Show::Ago),
    field("created", "app.created_at", Show::Ago),
    field("checks", "checks", Show::Marks),
    field("cpu", "usage.cpu", Show::Cores),
    field("cpu limit", "usage.cpu_limit", Show::Cores),
    field("memory", "usage.memory", Show::Bytes),
    field("memory limit", "usage.memory_limit", Show::Bytes),
    field("requests", "traffic.requests", Show::Rate),
    field("half within", "traffic.p50_us", Show::Micros),
    field("95% within", "traffic.p95_us", Show::Micros),
    field("errors", "traffic.errors", Show::Share(word("traffic.requests"))),
];

const INSTANCE_FIELDS: &[Field] = &[
    field("instance", "number", Show::Plain),
    field("state", "state", Show::State),
    field("release", "release", Show::Plain),
    field("pid", "pid", Show::Plain),
    field("started", "started_at", Show::Ago),
    field("restarts", "restarts", Show::Plain),
    field("cpu", "usage.cpu", Show::Cores),
    field("memory", "usage.memory", Show::Bytes),
];

const DEPLOY_FIELDS: &[Field] = &[
    field("last deploy", "deploy.id", Show::Plain),
    field("state", "deploy.state", Show::State),
    field("failed while", "deploy.phase", Show::Plain),
    field("error", "deploy.error", Show::Plain),
    field("by", "deploy.user", Show::Plain),
    field("began", "deploy.created_at", Show::Ago),
];

/// The columns of what is staged.
pub const STAGED_FIELDS: &[Field] =
    &[field("staged", "name", Show::Plain), field("change", "change", Show::Plain)];

const EVENT_FIELDS: &[Field] = &[
    field("when", "time", Show::Ago),
    field("instance", "instance", Show::Plain),
    field("event", "text", Show::Plain),
];

type Sections = &'static [(&'static [Field], &'static str)];

const APP_SECTIONS: Sections = &[
    (APP_STATUS, ""),
    (ALERT_FIELDS, "alerts"),
    (INSTANCE_FIELDS, "instances"),
    (STAGED_FIELDS, "staged"),
    (DEPLOY_FIELDS, ""),
    (EVENT_FIELDS, "events"),
];

const NETWORK_STATUS: &[Field] = &[
    field("network", "network.name", Show::Plain),
    field("domain", "network.domain", Show::Plain),
    field("apps", "network.apps", Show::Plain),
    field("created", "network.created_at", Show::Ago),
    field("cpu", "usage.cpu", Show::Cores),
    field("memory", "usage.memory", Show::Bytes),
    field("requests", "traffic.requests", Show::Rate),
    field("95% within", "traffic.p95_us", Show::Micros),
    field("errors", "traffic.errors", Show::Share(word("traffic.requests"))),
];

/// Of an app with its reading.
const ROW_FIELDS: &[Field] = &[
    field("app", "name", Show::Plain),
    field("state", "state", Show::State),
    field("release", "release", Show::Plain),
    field("cpu", "usage.cpu", Show::Cores),
    field("memory", "usage.memory", Show::Bytes),
    field("requests", "traffic.requests", Show::Rate),
    field("errors", "traffic.errors", Show::Share(word("traffic.requests"))),
    field("hostname", "hostname", Show::Plain),
];

const SAMPLE_FIELDS: &[Field] = &[
    field("until", "time", Show::Ago),
    field("cpu", "cpu", Show::Cores),
    field("memory", "memory", Show::Bytes),
    field("requests", "requests", Show::Plain),
    field("errors", "errors", Show::Plain),
    field("95% within", "p95_us", Show::Micros),
];

/// So many rows of history are shown; what is more is put together.
const ROWS: usize = 24;

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let (network, app) = (name.network.to_string(), name.app.to_string());
    if let Some(text) = matches.value(&HISTORY) {
        let span = parse_duration(text).map(|span| span.as_secs()).filter(|span| (1..=MONTH).contains(span));
        let seconds = span.ok_or_else(|| {
            Error::usage(format!("'{text}' is no span of history"))
                .hint(packed!("write for instance `--history 1h`, `24h` or `30d`, which is the longest"))
        })?;
        return history(session, &metrics::Query { network, app, seconds });
    }
    let answer = session.max()?.document("app:status", &app::Select { network, app })?;
    show(session, &answer, APP_SECTIONS)
}

fn deploy(session: &Session, matches: &Matches) -> Result<()> {
    let id = super::id(matches.arg(0).unwrap_or_default(), "deploy", "status app")?;
    let answer = session.max()?.document("deploy:status", &deploy::Select { id })?;
    show(session, &answer, &[(DEPLOY_STATUS, "")])
}

/// The answer to `app:status` for a reader with so many columns.
pub fn app_text(session: &Session, answer: &Value, columns: Option<usize>) -> String {
    sections(session, answer, APP_SECTIONS, columns)
}

/// How far back history goes, in seconds.
const MONTH: u64 = 30 * 24 * 3600;

fn history(session: &Session, query: &metrics::Query) -> Result<()> {
    let answer = session.max()?.ask("app:metrics", miniserde::json::to_string(query))?;
    if session.output.json {
        return session.output.raw_json(&answer);
    }
    let mut history: Object = decode(&answer)?;
    let Some(Value::Array(samples)) = history.get_mut("samples") else { return Ok(()) };
    if samples.is_empty() {
        session.output.note("nothing was measured in that time");
        return Ok(());
    }
    let size = samples.len().div_ceil(ROWS);
    *samples = samples.rchunks(size).rev().map(together).collect();
    show(session, &Value::Object(history), &[(SAMPLE_FIELDS, "samples")])
}

/// Several steps as one.
fn together(samples: &[Value]) -> Value {
    let of = |name| samples.iter().filter_map(move |sample| at(sample, name).and_then(number));
    let mut sum = samples.last().cloned().unwrap_or(Value::Null);
    let Value::Object(row) = &mut sum else { return sum };
    for (name, value) in row.iter_mut() {
        let together = match name.as_str() {
            "cpu" => of("cpu").sum::<u64>().checked_div(samples.len() as u64),
            "memory" | "p95_us" => of(name).max(),
            "requests" | "errors" => Some(of(name).sum()),
            _ => continue,
        };
        *value = together.map_or(Value::Null, |number| Value::Number(Number::U64(number)));
    }
    sum
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.network(matches, matches.arg(0))?;
    let answer = session.max()?.document("network:status", &network::Select { network: name.to_string() })?;
    if session.output.json {
        return session.output.document(&answer);
    }
    show(
        session,
        &with_readings(answer),
        &[(NETWORK_STATUS, ""), (ALERT_FIELDS, "alerts"), (ROW_FIELDS, "apps")],
    )
}

/// Puts what was measured of each app beside what it is.
fn with_readings(mut answer: Value) -> Value {
    let readings = items(&answer, "readings").to_vec();
    if let Value::Object(object) = &mut answer
        && let Some(Value::Array(apps)) = object.get_mut("apps")
    {
        for (app, reading) in apps.iter_mut().zip(readings) {
            if let (Value::Object(app), Value::Object(reading)) = (app, reading) {
                app.extend(reading);
            }
        }
    }
    answer
}

/// Sections with an empty line between them: a record, or a table of the items at a
/// path.
pub fn show(session: &Session, answer: &Value, shown: Sections) -> Result<()> {
    if session.output.json {
        return session.output.document(answer);
    }
    let columns = terminal::width().filter(|_| session.output.terminal);
    session.output.write(&sections(session, answer, shown, columns))
}

fn sections(session: &Session, answer: &Value, sections: Sections, columns: Option<usize>) -> String {
    let now = session.now();
    let sections = sections.iter().map(|(fields, path)| match *path {
        "" => record(&session.output, answer, fields, now),
        path => match items(answer, path) {
            [] => String::new(),
            // Lines of text need no columns.
            rows => table(&session.output, rows, fields, columns.filter(|_| path != "events"), now),
        },
    });
    sections.filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_steps_are_shown_as_one() {
        let samples = ["9,5,1,0,null", "4,7,2,1,50", "2,6,3,0,30"].map(|row| {
            let row: Vec<&str> = row.split(',').collect();
            let [cpu, memory, requests, errors, p95] = row[..] else { return Value::Null };
            let text = format!(
                r#"{{"time":"t{cpu}","cpu":{cpu},"memory":{memory},"requests":{requests},"errors":{errors},"p95_us":{p95}}}"#
            );
            miniserde::json::from_str(&text).unwrap_or(Value::Null)
        });
        let sum = "{\"cpu\":5,\"errors\":1,\"memory\":7,\"p95_us\":50,\"requests\":6,\"time\":\"t2\"}";
        assert_eq!(miniserde::json::to_string(&together(&samples)), sum);
        assert_eq!(
            miniserde::json::to_string(&together(&samples[..1])),
            miniserde::json::to_string(&samples[0])
        );
    }
}

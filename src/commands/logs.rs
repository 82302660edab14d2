//! `rig logs app`, `rig logs build`, `rig logs network`.

use crate::api::stream::{CREDIT, Item, Stream};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Result};
use crate::session::{self, Session};
use crate::term::output::{Colour, Output};
use crate::term::text::safe;
use crate::wire::log::{Line, Query, Source};
use miniserde::{Serialize, json};
use std::path::Path;
use std::time::Instant;

const TAIL: Flag =
    Flag { long: "tail", short: None, value: "N", help: "begin with the newest N lines (100 by default)" };
const FOLLOW: Flag = Flag {
    long: "follow",
    short: Some('f'),
    value: "",
    help: "go on with new lines (the default on a terminal)",
};
const NO_FOLLOW: Flag = Flag { long: "no-follow", short: None, value: "", help: "end after the newest line" };

const FLAGS: &[&Flag] = &[&session::NETWORK, &TAIL, &FOLLOW, &NO_FOLLOW];

/// The default of `--tail`.
const TAIL_DEFAULT: u64 = 100;

/// `rig logs app`.
pub const APP: Command = Command {
    words: "logs app",
    aliases: &[],
    summary: "Show what an app writes, as it writes it",
    about: "Follows on a terminal until Ctrl-C, over redeploys, restarts and reconnections. In \
            a pipe, and with -o json, it shows the newest lines and ends, unless --follow is \
            given.",
    args: &[Arg { name: "APP", help: "the app, or APP.NETWORK (else rig.json)", required: false }],
    flags: FLAGS,
    examples: &[
        ("Follow the app of this directory", "rig logs app"),
        ("The newest 1000 lines", "rig logs app web.blue --tail 1000 --no-follow"),
        ("One JSON object a line, for ever", "rig logs app web.blue --follow -o json"),
    ],
    run: app,
};

/// `rig logs build`.
pub const BUILD: Command = Command {
    words: "logs build",
    aliases: &["logs build app"],
    summary: "Show the output of an app's builds",
    about: "",
    args: &[Arg { name: "APP", help: "the app, or APP.NETWORK (else rig.json)", required: false }],
    flags: FLAGS,
    examples: &[("The end of the newest build", "rig logs build web.blue --tail 50 --no-follow")],
    run: build,
};

/// `rig logs network`.
pub const NETWORK: Command = Command {
    words: "logs network",
    aliases: &[],
    summary: "Show what happens in a network: apps, requests, events",
    about: "",
    args: &[Arg { name: "NETWORK", help: "the network (else rig.json)", required: false }],
    flags: FLAGS,
    examples: &[("Follow everything in a network", "rig logs network blue")],
    run: network,
};

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    show(session, matches, &format!("logs:app:{}:{}", name.network, name.app))
}

fn build(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    show(session, matches, &format!("logs:build:{}:{}", name.network, name.app))
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.network(matches, matches.arg(0))?;
    show(session, matches, &format!("logs:network:{name}"))
}

/// What `rig logs … -o json` answers.
#[derive(Serialize)]
struct Newest {
    lines: Vec<Line>,
}

fn show(session: &Session, matches: &Matches, topic: &str) -> Result<()> {
    let tail = match matches.value(&TAIL) {
        None => TAIL_DEFAULT,
        Some(text) => text.parse().map_err(|_| {
            Error::usage(format!("--tail takes a number of lines, not '{text}'"))
                .hint("for instance `--tail 500`")
        })?,
    };
    let asked = session.output.terminal && !session.output.json;
    let follow = !matches.has(&NO_FOLLOW) && (matches.has(&FOLLOW) || asked);
    let params = move |after| json::to_string(&Query { after, tail: Some(tail), follow, credit: CREDIT });
    let mut stream = Stream::open(session.max()?, topic, params)?;
    let output = &session.output;
    let mut newest = Newest { lines: Vec::new() };
    while !output.closed() {
        // A follower waits for ever; who asked for what is there does not.
        let deadline = (!follow).then(|| Instant::now() + session.timeout());
        match stream.next(deadline)? {
            Item::Lines(lines) if output.json && !follow => newest.lines.extend(lines),
            Item::Lines(lines) => print(output, &lines, topic)?,
            Item::Gap(through) => {
                output.warn(&format!("the lines up to number {through} are no longer kept"))
            }
            Item::Note(text) => output.note(&text),
            Item::State(_) => {}
            Item::End => break,
        }
    }
    if output.json && !follow {
        return output.document(&newest);
    }
    Ok(())
}

fn print(output: &Output, lines: &[Line], topic: &str) -> Result<()> {
    if output.json {
        return lines.iter().try_for_each(|line| output.document(line));
    }
    let network = topic.starts_with("logs:network:");
    output.write(&lines.iter().map(|line| formatted(output, line, network)).collect::<String>())
}

/// A line for people: with its time and origin on a terminal, the bare text (in a
/// network behind the app's name) in a pipe.
fn formatted(output: &Output, line: &Line, network: bool) -> String {
    let text = safe(&line.text);
    let app = line.app.as_deref().filter(|_| network);
    let mut out = String::with_capacity(text.len() + 48);
    if output.terminal {
        // 2026-11-24T10:00:00.000Z
        let clock = line.time.get(11..19).unwrap_or(&line.time);
        out.push_str(&output.paint(Colour::Dim, &safe(clock)));
        out.push(' ');
        if let Some(app) = app {
            out.push_str(&safe(app));
            out.push(' ');
        }
        let (label, colour) = match line.source {
            Source::Stdout => ("out   ", Colour::Dim),
            Source::Stderr => ("err   ", Colour::Red),
            Source::Build => ("build ", Colour::Dim),
            Source::Access => ("access", Colour::Dim),
            Source::Event => ("max   ", Colour::Yellow),
        };
        out.push_str(&output.paint(colour, label));
        out.push(' ');
    } else if network {
        out.push_str(app.unwrap_or("-"));
        out.push(' ');
    }
    out.push_str(&text);
    out.push('\n');
    out
}

/// A line for a screen of its own: when, from where, and what.
pub fn plain(line: &Line) -> String {
    let clock = line.time.get(11..19).unwrap_or(&line.time);
    format!("{} {}", safe(clock), safe(&line.text))
}

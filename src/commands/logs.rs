//! `rig logs app`, `rig logs build`, `rig logs command`, `rig logs network`.

mod show;

use crate::api::stream::{CREDIT, Item, Stream};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::packed::{Packed, Word, packed, word};
use crate::session::{self, Session};
use crate::term::text::safe;
use crate::time::parse_duration;
use crate::wire::log::{Line, Query};
use miniserde::{Serialize, json};
use show::{Printer, Stamps, single};
use std::path::Path;
use std::time::Instant;

const fn flag(long: Word, value: Word, help: Packed) -> Flag {
    Flag { long, short: None, value, help }
}

const FOLLOW: Flag = Flag {
    short: Some('f'),
    ..flag(word("follow"), word(""), packed!("go on with new lines (the default on a terminal)"))
};
const NO_FOLLOW: Flag = flag(word("no-follow"), word(""), packed!("end after the newest line"));
const TAIL: Flag =
    flag(word("tail"), word("N"), packed!("begin with the newest N lines (100; with --since all)"));
const SINCE: Flag =
    flag(word("since"), word("TIME"), packed!("only lines from then on: `5m` ago, `2h30m`, or RFC 3339"));
const UNTIL: Flag = flag(word("until"), word("TIME"), packed!("only lines before then; ends there"));
const GREP: Flag = flag(word("grep"), word("TEXT"), packed!("only lines that contain this text"));
const REGEX: Flag =
    flag(word("regex"), word("PATTERN"), packed!("only lines in which this regular expression matches"));
const LEVEL: Flag =
    flag(word("level"), word("LEVEL"), packed!("only lines of this level and above, such as `warn`"));
const INSTANCE: Flag = flag(word("instance"), word("N"), packed!("only lines of this instance"));
const RELEASE: Flag = flag(word("release"), word("N"), packed!("only lines of this release"));
const STREAM: Flag =
    flag(word("stream"), word("NAME"), packed!("only what it wrote to `stdout` or `stderr`"));
const TIMESTAMPS: Flag =
    flag(word("timestamps"), word("HOW"), packed!("`none`, `relative`, `local` (on a terminal) or `utc`"));
const RAW: Flag = flag(word("raw"), word(""), packed!("the text as it is, also what drives a terminal"));

const FLAGS: &[&Flag] = &[
    &session::NETWORK,
    &FOLLOW,
    &NO_FOLLOW,
    &TAIL,
    &SINCE,
    &UNTIL,
    &GREP,
    &REGEX,
    &LEVEL,
    &INSTANCE,
    &RELEASE,
    &STREAM,
    &TIMESTAMPS,
    &RAW,
];
/// A build has one stream and no instances, and its lines no levels.
const BUILD_FLAGS: &[&Flag] = &[
    &session::NETWORK,
    &FOLLOW,
    &NO_FOLLOW,
    &TAIL,
    &SINCE,
    &UNTIL,
    &GREP,
    &REGEX,
    &RELEASE,
    &TIMESTAMPS,
    &RAW,
];
/// A command is one, of one release.
const COMMAND_FLAGS: &[&Flag] =
    &[&FOLLOW, &NO_FOLLOW, &TAIL, &SINCE, &UNTIL, &GREP, &REGEX, &LEVEL, &STREAM, &TIMESTAMPS, &RAW];

/// The default of `--tail`.
const TAIL_DEFAULT: u64 = 100;

/// `rig logs app`.
pub const APP: Command = Command {
    words: word("logs app"),
    aliases: &[],
    summary: packed!("Show what an app writes, as it writes it"),
    about: packed!(
        "Follows on a terminal until Ctrl-C, over redeploys, restarts and reconnections, or \
            until the app is deleted. In a pipe, and with -o json, it shows the newest lines \
            and ends, unless --follow is given. What restricts the lines combines, and Max \
            does the searching."
    ),
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, or APP.NETWORK (else rig.json)"),
        required: false,
    }],
    flags: FLAGS,
    examples: packed![
        ("Follow the app of this directory", "rig logs app"),
        ("The newest 1000 lines", "rig logs app web.blue --tail 1000 --no-follow"),
        ("What went wrong in the last two hours", "rig logs app web.blue --since 2h --level error"),
        ("Only slow requests, as they happen", "rig logs app web.blue -f --regex 'took [0-9]{4,}ms'"),
        ("One JSON object a line, for ever", "rig logs app web.blue --follow -o json"),
    ],
    run: app,
};

/// `rig logs build`.
pub const BUILD: Command = Command {
    words: word("logs build"),
    aliases: &["logs build app"],
    summary: packed!("Show the output of an app's builds"),
    about: packed!(""),
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, or APP.NETWORK (else rig.json)"),
        required: false,
    }],
    flags: BUILD_FLAGS,
    examples: packed![
        ("The end of the newest build", "rig logs build web.blue --tail 50 --no-follow"),
        ("All of one release's build", "rig logs build web.blue --release 7 --since 7d"),
    ],
    run: build,
};

/// `rig logs command`.
pub const COMMAND: Command = Command {
    words: word("logs command"),
    aliases: &[],
    summary: packed!("Show what a command writes that was begun with --detach"),
    about: packed!(
        "Follows on a terminal, and with --follow, until the command has ended. The last line says \
            how it did."
    ),
    args: &[Arg { name: word("ID"), help: packed!("its number in `rig list sessions`"), required: true }],
    flags: COMMAND_FLAGS,
    examples: packed![
        ("Follow it to its end", "rig logs command 12 --follow"),
        ("All of it so far", "rig logs command 12 --no-follow --since 30d"),
    ],
    run: command,
};

/// `rig logs network`.
pub const NETWORK: Command = Command {
    words: word("logs network"),
    aliases: &[],
    summary: packed!("Show what happens in a network: apps, requests, events"),
    about: packed!(""),
    args: &[Arg { name: word("NETWORK"), help: packed!("the network (else rig.json)"), required: false }],
    flags: FLAGS,
    examples: packed![
        ("Follow everything in a network", "rig logs network blue"),
        ("Who asked for a page today", "rig logs network blue --since 24h --grep '/prices '"),
    ],
    run: network,
};

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    show(session, matches, &format!("logs:app:{}:{}", name.network, name.app), &format!("app '{}'", name.app))
}

fn build(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    show(
        session,
        matches,
        &format!("logs:build:{}:{}", name.network, name.app),
        &format!("app '{}'", name.app),
    )
}

fn command(session: &Session, matches: &Matches) -> Result<()> {
    let id = super::id(matches.arg(0).unwrap_or_default(), "session", "list audit")?;
    show(session, matches, &format!("logs:command:{id}"), &format!("the app of session {id}"))
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.network(matches, matches.arg(0))?;
    show(session, matches, &format!("logs:network:{name}"), &format!("network '{name}'"))
}

/// What `rig logs … -o json` answers.
#[derive(Serialize)]
struct Newest {
    lines: Vec<Line>,
}

fn show(session: &Session, matches: &Matches, topic: &str, what: &str) -> Result<()> {
    let output = &session.output;
    let stamps = Stamps::of(matches.value(&TIMESTAMPS), output)?;
    if matches.has(&FOLLOW) && matches.has(&UNTIL) {
        return Err(Error::usage(packed!(
            "--until ends what is shown, so that there is nothing to --follow"
        ))
        .hint("leave one of them out"));
    }
    let asked = matches.has(&FOLLOW) || output.terminal && !output.json && !matches.has(&UNTIL);
    let follow = asked && !matches.has(&NO_FOLLOW);
    let params = query(matches, follow)?;
    let mut stream = Stream::open(session.max()?, topic, params).map_err(about_flag)?;
    let mut newest = Newest { lines: Vec::new() };
    let network = topic.starts_with("logs:network:");
    let mut printer = Printer::new(session, network, matches.has(&RAW), stamps);
    while !output.closed() {
        // A follower waits for ever; who asked for what is there does not.
        let deadline = (!follow).then(|| Instant::now() + session.timeout());
        match stream.next(deadline)? {
            Item::Lines(lines) if output.json && !follow => {
                lines.into_iter().for_each(|line| single(line, &mut |line| newest.lines.push(line)));
            }
            Item::Lines(mut lines) => printer.print(&mut lines)?,
            Item::Gap(through) => output.warn(&gap(through)),
            Item::Note(text) => output.note(&text),
            Item::State(_) | Item::Mark => {}
            Item::End(deleted) => {
                printer.finish()?;
                if deleted {
                    output.note(&format!("{what} was deleted: its log ends here"));
                }
                break;
            }
        }
    }
    if output.json && !follow {
        return output.document(&newest);
    }
    Ok(())
}

/// What the flags ask for, made anew for each join: a time that is so long ago moves away.
fn query(matches: &Matches, follow: bool) -> Result<impl Fn(Option<u64>) -> String + Send + 'static> {
    let number = |flag, what| super::number(matches, flag, what, "5");
    let own = |flag: &Flag| matches.value(flag).map(str::to_owned);
    let (since, until) = (own(&SINCE), own(&UNTIL));
    let default = if since.is_some() { None } else { Some(TAIL_DEFAULT) };
    let tail = number(&TAIL, "a number of lines")?.or(default);
    let (instance, release) = (number(&INSTANCE, "a number")?, number(&RELEASE, "a number")?);
    let (grep, regex, level, only) = (own(&GREP), own(&REGEX), own(&LEVEL), own(&STREAM));
    let began = Instant::now();
    let moved = move |time: &Option<String>| {
        time.as_ref().map(|text| match parse_duration(text) {
            Some(ago) => format!("{}ms", ago.saturating_add(began.elapsed()).as_millis() as u64),
            None => text.clone(),
        })
    };
    Ok(move |after| {
        json::to_string(&Query {
            after,
            tail,
            follow,
            credit: CREDIT,
            runs: Some(true),
            since: moved(&since),
            until: moved(&until),
            grep: grep.clone(),
            regex: regex.clone(),
            level: level.clone(),
            instance,
            release,
            stream: only.clone(),
        })
    })
}

/// Max's word on a field of the query, which is a flag here.
pub fn about_flag(error: Error) -> Error {
    match error.field_name() {
        Some(field) if error.kind() == Kind::Usage && error.message().starts_with(field) => {
            let named = Error::new(error.kind(), format!("--{}", error.message()));
            named.hint(error.hint_text().unwrap_or("see `rig logs app --help`"))
        }
        _ => error,
    }
}

/// That lines are missing.
pub fn gap(through: u64) -> String {
    format!("the lines up to number {through} are no longer kept")
}

/// A line for a screen of its own: when, from where, and what.
pub fn plain(line: &Line) -> String {
    let clock = line.time.get(11..19).unwrap_or(&line.time);
    format!("{} {}", safe(clock), safe(&line.text))
}

//! `rig status dashboard`: everything the user has, at a glance. On a terminal a live view;
//! in a pipe, with `--once` and on a terminal that can't be drawn on, a table.

mod board;
mod columns;
mod draw;
mod live;

use super::list::ONLY;
use crate::api::decode;
use crate::cli::{Command, Flag, Matches};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::net::link::{Event, Subscription};
use crate::packed::{packed, word};
use crate::session::{Session, environment};
use crate::sys::terminal;
use crate::term::output::Output;
use crate::view::{Field, at, items, table};
use crate::wire::dashboard::Watch;
use board::{App, Board, PROBLEMS, STATES, Wish};
use columns::{COLUMNS, LOAD, NAME, TRAFFIC};
use draw::Style;
use miniserde::json::{Array, Value};

const STATE: Flag = Flag {
    long: word("state"),
    short: None,
    value: word("STATE"),
    help: packed!("only apps in this state, or `problems`"),
};
const SORT: Flag = Flag {
    long: word("sort"),
    short: None,
    value: word("COLUMN"),
    help: packed!("what comes first (`app`)"),
};
const SHOWN: Flag = Flag {
    long: word("columns"),
    short: None,
    value: word("LIST"),
    help: packed!("only these columns, as `app,state,cpu`"),
};
const ONCE: Flag =
    Flag { long: word("once"), short: None, value: word(""), help: packed!("print it once and end") };
const WATCH: Flag = Flag {
    long: word("watch"),
    short: None,
    value: word(""),
    help: packed!("go on; with -o json one change a line"),
};

/// `rig status dashboard`.
pub const DASHBOARD: Command = Command {
    words: word("status dashboard"),
    aliases: &["dashboard"],
    summary: packed!("Show all your apps at a glance, live on a terminal"),
    about: packed!(
        "On a terminal it fills the screen and is drawn anew every two seconds: ? shows the \
            keys, q and Ctrl-C end it. In a pipe, or with --once, it is printed once. With -o json \
            it is one document; with --watch the document, and then a line for each change. \
            Columns: app, state, cpu, memory, requests, errors, load, p95, activity, restarts, p50, \
            release, deployed, instances, url, reason. CPU is per cent of one core; requests are \
            those of the last minute, and so are errors (answers of 500 and above) and p95."
    ),
    args: &[],
    flags: &[&ONLY, &STATE, &SORT, &SHOWN, &ONCE, &WATCH],
    examples: packed![
        ("Everything, live", "rig status dashboard"),
        ("What needs you, in a script", "rig status dashboard --once --state problems"),
        ("The hungriest apps first", "rig status dashboard --sort cpu --columns app,cpu,memory,load"),
    ],
    run: dashboard,
};

fn dashboard(session: &Session, matches: &Matches) -> Result<()> {
    let board = Board::new(wish(matches)?);
    let network = match matches.value(&ONLY) {
        Some(name) => Some(Name::parse("network", name)?.to_string()),
        None => None,
    };
    let output = &session.output;
    let dumb = environment("TERM").is_none_or(|term| term == "dumb");
    let drawable = output.terminal && output.interactive && !dumb;
    let (once, watch) = (matches.has(&ONCE), matches.has(&WATCH));
    if once && watch {
        return Err(Error::usage(packed!("--once and --watch exclude each other")));
    }
    if watch && !output.json && !drawable {
        return Err(Error::usage(packed!("there is no terminal to draw on"))
            .hint(packed!("use --once, or --watch -o json")));
    }
    let follow = if output.json { watch } else { drawable && !once };
    let params = miniserde::json::to_string(&Watch { network, follow });
    let (snapshot, subscription) = session.max()?.subscribe("dashboard", Box::new(move || params.clone()))?;
    match (output.json, follow) {
        (true, _) => print_json(session, board, &snapshot, follow.then_some(subscription)),
        (false, false) => print(session, board, &decode(&snapshot)?),
        (false, true) => live::run(session, board, &decode(&snapshot)?, subscription),
    }
}

fn wish(matches: &Matches) -> Result<Wish> {
    let state = matches.value(&STATE).unwrap_or("").replace(['-', ' '], "_");
    if !state.is_empty() && state != PROBLEMS && !STATES.contains(&state.as_str()) {
        let names = STATES.join(", ");
        return Err(Error::usage(format!("--state takes a state, not '{state}'"))
            .hint(format!("one of {PROBLEMS}, {names}")));
    }
    let column = |flag: &str, name: &str| {
        columns::find(name).ok_or_else(|| {
            let names = COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
            Error::usage(format!("there is no column '{name}' for --{flag}")).hint(format!("one of {names}"))
        })
    };
    let sort = column(SORT.long.text(), matches.value(&SORT).unwrap_or("app"))?;
    let mut columns = Vec::new();
    if let Some(list) = matches.value(&SHOWN) {
        for name in list.split(',') {
            columns.push(column(SHOWN.long.text(), name.trim())?);
        }
    }
    Ok(Wish { state, sort, reverse: false, columns, filter: String::new() })
}

/// The table, and what is wrong.
fn print(session: &Session, mut board: Board, snapshot: &Value) -> Result<()> {
    board.replace(snapshot);
    let output = &session.output;
    let columns = terminal::width().filter(|_| output.terminal);
    let style = Style { output, now: session.now() };
    let shown = board.shown();
    if shown.is_empty() {
        output.note(if board.apps.is_empty() {
            "no apps yet: `rig create app APP --network NETWORK`"
        } else {
            "no app is like that"
        });
    } else {
        let chosen = draw::fitting(&board, &shown, columns.unwrap_or(usize::MAX));
        // Pictures are for who asks for them.
        let named = !board.wish.columns.is_empty();
        let fields = chosen.iter().map(|(column, _)| column.field);
        let fields: Vec<Field> =
            fields.filter(|field| named || !matches!(field.path.text(), LOAD | TRAFFIC)).collect();
        let rows: Vec<Value> = shown.iter().map(|app| drawn(app, output)).collect();
        output.write(&table(output, &rows, &fields, columns, style.now))?;
    }
    let alerts = draw::alerts(&board, columns.unwrap_or(usize::MAX), &style);
    output.write(&alerts.iter().fold(String::new(), |out, line| out + line + "\n"))
}

/// An app's row with what the dashboard adds to it.
fn drawn(app: &App, output: &Output) -> Value {
    let mut row = app.row.clone();
    if let Value::Object(members) = &mut row {
        members.insert(NAME.to_owned(), Value::String(app.name.clone()));
        for member in [LOAD, TRAFFIC] {
            let picture = draw::picture(app, member, 30, output.unicode);
            members.insert(member.to_owned(), Value::String(picture));
        }
    }
    row
}

/// The document with the apps that are wanted, and, with a subscription, a line for each
/// change of it.
fn print_json(
    session: &Session,
    mut board: Board,
    snapshot: &str,
    subscription: Option<Subscription>,
) -> Result<()> {
    let output = &session.output;
    output.document(&whole(&mut board, decode(snapshot)?))?;
    let Some(subscription) = subscription else { return Ok(()) };
    while !output.closed() {
        match subscription.recv(None)? {
            Some(Event::Message { event, payload }) if event == "tick" => {
                if let Some(change) = change(&mut board, decode(&payload)?) {
                    output.document(&change)?;
                }
            }
            Some(Event::Restored(snapshot)) => output.document(&whole(&mut board, decode(&snapshot)?))?,
            Some(Event::Refused(error)) => return Err(error),
            Some(Event::Closed) | None => break,
            Some(_) => {}
        }
    }
    Ok(())
}

/// A snapshot with the apps that are wanted, in the order that is wanted.
fn whole(board: &mut Board, mut snapshot: Value) -> Value {
    board.replace(&snapshot);
    let (apps, past) = (items(&snapshot, "apps"), items(&snapshot, "past"));
    let names: Vec<String> = apps.iter().map(board::name).collect();
    let place = |app: &&App| names.iter().position(|name| *name == app.name);
    let places: Vec<usize> = board.shown().iter().filter_map(place).collect();
    let pick = |from: &[Value]| places.iter().filter_map(|place| from.get(*place).cloned()).collect();
    let (apps, past) = (pick(apps), pick(past));
    set(&mut snapshot, "apps", apps);
    set(&mut snapshot, "past", past);
    snapshot
}

/// A tick about the apps that are wanted; one that is not any more is gone. None when it
/// says nothing but that there were requests.
fn change(board: &mut Board, mut tick: Value) -> Option<Value> {
    let names = |board: &Board| board.shown().iter().map(|app| app.name.clone()).collect::<Vec<_>>();
    let before = names(board);
    let rows: Vec<Value> = board.apps.iter().map(|app| app.row.clone()).collect();
    board.tick(&tick);
    let after = names(board);
    let changed: Vec<String> = items(&tick, "apps").iter().map(board::name).collect();
    let is_new = |app: &&App| changed.contains(&app.name) || !before.contains(&app.name);
    let apps: Array = board.shown().into_iter().filter(is_new).map(|app| app.row.clone()).collect();
    let left = |row: &&Value| before.contains(&board::name(row)) && !after.contains(&board::name(row));
    let gone: Array = rows.iter().filter(left).map(board::named).collect();
    let quiet = apps.is_empty() && gone.is_empty() && matches!(at(&tick, "alerts"), Some(Value::Null) | None);
    set(&mut tick, "apps", apps);
    set(&mut tick, "gone", gone);
    (!quiet).then_some(tick)
}

fn set(document: &mut Value, member: &str, items: Array) {
    if let Value::Object(members) = document {
        members.insert(member.to_owned(), Value::Array(items));
    }
}

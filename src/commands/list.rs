//! `rig list networks`, `rig list apps`, `rig list alerts`, `rig list sessions`,
//! `rig list audit`, `rig list webhooks`, `rig list tokens`, `rig list members`.

use super::logs::about_flag;
use crate::api::decode;
use crate::cli::{Command, Flag, Matches};
use crate::error::Result;
use crate::name::{Name, split_app};
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::sys::terminal;
use crate::view::{Field, Show, field, filled, items, table, text};
use crate::wire::page::Page;
use crate::wire::{alert, app, audit, member, webhook};
use miniserde::Serialize;
use miniserde::json::{self, Object, Value};
use std::mem::ManuallyDrop;

/// `--network`, where it only narrows.
pub const ONLY: Flag = Flag {
    long: word("network"),
    short: Some('n'),
    value: word("NETWORK"),
    help: packed!("only this network's apps"),
};

const OF_NETWORK: Flag = Flag {
    long: word("network"),
    short: Some('n'),
    value: word("NETWORK"),
    help: packed!("only this network's"),
};

const ALL: Flag = Flag {
    long: word("all"),
    short: Some('a'),
    value: word(""),
    help: packed!("those of the last 30 days that are over, too"),
};

/// `--where`.
pub const WHERE: Flag = Flag {
    long: word("where"),
    short: None,
    value: word("MEMBER=VALUE"),
    help: packed!("only those; `*` is any text; may be repeated"),
};

/// `--sort`.
pub const SORT: Flag = Flag {
    long: word("sort"),
    short: None,
    value: word("[-]MEMBER"),
    help: packed!("by this column; with `-` the largest first"),
};

/// `--limit`, of a list that is whole without it.
pub const PAGE: Flag = Flag {
    long: word("limit"),
    short: None,
    value: word("N"),
    help: packed!("how many at most, up to 1000"),
};

/// `--after`.
pub const AFTER: Flag = Flag {
    long: word("after"),
    short: None,
    value: word("CURSOR"),
    help: packed!("the page behind this one"),
};

/// What is said where a page is empty.
const NOTHING: &str = "nothing was found";

/// `rig list networks`.
pub const NETWORKS: Command = Command {
    words: word("list networks"),
    aliases: &[],
    summary: packed!("List your networks"),
    about: packed!(""),
    args: &[],
    flags: &[&WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![
        ("For people", "rig list networks"),
        ("Their names", "rig list networks -o json | jq -r '.networks[].name'"),
        ("Those with the most apps", "rig list networks --sort -apps --limit 5"),
    ],
    run: networks,
};

/// `rig list apps`.
pub const APPS: Command = Command {
    words: word("list apps"),
    aliases: &[],
    summary: packed!("List your apps"),
    about: packed!(""),
    args: &[],
    flags: &[&ONLY, &WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![
        ("All of them", "rig list apps"),
        ("Those of one network", "rig list apps --network blue"),
        ("Those that don't stay up", "rig list apps --where state=crash_loop --where 'name=web*'"),
        ("The 20 that were deployed last", "rig list apps --sort -deployed --limit 20"),
    ],
    run: apps,
};

/// `rig list alerts`.
pub const ALERTS: Command = Command {
    words: word("list alerts"),
    aliases: &[],
    summary: packed!("List what is wrong with your apps"),
    about: packed!(
        "An app that ends again and again, is unhealthy, answers with too many errors or uses up \
            its memory, a deploy that failed, and a disk of Max that is nearly full. An alert is over \
            by itself once its cause is."
    ),
    args: &[],
    flags: &[&OF_NETWORK, &ALL, &WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![
        ("What is wrong now", "rig list alerts"),
        ("What was, too", "rig list alerts --all"),
        ("How many, in a script", "rig list alerts -o json | jq '.alerts | length'"),
    ],
    run: alerts,
};

/// `rig list webhooks`.
pub const WEBHOOKS: Command = Command {
    words: word("list webhooks"),
    aliases: &[],
    summary: packed!("List where alerts are posted"),
    about: packed!(""),
    args: &[],
    flags: &[&OF_NETWORK, &WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![("All of them, with the newest error", "rig list webhooks")],
    run: webhooks,
};

const NETWORK_FIELDS: &[Field] = &[
    field("network", "name", Show::Plain),
    field("apps", "apps", Show::Plain),
    field("domain", "domain", Show::Plain),
    field("created", "created_at", Show::Ago),
];

/// The columns of apps.
pub const APP_FIELDS: &[Field] = &[
    field("app", "name", Show::Plain),
    field("network", "network", Show::Plain),
    field("state", "state", Show::State),
    field("release", "release", Show::Plain),
    field("deployed", "deployed_at", Show::Ago),
    field("url", "url", Show::Plain),
];

/// The columns of alerts, here and in `rig status`.
pub const ALERT_FIELDS: &[Field] = &[
    field("alert", "cause", Show::State),
    field("app", "app", Show::Plain),
    field("network", "network", Show::Plain),
    field("since", "since", Show::Ago),
    field("message", "message", Show::Plain),
];

const ALL_ALERT_FIELDS: &[Field] = &[
    field("alert", "cause", Show::State),
    field("app", "app", Show::Plain),
    field("network", "network", Show::Plain),
    field("since", "since", Show::Ago),
    field("over", "resolved_at", Show::Ago),
    field("message", "message", Show::Plain),
];

/// `rig list sessions`.
pub const SESSIONS: Command = Command {
    words: word("list sessions"),
    aliases: &[],
    summary: packed!("List the commands and shells that run in your apps"),
    about: packed!(
        "Yours, and in networks you own everybody's. A network's console has no app. One whose \
            rig has lost its connection waits for it, a minute unless --keep says otherwise; a command \
            that was begun with --detach goes on without."
    ),
    args: &[],
    flags: &[&WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![("All of them", "rig list sessions")],
    run: sessions,
};

const SESSION_FIELDS: &[Field] = &[
    field("session", "id", Show::Plain),
    field("app", "app", Show::Plain),
    field("network", "network", Show::Plain),
    field("user", "user", Show::Plain),
    field("release", "release", Show::Plain),
    field("terminal", "tty", Show::Plain),
    field("attached", "attached", Show::Plain),
    field("detached", "detached", Show::Plain),
    field("started", "started_at", Show::Ago),
];

/// `rig list audit`.
pub const AUDIT: Command = Command {
    words: word("list audit"),
    aliases: &[],
    summary: packed!("List who did what: commands, logins, changes of access"),
    about: packed!(
        "Of the last 90 days, the newest first: what you did, and in networks you own what others \
            did; also with apps that were deleted. What was run, read or written is not kept. A token that \
            is used without a login counts as a login once an hour."
    ),
    args: &[],
    flags: &[&WHAT, &OF_APP, &OF_NETWORK, &BEGAN_SINCE, &LIMIT, &BEFORE],
    examples: packed![
        ("The newest 50", "rig list audit"),
        ("Those of today in one app", "rig list audit --app web.blue --since 24h"),
        ("The page behind number 120", "rig list audit --before 120"),
        ("Who was refused something", "rig list audit --what refused"),
    ],
    run: audit,
};

const OF_APP: Flag = Flag {
    long: word("app"),
    short: Some('a'),
    value: word("APP"),
    help: packed!("only in this app (APP or APP.NETWORK)"),
};
const WHAT: Flag = Flag {
    long: word("what"),
    short: None,
    value: word("WHAT"),
    help: packed!("only these, such as `command` or `member_added`"),
};
const BEGAN_SINCE: Flag = Flag {
    long: word("since"),
    short: None,
    value: word("TIME"),
    help: packed!("only those since then: `24h` ago, or RFC 3339"),
};
/// `--limit`, of pages.
pub const LIMIT: Flag = Flag {
    long: word("limit"),
    short: None,
    value: word("N"),
    help: packed!("how many at most (50; up to 1000)"),
};
/// `--before`, of pages.
pub const BEFORE: Flag = Flag {
    long: word("before"),
    short: None,
    value: word("ID"),
    help: packed!("only those with a lower number"),
};

const AUDIT_FIELDS: &[Field] = &[
    field("id", "id", Show::Plain),
    field("what", "what", Show::Plain),
    field("user", "user", Show::Plain),
    field("token", "token", Show::Plain),
    field("network", "network", Show::Plain),
    field("app", "app", Show::Plain),
    field("about", "about", Show::Plain),
    field("when", "started_at", Show::Ago),
    field("ended", "ended_at", Show::Ago),
    field("code", "code", Show::Plain),
    field("reason", "reason", Show::Plain),
];

/// `rig list tokens`.
pub const TOKENS: Command = Command {
    words: word("list tokens"),
    aliases: &[],
    summary: packed!("List your API tokens; never the tokens themselves"),
    about: packed!(""),
    args: &[],
    flags: &[&WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![
        ("All of them", "rig list tokens"),
        ("Those unused for longest", "rig list tokens --sort used --limit 10"),
    ],
    run: tokens,
};

/// `rig list members`.
pub const MEMBERS: Command = Command {
    words: word("list members"),
    aliases: &[],
    summary: packed!("List the members of a network and their roles"),
    about: packed!(""),
    args: &[],
    flags: &[&session::NETWORK, &WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![
        ("Who may what", "rig list members --network blue"),
        ("The owners", "rig list members --network blue --where role=owner"),
    ],
    run: members,
};

const TOKEN_FIELDS: &[Field] = &[
    field("token", "id", Show::Plain),
    field("name", "name", Show::Plain),
    field("prefix", "prefix", Show::Plain),
    field("scope", "scope", Show::Plain),
    field("network", "network", Show::Plain),
    field("created", "created_at", Show::Ago),
    field("used", "used_at", Show::Ago),
    field("expires", "expires_at", Show::Ago),
];

const MEMBER_FIELDS: &[Field] = &[
    field("user", "user", Show::Plain),
    field("role", "role", Show::Plain),
    field("added", "added_at", Show::Ago),
];

const WEBHOOK_FIELDS: &[Field] = &[
    field("webhook", "id", Show::Plain),
    field("network", "network", Show::Plain),
    field("url", "url", Show::Plain),
    field("delivered", "delivered_at", Show::Ago),
    field("waiting", "waiting", Show::Plain),
    field("dropped", "dropped", Show::Plain),
    field("error", "error", Show::Plain),
];

fn networks(session: &Session, matches: &Matches) -> Result<()> {
    let what = &("network:list", "networks", NETWORK_FIELDS);
    ask(session, matches, what, &Object::new(), "no networks yet: `rig create network`")
}

fn apps(session: &Session, matches: &Matches) -> Result<()> {
    let what = &("app:list", "apps", APP_FIELDS);
    let request = app::Filter { network: only(matches, &ONLY)? };
    ask(session, matches, what, &request, "no apps yet: `rig create app APP --network NETWORK`")
}

fn alerts(session: &Session, matches: &Matches) -> Result<()> {
    let all = matches.has(&ALL);
    let request = alert::Filter { network: only(matches, &OF_NETWORK)?, all: Some(all) };
    let what = &("alert:list", "alerts", if all { ALL_ALERT_FIELDS } else { ALERT_FIELDS });
    ask(session, matches, what, &request, "no alerts")
}

fn sessions(session: &Session, matches: &Matches) -> Result<()> {
    let what = &("exec:list", "sessions", SESSION_FIELDS);
    let none = "nothing runs: `rig command APP -- PROG`, `rig shell APP`";
    ask(session, matches, what, &Object::new(), none)
}

fn audit(session: &Session, matches: &Matches) -> Result<()> {
    let number = |flag| super::number(matches, flag, "a number", "200");
    let (network, app) = named(matches.value(&OF_APP), matches.value(&OF_NETWORK))?;
    let request = audit::Filter {
        what: matches.value(&WHAT).map(str::to_owned),
        network,
        app,
        since: matches.value(&BEGAN_SINCE).map(str::to_owned),
        before: number(&BEFORE)?,
        limit: number(&LIMIT)?,
    };
    let answer = session.max()?.document("audit:list", &request).map_err(about_flag)?;
    entries(session, &answer, AUDIT_FIELDS)
}

/// The network and the app that are named by `APP` or `APP.NETWORK` and by `NETWORK`.
pub fn named(app: Option<&str>, network: Option<&str>) -> Result<(Option<String>, Option<String>)> {
    let (app, of_app) = app.map_or((None, None), |text| {
        let (app, network) = split_app(text);
        (Some(app), network)
    });
    let name = |what: &str, name: Option<&str>| -> Result<Option<String>> {
        Ok(name.map(|name| Name::parse(what, name)).transpose()?.map(|name| name.to_string()))
    };
    Ok((name("network", session::agreed(of_app, network)?)?, name("app", app)?))
}

/// Shows a page of entries that have numbers, the newest first.
pub fn entries(session: &Session, answer: &Value, fields: &[Field]) -> Result<()> {
    show(session, answer, "entries", fields, NOTHING)?;
    note_more(session, answer, "before", "there are older ones: add `--before {before}`");
    Ok(())
}

fn webhooks(session: &Session, matches: &Matches) -> Result<()> {
    let what = &("webhook:list", "webhooks", WEBHOOK_FIELDS);
    let request = webhook::Filter { network: only(matches, &OF_NETWORK)? };
    ask(session, matches, what, &request, "no webhooks yet: `rig create webhook URL --network NETWORK`")
}

fn tokens(session: &Session, matches: &Matches) -> Result<()> {
    ask(session, matches, &("token:list", "tokens", TOKEN_FIELDS), &Object::new(), "no tokens")
}

fn members(session: &Session, matches: &Matches) -> Result<()> {
    let request = member::Filter { network: session.network(matches, None)?.to_string() };
    ask(session, matches, &("member:list", "members", MEMBER_FIELDS), &request, "no members")
}

fn only(matches: &Matches, flag: &'static Flag) -> Result<Option<String>> {
    match matches.value(flag) {
        Some(name) => Ok(Some(Name::parse("network", name)?.to_string())),
        None => Ok(None),
    }
}

/// A list: its request, the member of the answer that it is, and its columns.
pub type List<'a> = (&'a str, &'a str, &'a [Field]);

/// Asks for a list, or the page of it that the flags want, and shows it; `none` is said when
/// there is nothing in it.
pub fn ask(
    session: &Session,
    matches: &Matches,
    what: &List<'_>,
    request: &dyn Serialize,
    none: &str,
) -> Result<()> {
    answer(session, matches, what, request, none).map(drop)
}

/// [`ask`] for what else the answer says. It is not freed: of a long one that would take its
/// time, and rig is about to end.
pub fn answer(
    session: &Session,
    matches: &Matches,
    (event, path, fields): &List<'_>,
    request: &dyn Serialize,
    none: &str,
) -> Result<ManuallyDrop<Value>> {
    let mut payload = json::to_string(request);
    let given = page(matches, fields)?;
    if let Some(page) = &given {
        payload.pop();
        if payload.len() > 1 {
            payload.push(',');
        }
        payload.push_str("\"page\":");
        payload.push_str(page);
        payload.push('}');
    }
    let answer: Value = decode(&session.max()?.ask(event, payload).map_err(about_flag)?)?;
    let answer = ManuallyDrop::new(answer);
    show(session, &answer, path, fields, if given.is_some() { NOTHING } else { none })?;
    note_more(session, &answer, "next", "there are more: add `--after {next}`");
    Ok(answer)
}

/// The page that the flags want; none without them. A column's heading stands for its member.
fn page(matches: &Matches, fields: &[Field]) -> Result<Option<String>> {
    let paged = [&WHERE, &SORT, &PAGE, &AFTER];
    if !paged.into_iter().any(|flag| matches.has(flag)) {
        return Ok(None);
    }
    let member = |given: &str| {
        let (minus, given) = given.split_at(usize::from(given.starts_with('-')));
        let (name, rest) = given.split_at(given.find('=').unwrap_or(given.len()));
        let field = fields.iter().find(|field| field.label.text().eq_ignore_ascii_case(name));
        [minus, field.map_or(name, |field| field.path.text()), rest].concat()
    };
    let mut page = Page { limit: super::number(matches, &PAGE, "a number", "200")?, ..Page::default() };
    page.only = Some(matches.values(&WHERE).map(member).collect());
    page.sort = matches.value(&SORT).map(member);
    page.after = matches.value(&AFTER).map(str::to_owned);
    Ok(Some(json::to_string(&page)))
}

/// Tells how to get at what a page does not have, if `path` says that there is more.
fn note_more(session: &Session, answer: &Value, path: &str, how: &str) {
    if !session.output.json && !text(answer, path).is_empty() {
        session.output.note(&filled(answer, how));
    }
}

/// A table of the items at `path`; `none` is said when there are none.
fn show(session: &Session, answer: &Value, path: &str, fields: &[Field], none: &str) -> Result<()> {
    if session.output.json {
        return session.output.document(answer);
    }
    let rows = items(answer, path);
    if rows.is_empty() {
        session.output.note(none);
        return Ok(());
    }
    let columns = terminal::width().filter(|_| session.output.terminal);
    session.output.write(&table(&session.output, rows, fields, columns, session.now()))
}

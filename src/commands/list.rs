//! `rig list networks`, `rig list apps`, `rig list alerts`, `rig list sessions`,
//! `rig list audit`, `rig list webhooks`, `rig list tokens`, `rig list members`.

use super::logs::about_flag;
use crate::cli::{Command, Flag, Matches};
use crate::error::Result;
use crate::name::{Name, split_app};
use crate::session::{self, Session};
use crate::sys::terminal;
use crate::view::{Field, Show, field, items, table, text};
use crate::wire::{alert, app, audit, member, webhook};
use miniserde::json::{Object, Value};

/// `--network`, where it only narrows.
pub const ONLY: Flag =
    Flag { long: "network", short: Some('n'), value: "NETWORK", help: "only this network's apps" };

const OF_NETWORK: Flag =
    Flag { long: "network", short: Some('n'), value: "NETWORK", help: "only this network's" };

const ALL: Flag =
    Flag { long: "all", short: Some('a'), value: "", help: "those of the last 30 days that are over, too" };

/// `rig list networks`.
pub const NETWORKS: Command = Command {
    words: "list networks",
    aliases: &[],
    summary: "List your networks",
    about: "",
    args: &[],
    flags: &[],
    examples: &[
        ("For people", "rig list networks"),
        ("Their names", "rig list networks -o json | jq -r '.networks[].name'"),
    ],
    run: networks,
};

/// `rig list apps`.
pub const APPS: Command = Command {
    words: "list apps",
    aliases: &[],
    summary: "List your apps",
    about: "",
    args: &[],
    flags: &[&ONLY],
    examples: &[("All of them", "rig list apps"), ("Those of one network", "rig list apps --network blue")],
    run: apps,
};

/// `rig list alerts`.
pub const ALERTS: Command = Command {
    words: "list alerts",
    aliases: &[],
    summary: "List what is wrong with your apps",
    about: "An app that ends again and again, is unhealthy, answers with too many errors or uses up \
            its memory, a deploy that failed, and a disk of Max that is nearly full. An alert is over \
            by itself once its cause is.",
    args: &[],
    flags: &[&OF_NETWORK, &ALL],
    examples: &[
        ("What is wrong now", "rig list alerts"),
        ("What was, too", "rig list alerts --all"),
        ("How many, in a script", "rig list alerts -o json | jq '.alerts | length'"),
    ],
    run: alerts,
};

/// `rig list webhooks`.
pub const WEBHOOKS: Command = Command {
    words: "list webhooks",
    aliases: &[],
    summary: "List where alerts are posted",
    about: "",
    args: &[],
    flags: &[&OF_NETWORK],
    examples: &[("All of them, with the newest error", "rig list webhooks")],
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
    words: "list sessions",
    aliases: &[],
    summary: "List the commands and shells that run in your apps",
    about: "Yours, and in networks you own everybody's. A network's console has no app. One whose \
            rig has lost its connection waits for it, a minute unless --keep says otherwise; a command \
            that was begun with --detach goes on without.",
    args: &[],
    flags: &[],
    examples: &[("All of them", "rig list sessions")],
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
    words: "list audit",
    aliases: &[],
    summary: "List who did what: commands, logins, changes of access",
    about: "Of the last 90 days, the newest first: what you did, and in networks you own what others \
            did; also with apps that were deleted. What was run, read or written is not kept. A token that \
            is used without a login counts as a login once an hour.",
    args: &[],
    flags: &[&WHAT, &OF_APP, &OF_NETWORK, &BEGAN_SINCE, &LIMIT, &BEFORE],
    examples: &[
        ("The newest 50", "rig list audit"),
        ("Those of today in one app", "rig list audit --app web.blue --since 24h"),
        ("The page behind number 120", "rig list audit --before 120"),
        ("Who was refused something", "rig list audit --what refused"),
    ],
    run: audit,
};

const OF_APP: Flag =
    Flag { long: "app", short: Some('a'), value: "APP", help: "only in this app (APP or APP.NETWORK)" };
const WHAT: Flag = Flag {
    long: "what",
    short: None,
    value: "WHAT",
    help: "only these, such as `command` or `member_added`",
};
const BEGAN_SINCE: Flag =
    Flag { long: "since", short: None, value: "TIME", help: "only those since then: `24h` ago, or RFC 3339" };
/// `--limit`, of pages.
pub const LIMIT: Flag =
    Flag { long: "limit", short: None, value: "N", help: "how many at most (50; up to 1000)" };
/// `--before`, of pages.
pub const BEFORE: Flag =
    Flag { long: "before", short: None, value: "ID", help: "only those with a lower number" };

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
    words: "list tokens",
    aliases: &[],
    summary: "List your API tokens; never the tokens themselves",
    about: "",
    args: &[],
    flags: &[],
    examples: &[("All of them", "rig list tokens")],
    run: tokens,
};

/// `rig list members`.
pub const MEMBERS: Command = Command {
    words: "list members",
    aliases: &[],
    summary: "List the members of a network and their roles",
    about: "",
    args: &[],
    flags: &[&session::NETWORK],
    examples: &[("Who may what", "rig list members --network blue")],
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

fn networks(session: &Session, _: &Matches) -> Result<()> {
    let answer = session.max()?.document("network:list", &Object::new())?;
    show(session, &answer, "networks", NETWORK_FIELDS, "no networks yet: `rig create network`")
}

fn apps(session: &Session, matches: &Matches) -> Result<()> {
    let answer = session.max()?.document("app:list", &app::Filter { network: only(matches, &ONLY)? })?;
    show(session, &answer, "apps", APP_FIELDS, "no apps yet: `rig create app APP --network NETWORK`")
}

fn alerts(session: &Session, matches: &Matches) -> Result<()> {
    let all = matches.has(&ALL);
    let request = alert::Filter { network: only(matches, &OF_NETWORK)?, all: Some(all) };
    let answer = session.max()?.document("alert:list", &request)?;
    let fields = if all { ALL_ALERT_FIELDS } else { ALERT_FIELDS };
    show(session, &answer, "alerts", fields, "no alerts")
}

fn sessions(session: &Session, _: &Matches) -> Result<()> {
    let answer = session.max()?.document("exec:list", &Object::new())?;
    show(
        session,
        &answer,
        "sessions",
        SESSION_FIELDS,
        "nothing runs: `rig command APP -- PROG`, `rig shell APP`",
    )
}

fn audit(session: &Session, matches: &Matches) -> Result<()> {
    let number = |flag| super::number(matches, flag, "a number", "200");
    let (app, of_app) = matches.value(&OF_APP).map_or((None, None), |text| {
        let (app, network) = split_app(text);
        (Some(app), network)
    });
    let network = session::agreed(of_app, matches.value(&OF_NETWORK))?;
    let request = audit::Filter {
        what: matches.value(&WHAT).map(str::to_owned),
        network: network.map(|name| Name::parse("network", name)).transpose()?.map(|name| name.to_string()),
        app: app.map(|name| Name::parse("app", name)).transpose()?.map(|name| name.to_string()),
        since: matches.value(&BEGAN_SINCE).map(str::to_owned),
        before: number(&BEFORE)?,
        limit: number(&LIMIT)?,
    };
    let answer = session.max()?.document("audit:list", &request).map_err(about_flag)?;
    show(session, &answer, "entries", AUDIT_FIELDS, "nothing was found")?;
    older(session, &answer);
    Ok(())
}

/// Says how to see what is before this page.
pub fn older(session: &Session, answer: &Value) {
    let next = text(answer, "before");
    if !next.is_empty() {
        session.output.note(&format!("there are older ones: add `--before {next}`"));
    }
}

fn webhooks(session: &Session, matches: &Matches) -> Result<()> {
    let request = webhook::Filter { network: only(matches, &OF_NETWORK)? };
    let answer = session.max()?.document("webhook:list", &request)?;
    show(
        session,
        &answer,
        "webhooks",
        WEBHOOK_FIELDS,
        "no webhooks yet: `rig create webhook URL --network NETWORK`",
    )
}

fn tokens(session: &Session, _: &Matches) -> Result<()> {
    let answer = session.max()?.document("token:list", &Object::new())?;
    show(session, &answer, "tokens", TOKEN_FIELDS, "no tokens")
}

fn members(session: &Session, matches: &Matches) -> Result<()> {
    let network = session.network(matches, None)?.to_string();
    let answer = session.max()?.document("member:list", &member::Filter { network })?;
    show(session, &answer, "members", MEMBER_FIELDS, "no members")
}

fn only(matches: &Matches, flag: &'static Flag) -> Result<Option<String>> {
    match matches.value(flag) {
        Some(name) => Ok(Some(Name::parse("network", name)?.to_string())),
        None => Ok(None),
    }
}

/// A table of the items at `path`; `none` is said when there are none.
pub fn show(session: &Session, answer: &Value, path: &str, fields: &[Field], none: &str) -> Result<()> {
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

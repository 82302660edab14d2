//! `rig list history`, `rig rollback config`: what changes of a configuration there were, and
//! the way back.

use super::delete::YES;
use super::lifecycle::ask;
use super::list::{self, BEFORE, LIMIT};
use super::variable::{IF_VERSION, STAGE, agree, flags, if_version, outcome, place, scope};
use crate::cli::{Command, Flag, Matches};
use crate::error::{Error, Result};
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::term::prompt::possible;
use crate::view::{Field, Show, at, field, items, number};
use crate::wire::config::{Filter, Rollback};
use miniserde::json;

/// `rig list history`.
pub const HISTORY: Command = Command {
    words: word("list history"),
    aliases: &[],
    summary: packed!("List the changes of an app's or a network's configuration"),
    about: packed!(
        "The newest first: what was set, by whom, what it was before. Of a secret only that it \
            was changed. The newest 500 are kept."
    ),
    args: &[],
    flags: &[&session::APP, &session::NETWORK, &LIMIT, &BEFORE],
    examples: packed![
        ("An app's", "rig list history --app web.blue"),
        ("What all apps of a network share", "rig list history --network blue"),
        ("Change 7 alone", "rig list history -a web.blue --before 8 --limit 1"),
    ],
    run: history,
};

/// `rig rollback config`.
pub const ROLLBACK: Command = Command {
    words: word("rollback config"),
    aliases: &[],
    summary: packed!("Make a configuration what it was behind a change"),
    about: packed!(
        "Shows what that changes and asks; without a terminal it needs --yes. Variables, secrets \
            and the number of instances become what they were; names, webhooks and the release stay. \
            It is a change itself, so that it can be taken back. Running apps are restarted, as with \
            `rig create var`."
    ),
    args: &[],
    flags: &[&session::APP, &session::NETWORK, &TO, &STAGE, &IF_VERSION, &YES],
    examples: packed![("As it was behind change 7", "rig rollback config --app web.blue --to 7")],
    run: rollback,
};

/// `--to`.
pub const TO: Flag = Flag {
    long: word("to"),
    short: None,
    value: word("N"),
    help: packed!("the change's number (`rig list history`)"),
};

const FIELDS: &[Field] = &[
    field("change", "number", Show::Plain),
    field("what", "what", Show::Plain),
    field("by", "user", Show::Plain),
    field("when", "time", Show::Ago),
    field("about", "about", Show::Plain),
];

fn history(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let number = |flag| super::number(matches, flag, "a number", "200");
    let request =
        Filter { network: of.network, app: of.app, before: number(&BEFORE)?, limit: number(&LIMIT)? };
    let answer = session.max()?.document("config:history", &request).map_err(super::logs::about_flag)?;
    list::entries(session, &answer, FIELDS)
}

fn rollback(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let to = super::number(matches, &TO, "a change's number", "7")?.ok_or_else(|| {
        Error::usage(packed!("`rig rollback config` needs --to N"))
            .hint(format!("see `rig list history {}`", flags(&of)))
    })?;
    let mut request = Rollback {
        network: of.network.clone(),
        app: of.app.clone(),
        to,
        version: if_version(matches)?,
        stage: matches.has(&STAGE),
        preview: true,
    };
    if !matches.has(&YES) {
        possible(&session.output, "--yes")?;
        let preview = session.max()?.document("config:rollback", &request)?;
        agree(session, &of, &preview)?;
        request.version = at(&preview, "version").and_then(number);
    }
    request.preview = false;
    let late = format!("{} was not rolled back", place(&of));
    let answer = ask(
        session,
        "config:rollback",
        json::to_string(&request),
        &late,
        &format!("`rig list history {}`", flags(&of)),
    )?;
    if !session.output.json {
        let done = match items(&answer, "changes").is_empty() {
            true => format!("nothing is different for {}", place(&of)),
            false => format!("rolled back {} to change {to}", place(&of)),
        };
        session.output.line(&done)?;
    }
    outcome(session, &of, &answer)
}

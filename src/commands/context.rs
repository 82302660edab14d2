//! `rig context list`, `rig context use`, `rig context delete`: several logins side by side.

use super::login::forget;
use crate::cli::{Arg, Command, Matches};
use crate::error::Result;
use crate::packed::{packed, word};
use crate::session::{Session, find_context};
use crate::store::config;
use crate::sys::terminal;
use crate::view::{Field, Show, field, table};
use miniserde::Serialize;
use miniserde::json::{Array, Object, Value};

const NAME: &[Arg] = &[Arg { name: word("NAME"), help: packed!("the context's name"), required: true }];

/// `rig context list`.
pub const LIST: Command = Command {
    words: word("context list"),
    aliases: &["list contexts"],
    summary: packed!("List your logins"),
    about: packed!(
        "A context is a login under a name: one user on one server. `rig login` makes one and uses it; \
            --context and RIG_CONTEXT use another for once."
    ),
    args: &[],
    flags: &[],
    examples: packed![("All contexts, the current one marked", "rig context list")],
    run: list,
};

/// `rig context use`.
pub const USE: Command = Command {
    words: word("context use"),
    aliases: &[],
    summary: packed!("Use another login from now on"),
    about: packed!(""),
    args: NAME,
    flags: &[],
    examples: packed![("Log in to a second server, and go back", "rig context use max.example.com")],
    run: switch,
};

/// `rig context delete`.
pub const DELETE: Command = Command {
    words: word("context delete"),
    aliases: &[],
    summary: packed!("Log out of a context and forget it"),
    about: packed!(""),
    args: NAME,
    flags: &[],
    examples: packed![("End a login that is no longer needed", "rig context delete localhost-7070")],
    run: delete,
};

const FIELDS: &[Field] = &[
    field("context", "name", Show::Plain),
    field("user", "user", Show::Plain),
    field("server", "url", Show::Plain),
    field("current", "current", Show::Plain),
];

/// A context as it is shown.
#[derive(Serialize)]
struct Shown {
    name: String,
    user: String,
    url: String,
    current: bool,
}

impl Shown {
    fn new(context: config::Context, current: Option<&str>) -> Shown {
        let current = current == Some(context.name.as_str());
        Shown { name: context.name, user: context.user, url: context.url, current }
    }

    fn value(&self) -> Value {
        let mut object = Object::new();
        for (name, text) in [("name", &self.name), ("user", &self.user), ("url", &self.url)] {
            object.insert(name.to_owned(), Value::String(text.clone()));
        }
        object.insert("current".to_owned(), Value::Bool(self.current));
        Value::Object(object)
    }
}

fn list(session: &Session, _: &Matches) -> Result<()> {
    let config = session.config()?;
    let current = session.context_name().map(str::to_owned).or(config.current);
    let shown = config.contexts.into_iter().map(|context| Shown::new(context, current.as_deref()).value());
    let rows: Vec<Value> = shown.collect();
    if session.output.json {
        let mut document = Object::new();
        document.insert("contexts".to_owned(), Value::Array(Array::from_iter(rows)));
        return session.output.document(&Value::Object(document));
    }
    if rows.is_empty() {
        session.output.note("no contexts yet: `rig login`");
        return Ok(());
    }
    session.output.write(&table(&session.output, &rows, FIELDS, terminal::width(), session.now()))
}

fn switch(session: &Session, matches: &Matches) -> Result<()> {
    let name = matches.arg(0).unwrap_or_default();
    let context = find_context(&session.config()?, name)?;
    config::change(&session.directory()?, |config| config.current = Some(name.to_owned()))?;
    let text = format!("using {name}: {} at {}", context.user, context.url);
    done(session, Shown::new(context, Some(name)), &text)
}

fn delete(session: &Session, matches: &Matches) -> Result<()> {
    let name = matches.arg(0).unwrap_or_default();
    let context = find_context(&session.config()?, name)?;
    forget(session, &context)?;
    let text = format!("deleted context {name}");
    done(session, Shown::new(context, None), &text)
}

fn done(session: &Session, shown: Shown, text: &str) -> Result<()> {
    match session.output.json {
        true => session.output.document(&shown),
        false => session.output.line(text),
    }
}

//! Following a deploy to its end, which the deploy itself decides: not the stream that tells of it.

use crate::api::decode;
use crate::api::stream::{CREDIT, Item, Stream};
use crate::error::{Error, Kind, Result};
use crate::queue::bounded;
use crate::session::Session;
use crate::sys::signals::INTERRUPT;
use crate::term::prompt::confirm;
use crate::term::{on_interrupt, on_signal};
use crate::view::{at, filled, text};
use crate::wire::deploy::Follow;
use miniserde::json::{self, Value};
use std::collections::VecDeque;
use std::time::Instant;

/// How many of the last build lines an error carries.
const LAST_LINES: usize = 10;

/// How a deploy is now.
pub fn look(session: &Session, deploy: &Value) -> Result<Value> {
    ask(session, deploy, "deploy:status")
}

/// Ends a deploy before it serves.
pub fn cancel(session: &Session, deploy: &Value) -> Result<Value> {
    ask(session, deploy, "deploy:cancel")
}

fn ask(session: &Session, deploy: &Value, event: &str) -> Result<Value> {
    decode(&session.max()?.ask(event, format!("{{\"id\":{}}}", text(deploy, "id")))?)
}

/// Shows the build until the deploy has ended.
pub fn follow(session: &Session, deploy: &Value, deadline: Option<Instant>) -> Result<Value> {
    let params = |after| json::to_string(&Follow { after, credit: CREDIT });
    let mut stream = Stream::open(session.max()?, &filled(deploy, "deploy:{id}"), params)?;
    let output = &session.output;
    let goes_on = filled(deploy, "deploy {id} goes on in Max; see `rig logs build {app}.{network}`");
    on_interrupt(&goes_on);
    let (interrupt, interrupted) = bounded(1);
    if output.interactive {
        on_signal(Some(Box::new(move |signal| signal == INTERRUPT && interrupt.try_send(()).is_ok())));
    }
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let ended = loop {
        stream.wait_or(&interrupted, deadline);
        if interrupted.try_recv().is_ok() {
            // The next one ends rig.
            on_signal(None);
            return Err(leave(session, deploy, &goes_on));
        }
        let lost = match stream.next(deadline) {
            Ok(Item::Lines(lines)) => {
                for line in lines {
                    output.note(&line.text);
                    if last.len() == LAST_LINES {
                        last.pop_front();
                    }
                    last.push_back(line.text);
                }
                continue;
            }
            Ok(Item::State(now)) if is_over(&now) => break now,
            // The lines show how far it is.
            Ok(Item::State(_) | Item::Mark) => continue,
            Ok(Item::Note(text)) => {
                output.note(&text);
                continue;
            }
            Ok(Item::Gap(_)) => {
                output.note("(some lines are no longer kept)");
                continue;
            }
            Ok(Item::End(_)) => {
                Error::new(Kind::Failed, filled(deploy, "Max stopped telling about deploy {id}"))
                    .hint(filled(deploy, "see `rig status deploy {id}`"))
            }
            Err(error) if error.kind() == Kind::TimedOut => return Err(late(deploy)),
            Err(error) => error,
        };
        match look(session, deploy) {
            Ok(now) if is_over(&now) => break now,
            _ => return Err(lost),
        }
    };
    on_signal(None);
    on_interrupt("");
    match &*text(&ended, "state") {
        "live" => Ok(ended),
        _ => Err(failed(&ended, last.make_contiguous(), output.json)),
    }
}

fn is_over(deploy: &Value) -> bool {
    matches!(&*text(deploy, "state"), "live" | "failed")
}

/// The user has seen enough: asks what becomes of the deploy.
fn leave(session: &Session, deploy: &Value, goes_on: &str) -> Error {
    session.output.note("");
    let question = filled(deploy, "cancel deploy {id}? else it goes on");
    let left = |what: String| Error::new(Kind::Interrupted, "interrupted").hint(what);
    match confirm(&session.output, &question, "") {
        Ok(true) => match cancel(session, deploy) {
            Ok(_) => left(filled(deploy, "deploy {id} was cancelled")),
            Err(error) => error,
        },
        _ => match look(session, deploy) {
            // The question was answered late.
            Ok(now) if is_over(&now) => left(filled(&now, "deploy {id} is {state}")),
            _ => left(goes_on.to_owned()),
        },
    }
}

/// What a deploy is at in each state in which it may fail.
const PHASES: [(&str, &str); 6] = [
    ("uploading", "waiting for the source"),
    ("queued", "waiting for the app's previous deploy"),
    ("unpacking", "unpacking"),
    ("building", "building"),
    ("releasing", "running its release command"),
    ("starting", "starting"),
];

fn failed(deploy: &Value, last: &[String], json: bool) -> Error {
    let phase = text(deploy, "phase");
    let phase = PHASES.iter().find(|(state, _)| *state == phase).map_or("working", |(_, words)| words);
    let reason = match at(deploy, "error") {
        Some(Value::String(error)) => error,
        _ => "no reason was given",
    };
    let message = [&*filled(deploy, "deploy {id} failed while "), phase, ": ", reason].concat();
    // A person has just seen the lines; a script has not.
    let tail = if json && !last.is_empty() {
        format!("; the last lines were:\n{}", last.join("\n"))
    } else {
        String::new()
    };
    Error::new(Kind::DeployFailed, message)
        .hint(filled(deploy, "see `rig logs build {app}.{network}`") + &tail)
}

fn late(deploy: &Value) -> Error {
    Error::new(Kind::TimedOut, filled(deploy, "deploy {id} was not finished in time; it goes on in Max"))
        .hint(filled(deploy, "see `rig status deploy {id}`, or give it longer with --timeout"))
}

//! Following a deploy to its end, which the deploy itself decides: not the stream that tells of it.

use crate::api::decode;
use crate::api::stream::{CREDIT, Item, Stream};
use crate::error::{Error, Kind, Result};
use crate::queue::bounded;
use crate::session::Session;
use crate::sys::signals::INTERRUPT;
use crate::term::prompt::confirm;
use crate::term::{on_interrupt, on_signal};
use crate::wire::deploy::{Deploy, Follow, Select, State};
use miniserde::json;
use std::collections::VecDeque;
use std::time::Instant;

/// How many of the last build lines an error carries.
const LAST_LINES: usize = 10;

/// How a deploy is now.
pub fn look(session: &Session, deploy: &Deploy) -> Result<Deploy> {
    ask(session, deploy, "deploy:status")
}

fn ask(session: &Session, deploy: &Deploy, event: &str) -> Result<Deploy> {
    decode(&session.max()?.ask(event, json::to_string(&Select { id: deploy.id }))?)
}

/// Shows the build until the deploy has ended.
pub fn follow(session: &Session, deploy: &Deploy, deadline: Option<Instant>) -> Result<Deploy> {
    let params = |after| json::to_string(&Follow { after, credit: CREDIT });
    let mut stream = Stream::open(session.max()?, &format!("deploy:{}", deploy.id), params)?;
    let output = &session.output;
    let goes_on = format!(
        "deploy {} goes on in Max; see `rig logs build {}.{}`",
        deploy.id, deploy.app, deploy.network
    );
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
            Ok(Item::State(now)) if is_over(&now) => break *now,
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
                let message = format!("Max stopped telling about deploy {}", deploy.id);
                Error::new(Kind::Failed, message).hint(format!("see `rig status deploy {}`", deploy.id))
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
    match ended.state {
        State::Live => Ok(ended),
        _ => Err(failed(&ended, last.make_contiguous(), output.json)),
    }
}

fn is_over(deploy: &Deploy) -> bool {
    matches!(deploy.state, State::Live | State::Failed)
}

/// The user has seen enough: asks what becomes of the deploy.
fn leave(session: &Session, deploy: &Deploy, goes_on: &str) -> Error {
    session.output.note("");
    let question = format!("cancel deploy {}? else it goes on", deploy.id);
    let left = |what: String| Error::new(Kind::Interrupted, "interrupted").hint(what);
    match confirm(&session.output, &question, "") {
        Ok(true) => match ask(session, deploy, "deploy:cancel") {
            Ok(_) => left(format!("deploy {} was cancelled", deploy.id)),
            Err(error) => error,
        },
        _ => left(goes_on.to_owned()),
    }
}

fn phase(state: State) -> &'static str {
    match state {
        State::Uploading => "waiting for the source",
        State::Queued => "waiting for the app's previous deploy",
        State::Unpacking => "unpacking",
        State::Building => "building",
        State::Releasing => "running its release command",
        State::Starting => "starting",
        State::Live => "live",
        State::Failed => "failed",
    }
}

fn failed(deploy: &Deploy, last: &[String], json: bool) -> Error {
    let phase = deploy.phase.map_or("working", phase);
    let reason = deploy.error.as_deref().unwrap_or("no reason was given");
    let error =
        Error::new(Kind::DeployFailed, format!("deploy {} failed while {phase}: {reason}", deploy.id));
    // A person has just seen the lines; a script has not.
    let tail = if json && !last.is_empty() {
        format!("; the last lines were:\n{}", last.join("\n"))
    } else {
        String::new()
    };
    error.hint(format!("see `rig logs build {}.{}`{tail}", deploy.app, deploy.network))
}

fn late(deploy: &Deploy) -> Error {
    Error::new(Kind::TimedOut, format!("deploy {} was not finished in time; it goes on in Max", deploy.id))
        .hint(format!("see `rig status deploy {}`, or give it longer with --timeout", deploy.id))
}

//! `rig api`: one request as Max understands it, or the events of one topic; for scripts
//! that need what no command offers.

use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Result};
use crate::json;
use crate::net::link::Event;
use crate::packed::{packed, word};
use crate::session::Session;
use std::io::Read;

const TOPIC: Flag = Flag {
    long: word("topic"),
    short: None,
    value: word("TOPIC"),
    help: packed!("join this topic (with --listen)"),
};
const LISTEN: Flag = Flag {
    long: word("listen"),
    short: None,
    value: word(""),
    help: packed!("print the topic's events, one JSON object a line"),
};

/// The largest payload that is read from standard input.
const MAX_PAYLOAD: u64 = 4_000_000;

/// `rig api`.
pub const API: Command = Command {
    words: word("api"),
    aliases: &[],
    summary: packed!("Send one request of the Max API, or listen to a topic"),
    about: packed!(
        "Prints the answer as Max sent it, as JSON. docs/protocol.md names the requests and topics. \
            With --listen the JSON goes with the join, and the join's answer is the first line; a topic \
            that sends lines needs \"credit\" in it."
    ),
    args: &[
        Arg {
            name: word("EVENT"),
            help: packed!("the request, such as app:list (not with --listen)"),
            required: false,
        },
        Arg {
            name: word("JSON"),
            help: packed!("its payload ({} by default; - reads it from standard input)"),
            required: false,
        },
    ],
    flags: &[&TOPIC, &LISTEN],
    examples: packed![
        ("A request without a payload", "rig api network:list"),
        ("With one", "rig api app:status '{\"network\":\"blue\",\"app\":\"web\"}' | jq .app.state"),
        (
            "What an app writes",
            "rig api --topic logs:app:blue:web --listen '{\"follow\":true,\"credit\":9999}'",
        ),
    ],
    run: api,
};

fn api(session: &Session, matches: &Matches) -> Result<()> {
    if matches.has(&LISTEN) || matches.has(&TOPIC) {
        return listen(session, matches);
    }
    let event = matches.arg(0).ok_or_else(|| {
        Error::usage("which request?")
            .hint(packed!("for instance `rig api app:list`; docs/protocol.md has the list"))
    })?;
    let answer = session.max()?.ask(event, payload(matches.arg(1))?)?;
    session.output.raw_json(&answer)
}

fn listen(session: &Session, matches: &Matches) -> Result<()> {
    let (Some(topic), true) = (matches.value(&TOPIC), matches.has(&LISTEN)) else {
        return Err(Error::usage(packed!("--topic and --listen go together"))
            .hint(packed!("requests are made on the topic `control`, without either")));
    };
    if let Some(extra) = matches.arg(1) {
        return Err(Error::usage(format!("with --listen only the join's JSON is taken, not '{extra}'")));
    }
    let params = payload(matches.arg(0))?;
    let (reply, subscription) = session.max()?.subscribe(topic, Box::new(move || params.clone()))?;
    let output = &session.output;
    output.raw_json(&line("phx_reply", &reply))?;
    while !output.closed() {
        match subscription.recv(None)? {
            Some(Event::Message { event, payload }) => output.raw_json(&line(&event, &payload))?,
            Some(Event::Binary { event, payload }) => {
                let mut text = String::new();
                json::push_string(&mut text, &crate::net::base64::encode(&payload));
                output.raw_json(&line(&event, &text))?;
            }
            Some(Event::Lost(reason)) => {
                output.note(&format!("connection to Max lost ({reason}); reconnecting"))
            }
            Some(Event::Restored(reply)) => output.raw_json(&line("phx_reply", &reply))?,
            Some(Event::Refused(error)) => return Err(error),
            Some(Event::Closed) | None => break,
        }
    }
    Ok(())
}

fn line(event: &str, payload: &str) -> String {
    let mut out = String::from("{\"event\":");
    json::push_string(&mut out, event);
    out.push_str(",\"payload\":");
    out.push_str(payload);
    out.push('}');
    out
}

fn payload(given: Option<&str>) -> Result<String> {
    let text = match given {
        None => return Ok("{}".to_owned()),
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(MAX_PAYLOAD).read_to_string(&mut text);
            read.map_err(|error| Error::io("read", "standard input", &error))?;
            text
        }
        Some(text) => text.to_owned(),
    };
    let text = text.trim();
    if json::check(text.as_bytes()).is_err() || !text.starts_with('{') {
        return Err(Error::usage(packed!("the payload is no JSON object"))
            .hint(packed!("write for instance '{\"network\":\"blue\"}'")));
    }
    Ok(text.to_owned())
}

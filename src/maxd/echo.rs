//! The topics `echo:…` of the conformance tests: everything a channel can do, in the
//! words of the server from which `tests/data/phoenix-frames.txt` was captured.
//! [`super::trial`] opens them.

use super::outlet::{Gone, Outlet};
use super::socket::{Body, Push};
use super::stream::{Feed, Joined};
use crate::error::{Error, Kind, Result};
use crate::json;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};

/// What is said to everybody, and on which topic.
static SHOUTS: LazyLock<broadcast::Sender<Shout>> = LazyLock::new(|| broadcast::channel(64).0);

/// Something said to everybody on a topic.
#[derive(Clone)]
pub struct Shout {
    topic: String,
    event: String,
    text: String,
    bytes: Option<Vec<u8>>,
}

/// Joins.
pub fn join(topic: &str, params: &str) -> Joined {
    match topic {
        "echo:forbidden" => Joined::Refused(r#"{"reason":"unauthorized"}"#.to_owned()),
        "echo:raise" => panic!("a conformance test asked for this"),
        _ => {
            let mut reply = format!("{{\"params\":{params},\"topic\":");
            json::push_string(&mut reply, topic);
            reply.push('}');
            Joined::Open(reply, Feed::Echo(topic.to_owned(), SHOUTS.subscribe()))
        }
    }
}

/// Does what it is told. `shouts` are those since the join.
pub async fn run(
    topic: String,
    mut shouts: broadcast::Receiver<Shout>,
    outlet: Outlet,
    mut inputs: mpsc::Receiver<Push>,
) -> Result<()> {
    loop {
        let done = tokio::select! {
            push = inputs.recv() => match push {
                Some(push) => obey(&topic, &outlet, push).await,
                None => return Ok(()),
            },
            shout = shouts.recv() => match shout {
                Ok(shout) if shout.topic == topic => match &shout.bytes {
                    Some(bytes) => outlet.broadcast_binary(&shout.event, bytes).await.map_err(Done::from),
                    None => outlet.broadcast(&shout.event, &shout.text).await.map_err(Done::from),
                },
                _ => Ok(()),
            },
        };
        match done {
            Ok(()) => {}
            Err(Done::Normal) => return Ok(()),
            Err(Done::Abnormal) => {
                return Err(Error::new(Kind::Internal, "a conformance test asked for this"));
            }
        }
    }
}

enum Done {
    Normal,
    Abnormal,
}

impl From<Gone> for Done {
    fn from(_: Gone) -> Done {
        Done::Normal
    }
}

async fn obey(topic: &str, outlet: &Outlet, push: Push) -> Result<(), Done> {
    let Push { event, payload, reference } = push;
    let reference = reference.as_ref();
    let text = match &payload {
        Body::Json(text) => text.as_str(),
        Body::Binary(_) => "{}",
    };
    match (event.as_str(), &payload) {
        ("ping", _) => outlet.reply(reference, "ok", text).await?,
        ("fail", _) => outlet.reply(reference, "error", text).await?,
        ("bare", _) => outlet.reply(reference, "ok", "{}").await?,
        ("status", _) => {
            let status = json::member(text, "status").and_then(json::string);
            outlet.reply(reference, &status.unwrap_or_default(), text).await?;
        }
        ("start", _) => {
            outlet.reply(reference, "ok", "{}").await?;
            let n = number(text, "n");
            for i in 1..=n {
                tokio::time::sleep(Duration::from_millis(number(text, "ms"))).await;
                outlet.push("tick", &format!("{{\"i\":{i},\"n\":{n}}}")).await?;
            }
        }
        ("slow", _) => {
            let ms = number(text, "ms");
            tokio::time::sleep(Duration::from_millis(ms)).await;
            outlet.reply(reference, "ok", &format!("{{\"slow\":{ms}}}")).await?;
        }
        ("big", _) => {
            let size = usize::try_from(number(text, "n")).unwrap_or(0);
            outlet.reply(reference, "ok", &format!("{{\"data\":\"{}\"}}", "x".repeat(size))).await?;
        }
        ("bin", Body::Binary(bytes)) => outlet.reply_binary(reference, "ok", bytes).await?,
        ("binfail", Body::Binary(bytes)) => outlet.reply_binary(reference, "error", bytes).await?,
        ("pushbin", _) => {
            let hex = json::member(text, "hex").and_then(json::string).unwrap_or_default();
            let pair = |at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map_while(pair).collect();
            outlet.push_binary("blob", &bytes).await?;
            outlet.reply(reference, "ok", "{}").await?;
        }
        ("shout", _) => shout(topic, event, text, None),
        ("shoutbin", Body::Binary(bytes)) => shout(topic, event, "", Some(bytes.clone())),
        ("crash", _) => panic!("a conformance test asked for this"),
        ("stop" | "stop_custom", _) => return Err(Done::Normal),
        ("stop_reply", _) => {
            outlet.reply(reference, "ok", r#"{"bye":true}"#).await?;
            return Err(Done::Normal);
        }
        ("stop_abnormal", _) => return Err(Done::Abnormal),
        // `silent`, and what nobody knows.
        _ => {}
    }
    Ok(())
}

fn shout(topic: &str, event: String, text: &str, bytes: Option<Vec<u8>>) {
    // At least one hears it: who said it.
    let _ = SHOUTS.send(Shout { topic: topic.to_owned(), event, text: text.to_owned(), bytes });
}

fn number(payload: &str, name: &str) -> u64 {
    json::member(payload, name).and_then(|raw| raw.parse().ok()).unwrap_or(0)
}

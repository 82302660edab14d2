//! The server's half of Phoenix channels 2.0.0 over one WebSocket (Phoenix
//! `Phoenix.Socket`, `Phoenix.Channel.Server`).
//!
//! One task reads; a bounded queue leads to the one that writes, so that a client that
//! does not read is slowed, not buffered. Each subscription is a task of its own.

use super::auth::Identity;
use super::control;
use super::platform::Platform;
use super::stream::{self, Feed};
use crate::error::{Error, Kind};
use crate::phx::frame::{
    Binary, CLOSE, Frame, HEARTBEAT, HEARTBEAT_TOPIC, JOIN, LEAVE, Payload, Ref, Side, encode_binary,
    encode_reply, encode_text,
};
use crate::wire::{CONTROL, Failure};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// The largest frame that is read.
pub const MAX_FRAME: usize = 8_000_000;
/// Channels of one socket.
const MAX_CHANNELS: usize = 100;
/// A socket that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How often it is checked that the session still stands.
const RECHECK: Duration = Duration::from_secs(5);
/// Frames on their way out.
const OUTGOING: usize = 64;
/// Requests of one socket that are worked on at the same time.
const REQUESTS: usize = 16;
/// How long a client may take to read what is on its way when the server closes.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why the server closes.
enum End {
    Gone,
    Idle,
    Malformed,
    Revoked,
    Stopping,
}

struct Channel {
    join_ref: Option<Ref>,
    input: mpsc::Sender<(String, String)>,
    task: AbortHandle,
}

struct Socket {
    platform: Arc<Platform>,
    who: Identity,
    out: mpsc::Sender<Message>,
    channels: HashMap<String, Channel>,
    streams: JoinSet<(String, Option<Ref>)>,
    requests: Arc<Semaphore>,
}

/// Serves one socket until it ends.
pub async fn serve(ws: WebSocket, platform: Arc<Platform>, who: Identity) {
    let (mut sink, mut source) = ws.split();
    let (out, mut queue) = mpsc::channel::<Message>(OUTGOING);
    let writer = tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    });
    let mut revoked = platform.auth.revocations();
    let mut stopping = platform.stopping.clone();
    let mut recheck = tokio::time::interval(RECHECK);
    let session = who.session;
    let mut socket = Socket {
        platform,
        who,
        out,
        channels: HashMap::new(),
        streams: JoinSet::new(),
        requests: Arc::new(Semaphore::new(REQUESTS)),
    };
    let mut heard = tokio::time::Instant::now();
    let end = loop {
        tokio::select! {
            message = source.next() => {
                heard = tokio::time::Instant::now();
                let handled = match message {
                    Some(Ok(Message::Text(text))) => socket.text(text.as_str()).await,
                    Some(Ok(Message::Binary(bytes))) => socket.binary(&bytes).await,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break End::Gone,
                    Some(Ok(_)) => Ok(()),
                };
                if let Err(end) = handled {
                    break end;
                }
            }
            Some(ended) = socket.streams.join_next() => {
                if let Ok((topic, join_ref)) = ended && socket.closed(topic, join_ref).await.is_err() {
                    break End::Gone;
                }
            }
            revoked = revoked.recv() => {
                if matches!(revoked, Ok(revoked) if revoked == session) {
                    break End::Revoked;
                }
            }
            _ = recheck.tick() => {
                if !socket.platform.auth.stands(session).await {
                    break End::Revoked;
                }
            }
            () = tokio::time::sleep_until(heard + IDLE) => break End::Idle,
            () = stopped(&mut stopping) => break End::Stopping,
        }
    };
    socket.end(end).await;
    drop(socket);
    let abort = writer.abort_handle();
    if tokio::time::timeout(GOODBYE, writer).await.is_err() {
        abort.abort();
    }
}

/// Waits until the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

impl Socket {
    async fn text(&mut self, text: &str) -> Result<(), End> {
        let frame = Frame::decode_text(text).map_err(|_| End::Malformed)?;
        self.frame(frame).await
    }

    async fn binary(&mut self, bytes: &[u8]) -> Result<(), End> {
        let frame = Frame::decode_binary(bytes, Side::Server).map_err(|_| End::Malformed)?;
        self.frame(frame).await
    }

    async fn frame(&mut self, frame: Frame<'_>) -> Result<(), End> {
        let reference = frame.reference.as_ref();
        if frame.topic == HEARTBEAT_TOPIC && frame.event == HEARTBEAT {
            return self.send(encode_reply(None, reference, HEARTBEAT_TOPIC, "ok", "{}")).await;
        }
        if frame.event == JOIN {
            return self.join(&frame).await;
        }
        let Some(channel) = self.channels.get(frame.topic.as_ref()) else {
            let unmatched = r#"{"reason":"unmatched topic"}"#;
            return match reference {
                Some(_) => self.send(encode_reply(None, reference, &frame.topic, "error", unmatched)).await,
                None => Ok(()),
            };
        };
        // Of an earlier join: dropped without an answer (Phoenix 1.8).
        if frame.join_ref != channel.join_ref {
            return Ok(());
        }
        if frame.event == LEAVE {
            let topic = frame.topic.into_owned();
            self.send(encode_reply(frame.join_ref.as_ref(), reference, &topic, "ok", "{}")).await?;
            return self.close_channel(&topic).await;
        }
        if frame.topic == CONTROL {
            return self.request(frame).await;
        }
        if let Payload::Json(payload) = frame.payload {
            // A stream takes its input at once; one that ended takes none.
            let _ = channel.input.send((frame.event.into_owned(), payload.to_owned())).await;
        }
        Ok(())
    }

    async fn join(&mut self, frame: &Frame<'_>) -> Result<(), End> {
        let topic = frame.topic.clone().into_owned();
        let (join_ref, reference) = (frame.join_ref.clone(), frame.reference.clone());
        let Payload::Json(params) = frame.payload else { return Err(End::Malformed) };
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&topic) {
            let error = Error::usage(format!("a socket has at most {MAX_CHANNELS} channels"));
            return self
                .send(encode_reply(join_ref.as_ref(), reference.as_ref(), &topic, "error", &failure(&error)))
                .await;
        }
        let joined = if topic == CONTROL {
            let welcome = self.platform.welcome(&self.who);
            Ok((miniserde::json::to_string(&welcome), Feed::Nothing))
        } else {
            stream::join(&self.platform, &self.who, &topic, params).await
        };
        let (reply, feed) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                let reply =
                    encode_reply(join_ref.as_ref(), reference.as_ref(), &topic, "error", &failure(&error));
                return self.send(reply).await;
            }
        };
        self.send(encode_reply(join_ref.as_ref(), reference.as_ref(), &topic, "ok", &reply)).await?;
        // A second join of a topic closes the first, after its own reply.
        self.close_channel(&topic).await?;
        let (input, inputs) = mpsc::channel(16);
        let outlet = Outlet { out: self.out.clone(), topic: topic.clone(), join_ref: join_ref.clone() };
        let platform = Arc::clone(&self.platform);
        let ended = (topic.clone(), join_ref.clone());
        let task = self.streams.spawn(async move {
            stream::run(platform, feed, outlet, inputs).await;
            ended
        });
        self.channels.insert(topic, Channel { join_ref, input, task });
        Ok(())
    }

    /// A stream has ended by itself.
    async fn closed(&mut self, topic: String, join_ref: Option<Ref>) -> Result<(), End> {
        match self.channels.get(&topic) {
            Some(channel) if channel.join_ref == join_ref => self.close_channel(&topic).await,
            _ => Ok(()),
        }
    }

    async fn close_channel(&mut self, topic: &str) -> Result<(), End> {
        let Some(channel) = self.channels.remove(topic) else { return Ok(()) };
        channel.task.abort();
        // Phoenix gives phx_close the join's reference twice.
        let join_ref = channel.join_ref.as_ref();
        self.send(encode_text(join_ref, join_ref, topic, CLOSE, "{}")).await
    }

    async fn request(&self, frame: Frame<'_>) -> Result<(), End> {
        let Ok(permit) = Arc::clone(&self.requests).acquire_owned().await else { return Err(End::Gone) };
        let (platform, who, out) = (Arc::clone(&self.platform), self.who.clone(), self.out.clone());
        let payload = match frame.payload {
            Payload::Json(text) => text.to_owned(),
            Payload::Binary(_) => String::new(),
        };
        let (event, join_ref, reference) = (frame.event.into_owned(), frame.join_ref, frame.reference);
        tokio::spawn(async move {
            let (status, response) = match control::handle(&platform, &who, &event, &payload).await {
                Ok(document) => ("ok", document),
                Err(error) => ("error", failure(&error)),
            };
            if reference.is_some() {
                let reply = encode_reply(join_ref.as_ref(), reference.as_ref(), CONTROL, status, &response);
                // The socket may be gone; what was done stays done.
                let _ = out.send(Message::Text(reply.into())).await;
            }
            drop(permit);
        });
        Ok(())
    }

    async fn send(&self, text: String) -> Result<(), End> {
        self.out.send(Message::Text(text.into())).await.map_err(|_| End::Gone)
    }

    async fn end(&mut self, end: End) {
        let (code, reason) = match end {
            End::Gone => return,
            End::Idle => (1002, "idle"),
            End::Malformed => (1011, "malformed frame"),
            End::Revoked => (4001, "session revoked"),
            End::Stopping => (1001, "server is stopping"),
        };
        self.streams.abort_all();
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = tokio::time::timeout(GOODBYE, self.out.send(close)).await;
    }
}

fn failure(error: &Error) -> String {
    if error.kind() == Kind::Internal {
        say!("{error}");
    }
    miniserde::json::to_string(&Failure::from(error))
}

/// Where a stream's events go.
pub struct Outlet {
    out: mpsc::Sender<Message>,
    topic: String,
    join_ref: Option<Ref>,
}

impl Outlet {
    /// Pushes an event; false when the socket is gone. Waits while the client does not read.
    pub async fn push(&self, event: &str, payload: &str) -> bool {
        let frame = encode_text(self.join_ref.as_ref(), None, &self.topic, event, payload);
        self.out.send(Message::Text(frame.into())).await.is_ok()
    }

    /// Pushes bytes.
    pub async fn push_binary(&self, event: &str, bytes: &[u8]) -> bool {
        let Some(join_ref) = &self.join_ref else { return false };
        match encode_binary(Binary::ServerPush { join_ref, event }, &self.topic, bytes) {
            Ok(frame) => self.out.send(Message::Binary(frame.into())).await.is_ok(),
            Err(_) => false,
        }
    }
}

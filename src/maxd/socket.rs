//! The server's half of Phoenix channels 2.0.0 (Phoenix `Phoenix.Socket`,
//! `Phoenix.Channel.Server`): joins, leaves, requests and streams, over whatever
//! carries the frames.
//!
//! ```text
//! ws, longpoll ── Source ──▶ Socket ──▶ control, streams ── Outlet, Sink ──▶ ws, longpoll
//! ```
//!
//! One task takes frames, one at a time; each joined topic is a task of its own, and so
//! is each request. They share one bounded [`Sink`], so that a client that takes nothing
//! is slowed, not buffered.

use super::auth::Identity;
use super::control;
use super::outlet::{Gone, Outlet, Sink};
use super::platform::Platform;
use super::stream::{self, Joined};
use crate::error::{Error, Kind, Result};
use crate::phx::frame::{
    CLOSE, ERROR, Frame, HEARTBEAT, HEARTBEAT_TOPIC, JOIN, LEAVE, Malformed, Payload, Ref, Side,
    encode_reply, encode_text,
};
use crate::wire::{CONTROL, Failure};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The largest frame that is read.
pub const MAX_FRAME: usize = 8_000_000;
/// Channels of one socket.
const MAX_CHANNELS: usize = 100;
/// How often it is checked that the session still stands.
const RECHECK: Duration = Duration::from_secs(5);
/// Requests of one socket that are worked on at the same time.
const REQUESTS: u32 = 16;
/// Pushes on their way to one channel.
const INPUTS: usize = 16;
/// How long requests that are worked on may take to end when the server stops.
const FINISH: Duration = Duration::from_secs(5);
/// How long a client may take to read what is on its way when the server closes.
pub const GOODBYE: Duration = Duration::from_secs(2);
/// What a client may send at length, and at once: a frame a millisecond, two thousand
/// in a row. What comes faster is not read until then.
const FRAME: Duration = Duration::from_millis(1);
const BURST: u32 = 2000;

/// Why a socket ends.
pub enum End {
    /// The client went, or took nothing for too long.
    Gone,
    /// The client said nothing for too long.
    Idle,
    /// A frame can't be decoded.
    Malformed,
    /// A frame is larger than [`MAX_FRAME`].
    TooLarge,
    /// What came is no WebSocket.
    Protocol,
    /// The session is over.
    Revoked,
    /// The server stops.
    Stopping,
}

impl End {
    /// The code and reason the client is told (RFC 6455, section 7.4).
    fn close(&self) -> Option<(u16, &'static str)> {
        match self {
            End::Gone => None,
            End::Idle => Some((1002, "idle")),
            End::Malformed => Some((1011, "malformed frame")),
            End::TooLarge => Some((1009, "frame too large")),
            End::Protocol => Some((1002, "protocol error")),
            End::Revoked => Some((4001, "session revoked")),
            End::Stopping => Some((1001, "server is stopping")),
        }
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> End {
        End::Gone
    }
}

/// A payload from the client.
#[derive(Debug)]
pub enum Body {
    /// JSON.
    Json(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Body {
    /// The JSON; empty, which is none, for bytes.
    pub fn text(&self) -> &str {
        match self {
            Body::Json(text) => text,
            Body::Binary(_) => "",
        }
    }
}

/// A frame from the client.
#[derive(Debug)]
pub struct Incoming {
    join_ref: Option<Ref>,
    reference: Option<Ref>,
    topic: String,
    event: String,
    payload: Body,
}

impl Incoming {
    /// Decodes a text frame.
    pub fn text(text: &str) -> Result<Incoming, Malformed> {
        Frame::decode_text(text).map(Incoming::from)
    }

    /// Decodes a binary frame.
    pub fn binary(bytes: &[u8]) -> Result<Incoming, Malformed> {
        Frame::decode_binary(bytes, Side::Server).map(Incoming::from)
    }
}

impl From<Frame<'_>> for Incoming {
    fn from(frame: Frame<'_>) -> Incoming {
        let payload = match frame.payload {
            Payload::Json(text) => Body::Json(text.to_owned()),
            Payload::Binary(bytes) => Body::Binary(bytes.to_vec()),
        };
        let (join_ref, reference) = (frame.join_ref, frame.reference);
        let (topic, event) = (frame.topic.into_owned(), frame.event.into_owned());
        Incoming { join_ref, reference, topic, event, payload }
    }
}

/// Where frames come from.
pub trait Source: Send {
    /// The next frame, or why there is none. May be dropped and called again.
    fn next(&mut self) -> impl Future<Output = Result<Incoming, End>> + Send;
}

/// What the client pushed on a channel.
pub struct Push {
    /// The event.
    pub event: String,
    /// Its payload.
    pub payload: Body,
    /// To be named in the reply.
    pub reference: Option<Ref>,
}

struct Channel {
    join_ref: Option<Ref>,
    input: mpsc::Sender<Push>,
    left: CancellationToken,
    task: AbortHandle,
}

impl Channel {
    /// Nothing more is sent. What the client pushed before is still taken, as by a channel of
    /// Phoenix, which has one mailbox for all of it.
    fn leave(self) {
        self.left.cancel();
        let task = self.task;
        tokio::spawn(async move {
            sleep(GOODBYE).await;
            task.abort();
        });
    }
}

struct Socket {
    platform: Arc<Platform>,
    who: Identity,
    sink: Sink,
    channels: HashMap<String, Channel>,
    streams: JoinSet<Result<()>>,
    requests: Arc<Semaphore>,
    pace: Pace,
}

/// Serves one connection until it ends; `gone` says when its client is.
pub async fn run(
    platform: &Arc<Platform>,
    who: Identity,
    sink: Sink,
    source: &mut impl Source,
    gone: impl Future<Output = ()>,
) {
    let session = who.session;
    let mut socket = Socket {
        platform: Arc::clone(platform),
        who,
        sink,
        channels: HashMap::new(),
        streams: JoinSet::new(),
        requests: Arc::new(Semaphore::new(REQUESTS as usize)),
        pace: Pace::new(),
    };
    let mut stopping = platform.stopping.clone();
    let end = tokio::select! {
        end = socket.work(source) => end,
        () = revoked(platform, session) => End::Revoked,
        () = gone => End::Gone,
        // A frame that is worked on when the server stops may take that long.
        () = async { stopped(&mut stopping).await; sleep(GOODBYE).await } => End::Stopping,
    };
    socket.end(&end).await;
}

/// Waits until the server stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Waits until the session is over.
async fn revoked(platform: &Platform, session: i64) {
    let mut revoked = platform.auth.revocations();
    let mut recheck = tokio::time::interval(RECHECK);
    loop {
        tokio::select! {
            revoked = revoked.recv() => {
                if matches!(revoked, Ok(revoked) if revoked == session) {
                    return;
                }
            }
            _ = recheck.tick() => {
                if !platform.auth.stands(session).await {
                    return;
                }
            }
        }
    }
}

impl Socket {
    /// Takes frames until there is a reason to end.
    async fn work(&mut self, source: &mut impl Source) -> End {
        let mut stopping = self.platform.stopping.clone();
        loop {
            let done = tokio::select! {
                biased;
                () = stopped(&mut stopping) => return End::Stopping,
                Some(ended) = self.streams.join_next_with_id() => self.ended(ended).await,
                incoming = self.pace.next(source) => match incoming {
                    Ok(incoming) => self.take(incoming).await,
                    Err(end) => return end,
                },
            };
            if done.is_err() {
                return End::Gone;
            }
        }
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), Gone> {
        let Incoming { join_ref, reference, topic, event, payload } = incoming;
        if topic == HEARTBEAT_TOPIC && event == HEARTBEAT {
            return self.reply(None, reference.as_ref(), HEARTBEAT_TOPIC, "ok", "{}").await;
        }
        if event == JOIN {
            return self.join(join_ref, reference, topic, payload).await;
        }
        let Some(channel) = self.channels.get(&topic) else {
            return match event.as_str() {
                LEAVE => self.reply(join_ref.as_ref(), reference.as_ref(), &topic, "ok", "{}").await,
                _ => self.reply(None, reference.as_ref(), &topic, "error", UNMATCHED).await,
            };
        };
        // Of an earlier join: dropped without an answer. So is a binary frame without a
        // join, and a leave; a text frame without one means whatever is joined
        // (Phoenix 1.8).
        let unnamed = join_ref.is_none() && event != LEAVE && matches!(payload, Body::Json(_));
        if join_ref != channel.join_ref && !unnamed {
            return Ok(());
        }
        let joined = channel.join_ref.clone();
        if event == LEAVE {
            self.reply(joined.as_ref(), reference.as_ref(), &topic, "ok", "{}").await?;
            return self.close(&topic, CLOSE, "{}").await;
        }
        if topic == CONTROL {
            return self.request(joined, Push { event, payload, reference }).await;
        }
        // A stream takes its input at once; one that ended takes none.
        let _ = channel.input.send(Push { event, payload, reference }).await;
        Ok(())
    }

    async fn join(
        &mut self,
        join_ref: Option<Ref>,
        reference: Option<Ref>,
        topic: String,
        payload: Body,
    ) -> Result<(), Gone> {
        // A second join of a topic ends the first, which is said after its own reply.
        let earlier = self.channels.remove(&topic).map(|earlier| {
            let join_ref = earlier.join_ref.clone();
            earlier.leave();
            join_ref
        });
        let (named, answered) = (join_ref.as_ref(), reference.as_ref());
        let feed = match self.admit(&topic, payload).await {
            Joined::Open(reply, feed) => {
                self.reply(named, answered, &topic, "ok", &reply).await?;
                Some(feed)
            }
            Joined::Refused(why) => {
                self.reply(named, answered, &topic, "error", &why).await?;
                None
            }
            Joined::Unmatched => {
                self.reply(None, answered, &topic, "error", UNMATCHED).await?;
                None
            }
        };
        if let Some(earlier) = earlier {
            self.say(earlier.as_ref(), &topic, CLOSE, "{}").await?;
        }
        if let Some(feed) = feed {
            let (input, inputs) = mpsc::channel(INPUTS);
            let outlet = Outlet::new(self.sink.clone(), &topic, join_ref.clone());
            let left = outlet.left();
            let stream = stream::run(Arc::clone(&self.platform), feed, outlet, inputs);
            let task = self.streams.spawn(stream);
            self.channels.insert(topic, Channel { join_ref, input, left, task });
        }
        Ok(())
    }

    async fn admit(&self, topic: &str, payload: Body) -> Joined {
        if self.channels.len() >= MAX_CHANNELS {
            let error = Error::usage(format!("a socket has at most {MAX_CHANNELS} channels"));
            return Joined::Refused(failure(&error));
        }
        let (platform, who, topic) = (Arc::clone(&self.platform), self.who.clone(), topic.to_owned());
        // In a task, so that one that panics does not take the socket with it.
        let joining =
            tokio::spawn(async move { stream::join(&platform, &who, &topic, payload.text()).await });
        match joining.await {
            Ok(Ok(joined)) => joined,
            Ok(Err(error)) => Joined::Refused(failure(&error)),
            Err(_) => Joined::Refused(r#"{"reason":"join crashed"}"#.to_owned()),
        }
    }

    /// A stream has ended by itself, in order or not.
    async fn ended(&mut self, ended: Result<(Id, Result<()>), JoinError>) -> Result<(), Gone> {
        let (id, failed) = match ended {
            Ok((id, Ok(()))) => (id, false),
            Ok((id, Err(error))) => {
                say!("a stream failed: {error}");
                (id, true)
            }
            Err(error) => (error.id(), true),
        };
        // One that was aborted is no channel any more.
        let found = self.channels.iter().find(|(_, channel)| channel.task.id() == id);
        let Some(topic) = found.map(|(topic, _)| topic.clone()) else { return Ok(()) };
        match failed {
            false => self.close(&topic, CLOSE, "{}").await,
            // The client joins again.
            true => self.close(&topic, ERROR, r#"{"reason":"channel_crash"}"#).await,
        }
    }

    async fn close(&mut self, topic: &str, event: &str, payload: &str) -> Result<(), Gone> {
        let Some(channel) = self.channels.remove(topic) else { return Ok(()) };
        let join_ref = channel.join_ref.clone();
        channel.leave();
        self.say(join_ref.as_ref(), topic, event, payload).await
    }

    /// Says how a channel ended: with its join's reference twice, as Phoenix does.
    async fn say(&self, join_ref: Option<&Ref>, topic: &str, event: &str, payload: &str) -> Result<(), Gone> {
        self.sink.text(encode_text(join_ref, join_ref, topic, event, payload)).await
    }

    async fn request(&self, join_ref: Option<Ref>, push: Push) -> Result<(), Gone> {
        let permit = Arc::clone(&self.requests).acquire_owned().await.map_err(|_| Gone)?;
        let (platform, who, sink) = (Arc::clone(&self.platform), self.who.clone(), self.sink.clone());
        let reference = push.reference.clone();
        let work =
            tokio::spawn(
                async move { control::handle(&platform, &who, &push.event, push.payload.text()).await },
            );
        self.platform.sockets.spawn(async move {
            let done = work.await.unwrap_or_else(|_| {
                Err(Error::new(Kind::Internal, "the server failed at this request").hint("try again"))
            });
            let (status, response) = match done {
                Ok(document) => ("ok", document),
                Err(error) => ("error", failure(&error)),
            };
            if reference.is_some() {
                let reply = encode_reply(join_ref.as_ref(), reference.as_ref(), CONTROL, status, &response);
                // The client may be gone; what was done stays done.
                let _ = sink.text(reply).await;
            }
            drop(permit);
        });
        Ok(())
    }

    /// Answers a push, if it wants an answer.
    async fn reply(
        &self,
        join_ref: Option<&Ref>,
        reference: Option<&Ref>,
        topic: &str,
        status: &str,
        response: &str,
    ) -> Result<(), Gone> {
        match reference {
            Some(_) => self.sink.text(encode_reply(join_ref, reference, topic, status, response)).await,
            None => Ok(()),
        }
    }

    async fn end(mut self, end: &End) {
        if matches!(end, End::Revoked) {
            self.channels.drain().for_each(|(_, channel)| channel.leave());
        }
        // Also the one that has revoked the token it was made with.
        if matches!(end, End::Stopping | End::Revoked) {
            // Once all permits are here, every request has been answered.
            let _ = timeout(FINISH, self.requests.acquire_many(REQUESTS)).await;
        }
        self.channels.drain().for_each(|(_, channel)| channel.leave());
        let _ = timeout(GOODBYE, async { while self.streams.join_next().await.is_some() {} }).await;
        self.streams.abort_all();
        let _ = timeout(GOODBYE, self.sink.close(end.close())).await;
    }
}

/// The answer to what no channel takes.
const UNMATCHED: &str = r#"{"reason":"unmatched topic"}"#;

/// An error as a response.
fn failure(error: &Error) -> String {
    if error.kind() == Kind::Internal {
        say!("{error}");
    }
    miniserde::json::to_string(&Failure::from(error))
}

/// A token bucket over frames, kept as the instant at which it is full again.
struct Pace {
    full: Instant,
}

impl Pace {
    fn new() -> Pace {
        Pace { full: Instant::now() }
    }

    /// The next frame, once there is a token for it.
    async fn next(&mut self, source: &mut impl Source) -> Result<Incoming, End> {
        if let Some(ready) = self.full.checked_sub(FRAME * (BURST - 1))
            && ready > Instant::now()
        {
            sleep_until(ready).await;
        }
        let incoming = source.next().await?;
        self.full = self.full.max(Instant::now()) + FRAME;
        Ok(incoming)
    }
}

//! Channels over HTTP, for networks that let no WebSocket through (phoenix.js
//! `longpoll.js`; the server's half is `Phoenix.Transports.LongPoll`).
//!
//! ```text
//! send ──frames──▶ post thread ──POST──▶ server ──GET──▶ poll thread ──frames──▶ receive
//! ```
//!
//! Two threads, since a poll waits at the server while posts go past it. A request that
//! fails may have lost frames either way, so it ends the connection; the streams' cursors
//! make that harmless.

use super::base64;
use super::connection::{Connection, Received};
use super::exchange::Body;
use super::http::Http;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::phx::client::Transmit;
use crate::queue::{Receiver, Sender, TryRecvError, bounded};
use crate::redact::Secret;
use crate::sys::thread::{USUAL, start};
use crate::sys::wait::Waiter;
use crate::wire::Failure;
use miniserde::{Deserialize, json};
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "/socket/longpoll?vsn=2.0.0";
/// Frames in one post; a Phoenix server drops what is beyond (phoenix.js
/// `MAX_LONGPOLL_BATCH_SIZE`).
const BATCH: usize = 100;
/// Bytes in one post, unless one frame alone has more.
const BATCH_BYTES: usize = 1 << 20;
/// Frames on their way to either thread.
const QUEUE: usize = 64;
/// How long [`Connection::close`] waits for the last post.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the server answers. Its HTTP status is always 200; this one counts.
#[derive(Deserialize)]
struct Answer {
    status: u16,
    token: Option<String>,
    messages: Option<Vec<String>>,
}

/// A session.
pub struct LongPoll {
    incoming: Receiver<Received>,
    outgoing: Sender<String>,
    /// Frames the post thread has no room for yet.
    pending: VecDeque<String>,
    /// Ends when the post thread does.
    posting: Receiver<()>,
}

/// Opens a session with `token`. `waiter` is woken when there is something to receive or
/// room to send. Polls go over `polls`, whose patience must exceed the server's.
pub fn open(http: Arc<Http>, polls: Http, token: &Secret, waiter: Arc<Waiter>) -> Result<LongPoll> {
    let text = http.call("GET", PATH, &[("x-phoenix-authtoken", token.reveal())], None)?;
    let refused = || {
        let not_max = Error::new(Kind::Unreachable, packed!("the server refused to open a session"));
        json::from_str::<Failure>(&text).map_or(not_max, Error::from)
    };
    let session = match json::from_str(&text) {
        Ok(Answer { status: 410, token: Some(token), .. }) => Secret::new(token),
        _ => return Err(refused()),
    };
    let (received, incoming) = bounded(QUEUE);
    let (outgoing, frames) = bounded(QUEUE);
    let (done, posting) = bounded(0);
    let failed = |error: std::io::Error| Error::io("start", "the polling threads", &error);
    let (told, awake, session_copy) = (received.clone(), Arc::clone(&waiter), session.clone());
    let post = move || {
        let _done = done;
        while let Some(body) = batch(&frames) {
            if let Err(reason) = post(&http, &session_copy, &body) {
                let _ = told.send(Received::Closed(reason));
            }
            awake.wake();
        }
    };
    start(USUAL, Box::new(post)).map_err(failed)?;
    let poll = move || {
        let mut open = true;
        while open {
            open = match poll(&polls, &session) {
                Ok(messages) => {
                    messages.into_iter().all(|text| hand_on(&received, &waiter, Received::Text(text.into())))
                }
                Err(reason) => {
                    hand_on(&received, &waiter, Received::Closed(reason));
                    false
                }
            };
        }
    };
    start(USUAL, Box::new(poll)).map_err(failed)?;
    Ok(LongPoll { incoming, outgoing, pending: VecDeque::new(), posting })
}

/// False when nobody wants it any more. Waits while the queue is full, so that a slow
/// receiver slows the server.
fn hand_on(to: &Sender<Received>, waiter: &Waiter, received: Received) -> bool {
    if to.is_full() {
        waiter.wake();
    }
    let sent = to.send(received).is_ok();
    waiter.wake();
    sent
}

/// The next frames to post, one a line and no line end behind the last: it would end the
/// session. None when no more will come.
fn batch(frames: &Receiver<String>) -> Option<String> {
    let mut body = frames.recv().ok()?;
    for _ in 1..BATCH {
        if body.len() > BATCH_BYTES {
            break;
        }
        match frames.try_recv() {
            Ok(frame) => {
                body.push('\n');
                body.push_str(&frame);
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    Some(body)
}

fn post(http: &Http, session: &Secret, body: &str) -> Result<(), String> {
    let headers = [("content-type", "application/x-ndjson"), ("x-phoenix-longpoll-token", session.reveal())];
    let text = http.call("POST", PATH, &headers, Some(Body::text(&mut body.as_bytes()))).map_err(said)?;
    match json::from_str(&text) {
        Ok(Answer { status: 200, .. }) => Ok(()),
        Ok(Answer { status, .. }) => Err(over(status)),
        Err(_) => Err("the server sent something malformed".to_owned()),
    }
}

fn poll(http: &Http, session: &Secret) -> Result<Vec<String>, String> {
    let text =
        http.call("GET", PATH, &[("x-phoenix-longpoll-token", session.reveal())], None).map_err(said)?;
    match json::from_str(&text) {
        Ok(Answer { status: 200 | 204, messages, .. }) => Ok(messages.unwrap_or_default()),
        Ok(Answer { status, .. }) => Err(over(status)),
        Err(_) => Err("the server sent something malformed".to_owned()),
    }
}

fn over(status: u16) -> String {
    match status {
        410 | 403 => "the server closed it".to_owned(),
        status => format!("the server closed it with status {status}"),
    }
}

fn said(error: Error) -> String {
    error.message().to_owned()
}

impl Connection for LongPoll {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }

    fn wants_write(&self) -> bool {
        !self.pending.is_empty()
    }

    fn send(&mut self, frame: Transmit) -> Result<(), String> {
        self.pending.push_back(match frame {
            Transmit::Text(text) => text,
            Transmit::Binary(bytes) => base64::encode(&bytes),
        });
        self.flush()
    }

    fn flush(&mut self) -> Result<(), String> {
        // Nobody else sends, so that room stays room.
        while !self.outgoing.is_full() {
            let Some(frame) = self.pending.pop_front() else { break };
            if self.outgoing.send(frame).is_err() {
                return Err("the connection broke off".to_owned());
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Received {
        match self.incoming.try_recv() {
            Ok(received) => received,
            Err(TryRecvError::Empty) => Received::Nothing,
            Err(TryRecvError::Disconnected) => Received::Closed("the connection broke off".to_owned()),
        }
    }

    fn close(self: Box<Self>) {
        let LongPoll { outgoing, posting, .. } = *self;
        drop(outgoing);
        // Nothing is ever sent on it: it tells that the thread has ended.
        let _ = posting.recv_timeout(GOODBYE);
    }
}

//! Channels over long polling, as Phoenix speaks it (`Phoenix.Transports.LongPoll`,
//! phoenix.js `longpoll.js`): a poll waits for messages, a post brings frames. Every
//! answer is HTTP 200; its status stands in the body.
//!
//! ```text
//! POST ──▶ Session.input ──▶ socket::run ──▶ Session.parcels ──▶ GET
//! ```
//!
//! The session's token is all that a request of an open session needs. It is random, and
//! worth nothing once the access session that opened it has ended.

use super::auth::random;
use super::http::Shared;
use super::outlet::{self, BYTES, Outgoing, Parcel, Sink};
use super::platform::Platform;
use super::socket::{self, End, Incoming, MAX_FRAME, Source};
use super::sockets::{base64, enter, query};
use crate::error::Error;
use crate::json;
use crate::wire::Failure;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Frames in one post; what is beyond is not read (phoenix.js `MAX_LONGPOLL_BATCH_SIZE`).
const LINES: usize = 100;
/// Messages in one answer.
const MESSAGES: usize = 1000;
/// Where a session's token stands, unless it stands in the query (Phoenix 1.8.10).
const TOKEN: &str = "x-phoenix-longpoll-token";
/// The content type of a post with one frame a line; exactly so, as in Phoenix.
const LINEWISE: &str = "application/x-ndjson";

/// `GET` and `POST /socket/longpoll`.
pub async fn handle(State(platform): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match parts.method {
        Method::GET => get(&platform, &parts).await,
        Method::POST => post(&platform, &parts, body).await,
        // Without a word on who may ask: no page of another origin.
        Method::OPTIONS => StatusCode::OK.into_response(),
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// What a poll or a post answers.
enum Answer {
    /// A poll found messages, or none (204), or its session gone (410).
    Poll(u16, String, Vec<String>),
    /// What became of a post.
    Post(u16),
    /// No session is opened.
    Refused(Error),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = match self {
            Answer::Poll(status, token, messages) => {
                let size =
                    messages.iter().map(|message| message.len() + message.len() / 8 + 4).sum::<usize>();
                let mut body = String::with_capacity(size + 128);
                body.push_str("{\"messages\":[");
                for (index, message) in messages.iter().enumerate() {
                    if index > 0 {
                        body.push(',');
                    }
                    json::push_string(&mut body, message);
                }
                body.push_str(&format!("],\"status\":{status},\"token\":"));
                json::push_string(&mut body, &token);
                body.push('}');
                body
            }
            Answer::Post(status) => format!("{{\"status\":{status}}}"),
            // Phoenix says the status alone; the error's members are for who reads them.
            Answer::Refused(error) => {
                let failure = miniserde::json::to_string(&Failure::from(&error));
                format!("{},\"status\":403}}", failure.trim_end_matches('}'))
            }
        };
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (StatusCode::OK, headers, body).into_response()
    }
}

async fn get(platform: &Arc<Platform>, parts: &Parts) -> Response {
    let token = token(&parts.uri, &parts.headers);
    let answer = match token.and_then(|token| Some((token, platform.sockets.find(token)?))) {
        None => None,
        Some((token, session)) => {
            session.poll(token, platform.sockets.trial.window, platform.stopping.clone()).await
        }
    };
    match answer {
        Some(answer) => answer.into_response(),
        // The session is gone, which opens another.
        None => open(platform, parts).await.into_response(),
    }
}

fn token<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(TOKEN).and_then(|value| value.to_str().ok());
    named.or_else(|| query(uri, "token"))
}

/// Opens a session.
async fn open(platform: &Arc<Platform>, parts: &Parts) -> Answer {
    let entered = enter(platform, &parts.uri, &parts.headers).await;
    let opened = entered.and_then(|entered| Ok((entered, random(24)?)));
    let ((who, place), secret) = match opened {
        Ok(opened) => opened,
        Err(error) => return Answer::Refused(error),
    };
    let token = format!("lp_{secret}");
    let (session, sink, mut posted) = Session::new();
    platform.sockets.keep(&token, who.user, Arc::clone(&session));
    let (platform, name) = (Arc::clone(platform), token.clone());
    let sockets = Arc::clone(&platform.sockets);
    sockets.spawn(async move {
        let patience = platform.sockets.trial.window * 3 / 2;
        socket::run(&platform, who, sink, &mut posted, session.abandoned(patience)).await;
        platform.sockets.forget(&name);
        drop(place);
    });
    Answer::Poll(410, token, Vec::new())
}

/// An open session.
pub struct Session {
    input: mpsc::Sender<Result<Incoming, End>>,
    /// Held by the post whose body is read.
    posting: Mutex<()>,
    /// Held by the poll that waits.
    parcels: Mutex<mpsc::Receiver<Parcel>>,
    /// The number of the newest poll.
    newest: watch::Sender<u64>,
    polls: watch::Sender<Polls>,
    /// Cancelled when the session must make room for another.
    gives_way: CancellationToken,
}

struct Polls {
    waiting: usize,
    /// When the last ended.
    since: Instant,
}

/// A poll that waits, for as long as it lives.
struct Polling<'a>(&'a Session);

impl<'a> Polling<'a> {
    fn begin(session: &'a Session) -> Polling<'a> {
        session.polls.send_modify(|polls| polls.waiting += 1);
        Polling(session)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.polls.send_modify(|polls| {
            polls.waiting -= 1;
            polls.since = Instant::now();
        });
    }
}

impl Session {
    fn new() -> (Arc<Session>, Sink, Posted) {
        let (input, inputs) = mpsc::channel(LINES);
        let (sink, parcels) = outlet::queue(false);
        let session = Session {
            input,
            posting: Mutex::new(()),
            parcels: Mutex::new(parcels),
            newest: watch::Sender::new(0),
            polls: watch::Sender::new(Polls { waiting: 0, since: Instant::now() }),
            gives_way: CancellationToken::new(),
        };
        (Arc::new(session), sink, Posted(inputs))
    }

    /// Since when nobody polls; none while somebody does.
    pub fn idle_since(&self) -> Option<Instant> {
        let polls = self.polls.borrow();
        (polls.waiting == 0).then_some(polls.since)
    }

    /// Ends the session.
    pub fn give_way(&self) {
        self.gives_way.cancel();
    }

    /// Waits until nobody has polled for `patience`, or the session must make room.
    async fn abandoned(&self, patience: Duration) {
        let mut polls = self.polls.subscribe();
        loop {
            let (waiting, since) = {
                let polls = polls.borrow_and_update();
                (polls.waiting, polls.since)
            };
            if waiting == 0 {
                tokio::select! {
                    () = sleep_until(since + patience) => return,
                    () = self.gives_way.cancelled() => return,
                    _ = polls.changed() => {}
                }
            } else {
                let _ = polls.changed().await;
            }
        }
    }

    /// The messages there are, once there are any; none when the session has ended.
    async fn poll(
        &self,
        token: &str,
        window: Duration,
        mut stopping: watch::Receiver<bool>,
    ) -> Option<Answer> {
        let _polling = Polling::begin(self);
        let deadline = Instant::now() + window;
        let mut messages = Vec::new();
        let (number, mut newest) = self.number();
        let overtaken = async {
            let _ = newest.wait_for(|newest| *newest != number).await;
        };
        let taken = tokio::select! {
            taken = timeout_at(deadline, self.take(&mut messages, &stopping)) => Some(taken == Ok(true)),
            () = overtaken => None,
        };
        let answer = |status, messages| Some(Answer::Poll(status, token.to_owned(), messages));
        match taken {
            _ if !messages.is_empty() => answer(200, messages),
            // Messages go to the newest poll. An earlier one waits on, so that two that do
            // not know of each other don't chase one another.
            None => {
                let _ = timeout_at(deadline, socket::stopped(&mut stopping)).await;
                answer(204, messages)
            }
            Some(false) => answer(204, messages),
            // The next server opens the next session.
            Some(true) if *stopping.borrow() => answer(410, messages),
            Some(true) => None,
        }
    }

    /// The number of a new poll, and that of the newest from then on.
    fn number(&self) -> (u64, watch::Receiver<u64>) {
        let newest = self.newest.subscribe();
        let mut number = 0;
        self.newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        (number, newest)
    }

    /// Takes what is in the queue, waiting for the first; true when the session has ended.
    async fn take(&self, messages: &mut Vec<String>, stopping: &watch::Receiver<bool>) -> bool {
        let mut parcels = self.parcels.lock().await;
        let mut size = 0;
        loop {
            // When the server stops no other poll will come for the rest.
            let wait = messages.is_empty() || *stopping.borrow();
            let parcel = match wait {
                true => parcels.recv().await.ok_or(true),
                false => parcels.try_recv().map_err(|_| false),
            };
            match parcel.map(|parcel| parcel.message) {
                Ok(Outgoing::Text(text)) => {
                    size += text.len();
                    messages.push(text);
                }
                // The queue was made for a transport that has none.
                Ok(Outgoing::Binary(_)) => {}
                Ok(Outgoing::Close(_)) => return true,
                Err(ended) => return ended,
            }
            if messages.len() >= MESSAGES || size >= BYTES as usize {
                return false;
            }
        }
    }
}

async fn post(platform: &Platform, parts: &Parts, body: Body) -> Response {
    let token = token(&parts.uri, &parts.headers);
    let Some(session) = token.and_then(|token| platform.sockets.find(token)) else {
        return Answer::Post(410).into_response();
    };
    let linewise = parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| value == LINEWISE);
    let posted = timeout(platform.sockets.trial.window, session.post(linewise, body)).await;
    match posted.unwrap_or(Ok(408)) {
        Ok(status) => Answer::Post(status).into_response(),
        Err(refused) => refused.into_response(),
    }
}

impl Session {
    /// Hands frames on. 200 says that they are on their way to the channels, no more.
    async fn post(&self, linewise: bool, body: Body) -> Result<u16, StatusCode> {
        let _alone = self.posting.lock().await;
        let Ok(body) = to_bytes(body, MAX_FRAME).await else { return Err(StatusCode::PAYLOAD_TOO_LARGE) };
        for frame in frames(&body, linewise) {
            let frame = frame.ok_or(End::Malformed);
            let malformed = frame.is_err();
            if self.input.send(frame).await.is_err() {
                return Ok(410);
            }
            if malformed {
                // What Phoenix says when the session dies of what is posted, save that it
                // takes the whole window to say so.
                return Ok(408);
            }
        }
        Ok(200)
    }
}

/// The frames of a post, none for one that can't be decoded: text, or a binary frame as
/// base64.
pub fn frames(body: &[u8], linewise: bool) -> impl Iterator<Item = Option<Incoming>> {
    let pieces = if linewise { LINES } else { 1 };
    let lines = body.split(move |byte| linewise && *byte == b'\n').take(pieces);
    lines.map(|line| match line.first() {
        Some(b'[') => Incoming::text(std::str::from_utf8(line).ok()?).ok(),
        Some(_) => Incoming::binary(&base64(line.strip_suffix(b"\r").unwrap_or(line))?).ok(),
        None => None,
    })
}

/// What was posted.
struct Posted(mpsc::Receiver<Result<Incoming, End>>);

impl Source for Posted {
    async fn next(&mut self) -> Result<Incoming, End> {
        self.0.recv().await.unwrap_or(Err(End::Gone))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WINDOW: Duration = Duration::from_millis(200);

    async fn poll(session: Arc<Session>, window: Duration) -> Option<Answer> {
        let (_stop, stopping) = watch::channel(false);
        session.poll("t", window, stopping).await
    }

    /// A poll that waits already.
    async fn waiting(session: &Arc<Session>, window: Duration) -> tokio::task::JoinHandle<Option<Answer>> {
        let before = session.polls.borrow().waiting;
        let waiting = tokio::spawn(poll(Arc::clone(session), window));
        let _ = session.polls.subscribe().wait_for(|polls| polls.waiting > before).await;
        waiting
    }

    fn found(answer: Option<Answer>) -> (u16, Vec<String>) {
        match answer.unwrap() {
            Answer::Poll(status, _, messages) => (status, messages),
            _ => panic!(),
        }
    }

    #[tokio::test]
    async fn of_two_polls_the_newer_gets_the_messages_and_the_older_waits_on() {
        let (session, sink, _posted) = Session::new();
        let started = Instant::now();
        let first = waiting(&session, WINDOW).await;
        let second = waiting(&session, Duration::from_secs(60)).await;
        assert!(sink.text("hi".to_owned()).await.is_ok());
        assert_eq!(found(second.await.unwrap()), (200, vec!["hi".to_owned()]));
        assert_eq!(found(first.await.unwrap()), (204, vec![]));
        assert!(started.elapsed() >= WINDOW);
    }

    #[tokio::test]
    async fn a_poll_takes_all_there_is_and_the_end_comes_after_it() {
        let (session, sink, _posted) = Session::new();
        for text in ["a", "b"] {
            assert!(sink.text(text.to_owned()).await.is_ok());
        }
        sink.close(None).await;
        drop(sink);
        let found = found(poll(Arc::clone(&session), WINDOW).await);
        assert_eq!(found, (200, vec!["a".to_owned(), "b".to_owned()]));
        assert!(poll(session, WINDOW).await.is_none());
    }

    #[tokio::test]
    async fn a_session_is_abandoned_once_nobody_polls() {
        let (session, _sink, _posted) = Session::new();
        let started = Instant::now();
        let poll = waiting(&session, WINDOW).await;
        session.abandoned(WINDOW).await;
        assert!(started.elapsed() >= WINDOW * 2);
        assert_eq!(found(poll.await.unwrap()), (204, vec![]));
    }

    #[test]
    fn a_post_is_cut_into_frames() {
        let beat = br#"[null,"1","phoenix","heartbeat",{}]"#;
        let count = |body: &[u8], linewise| {
            let frames: Vec<_> = frames(body, linewise).collect();
            (frames.len(), frames.iter().filter(|frame| frame.is_none()).count())
        };
        let two = [&beat[..], b"\n", &beat[..]].concat();
        assert_eq!(count(&two, true), (2, 0));
        assert_eq!(count(&two, false), (1, 1));
        assert_eq!(count(b"", true), (1, 1));
        assert_eq!(count(&[&two[..], b"\n"].concat(), true), (3, 1));
        assert_eq!(count(b"AAABAQFhYmM=\nAAABAQFhYmM", true), (2, 0));
        assert_eq!(count(b"AAABAQFhYmM=\r\n!", true), (2, 1));
        assert_eq!(count("[\n".repeat(500).as_bytes(), true), (100, 100));
    }
}

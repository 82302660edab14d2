//! The socket thread: it alone owns the WebSocket and [`Client`]. Everybody else talks
//! to it over bounded channels.
//!
//! ```text
//! Link, Subscription ──Command──▶ ┌───────────────┐ ⇄ Ws ⇄ network
//!                    ◀──Event──── │ socket thread │
//! ```
//!
//! The thread sleeps until the socket is ready, a command wakes it, or the client's
//! next deadline; it never spins. When the connection is lost it is made anew, with a
//! growing, jittered pause, as long as a subscription or a request needs it.

mod connector;
mod driver;

use super::dial::Route;
use super::url::Url;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::phx::client::ChannelId;
use crate::queue::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, either};
use crate::redact::Secret;
use crate::sys::thread::{USUAL, start};
use crate::sys::wait::Waiter;
use connector::Connector;
use driver::Driver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Commands on their way to the thread.
const COMMANDS: usize = 64;
/// Events on their way to one subscriber. The credit it grants is smaller, so only a
/// server that ignores credit can fill it; then the connection is given up.
const EVENTS: usize = 4096;
/// How long [`Link::close`] waits for what was sent last to go out.
const GOODBYE: Duration = Duration::from_secs(3);

/// What a connection needs.
pub struct Options {
    /// The server.
    pub url: Url,
    /// The way to it.
    pub route: Arc<Route>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Which transport to use.
    pub transport: Transport,
    /// Gives tokens.
    pub token: Token,
    /// Remembers which transport got through.
    pub memory: Memory,
}

/// A valid access token and when to ask for the next; asked before each connection, with
/// the one that was refused if there is one. May wait for the network.
pub type Token = Arc<dyn Fn(Option<&Secret>) -> Result<(Secret, Instant)> + Send + Sync>;

/// Whether long polling was needed the last time; told when that changes.
#[derive(Clone)]
pub struct Memory {
    /// It was.
    pub longpoll: bool,
    /// Keeps it.
    pub keep: Arc<dyn Fn(bool) + Send + Sync>,
}

/// How frames travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over a WebSocket, or where none gets through by long polling.
    Auto,
    /// Over a WebSocket.
    WebSocket,
    /// By long polling.
    LongPoll,
}

/// A handle on the socket thread.
pub struct Link {
    commands: Sender<Command>,
    waiter: Arc<Waiter>,
    timeout: Duration,
    url: Url,
    /// Why there is no connection at the moment; empty when there is one.
    trouble: Arc<Mutex<String>>,
    /// Closed when the thread has ended.
    end: Receiver<()>,
}

/// What happens on a subscription.
pub enum Event {
    /// The server sent this.
    Message {
        /// The event's name.
        event: String,
        /// Its payload, JSON.
        payload: String,
    },
    /// The server sent bytes.
    Binary {
        /// The event's name.
        event: String,
        /// The bytes.
        payload: Vec<u8>,
    },
    /// The connection is lost, and why; it is being made anew.
    Lost(String),
    /// The topic is joined again; the join's reply.
    Restored(String),
    /// The server closed the topic: its normal end.
    Closed,
    /// The topic could not be joined again, or nothing more can come.
    Refused(Error),
}

/// A joined topic. Dropping it leaves.
pub struct Subscription {
    channel: ChannelId,
    events: Option<Events>,
    commands: Sender<Command>,
    waiter: Arc<Waiter>,
}

/// An answer that is on its way.
pub struct Pending(Receiver<Result<String>>);

impl Pending {
    /// The answer, if it has come, or that none will.
    pub fn poll(&self) -> Option<Result<String>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ended())),
        }
    }
}

/// What comes on a subscription, for another thread than the one that sends.
pub struct Events(Receiver<Event>);

enum Command {
    Request {
        event: String,
        payload: String,
        /// How long the answer may take.
        limit: Duration,
        answer: Sender<Result<String>>,
    },
    Welcome {
        answer: Sender<Result<String>>,
    },
    Subscribe {
        topic: String,
        params: Box<dyn FnMut() -> String + Send>,
        answer: Sender<Joined>,
        events: Sender<Event>,
    },
    Push {
        channel: ChannelId,
        event: String,
        payload: String,
    },
    Bytes {
        channel: ChannelId,
        event: String,
        payload: Vec<u8>,
    },
    Leave {
        channel: ChannelId,
    },
    Stop,
}

type Joined = Result<(ChannelId, String)>;

impl Link {
    /// Connects, and says so or why not.
    pub fn open(options: Options) -> Result<Link> {
        let failed = |error: std::io::Error| Error::io("start", "the socket thread", &error);
        let waiter = Arc::new(Waiter::new().map_err(failed)?);
        let (commands, receiver) = bounded(COMMANDS);
        let (timeout, url) = (options.timeout, options.url.clone());
        let mut connector = Connector::new(options, Arc::clone(&waiter));
        let first = connector.connect()?;
        let trouble = Arc::default();
        let driver = Driver::new(connector, first, receiver, Arc::clone(&waiter), Arc::clone(&trouble));
        let (ended, end) = bounded(0);
        let work = move || {
            let _ended: Sender<()> = ended;
            driver.run();
        };
        start(USUAL, Box::new(work)).map_err(failed)?;
        Ok(Link { commands, waiter, timeout, url, trouble, end })
    }

    /// Asks on `control` without waiting for the answer.
    pub fn begin(&self, event: &str, payload: String) -> Result<Pending> {
        self.begin_within(self.timeout, event, payload)
    }

    fn begin_within(&self, limit: Duration, event: &str, payload: String) -> Result<Pending> {
        let (answer, wait) = bounded(1);
        self.command(Command::Request { event: event.to_owned(), payload, limit, answer })?;
        Ok(Pending(wait))
    }

    /// Asks on `control`: the response, or the server's error.
    pub fn request(&self, event: &str, payload: String) -> Result<String> {
        self.request_within(self.timeout, event, payload)
    }

    /// The same, of what takes its time: the answer may come within `limit`.
    pub fn request_within(&self, limit: Duration, event: &str, payload: String) -> Result<String> {
        self.wait(&self.begin_within(limit, event, payload)?.0, limit)
    }

    /// The server's reply to joining `control`.
    pub fn welcome(&self) -> Result<String> {
        let (answer, wait) = bounded(1);
        self.command(Command::Welcome { answer })?;
        self.wait(&wait, self.timeout)
    }

    /// Joins `topic`: the join's reply, and what comes after it. `params` is asked at each
    /// join. A refused join is the server's error.
    pub fn subscribe(
        &self,
        topic: &str,
        params: Box<dyn FnMut() -> String + Send>,
    ) -> Result<(String, Subscription)> {
        let (answer, wait) = bounded(1);
        let (sender, events) = bounded(EVENTS);
        self.command(Command::Subscribe { topic: topic.to_owned(), params, answer, events: sender })?;
        let (channel, reply) = self.wait(&wait, self.timeout)?;
        let (commands, waiter) = (self.commands.clone(), Arc::clone(&self.waiter));
        Ok((reply, Subscription { channel, events: Some(Events(events)), commands, waiter }))
    }

    /// Ends the connection in order.
    pub fn close(self) {
        if self.command(Command::Stop).is_ok() {
            // A thread that is just connecting is not waited for.
            let _ = self.end.recv_timeout(GOODBYE);
        }
    }

    fn command(&self, command: Command) -> Result<()> {
        self.commands.send_timeout(command, self.timeout).map_err(|_| ended())?;
        self.waiter.wake();
        Ok(())
    }

    /// The thread answers in time by itself, save when it is connecting anew.
    fn wait<T: 'static>(&self, answer: &Receiver<Result<T>>, limit: Duration) -> Result<T> {
        match answer.recv_timeout(limit + Duration::from_millis(500)) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                Err(match trouble.as_str() {
                    "" => super::dial::silent(&self.url, limit),
                    why => Error::new(Kind::Unreachable, format!("the connection to Max breaks: {why}"))
                        .hint(packed!("try again; what stands between may be in the way")),
                })
            }
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}

impl Events {
    /// Waits until there is an event, or something in another queue, or the time is over.
    pub fn wait_or<T>(&self, other: &Receiver<T>, timeout: Option<Duration>) -> bool {
        either(&self.0, other, timeout)
    }

    /// The next event, if there is one.
    pub fn poll(&self) -> Result<Option<Event>> {
        match self.0.try_recv() {
            Ok(event) => Ok(Some(event)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    /// The next event; none when `timeout` is over before it comes.
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let received = match timeout {
            None => self.0.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(timeout) => self.0.recv_timeout(timeout),
        };
        match received {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}

impl Subscription {
    /// The next event; none when `timeout` is over before it comes.
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Option<Event>> {
        self.events.as_ref().ok_or_else(ended)?.recv(timeout)
    }

    /// Waits until there is an event, or something in another queue, or the time is over.
    pub fn wait_or<T>(&self, other: &Receiver<T>, timeout: Option<Duration>) {
        if let Some(events) = &self.events {
            events.wait_or(other, timeout);
        }
    }

    /// What comes, to be received by another thread; once.
    pub fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// Sends `event`, which is not answered.
    pub fn push(&self, event: &str, payload: String) -> Result<()> {
        self.send(Command::Push { channel: self.channel, event: event.to_owned(), payload })
    }

    /// Sends bytes with `event`. They are lost when there is no connection.
    pub fn push_bytes(&self, event: &str, payload: Vec<u8>) -> Result<()> {
        self.send(Command::Bytes { channel: self.channel, event: event.to_owned(), payload })
    }

    fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| ended())?;
        self.waiter.wake();
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // When the thread is busy or gone, so is the reason to leave.
        let _ = self.commands.try_send(Command::Leave { channel: self.channel });
        self.waiter.wake();
    }
}

fn ended() -> Error {
    Error::new(Kind::Unreachable, packed!("the connection to Max has ended")).hint("try again")
}

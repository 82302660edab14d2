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

use super::url::Url;
use super::ws::{Received, Ws, connect};
use crate::error::{Error, Kind, Result};
use crate::phx::client::{Body, ChannelId, Client, Event as PhxEvent, PushId};
use crate::queue::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use crate::redact::Secret;
use crate::sys::wait::Waiter;
use crate::wire::{CONTROL, Failure};
use nanorand::{Rng, WyRand};
use rustls::ClientConfig;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Commands on their way to the thread.
const COMMANDS: usize = 64;
/// Events on their way to one subscriber. The credit it grants is smaller, so only a
/// server that ignores credit can fill it; then the connection is given up.
const EVENTS: usize = 4096;
/// How long to wait before connecting again (phoenix.js `reconnectAfterMs`), each with up
/// to half of it taken off at random.
const RECONNECT_AFTER: [u64; 9] = [20, 50, 100, 200, 400, 1000, 2000, 3000, 5000];

/// What a connection needs.
pub struct Options {
    /// The server.
    pub url: Url,
    /// The TLS configuration.
    pub tls: Arc<ClientConfig>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// A valid access token; asked before each connection.
    pub token: Box<dyn FnMut() -> Result<Secret> + Send>,
}

/// A handle on the socket thread.
pub struct Link {
    commands: Sender<Command>,
    waiter: Arc<Waiter>,
    timeout: Duration,
    url: Url,
    thread: Option<JoinHandle<()>>,
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
    events: Receiver<Event>,
    commands: Sender<Command>,
    waiter: Arc<Waiter>,
}

enum Command {
    Request {
        event: String,
        payload: String,
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
    Leave {
        channel: ChannelId,
    },
    Stop,
}

type Joined = Result<(ChannelId, String)>;

impl Link {
    /// Connects, and says so or why not.
    pub fn open(mut options: Options) -> Result<Link> {
        let token = (options.token)()?;
        let ws = connect(&options.url, &options.tls, &token, options.timeout)?;
        let failed = |error: std::io::Error| Error::io("start", "the socket thread", &error);
        let waiter = Arc::new(Waiter::new().map_err(failed)?);
        let (commands, receiver) = bounded(COMMANDS);
        let (timeout, url) = (options.timeout, options.url.clone());
        let driver = Driver::new(options, ws, receiver, Arc::clone(&waiter));
        let thread = std::thread::Builder::new().spawn(|| driver.run()).map_err(failed)?;
        Ok(Link { commands, waiter, timeout, url, thread: Some(thread) })
    }

    /// Asks on `control`: the response, or the server's error.
    pub fn request(&self, event: &str, payload: String) -> Result<String> {
        let (answer, wait) = bounded(1);
        self.command(Command::Request { event: event.to_owned(), payload, answer })?;
        self.wait(&wait)
    }

    /// The server's reply to joining `control`.
    pub fn welcome(&self) -> Result<String> {
        let (answer, wait) = bounded(1);
        self.command(Command::Welcome { answer })?;
        self.wait(&wait)
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
        let (channel, reply) = self.wait(&wait)?;
        let (commands, waiter) = (self.commands.clone(), Arc::clone(&self.waiter));
        Ok((reply, Subscription { channel, events, commands, waiter }))
    }

    /// Ends the connection in order.
    pub fn close(mut self) {
        let _ = self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn command(&self, command: Command) -> Result<()> {
        self.commands.send_timeout(command, self.timeout).map_err(|_| ended())?;
        self.waiter.wake();
        Ok(())
    }

    /// The thread answers in time by itself, save when it is connecting anew.
    fn wait<T: 'static>(&self, answer: &Receiver<Result<T>>) -> Result<T> {
        match answer.recv_timeout(self.timeout + Duration::from_millis(500)) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(super::dial::silent(&self.url, self.timeout)),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}

impl Subscription {
    /// The next event; none when `timeout` is over before it comes.
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let received = match timeout {
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(timeout) => self.events.recv_timeout(timeout),
        };
        match received {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    /// Sends `event`, which is not answered.
    pub fn push(&self, event: &str, payload: String) -> Result<()> {
        let command = Command::Push { channel: self.channel, event: event.to_owned(), payload };
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
    Error::new(Kind::Unreachable, "the connection to Max has ended").hint("try again")
}

struct Subscriber {
    channel: ChannelId,
    /// Taken by the first join's answer.
    answer: Option<Sender<Joined>>,
    events: Sender<Event>,
}

struct Request {
    push: PushId,
    event: String,
    answer: Sender<Result<String>>,
}

struct Driver {
    options: Options,
    client: Client,
    ws: Option<Ws>,
    commands: Receiver<Command>,
    waiter: Arc<Waiter>,
    control: ChannelId,
    welcome: Option<String>,
    welcomes: Vec<Sender<Result<String>>>,
    requests: Vec<Request>,
    subscribers: Vec<Subscriber>,
    failures: usize,
    retry_at: Option<Instant>,
    random: WyRand,
}

impl Driver {
    fn new(options: Options, ws: Ws, commands: Receiver<Command>, waiter: Arc<Waiter>) -> Driver {
        let mut client = Client::new(options.timeout);
        let now = Instant::now();
        client.handle_connected(now);
        let control = client.join(now, CONTROL, Box::new(|| "{}".to_owned()));
        Driver {
            options,
            client,
            ws: Some(ws),
            commands,
            waiter,
            control,
            welcome: None,
            welcomes: Vec::new(),
            requests: Vec::new(),
            subscribers: Vec::new(),
            failures: 0,
            retry_at: None,
            random: WyRand::new(),
        }
    }

    fn run(mut self) {
        loop {
            if !self.take_commands() {
                break;
            }
            self.receive();
            self.client.handle_timeout(Instant::now());
            self.settle();
            self.reconnect();
            self.transmit();
            if self.settle() || !self.commands.is_empty() {
                continue;
            }
            let write = self.ws.as_ref().is_some_and(Ws::wants_write);
            let socket = self.ws.as_ref().map(Ws::socket);
            let deadline = [self.client.poll_timeout(), self.retry_at].into_iter().flatten().min();
            if self.waiter.wait(socket, write, deadline).is_err() {
                break;
            }
        }
        if let Some(ws) = self.ws {
            ws.close();
        }
    }

    /// False when it is time to end.
    fn take_commands(&mut self) -> bool {
        // What can't be written yet must not be joined by more.
        while !self.ws.as_ref().is_some_and(Ws::wants_write) {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => break,
            }
            self.transmit();
        }
        true
    }

    fn take(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Request { event, payload, answer } => {
                let push = self.client.push(now, self.control, &event, payload, Some(self.options.timeout));
                self.requests.push(Request { push, event, answer });
            }
            Command::Welcome { answer } => match &self.welcome {
                Some(welcome) => drop(answer.send(Ok(welcome.clone()))),
                None => self.welcomes.push(answer),
            },
            Command::Subscribe { topic, params, answer, events } => {
                let channel = self.client.join(now, &topic, params);
                self.subscribers.push(Subscriber { channel, answer: Some(answer), events });
            }
            Command::Push { channel, event, payload } => {
                self.client.push(now, channel, &event, payload, None);
            }
            Command::Leave { channel } => {
                self.client.leave(channel);
                self.subscribers.retain(|subscriber| subscriber.channel != channel);
            }
            Command::Stop => {}
        }
    }

    fn receive(&mut self) {
        while let Some(ws) = &mut self.ws {
            let now = Instant::now();
            let handled = match ws.receive() {
                Received::Nothing => return,
                Received::Text(text) => self.client.handle_text(now, &text),
                Received::Binary(bytes) => self.client.handle_binary(now, &bytes),
                Received::Closed(reason) => return self.lost(&reason),
            };
            if handled.is_err() {
                return self.lost("the server sent something malformed");
            }
            self.settle();
        }
    }

    fn transmit(&mut self) {
        while let Some(ws) = &mut self.ws {
            let sent = match self.client.poll_transmit() {
                Some(frame) => ws.send(frame),
                None => {
                    if let Err(reason) = ws.flush() {
                        self.lost(&reason);
                    }
                    return;
                }
            };
            if let Err(reason) = sent {
                return self.lost(&reason);
            }
        }
    }

    /// Hands on what the client has to say; whether it said anything.
    fn settle(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.client.poll_event() {
            any = true;
            self.hand_on(event);
        }
        any
    }

    fn hand_on(&mut self, event: PhxEvent) {
        match event {
            PhxEvent::Joined(channel, body) => self.joined(channel, text(body)),
            PhxEvent::Refused(channel, body) => self.refused(channel, failure(text(body))),
            PhxEvent::Replied(push, ok, body) => self.reply(push, |_| match ok {
                true => Ok(text(body)),
                false => Err(failure(text(body))),
            }),
            PhxEvent::TimedOut(push) => {
                let error = super::dial::silent(&self.options.url, self.options.timeout);
                self.reply(push, |_| Err(error));
            }
            PhxEvent::Lost(push) => self.reply(push, |event| Err(unanswered(event))),
            PhxEvent::Message(channel, event, Body::Json(payload)) => {
                self.tell(channel, Event::Message { event, payload });
            }
            PhxEvent::Message(channel, event, Body::Binary(payload)) => {
                self.tell(channel, Event::Binary { event, payload });
            }
            PhxEvent::Crashed(channel) => {
                self.tell(channel, Event::Lost("the server lost its place".to_owned()));
            }
            PhxEvent::Closed(channel) => {
                self.tell(channel, Event::Closed);
                self.subscribers.retain(|subscriber| subscriber.channel != channel);
            }
            PhxEvent::Dead => self.lost("the server no longer answers"),
        }
    }

    fn joined(&mut self, channel: ChannelId, reply: String) {
        self.failures = 0;
        if channel == self.control {
            for answer in self.welcomes.drain(..) {
                let _ = answer.send(Ok(reply.clone()));
            }
            self.welcome = Some(reply);
            return;
        }
        let subscriber = self.subscribers.iter_mut().find(|subscriber| subscriber.channel == channel);
        match subscriber.and_then(|subscriber| subscriber.answer.take()) {
            Some(answer) => drop(answer.send(Ok((channel, reply)))),
            None => self.tell(channel, Event::Restored(reply)),
        }
    }

    fn refused(&mut self, channel: ChannelId, error: Error) {
        let subscriber = self.subscribers.iter_mut().find(|subscriber| subscriber.channel == channel);
        match subscriber.and_then(|subscriber| subscriber.answer.take()) {
            Some(answer) => drop(answer.send(Err(error))),
            None => self.tell(channel, Event::Refused(error)),
        }
        self.subscribers.retain(|subscriber| subscriber.channel != channel);
    }

    fn reply(&mut self, push: PushId, answer: impl FnOnce(&str) -> Result<String>) {
        if let Some(at) = self.requests.iter().position(|request| request.push == push) {
            let request = self.requests.swap_remove(at);
            // Whoever asked may have stopped waiting.
            let _ = request.answer.send(answer(&request.event));
        }
    }

    fn tell(&mut self, channel: ChannelId, event: Event) {
        let Some(subscriber) = self.subscribers.iter().find(|subscriber| subscriber.channel == channel)
        else {
            return;
        };
        match subscriber.events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => {
                self.client.leave(channel);
                self.subscribers.retain(|subscriber| subscriber.channel != channel);
            }
            Err(TrySendError::Full(_)) => {
                self.client.leave(channel);
                self.subscribers.retain(|subscriber| subscriber.channel != channel);
            }
        }
    }

    fn lost(&mut self, reason: &str) {
        self.ws = None;
        self.client.handle_disconnected(Instant::now());
        for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.answer.is_none()) {
            // A full queue already holds enough to say that something is wrong.
            let _ = subscriber.events.try_send(Event::Lost(reason.to_owned()));
        }
        self.postpone();
    }

    fn postpone(&mut self) {
        let [.., longest] = RECONNECT_AFTER;
        let pause = RECONNECT_AFTER.get(self.failures).copied().unwrap_or(longest);
        self.failures += 1;
        let jittered = pause - self.random.generate_range(0..=pause / 2);
        self.retry_at = Some(Instant::now() + Duration::from_millis(jittered));
    }

    /// Connects again when it is time and somebody needs it.
    fn reconnect(&mut self) {
        let needed = !(self.subscribers.is_empty() && self.requests.is_empty() && self.welcomes.is_empty());
        if self.ws.is_some() || !needed {
            self.retry_at = None;
            return;
        }
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let options = &mut self.options;
        let connected =
            (options.token)().and_then(|token| connect(&options.url, &options.tls, &token, options.timeout));
        match connected {
            Ok(ws) => {
                self.ws = Some(ws);
                self.retry_at = None;
                self.client.handle_connected(Instant::now());
            }
            // An answer: trying again would not change it.
            Err(error) if matches!(error.kind(), Kind::Unauthenticated | Kind::Forbidden | Kind::Usage) => {
                self.give_up(&error);
            }
            Err(_) => self.postpone(),
        }
    }

    fn give_up(&mut self, error: &Error) {
        let again = || {
            let copy = Error::new(error.kind(), error.message());
            match error.hint_text() {
                Some(hint) => copy.hint(hint),
                None => copy,
            }
        };
        for answer in self.welcomes.drain(..) {
            let _ = answer.send(Err(again()));
        }
        for request in self.requests.drain(..) {
            let _ = request.answer.send(Err(again()));
        }
        for subscriber in std::mem::take(&mut self.subscribers) {
            match subscriber.answer {
                Some(answer) => drop(answer.send(Err(again()))),
                None => drop(subscriber.events.try_send(Event::Refused(again()))),
            }
            self.client.leave(subscriber.channel);
        }
        self.retry_at = None;
    }
}

fn text(body: Body) -> String {
    match body {
        Body::Json(text) => text,
        Body::Binary(_) => "null".to_owned(),
    }
}

fn failure(response: String) -> Error {
    match miniserde::json::from_str::<Failure>(&response) {
        Ok(failure) => failure.into(),
        Err(_) => Error::new(Kind::Failed, "Max refused without saying why")
            .hint("rig and Max may be of different versions"),
    }
}

fn unanswered(event: &str) -> Error {
    Error::new(Kind::Unreachable, format!("the connection to Max was lost before '{event}' was answered"))
        .hint("it may have happened; look before you try again")
}

//! What the socket thread does: it hands commands to the [`Client`], frames to the
//! connection and events to whom they concern, and connects anew.

use super::connector::Connector;
use super::{Command, Event, Joined};
use crate::error::{Error, Kind, Result};
use crate::net::connection::{Connection, Received};
use crate::net::dial::silent;
use crate::packed::packed;
use crate::phx::client::{Body, ChannelId, Client, Event as PhxEvent, PushId};
use crate::queue::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use crate::sys::wait::Waiter;
use crate::wire::{CONTROL, Failure};
use nanorand::{Rng, WyRand};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait before connecting again (phoenix.js `reconnectAfterMs`), each with up
/// to half of it taken off at random.
const RECONNECT_AFTER: [u64; 9] = [20, 50, 100, 200, 400, 1000, 2000, 3000, 5000];

struct Subscriber {
    channel: ChannelId,
    /// Taken by the first join's answer.
    answer: Option<Sender<Joined>>,
    events: Sender<Event>,
}

/// A request, until it is answered. It carries a key, so that it may be sent again when
/// the connection broke before the answer: Max does it once.
struct Request {
    push: PushId,
    event: String,
    payload: String,
    deadline: Instant,
    /// The connection broke before the answer.
    lost: bool,
    answer: Sender<Result<String>>,
}

/// The thread's state.
pub struct Driver {
    connector: Connector,
    client: Client,
    connection: Option<Box<dyn Connection>>,
    commands: Receiver<Command>,
    waiter: Arc<Waiter>,
    control: ChannelId,
    welcome: Option<String>,
    welcomes: Vec<Sender<Result<String>>>,
    requests: Vec<Request>,
    subscribers: Vec<Subscriber>,
    /// Why no request can be made any more.
    refusal: Option<Error>,
    /// Why the connection was lost, until a channel is joined again.
    trouble: Arc<Mutex<String>>,
    failures: usize,
    retry_at: Option<Instant>,
    /// Until then something must have come, or the WebSocket is given up.
    trial: Option<Instant>,
    renewed: (Sender<Option<Instant>>, Receiver<Option<Instant>>),
    random: WyRand,
}

impl Driver {
    /// A driver on a connection that was just made.
    pub fn new(
        connector: Connector,
        first: Box<dyn Connection>,
        commands: Receiver<Command>,
        waiter: Arc<Waiter>,
        trouble: Arc<Mutex<String>>,
    ) -> Driver {
        let mut client = Client::new(connector.timeout());
        let now = Instant::now();
        client.handle_connected(now);
        let control = client.join(now, CONTROL, Box::new(|| "{}".to_owned()));
        Driver {
            trial: connector.probation().map(|probation| now + probation),
            connector,
            client,
            connection: Some(first),
            commands,
            waiter,
            control,
            welcome: None,
            welcomes: Vec::new(),
            requests: Vec::new(),
            subscribers: Vec::new(),
            refusal: None,
            trouble,
            failures: 0,
            retry_at: None,
            renewed: bounded(1),
            random: WyRand::new(),
        }
    }

    /// Works until it is told to stop.
    pub fn run(mut self) {
        loop {
            if !self.take_commands() {
                break;
            }
            self.receive();
            self.client.handle_timeout(Instant::now());
            self.settle();
            self.judge();
            self.renew();
            self.reconnect();
            self.transmit();
            // What can't be written yet is waited for, whatever else is to be done.
            if self.settle() || !(self.commands.is_empty() || self.stuck()) {
                continue;
            }
            let socket = self.connection.as_ref().and_then(|connection| connection.socket());
            let deadlines = [self.client.poll_timeout(), self.retry_at, self.trial, self.connector.renew_at];
            let deadline = deadlines.into_iter().flatten().min();
            if self.waiter.wait(socket, self.stuck(), deadline).is_err() {
                break;
            }
        }
        if let Some(connection) = self.connection {
            connection.close();
        }
    }

    /// False when it is time to end.
    fn take_commands(&mut self) -> bool {
        // What can't be written yet must not be joined by more.
        while !self.stuck() {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => break,
            }
            self.transmit();
        }
        true
    }

    fn stuck(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.wants_write())
    }

    fn take(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Request { answer, .. } | Command::Welcome { answer } if self.refusal.is_some() => {
                let refusal = self.refusal.as_ref().map_or_else(super::ended, Error::clone);
                let _ = answer.send(Err(refusal));
            }
            Command::Request { event, payload, limit, answer } => {
                let payload = self.keyed(payload);
                let push = self.client.push(now, self.control, &event, payload.clone(), Some(limit));
                self.requests.push(Request {
                    push,
                    event,
                    payload,
                    deadline: now + limit,
                    lost: false,
                    answer,
                });
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
            Command::Bytes { channel, event, payload } => {
                // Who sends bytes sends those again that were lost.
                let _ = self.client.push_binary(channel, &event, &payload);
            }
            Command::Leave { channel } => {
                self.client.leave(channel);
                self.subscribers.retain(|subscriber| subscriber.channel != channel);
            }
            Command::Stop => {}
        }
    }

    /// The payload with a key by which Max knows the request when it comes again.
    fn keyed(&mut self, payload: String) -> String {
        let Some(members) = payload.trim_start().strip_prefix('{') else { return payload };
        let mut keyed = String::from("{\"idempotency_key\":\"");
        for _ in 0..2 {
            push_hex(&mut keyed, self.random.generate());
        }
        keyed.push('"');
        if !members.trim_start().starts_with('}') {
            keyed.push(',');
        }
        keyed.push_str(members);
        keyed
    }

    fn receive(&mut self) {
        while let Some(connection) = &mut self.connection {
            let now = Instant::now();
            let handled = match connection.receive() {
                Received::Nothing => return,
                Received::Text(text) => self.client.handle_text(now, text.as_str()),
                Received::Binary(bytes) => self.client.handle_binary(now, &bytes),
                Received::Closed(reason) => return self.lost(&reason),
            };
            if handled.is_err() {
                return self.lost("the server sent something malformed");
            }
            if self.trial.take().is_some() {
                self.connector.proves();
            }
            self.settle();
        }
    }

    /// Gives up a WebSocket that carries nothing.
    fn judge(&mut self) {
        if self.trial.is_some_and(|end| end <= Instant::now()) {
            self.connector.give_up_websocket();
            self.lost("the WebSocket carries nothing");
            // Nobody's answer got lost, and the next way is tried at once.
            self.requests.iter_mut().for_each(|request| request.lost = false);
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.retry_at = None;
        }
    }

    /// Keeps the session alive while a stream goes on.
    fn renew(&mut self) {
        if let Ok(renew_at) = self.renewed.1.try_recv() {
            self.connector.renew_at = renew_at;
        }
        if self.connector.renew_at.is_some_and(|at| at <= Instant::now()) {
            self.connector.renew_at = None;
            let (told, waiter) = (self.renewed.0.clone(), Arc::clone(&self.waiter));
            self.connector.renew(move |renew_at| {
                let _ = told.try_send(renew_at);
                waiter.wake();
            });
        }
    }

    fn transmit(&mut self) {
        while let Some(connection) = &mut self.connection {
            let sent = match self.client.poll_transmit() {
                Some(frame) => connection.send(frame),
                None => {
                    if let Err(reason) = connection.flush() {
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
                let late = silent(self.connector.url(), self.connector.timeout());
                self.reply(push, |request| Err(if request.lost { unanswered(&request.event) } else { late }));
            }
            PhxEvent::Lost(push) => self.repeat(push),
            PhxEvent::Message(channel, event, Body::Json(payload)) => {
                self.tell(channel, Event::Message { event, payload });
            }
            PhxEvent::Message(channel, event, Body::Binary(payload)) => {
                self.tell(channel, Event::Binary { event, payload });
            }
            PhxEvent::Crashed(channel) => {
                self.tell(channel, Event::Lost("the server lost its place".to_owned()));
            }
            PhxEvent::Closed(channel) if channel == self.control => {
                let error =
                    Error::new(Kind::Unreachable, packed!("Max takes no more requests on this connection"));
                self.refused(channel, error.hint("try again"));
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
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
        if channel == self.control {
            // Asking again would not change it, and no request can be made without it.
            for answer in self.welcomes.drain(..) {
                let _ = answer.send(Err(error.clone()));
            }
            for request in self.requests.drain(..) {
                let _ = request.answer.send(Err(error.clone()));
            }
            self.refusal = Some(error);
            return;
        }
        let subscriber = self.subscribers.iter_mut().find(|subscriber| subscriber.channel == channel);
        match subscriber.and_then(|subscriber| subscriber.answer.take()) {
            Some(answer) => drop(answer.send(Err(error))),
            None => self.tell(channel, Event::Refused(error)),
        }
        self.subscribers.retain(|subscriber| subscriber.channel != channel);
    }

    fn reply(&mut self, push: PushId, answer: impl FnOnce(&Request) -> Result<String>) {
        if let Some(at) = self.requests.iter().position(|request| request.push == push) {
            let request = self.requests.swap_remove(at);
            // Whoever asked may have stopped waiting.
            let _ = request.answer.send(answer(&request));
        }
    }

    /// Sends a request again whose answer was lost, as long as somebody waits for it.
    fn repeat(&mut self, push: PushId) {
        let now = Instant::now();
        let Some(request) = self.requests.iter_mut().find(|request| request.push == push) else { return };
        let left = request.deadline.saturating_duration_since(now);
        if left.is_zero() {
            return self.reply(push, |request| Err(unanswered(&request.event)));
        }
        request.lost = true;
        request.push =
            self.client.push(now, self.control, &request.event, request.payload.clone(), Some(left));
    }

    fn tell(&mut self, channel: ChannelId, event: Event) {
        let Some(subscriber) = self.subscribers.iter().find(|subscriber| subscriber.channel == channel)
        else {
            return;
        };
        match subscriber.events.try_send(event) {
            Ok(()) => {}
            // Nobody listens any more, or the server ignores the credit it was given. The
            // subscriber sees the end of its events.
            Err(TrySendError::Disconnected(_) | TrySendError::Full(_)) => {
                self.client.leave(channel);
                self.subscribers.retain(|subscriber| subscriber.channel != channel);
            }
        }
    }

    fn lost(&mut self, reason: &str) {
        self.connection = None;
        self.trial = None;
        reason.clone_into(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
        self.requests.iter_mut().for_each(|request| request.lost = true);
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
        if self.connection.is_some() || !needed {
            self.retry_at = None;
            return;
        }
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        match self.connector.connect() {
            Ok(connection) => {
                let now = Instant::now();
                self.connection = Some(connection);
                self.retry_at = None;
                self.trial = self.connector.probation().map(|probation| now + probation);
                self.client.handle_connected(now);
            }
            // An answer: trying again would not change it.
            Err(error) if matches!(error.kind(), Kind::Unauthenticated | Kind::Forbidden | Kind::Usage) => {
                self.give_up(&error);
            }
            Err(_) => self.postpone(),
        }
    }

    fn give_up(&mut self, error: &Error) {
        let again = || error.clone();
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

fn push_hex(out: &mut String, number: u64) {
    for shift in (0..16).rev() {
        out.push(char::from_digit((number >> (4 * shift) & 15) as u32, 16).unwrap_or('0'));
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
        // Phoenix's own words for what no channel took.
        Err(_) if crate::json::member(&response, "reason") == Some("\"unmatched topic\"") => {
            Error::new(Kind::NotFound, packed!("this server has no such topic"))
        }
        Err(_) => Error::new(Kind::Failed, packed!("Max refused without saying why"))
            .hint(packed!("rig and Max may be of different versions")),
    }
}

fn unanswered(event: &str) -> Error {
    Error::new(Kind::Unreachable, format!("the connection to Max was lost before '{event}' was answered"))
        .hint(packed!("it may have happened; look before you try again"))
}

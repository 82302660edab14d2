//! What the socket thread does: it hands commands to the [`Client`], frames to the
//! connection and events to whom they concern, and connects anew.

use super::{Command, Event, Joined, Options};
use crate::error::{Error, Kind, Result};
use crate::net::dial::silent;
use crate::net::ws::{Received, Ws, connect};
use crate::phx::client::{Body, ChannelId, Client, Event as PhxEvent, PushId};
use crate::sys::wait::Waiter;
use crate::wire::{CONTROL, Failure};
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use nanorand::{Rng, WyRand};
use std::sync::Arc;
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

struct Request {
    push: PushId,
    event: String,
    answer: Sender<Result<String>>,
}

/// The thread's state.
pub struct Driver {
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
    /// A driver on a connection that was just made.
    pub fn new(options: Options, ws: Ws, commands: Receiver<Command>, waiter: Arc<Waiter>) -> Driver {
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

    /// Works until it is told to stop.
    pub fn run(mut self) {
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
                let error = silent(&self.options.url, self.options.timeout);
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

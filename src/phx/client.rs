//! rig's half of a connection: channels, pushes, replies, heartbeats and their time
//! limits (phoenix.js `socket.js`, `channel.js`, `push.js`).
//!
//! Sans-IO: instants and frames go in, frames, a deadline and events come out. No
//! clock, socket, thread or randomness. The driver calls `handle_*`, `join`, `push` or
//! `leave`, then drains [`Client::poll_transmit`] and [`Client::poll_event`], and comes
//! back at [`Client::poll_timeout`].
//!
//! ```text
//!            join                reply ok
//! (nothing) ──────▶ Waiting ──▶ Joining ──────▶ Joined ──phx_error──▶ Waiting
//!                      ▲           │  reply error: Refused, gone        (rejoin later)
//!                      └───────────┘  timeout: leave, wait, rejoin
//! ```

use super::frame::{
    Binary, CLOSE, ERROR, Frame, HEARTBEAT, HEARTBEAT_TOPIC, JOIN, LEAVE, Malformed, Payload, REPLY, Ref,
    Side, encode_binary, encode_text,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between two heartbeats; one that is not answered when the next is due ends the
/// connection (phoenix.js `heartbeatIntervalMs`).
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
/// How long to wait before the first, second, … rejoin (phoenix.js `rejoinAfterMs`).
const REJOIN_AFTER: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];
/// How many pushes may wait for one channel's join.
const MAX_WAITING: usize = 64;

/// A channel, for as long as the client lives. Not used again.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct ChannelId(u64);

/// A push that is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct PushId(u64);

/// A frame to send.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Transmit {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
}

/// A payload that was received.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Body {
    /// JSON.
    Json(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// What happened.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Event {
    /// The channel is joined, for the first time or again; the reply's response.
    Joined(ChannelId, Body),
    /// The server refused the join, which is an answer: the channel is gone.
    Refused(ChannelId, Body),
    /// A push was answered with `ok` (true) or another status.
    Replied(PushId, bool, Body),
    /// No answer in time.
    TimedOut(PushId),
    /// The connection or the channel broke before the answer: it may have happened.
    Lost(PushId),
    /// The server pushed this event.
    Message(ChannelId, String, Body),
    /// The channel crashed on the server and is joined again after a pause.
    Crashed(ChannelId),
    /// The server closed the channel in order; it is gone.
    Closed(ChannelId),
    /// A heartbeat was not answered: the connection is dead.
    Dead,
}

/// Asked at each join, since a rejoin names the cursor reached.
pub type Params = Box<dyn FnMut() -> String + Send>;

enum State {
    /// Not joined; to be joined at this instant once there is a connection.
    Waiting(Instant),
    /// The join was sent; no answer by then is a failure.
    Joining(Instant),
    Joined,
}

struct Channel {
    id: ChannelId,
    topic: String,
    params: Params,
    state: State,
    /// The reference of the newest join, which all its messages carry.
    join_ref: Ref,
    /// Joins that failed since the last that did not.
    failures: usize,
}

struct Push {
    id: PushId,
    channel: ChannelId,
    event: String,
    payload: String,
    deadline: Option<Instant>,
    /// Its reference once it is sent; before that it waits for the join.
    reference: Option<Ref>,
}

/// The state of one connection after another to one server.
pub struct Client {
    timeout: Duration,
    connected: bool,
    heartbeat: Option<(Instant, Option<Ref>)>,
    channels: Vec<Channel>,
    pushes: Vec<Push>,
    counter: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Client {
    /// A client without a connection. `timeout` limits joins.
    pub fn new(timeout: Duration) -> Client {
        Client {
            timeout,
            connected: false,
            heartbeat: None,
            channels: Vec::new(),
            pushes: Vec::new(),
            counter: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Joins `topic` as soon as there is a connection.
    pub fn join(&mut self, now: Instant, topic: &str, params: Params) -> ChannelId {
        let id = ChannelId(self.count());
        let join_ref = Ref::number(0);
        let state = State::Waiting(now);
        self.channels.push(Channel { id, topic: topic.to_owned(), params, state, join_ref, failures: 0 });
        self.join_due(now);
        id
    }

    /// Sends `event` on a channel, once it is joined. With a `timeout` its answer comes as
    /// an event; without one nobody waits for it.
    pub fn push(
        &mut self,
        now: Instant,
        channel: ChannelId,
        event: &str,
        payload: String,
        timeout: Option<Duration>,
    ) -> PushId {
        let id = PushId(self.count());
        let waiting =
            self.pushes.iter().filter(|push| push.channel == channel && push.reference.is_none()).count();
        if waiting >= MAX_WAITING || !self.channels.iter().any(|known| known.id == channel) {
            self.events.push_back(Event::Lost(id));
            return id;
        }
        let deadline = timeout.map(|timeout| now + timeout);
        self.pushes.push(Push { id, channel, event: event.to_owned(), payload, deadline, reference: None });
        self.send_waiting(channel);
        id
    }

    /// Leaves a channel; nothing more comes from it.
    pub fn leave(&mut self, channel: ChannelId) {
        let Some(left) = self.remove(channel) else { return };
        if self.connected && !matches!(left.state, State::Waiting(_)) {
            self.send_leave(&left.join_ref, &left.topic);
        }
    }

    /// There is a connection: joins what is to be joined.
    pub fn handle_connected(&mut self, now: Instant) {
        self.connected = true;
        self.heartbeat = Some((now + HEARTBEAT_EVERY, None));
        for channel in &mut self.channels {
            channel.state = State::Waiting(now);
        }
        self.join_due(now);
    }

    /// The connection is gone. What was sent and not answered is lost; what waits goes on
    /// waiting.
    pub fn handle_disconnected(&mut self, now: Instant) {
        self.connected = false;
        self.heartbeat = None;
        self.transmits.clear();
        for channel in &mut self.channels {
            channel.state = State::Waiting(now);
        }
        self.lose(|push| push.reference.is_some());
    }

    /// A text frame arrived.
    pub fn handle_text(&mut self, now: Instant, text: &str) -> Result<(), Malformed> {
        self.handle_frame(now, &Frame::cut_text(text)?)
    }

    /// A binary frame arrived.
    pub fn handle_binary(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Malformed> {
        self.handle_frame(now, &Frame::decode_binary(bytes, Side::Client)?)
    }

    /// It is `now`: sends what is due and gives up what is late.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.beat(now);
        let due = |push: &Push| push.deadline.is_some_and(|deadline| deadline <= now);
        for push in self.pushes.iter().filter(|push| due(push)) {
            self.events.push_back(Event::TimedOut(push.id));
        }
        self.pushes.retain(|push| !due(push));
        let mut late = Vec::new();
        for channel in &mut self.channels {
            if matches!(channel.state, State::Joining(deadline) if deadline <= now) {
                late.push((channel.join_ref.clone(), channel.topic.clone()));
                channel.state = State::Waiting(now + pause(&mut channel.failures));
            }
        }
        // The server may have joined it after all (phoenix.js `channel.js`, joinPush "timeout").
        for (join_ref, topic) in late {
            self.send_leave(&join_ref, &topic);
        }
        self.join_due(now);
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Client::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let channels = self.channels.iter().filter_map(|channel| match channel.state {
            State::Waiting(at) => self.connected.then_some(at),
            State::Joining(at) => Some(at),
            State::Joined => None,
        });
        let pushes = self.pushes.iter().filter_map(|push| push.deadline);
        channels.chain(pushes).chain(self.heartbeat.as_ref().map(|(at, _)| *at)).min()
    }

    fn handle_frame(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Malformed> {
        if frame.topic == HEARTBEAT_TOPIC {
            if let Some((_, waiting)) = &mut self.heartbeat
                && waiting.is_some()
                && *waiting == frame.reference
            {
                *waiting = None;
            }
            return Ok(());
        }
        if frame.event == REPLY {
            return self.handle_reply(now, frame);
        }
        // A broadcast carries no join_ref; a message of an earlier join is dropped
        // (phoenix.js `isMember`), as is that of a join that was given up: its `phx_close`
        // answers the leave.
        let member = |channel: &&mut Channel| {
            channel.topic == frame.topic
                && match &frame.join_ref {
                    Some(join_ref) => {
                        *join_ref == channel.join_ref && !matches!(channel.state, State::Waiting(_))
                    }
                    None => matches!(channel.state, State::Joined),
                }
        };
        let Some(channel) = self.channels.iter_mut().find(member) else { return Ok(()) };
        let id = channel.id;
        match frame.event.as_ref() {
            CLOSE => {
                self.remove(id);
                self.events.push_back(Event::Closed(id));
            }
            ERROR => {
                channel.state = State::Waiting(now + pause(&mut channel.failures));
                self.events.push_back(Event::Crashed(id));
                self.lose(|push| push.channel == id && push.reference.is_some());
            }
            event => self.events.push_back(Event::Message(id, event.to_owned(), body(frame.payload))),
        }
        Ok(())
    }

    fn handle_reply(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Malformed> {
        let reply = frame.reply().ok_or(Malformed)?;
        let Some(reference) = &frame.reference else { return Ok(()) };
        let (ok, response) = (reply.status == "ok", body(reply.response));
        let joining = |channel: &&mut Channel| {
            matches!(channel.state, State::Joining(_))
                && channel.join_ref == *reference
                && channel.topic == frame.topic
        };
        if let Some(channel) = self.channels.iter_mut().find(joining) {
            let id = channel.id;
            if ok {
                channel.state = State::Joined;
                channel.failures = 0;
                self.events.push_back(Event::Joined(id, response));
                self.send_waiting(id);
            } else {
                self.remove(id);
                self.events.push_back(Event::Refused(id, response));
            }
            return Ok(());
        }
        let Some(at) = self.pushes.iter().position(|push| push.reference.as_ref() == Some(reference)) else {
            return Ok(());
        };
        let push = self.pushes.remove(at);
        // An answer without a join_ref reached no channel: the server forgot this one.
        let forgotten = frame.join_ref.is_none() && !ok;
        if forgotten
            && let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == push.channel)
        {
            channel.state = State::Waiting(now + pause(&mut channel.failures));
            self.events.push_back(Event::Crashed(push.channel));
            self.events.push_back(Event::Lost(push.id));
            return Ok(());
        }
        self.events.push_back(Event::Replied(push.id, ok, response));
        Ok(())
    }

    fn beat(&mut self, now: Instant) {
        let Some((at, waiting)) = &self.heartbeat else { return };
        if *at > now {
            return;
        }
        if waiting.is_some() {
            self.heartbeat = None;
            self.events.push_back(Event::Dead);
            return;
        }
        let reference = Ref::number(self.count());
        let frame = encode_text(None, Some(&reference), HEARTBEAT_TOPIC, HEARTBEAT, "{}");
        self.transmits.push_back(Transmit::Text(frame));
        self.heartbeat = Some((now + HEARTBEAT_EVERY, Some(reference)));
    }

    fn join_due(&mut self, now: Instant) {
        if !self.connected {
            return;
        }
        for channel in &mut self.channels {
            if !matches!(channel.state, State::Waiting(at) if at <= now) {
                continue;
            }
            self.counter += 1;
            channel.join_ref = Ref::number(self.counter);
            channel.state = State::Joining(now + self.timeout);
            let (join_ref, params) = (&channel.join_ref, (channel.params)());
            let frame = encode_text(Some(join_ref), Some(join_ref), &channel.topic, JOIN, &params);
            self.transmits.push_back(Transmit::Text(frame));
        }
    }

    /// Sends what waited for `channel` to be joined.
    fn send_waiting(&mut self, channel: ChannelId) {
        let Some(channel) = self.channels.iter().find(|known| known.id == channel) else { return };
        if !matches!(channel.state, State::Joined) {
            return;
        }
        for push in
            self.pushes.iter_mut().filter(|push| push.channel == channel.id && push.reference.is_none())
        {
            self.counter += 1;
            let reference = Ref::number(self.counter);
            let frame = encode_text(
                Some(&channel.join_ref),
                Some(&reference),
                &channel.topic,
                &push.event,
                &push.payload,
            );
            self.transmits.push_back(Transmit::Text(frame));
            push.reference = Some(reference);
        }
        self.pushes.retain(|push| push.deadline.is_some() || push.reference.is_none());
    }

    fn send_leave(&mut self, join_ref: &Ref, topic: &str) {
        let reference = Ref::number(self.count());
        self.transmits.push_back(Transmit::Text(encode_text(
            Some(join_ref),
            Some(&reference),
            topic,
            LEAVE,
            "{}",
        )));
    }

    /// Sends bytes on a joined channel; none when it isn't joined or the names are too long.
    pub fn push_binary(&mut self, channel: ChannelId, event: &str, bytes: &[u8]) -> Option<()> {
        let reference = Ref::number(self.count());
        let channel = self.channels.iter().find(|known| known.id == channel)?;
        if !matches!(channel.state, State::Joined) {
            return None;
        }
        let kind = Binary::ClientPush { join_ref: &channel.join_ref, reference: &reference, event };
        let frame = encode_binary(kind, &channel.topic, bytes).ok()?;
        self.transmits.push_back(Transmit::Binary(frame));
        Some(())
    }

    fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let at = self.channels.iter().position(|channel| channel.id == id)?;
        self.lose(|push| push.channel == id);
        Some(self.channels.remove(at))
    }

    fn lose(&mut self, lost: impl Fn(&Push) -> bool) {
        for push in self.pushes.iter().filter(|push| lost(push) && push.deadline.is_some()) {
            self.events.push_back(Event::Lost(push.id));
        }
        self.pushes.retain(|push| !lost(push));
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

fn pause(failures: &mut usize) -> Duration {
    let [.., longest] = REJOIN_AFTER;
    let pause = REJOIN_AFTER.get(*failures).copied().unwrap_or(longest);
    *failures += 1;
    pause
}

fn body(payload: Payload<'_>) -> Body {
    match payload {
        Payload::Json(text) => Body::Json(text.to_owned()),
        Payload::Binary(bytes) => Body::Binary(bytes.to_vec()),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

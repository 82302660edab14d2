//! Makes connections: with a token that is valid, over the transport that gets through.

use super::{Options, Transport};
use crate::error::{Error, Kind, Result};
use crate::net::connection::Connection;
use crate::net::dial::{dial, lost};
use crate::net::http::Http;
use crate::net::url::Url;
use crate::net::{longpoll, ws};
use crate::redact::Secret;
use crate::sys::thread::{USUAL, start};
use crate::sys::wait::Waiter;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server lets a poll wait, and a little more (Phoenix `window_ms`).
const WINDOW: Duration = Duration::from_secs(15);

/// Makes one connection after another to one server.
pub struct Connector {
    options: Options,
    waiter: Arc<Waiter>,
    longpoll: bool,
    /// A WebSocket has carried something.
    proven: bool,
    /// When the token of the last connection is to be renewed.
    pub renew_at: Option<Instant>,
}

impl Connector {
    /// No connection is made yet.
    pub fn new(options: Options, waiter: Arc<Waiter>) -> Connector {
        let longpoll = match options.transport {
            Transport::Auto => options.memory.longpoll,
            fixed => fixed == Transport::LongPoll,
        };
        Connector { options, waiter, longpoll, proven: false, renew_at: None }
    }

    /// The server.
    pub fn url(&self) -> &Url {
        &self.options.url
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// Connects and authenticates, within the time an answer may take.
    pub fn connect(&mut self) -> Result<Box<dyn Connection>> {
        let (token, renew_at) = (self.options.token)(None)?;
        self.renew_at = Some(renew_at);
        match self.get_through(&token) {
            Err(error) if error.kind() == Kind::Unauthenticated => {
                let (token, renew_at) = (self.options.token)(Some(&token))?;
                self.renew_at = Some(renew_at);
                self.get_through(&token)
            }
            connected => connected,
        }
    }

    /// Asks for the next token, on a thread of its own: a stream goes on meanwhile.
    /// `then` hears when to ask again.
    pub fn renew(&self, then: impl FnOnce(Option<Instant>) + Send + 'static) {
        let token = Arc::clone(&self.options.token);
        // Without a thread it is renewed when the next connection needs it.
        let work = move || then(token(None).ok().map(|(_, renew_at)| renew_at));
        let _ = start(USUAL, Box::new(work));
    }

    /// The connection has carried a frame.
    pub fn proves(&mut self) {
        self.proven = true;
    }

    /// How long a WebSocket that was just opened may carry nothing before long polling is
    /// tried: some proxies let the upgrade through and nothing after it.
    pub fn probation(&self) -> Option<Duration> {
        let on_trial = self.options.transport == Transport::Auto && !self.longpoll && !self.proven;
        on_trial.then_some(self.options.timeout / 2)
    }

    /// The probation is over: from now on by long polling.
    pub fn give_up_websocket(&mut self) {
        self.longpoll = true;
        (self.options.memory.keep)(true);
    }

    fn get_through(&mut self, token: &Secret) -> Result<Box<dyn Connection>> {
        let (error, why) = match self.open(self.longpoll, token) {
            Ok(connection) => return Ok(connection),
            Err((error, Why::Other)) => return Err(error),
            Err((error, _)) if self.options.transport != Transport::Auto => return Err(error),
            Err(failed) => failed,
        };
        match self.open(!self.longpoll, token) {
            // A connection may break at any time; that says nothing about the next.
            Ok(connection) if why == Why::Broke => Ok(connection),
            Ok(connection) => {
                self.longpoll = !self.longpoll;
                (self.options.memory.keep)(self.longpoll);
                Ok(connection)
            }
            Err(_) => Err(error),
        }
    }

    fn open(&self, by_longpoll: bool, token: &Secret) -> Result<Box<dyn Connection>, (Error, Why)> {
        let Options { url, route, timeout, transport, .. } = &self.options;
        if by_longpoll {
            let http = Arc::new(Http::new(url.clone(), Arc::clone(route), *timeout));
            let polls = Http::new(url.clone(), Arc::clone(route), *timeout + WINDOW);
            let opened = longpoll::open(http, polls, token, Arc::clone(&self.waiter));
            return opened.map(|opened| Box::new(opened) as Box<dyn Connection>).map_err(judged);
        }
        let stream = dial(url, route, *timeout).map_err(|error| (error, Why::Other))?;
        // Enough time must be left to try the other way.
        let patience = if *transport == Transport::Auto { *timeout / 2 } else { *timeout };
        let broke = |error: &io::Error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                (lost(url, *timeout, error), Why::Transport)
            }
            _ => (lost(url, *timeout, error), Why::Broke),
        };
        match ws::upgrade(stream, url, token, patience) {
            Ok(Ok(opened)) => Ok(Box::new(opened)),
            Ok(Err(refused)) => Err(judged(refused)),
            Err(error) => Err(broke(&error)),
        }
    }
}

/// Why a connection could not be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It broke.
    Broke,
    /// Something between rig and Max let it not through.
    Transport,
    /// The other transport would do no better.
    Other,
}

/// What is refused is refused by something in between, unless Max says that it would refuse
/// it either way. That a request is no upgrade it says where a proxy stripped that.
fn judged(error: Error) -> (Error, Why) {
    let max = matches!(error.kind(), Kind::Unauthenticated | Kind::Forbidden | Kind::TooLarge);
    (error, if max { Why::Other } else { Why::Transport })
}

//! Makes connections: with a token that is valid, over the transport that gets through.

use super::{Options, Transport};
use crate::error::{Kind, Result};
use crate::net::connection::Connection;
use crate::net::dial::dial;
use crate::net::http::Http;
use crate::net::url::Url;
use crate::net::{longpoll, ws};
use crate::redact::Secret;
use crate::sys::wait::Waiter;
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
        let _ =
            std::thread::Builder::new().spawn(move || then(token(None).ok().map(|(_, renew_at)| renew_at)));
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
        let error = match self.open(self.longpoll, token) {
            Ok(connection) => return Ok(connection),
            Err(Failed { error, by_transport: true }) if self.options.transport == Transport::Auto => error,
            Err(failed) => return Err(failed.error),
        };
        match self.open(!self.longpoll, token) {
            Ok(connection) => {
                self.longpoll = !self.longpoll;
                (self.options.memory.keep)(self.longpoll);
                Ok(connection)
            }
            Err(_) => Err(error),
        }
    }

    fn open(&self, by_longpoll: bool, token: &Secret) -> Result<Box<dyn Connection>, Failed> {
        let Options { url, tls, timeout, transport, .. } = &self.options;
        if by_longpoll {
            let http = Arc::new(Http::new(url.clone(), Arc::clone(tls), *timeout));
            let polls = Http::new(url.clone(), Arc::clone(tls), *timeout + WINDOW);
            let opened = longpoll::open(http, polls, token, Arc::clone(&self.waiter));
            return opened.map(|opened| Box::new(opened) as Box<dyn Connection>).map_err(Failed::transport);
        }
        let stream = dial(url, tls, *timeout).map_err(|error| Failed { error, by_transport: false })?;
        // Enough time must be left to try the other way.
        let patience = if *transport == Transport::Auto { *timeout / 2 } else { *timeout };
        let upgraded = stream.limit(patience).map_err(|error| crate::net::dial::lost(url, *timeout, &error));
        upgraded
            .and_then(|()| ws::upgrade(stream, url, token, *timeout))
            .map(|opened| Box::new(opened) as Box<dyn Connection>)
            .map_err(Failed::transport)
    }
}

struct Failed {
    error: crate::error::Error,
    /// The other transport may do better.
    by_transport: bool,
}

impl Failed {
    /// Something between rig and Max is in the way, unless it was Max that answered.
    fn transport(error: crate::error::Error) -> Failed {
        let answered =
            matches!(error.kind(), Kind::Unauthenticated | Kind::Forbidden | Kind::Usage | Kind::TooLarge);
        Failed { error, by_transport: !answered }
    }
}

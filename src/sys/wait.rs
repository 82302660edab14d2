//! Sleeping until a socket is ready, somebody wakes us, or a deadline is reached
//! (`polling`: epoll, kqueue or IOCP).

use polling::{Event, Events, Poller};
use std::io;
use std::net::TcpStream;
use std::time::Instant;

/// The key of the one socket that is watched.
const SOCKET: usize = 0;

/// A place to sleep. Any thread may [`Waiter::wake`] the one that sleeps.
pub struct Waiter(Poller);

impl Waiter {
    /// A new place.
    pub fn new() -> io::Result<Waiter> {
        Ok(Waiter(Poller::new()?))
    }

    /// Sleeps until `socket` can be read (and, with `write`, written), [`Waiter::wake`] was
    /// called, or it is `deadline`.
    pub fn wait(&self, socket: Option<&TcpStream>, write: bool, deadline: Option<Instant>) -> io::Result<()> {
        if let Some(socket) = socket {
            let interest = Event::new(SOCKET, true, write);
            // SAFETY: the socket outlives this call, at whose end it is deleted again.
            unsafe { self.0.add(socket, interest)? };
        }
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let waited = self.0.wait(&mut Events::new(), timeout);
        if let Some(socket) = socket {
            self.0.delete(socket)?;
        }
        match waited {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Wakes the sleeper, or keeps the next sleep from beginning.
    pub fn wake(&self) {
        // It can only fail when the poller is broken, which the sleeper finds out too.
        let _ = self.0.notify();
    }
}

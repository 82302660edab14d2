//! Sleeping in `poll(2)` until a socket is ready, somebody wakes us, or a deadline is
//! reached.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A place to sleep, for one thread. Any thread may [`Waiter::wake`] it.
pub struct Waiter {
    /// Readable while somebody wants it awake.
    bell: UnixStream,
    rope: UnixStream,
    /// The bell rings: another pull would change nothing.
    rings: AtomicBool,
}

impl Waiter {
    /// A new place.
    pub fn new() -> io::Result<Waiter> {
        let (rope, bell) = UnixStream::pair()?;
        rope.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        Ok(Waiter { bell, rope, rings: AtomicBool::new(false) })
    }

    /// Sleeps until `socket` can be read (and, with `write`, written), [`Waiter::wake`] was
    /// called, or it is `deadline`.
    pub fn wait(&self, socket: Option<&TcpStream>, write: bool, deadline: Option<Instant>) -> io::Result<()> {
        let mut watched = [watch(self.bell.as_raw_fd(), libc::POLLIN), watch(-1, 0)];
        if let (Some(socket), [_, slot]) = (socket, &mut watched) {
            *slot = watch(socket.as_raw_fd(), libc::POLLIN | if write { libc::POLLOUT } else { 0 });
        }
        poll(&mut watched, deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())))?;
        if watched.first().is_some_and(|bell| bell.revents != 0) {
            // Last, or what was rung in between would be read with the rest and the bell
            // stay silent for good. Who comes before that needs no bell: the sleeper looks
            // at what there is to do when it has woken.
            let _ = (&self.bell).read(&mut [0; 16]);
            self.rings.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Wakes the sleeper, or keeps the next sleep from beginning.
    pub fn wake(&self) {
        if !self.rings.swap(true, Ordering::SeqCst) {
            // There is always room for one byte.
            let _ = (&self.rope).write(&[1]);
        }
    }
}

/// An entry for [`poll`]; a negative descriptor is passed over.
pub(super) fn watch(descriptor: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: descriptor, events, revents: 0 }
}

/// Waits until something watched is ready or the time is over. A signal ends it too.
pub(super) fn poll(watched: &mut [libc::pollfd], limit: Option<Duration>) -> io::Result<()> {
    let millis =
        limit.map_or(-1, |limit| i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    // SAFETY: the pointer and the length are those of `watched`.
    let count = unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, millis) };
    match io::Error::last_os_error() {
        error if count < 0 && error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

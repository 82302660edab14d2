//! Sleeping in `WSAPoll` until a socket is ready, somebody wakes us, or a deadline is
//! reached.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::windows::io::AsRawSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use windows_sys::Win32::Networking::WinSock::{
    POLLRDNORM, POLLWRNORM, SOCKET, SOCKET_ERROR, WSAPOLLFD, WSAPoll,
};

/// A place to sleep, for one thread. Any thread may [`Waiter::wake`] it.
pub struct Waiter {
    /// Readable while somebody wants it awake.
    bell: TcpStream,
    rope: TcpStream,
    /// The bell rings: another pull would change nothing.
    rings: AtomicBool,
}

impl Waiter {
    /// A new place.
    pub fn new() -> io::Result<Waiter> {
        let (rope, bell) = pair()?;
        rope.set_nodelay(true)?;
        bell.set_nonblocking(true)?;
        Ok(Waiter { bell, rope, rings: AtomicBool::new(false) })
    }

    /// Sleeps until `socket` can be read (and, with `write`, written), [`Waiter::wake`] was
    /// called, or it is `deadline`.
    pub fn wait(&self, socket: Option<&TcpStream>, write: bool, deadline: Option<Instant>) -> io::Result<()> {
        let mut watched = vec![watch(&self.bell, POLLRDNORM)];
        watched.extend(socket.map(|socket| watch(socket, POLLRDNORM | if write { POLLWRNORM } else { 0 })));
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
            // There is always room for one byte. The rope blocks all the same: a socket that
            // does not may refuse what it had room for, and then nobody would be woken.
            let _ = (&self.rope).write(&[1]);
        }
    }
}

/// Two sockets that are connected with each other, and with nobody else who may have come
/// in between.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let own = near.local_addr()?;
    loop {
        let (far, peer) = listener.accept()?;
        if peer == own {
            return Ok((near, far));
        }
    }
}

fn watch(socket: &TcpStream, events: i16) -> WSAPOLLFD {
    WSAPOLLFD { fd: socket.as_raw_socket() as SOCKET, events, revents: 0 }
}

/// Waits until something watched is ready or the time is over.
fn poll(watched: &mut [WSAPOLLFD], limit: Option<Duration>) -> io::Result<()> {
    let millis =
        limit.map_or(-1, |limit| i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    // SAFETY: the pointer and the length are those of `watched`.
    match unsafe { WSAPoll(watched.as_mut_ptr(), watched.len() as u32, millis) } {
        SOCKET_ERROR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

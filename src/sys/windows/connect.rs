//! Connecting to the first of several addresses that answers (RFC 8305, section 5, in
//! its small form): no address that is dead keeps the others waiting. Each attempt has a
//! thread, since Windows' `WSAPoll` told of no refusal before its version of 2020.

use crate::sys::thread;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long an attempt has before the next one begins beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// Tries `addresses` in their order and gives the first connection. The next attempt
/// begins when the one before failed, or after a quarter of a second.
pub fn first(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let (sender, answers) = channel();
    let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
    let mut rest = addresses.iter();
    let mut trying = 0;
    loop {
        let mut until = deadline;
        if let Some(address) = rest.next() {
            let (answer, address) = (sender.clone(), *address);
            let limit = deadline.saturating_duration_since(Instant::now());
            if limit.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            // Who waits may have another connection by then: this one is closed.
            let attempt = move || drop(answer.send(TcpStream::connect_timeout(&address, limit)));
            thread::start(thread::SMALL, Box::new(attempt))?;
            trying += 1;
            if rest.len() > 0 {
                until = deadline.min(Instant::now() + HEAD_START);
            }
        } else if trying == 0 {
            return Err(failure);
        }
        match answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => {
                trying -= 1;
                // That there is no IPv6 here says less than what an IPv4 address answered.
                if error.kind() != ErrorKind::NetworkUnreachable || failure.raw_os_error().is_none() {
                    failure = error;
                }
            }
            Err(_) if Instant::now() >= deadline => return Err(ErrorKind::TimedOut.into()),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn the_address_that_answers_is_the_one() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [gone, alive.local_addr().unwrap()];
        assert_eq!(first(&addresses, soon()).unwrap().peer_addr().unwrap(), addresses[1]);
    }

    #[test]
    fn when_all_fail_the_reason_is_theirs() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(first(&[gone, gone], soon()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(first(&[], soon()).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
        assert_eq!(first(&[gone], Instant::now()).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

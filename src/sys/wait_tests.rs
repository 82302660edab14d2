//! Sleeping and waking, the same everywhere.
#![allow(clippy::unwrap_used)]
use super::wait::Waiter;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn no_wake_is_lost_however_they_meet() {
    const EACH: u64 = 20_000;
    let waiter = Waiter::new().unwrap();
    let (told, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    let ends = Instant::now() + LONG;
    let tell = || {
        for count in 0..EACH {
            let own = told.fetch_add(1, Ordering::SeqCst) + 1;
            waiter.wake();
            // Now and then only behind the sleeper.
            while count % 3 == 0 && seen.load(Ordering::SeqCst) < own && Instant::now() < ends {
                std::thread::yield_now();
            }
        }
    };
    std::thread::scope(|scope| {
        // More than there are cores, so that they are interrupted anywhere.
        for _ in 0..8 {
            scope.spawn(tell);
        }
        while seen.load(Ordering::SeqCst) < 8 * EACH {
            waiter.wait(None, false, Some(ends)).unwrap();
            seen.store(told.load(Ordering::SeqCst), Ordering::SeqCst);
            assert!(Instant::now() < ends, "a wake was lost");
        }
    });
}

#[test]
fn it_sleeps_until_the_deadline_the_bell_or_the_socket() {
    let waiter = Waiter::new().unwrap();
    let started = Instant::now();
    waiter.wait(None, false, Some(started + Duration::from_millis(30))).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(30));
    // Any number of wakes is one, and it is not forgotten.
    waiter.wake();
    waiter.wake();
    waiter.wait(None, false, Some(started + LONG)).unwrap();
    waiter.wait(None, false, Some(Instant::now() + Duration::from_millis(1))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| waiter.wake());
        waiter.wait(None, false, Some(started + LONG)).unwrap();
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    waiter.wait(Some(&near), true, Some(started + LONG)).unwrap();
    far.write_all(b"x").unwrap();
    waiter.wait(Some(&near), false, Some(started + LONG)).unwrap();
    assert!(started.elapsed() < LONG);
}

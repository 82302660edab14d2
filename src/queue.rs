//! Bounded queues between threads: a lock, and a list of the threads that wait. The messages
//! are erased, so that this is in rig once and not once for each type.

use std::any::Any;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

type Parcel = Box<dyn Any + Send>;

/// No message can come any more: all senders are gone.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub struct RecvError;

/// Why there is no message.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum TryRecvError {
    /// There is none yet.
    Empty,
    /// All senders are gone.
    Disconnected,
}

/// Why there was no message in time.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum RecvTimeoutError {
    /// There was none yet.
    Timeout,
    /// All senders are gone.
    Disconnected,
}

/// Nobody will receive it: the receiver is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub struct SendError;

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum TrySendError {
    /// There is no room.
    Full,
    /// The receiver is gone.
    Disconnected,
}

struct Queue {
    room: usize,
    state: Mutex<State>,
}

struct State {
    messages: VecDeque<Parcel>,
    senders: usize,
    received: bool,
    /// Who waits for a message, or for room, once each.
    waiting: Vec<Thread>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, until then; where there is no limit, once there is room.
    fn send(&self, parcel: Parcel, until: Option<Instant>) -> Result<(), TrySendError> {
        loop {
            let mut state = self.state();
            if !state.received {
                return Err(TrySendError::Disconnected);
            }
            if state.messages.len() < self.room {
                state.messages.push_back(parcel);
                wake(state);
                return Ok(());
            }
            if !rest(state, until) {
                return Err(TrySendError::Full);
            }
        }
    }

    /// The next message, waited for until then.
    fn receive(&self, until: Option<Instant>) -> Result<Parcel, TryRecvError> {
        loop {
            let mut state = self.state();
            if let Some(parcel) = state.messages.pop_front() {
                wake(state);
                return Ok(parcel);
            }
            if state.senders == 0 {
                return Err(TryRecvError::Disconnected);
            }
            if !rest(state, until) {
                return Err(TryRecvError::Empty);
            }
        }
    }

    /// Whether there is a message or the end; if not, this thread is woken when there is.
    fn ready(&self) -> bool {
        let mut state = self.state();
        let ready = !state.messages.is_empty() || state.senders == 0;
        if !ready {
            state.enlist();
        }
        ready
    }
}

impl State {
    fn enlist(&mut self) {
        let this = thread::current();
        if self.waiting.iter().all(|thread| thread.id() != this.id()) {
            self.waiting.push(this);
        }
    }
}

/// Unlocks, and wakes all who wait: they look again.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    waiting.iter().for_each(Thread::unpark);
}

/// Unlocks, and waits for a change, which may be none; false when the time is over.
fn rest(mut state: MutexGuard<'_, State>, until: Option<Instant>) -> bool {
    let late = over(until);
    if !late {
        state.enlist();
    }
    drop(state);
    !late && {
        park(until);
        true
    }
}

fn over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until <= Instant::now())
}

fn park(until: Option<Instant>) {
    match until {
        Some(until) => thread::park_timeout(until.saturating_duration_since(Instant::now())),
        None => thread::park(),
    }
}

/// One of those that send.
struct Tail(Arc<Queue>);

impl Clone for Tail {
    fn clone(&self) -> Tail {
        self.0.state().senders += 1;
        Tail(Arc::clone(&self.0))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        if state.senders == 0 {
            wake(state);
        }
    }
}

/// The one that receives.
struct Head(Arc<Queue>);

impl Drop for Head {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.received = false;
        // Not while it is locked: a message may hold an end of this very queue.
        let _unheard = std::mem::take(&mut state.messages);
        wake(state);
    }
}

/// The end that sends.
pub struct Sender<T>(Tail, PhantomData<fn(T)>);

/// The end that receives.
pub struct Receiver<T>(Head, PhantomData<fn() -> T>);

/// A queue in which so many messages have room; where none has, only its end can be waited for.
pub fn bounded<T: Send + 'static>(room: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { messages: VecDeque::new(), senders: 1, received: true, waiting: Vec::new() };
    let queue = Arc::new(Queue { room, state: Mutex::new(state) });
    (Sender(Tail(Arc::clone(&queue)), PhantomData), Receiver(Head(queue), PhantomData))
}

/// When so much time from now is over; none when nobody lives to see it.
fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone(), PhantomData)
    }
}

impl<T: Send + 'static> Sender<T> {
    /// Sends, once there is room.
    pub fn send(&self, message: T) -> Result<(), SendError> {
        self.0.0.send(Box::new(message), None).map_err(|_| SendError)
    }

    /// Sends, if there is room.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError> {
        self.send_timeout(message, Duration::ZERO)
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.0.0.state().messages.len() >= self.0.0.room
    }

    /// Sends, if there is room in time.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), TrySendError> {
        self.0.0.send(Box::new(message), after(timeout))
    }
}

impl<T: 'static> Receiver<T> {
    /// The next message, once there is one.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.0.receive(None).ok().and_then(open).ok_or(RecvError)
    }

    /// The next message, if there is one.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        open(self.0.0.receive(after(Duration::ZERO))?).ok_or(TryRecvError::Disconnected)
    }

    /// The next message, if there is one in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match self.0.0.receive(after(timeout)) {
            Ok(parcel) => open(parcel).ok_or(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        }
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.0.0.state().messages.is_empty()
    }
}

/// Waits until one of two queues has a message or its end, or the time is over; whether one
/// has.
pub fn either<T, U>(one: &Receiver<T>, other: &Receiver<U>, timeout: Option<Duration>) -> bool {
    either_of(&one.0.0, &other.0.0, timeout.and_then(after))
}

fn either_of(one: &Queue, other: &Queue, until: Option<Instant>) -> bool {
    loop {
        if one.ready() || other.ready() {
            return true;
        }
        if over(until) {
            return false;
        }
        park(until);
    }
}

/// Only `T` is ever sent to a `Receiver<T>`.
fn open<T: 'static>(parcel: Parcel) -> Option<T> {
    parcel.downcast().ok().map(|message| *message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_queue_wakes_who_waits_for_both() {
        let ((first, one), (second, other)) = (bounded::<u8>(1), bounded::<String>(1));
        assert!(!either(&one, &other, Some(Duration::from_millis(1))));
        std::thread::scope(|scope| {
            scope.spawn(|| second.send("two".to_owned()));
            assert!(either(&one, &other, None));
        });
        assert_eq!(other.try_recv(), Ok("two".to_owned()));
        first.send(1).ok();
        assert!(either(&one, &other, Some(Duration::ZERO)));
        assert_eq!(one.recv(), Ok(1));
        drop(first);
        assert!(either(&one, &other, None));
    }

    #[test]
    fn messages_arrive_in_order_and_ends_are_noticed() {
        let (sender, receiver) = bounded::<String>(2);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        assert_eq!(sender.send("one".to_owned()), Ok(()));
        assert_eq!(sender.clone().try_send("two".to_owned()), Ok(()));
        assert_eq!(sender.try_send("three".to_owned()), Err(TrySendError::Full));
        let late = sender.send_timeout("three".to_owned(), Duration::ZERO);
        assert_eq!(late, Err(TrySendError::Full));
        drop(sender);
        assert_eq!(receiver.recv(), Ok("one".to_owned()));
        assert!(!receiver.is_empty());
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok("two".to_owned()));
        assert!(receiver.is_empty());
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn what_nobody_will_receive_is_given_back_to_nobody() {
        let (sender, receiver) = bounded(1);
        drop(receiver);
        assert_eq!(sender.send(1), Err(SendError));
        assert_eq!(sender.try_send(1), Err(TrySendError::Disconnected));
        let sent = sender.send_timeout(1, Duration::ZERO);
        assert_eq!(sent, Err(TrySendError::Disconnected));
    }

    #[test]
    fn who_waits_for_room_for_a_message_or_for_the_end_is_woken() {
        let (sender, receiver) = bounded(1);
        let (over, end) = bounded::<()>(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let sender = sender.clone();
                scope.spawn(move || assert!((0..1000).all(|number| sender.send((thread, number)).is_ok())));
            }
            scope.spawn(move || {
                assert_eq!(end.recv(), Err(RecvError));
                drop(sender);
            });
            let mut next = [0; 4];
            for _ in 0..4000 {
                let in_order = |(thread, number): (usize, i32)| {
                    next[thread] += 1;
                    next[thread] == number + 1
                };
                assert!(receiver.recv().is_ok_and(in_order));
            }
            drop(over);
            assert_eq!(receiver.recv(), Err(RecvError));
        });
    }

    #[test]
    fn a_message_that_holds_its_own_queue_is_dropped_with_it() {
        let (sender, receiver) = bounded::<Box<dyn Any + Send>>(1);
        assert_eq!(sender.send(Box::new(sender.clone())), Ok(()));
        drop(receiver);
        assert_eq!(sender.send(Box::new(1)), Err(SendError));
    }
}

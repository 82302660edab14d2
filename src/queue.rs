//! Bounded queues between threads, over one erased type of message, so that their code is in
//! rig once and not once for each type.
//!
//! Who has to wait parks, and each message, each that is taken and each end wakes all who wait at
//! the queue. They are few, and what they do with a message takes longer than to look once too
//! often.

use std::any::Any;
use std::collections::VecDeque;
use std::marker::PhantomData;
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

type Parcel = Box<dyn Any + Send>;

/// The end that sends.
pub struct Sender<T>(Entry, PhantomData<fn(T)>);

/// The end that receives.
pub struct Receiver<T>(Exit, PhantomData<fn() -> T>);

/// A queue in which so many messages have room. One without room only tells of its end.
pub fn bounded<T: Send + 'static>(room: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { parcels: VecDeque::new(), room, senders: 1, receivers: 1, waiting: Vec::new() };
    let queue = Arc::new(Queue(Mutex::new(state)));
    (Sender(Entry(Arc::clone(&queue)), PhantomData), Receiver(Exit(queue), PhantomData))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone(), PhantomData)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver(self.0.clone(), PhantomData)
    }
}

impl<T: Send + 'static> Sender<T> {
    /// Sends, once there is room.
    pub fn send(&self, message: T) -> Result<(), SendError<()>> {
        self.0.0.push(Box::new(message), None).map_err(|_| SendError(()))
    }

    /// Sends, if there is room.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<()>> {
        self.0.0.try_push(&mut Some(Box::new(message)))
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.0.0.lock().is_full()
    }

    /// Sends, if there is room in time.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), TrySendError<()>> {
        self.0.0.push(Box::new(message), after(timeout))
    }
}

impl<T: 'static> Receiver<T> {
    /// The next message, once there is one.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.0.pull(None).ok().and_then(open).ok_or(RecvError)
    }

    /// The next message, if there is one.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        open(self.0.0.try_pull()?).ok_or(TryRecvError::Disconnected)
    }

    /// The next message, if there is one in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match self.0.0.pull(after(timeout)) {
            Ok(parcel) => open(parcel).ok_or(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        }
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.0.0.lock().parcels.is_empty()
    }
}

/// Waits until one of two queues has a message or its end, or the time is over; whether one
/// has.
pub fn either<T, U>(one: &Receiver<T>, other: &Receiver<U>, timeout: Option<Duration>) -> bool {
    let queues = [&*one.0.0, &*other.0.0];
    let mut ready = false;
    wait(&queues, timeout.and_then(after), &mut || {
        ready = queues.iter().any(|queue| queue.lock().is_ready());
        ready
    });
    ready
}

/// Only `T` is ever sent to a `Receiver<T>`.
fn open<T: 'static>(parcel: Parcel) -> Option<T> {
    parcel.downcast().ok().map(|message| *message)
}

/// None when it is too far away to tell.
fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

struct Queue(Mutex<State>);

struct State {
    parcels: VecDeque<Parcel>,
    room: usize,
    senders: usize,
    receivers: usize,
    /// The threads to wake.
    waiting: Vec<Thread>,
}

impl State {
    fn is_full(&self) -> bool {
        self.parcels.len() >= self.room
    }

    fn is_ready(&self) -> bool {
        !self.parcels.is_empty() || self.senders == 0
    }

    fn wake(&self) {
        self.waiting.iter().for_each(Thread::unpark);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the parcel, if there is room.
    fn try_push(&self, parcel: &mut Option<Parcel>) -> Result<(), TrySendError<()>> {
        let mut state = self.lock();
        if state.receivers == 0 {
            return Err(TrySendError::Disconnected(()));
        }
        if state.is_full() {
            return Err(TrySendError::Full(()));
        }
        state.parcels.extend(parcel.take());
        state.wake();
        Ok(())
    }

    fn try_pull(&self) -> Result<Parcel, TryRecvError> {
        let mut state = self.lock();
        let ended = state.senders == 0;
        let none = if ended { TryRecvError::Disconnected } else { TryRecvError::Empty };
        let parcel = state.parcels.pop_front().ok_or(none)?;
        state.wake();
        Ok(parcel)
    }

    fn push(&self, parcel: Parcel, until: Option<Instant>) -> Result<(), TrySendError<()>> {
        let (mut parcel, mut pushed) = (Some(parcel), Ok(()));
        wait(&[self], until, &mut || {
            pushed = self.try_push(&mut parcel);
            pushed != Err(TrySendError::Full(()))
        });
        pushed
    }

    fn pull(&self, until: Option<Instant>) -> Result<Parcel, TryRecvError> {
        let mut pulled = Err(TryRecvError::Empty);
        wait(&[self], until, &mut || {
            pulled = self.try_pull();
            !matches!(pulled, Err(TryRecvError::Empty))
        });
        pulled
    }
}

/// Waits until something is `done` or the time is over. It is tried at once, and again whenever
/// one of the queues changes.
fn wait(queues: &[&Queue], until: Option<Instant>, done: &mut dyn FnMut() -> bool) {
    if done() {
        return;
    }
    let me = thread::current();
    for queue in queues {
        queue.lock().waiting.push(me.clone());
    }
    while !done() {
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Duration::ZERO) => break,
            Some(left) => thread::park_timeout(left),
        }
    }
    for queue in queues {
        queue.lock().waiting.retain(|other| other.id() != me.id());
    }
}

struct Entry(Arc<Queue>);

impl Clone for Entry {
    fn clone(&self) -> Entry {
        self.0.lock().senders += 1;
        Entry(Arc::clone(&self.0))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        if state.senders == 0 {
            state.wake();
        }
    }
}

struct Exit(Arc<Queue>);

impl Clone for Exit {
    fn clone(&self) -> Exit {
        self.0.lock().receivers += 1;
        Exit(Arc::clone(&self.0))
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receivers -= 1;
        if state.receivers == 0 {
            let unread = std::mem::take(&mut state.parcels);
            state.wake();
            // In them may be ends of this queue.
            drop(state);
            drop(unread);
        }
    }
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
        assert_eq!(sender.try_send("three".to_owned()), Err(TrySendError::Full(())));
        let late = sender.send_timeout("three".to_owned(), Duration::ZERO);
        assert_eq!(late, Err(TrySendError::Full(())));
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
        assert_eq!(sender.send(1), Err(SendError(())));
        assert_eq!(sender.try_send(1), Err(TrySendError::Disconnected(())));
        let sent = sender.send_timeout(1, Duration::ZERO);
        assert_eq!(sent, Err(TrySendError::Disconnected(())));
    }

    #[test]
    fn many_threads_get_each_message_once() {
        let (sender, receiver) = bounded(3);
        let (gone, end) = bounded::<()>(0);
        let sum = std::thread::scope(|scope| {
            for part in 0..4_u64 {
                let (sender, gone) = (sender.clone(), gone.clone());
                scope.spawn(move || {
                    let _gone = gone;
                    for number in part * 5_000..(part + 1) * 5_000 {
                        sender.send(number).ok();
                    }
                });
            }
            drop((sender, gone));
            let take = || {
                std::iter::from_fn(|| receiver.recv().ok())
                    .fold((0, 0), |(count, sum), number| (count + 1, sum + number))
            };
            let takers = [scope.spawn(take), scope.spawn(take), scope.spawn(take)];
            assert_eq!(end.recv(), Err(RecvError));
            takers
                .map(|taker| taker.join().unwrap_or_default())
                .into_iter()
                .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
        });
        assert_eq!(sum, (20_000, 20_000 * 19_999 / 2));
    }

    #[test]
    fn what_nobody_receives_any_more_is_dropped() {
        let (sender, receiver) = bounded::<Parcel>(2);
        let (inner, end) = bounded::<()>(0);
        sender.send(Box::new((inner, sender.clone()))).ok();
        assert_eq!(end.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        drop(receiver);
        assert_eq!(end.recv_timeout(Duration::MAX), Err(RecvTimeoutError::Disconnected));
    }
}

//! Bounded queues between threads: crossbeam's channels over one erased type of message, so
//! that their code is in rig once and not once for each type.

use crossbeam_channel as raw;
pub use crossbeam_channel::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use std::any::Any;
use std::marker::PhantomData;
use std::time::Duration;

type Parcel = Box<dyn Any + Send>;

/// The end that sends.
pub struct Sender<T>(raw::Sender<Parcel>, PhantomData<fn(T)>);

/// The end that receives.
pub struct Receiver<T>(raw::Receiver<Parcel>, PhantomData<fn() -> T>);

/// A queue in which so many messages have room.
pub fn bounded<T: Send + 'static>(room: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = raw::bounded(room);
    (Sender(sender, PhantomData), Receiver(receiver, PhantomData))
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
        self.0.send(Box::new(message)).map_err(|_| SendError(()))
    }

    /// Sends, if there is room.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<()>> {
        self.0.try_send(Box::new(message)).map_err(|error| match error {
            TrySendError::Full(_) => TrySendError::Full(()),
            TrySendError::Disconnected(_) => TrySendError::Disconnected(()),
        })
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Sends, if there is room in time.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<()>> {
        self.0.send_timeout(Box::new(message), timeout).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => SendTimeoutError::Timeout(()),
            SendTimeoutError::Disconnected(_) => SendTimeoutError::Disconnected(()),
        })
    }
}

impl<T: 'static> Receiver<T> {
    /// The next message, once there is one.
    pub fn recv(&self) -> Result<T, RecvError> {
        open(self.0.recv()?).ok_or(RecvError)
    }

    /// The next message, if there is one.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        open(self.0.try_recv()?).ok_or(TryRecvError::Disconnected)
    }

    /// The next message, if there is one in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        open(self.0.recv_timeout(timeout)?).ok_or(RecvTimeoutError::Disconnected)
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Waits until one of two queues has a message or its end, or the time is over; whether one
/// has.
pub fn either<T, U>(one: &Receiver<T>, other: &Receiver<U>, timeout: Option<Duration>) -> bool {
    let mut select = raw::Select::new();
    select.recv(&one.0);
    select.recv(&other.0);
    match timeout {
        Some(timeout) => select.ready_timeout(timeout).is_ok(),
        None => {
            select.ready();
            true
        }
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
        assert_eq!(sender.try_send("three".to_owned()), Err(TrySendError::Full(())));
        let late = sender.send_timeout("three".to_owned(), Duration::ZERO);
        assert_eq!(late, Err(SendTimeoutError::Timeout(())));
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
        assert_eq!(sent, Err(SendTimeoutError::Disconnected(())));
    }
}

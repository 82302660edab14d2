//! What goes to a client: a queue that is bounded in messages and in bytes, so that a
//! client which does not take them slows who sends; and the form each message has on
//! its transport.
//!
//! ```text
//! replies, streams ── Sink ──▶ queue ──▶ WebSocket, or the answers to polls
//! ```

use crate::json;
use crate::phx::frame::{Binary, Ref, encode_binary, encode_reply, encode_text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Messages on their way to one client.
const MESSAGES: usize = 256;
/// Bytes on their way to one client; one message may be larger.
pub const BYTES: u32 = 1 << 20;

/// One message for the client.
pub enum Outgoing {
    /// A text frame.
    Text(String),
    /// A binary frame. Never over long polling.
    Binary(Vec<u8>),
    /// Nothing follows; with a code and a reason if it is the server that closes.
    Close(Option<(u16, &'static str)>),
}

/// A message and the room it takes in the queue until it is dropped.
pub struct Parcel {
    /// The message.
    pub message: Outgoing,
    /// Its room.
    pub room: Option<OwnedSemaphorePermit>,
}

/// The client is gone.
pub struct Gone;

/// Where messages for one client go in.
#[derive(Clone)]
pub struct Sink {
    queue: mpsc::Sender<Parcel>,
    room: Arc<Semaphore>,
    binary: bool,
}

/// A queue; with `binary` false, bytes travel as base64 in JSON.
pub fn queue(binary: bool) -> (Sink, mpsc::Receiver<Parcel>) {
    let (queue, parcels) = mpsc::channel(MESSAGES);
    (Sink { queue, room: Arc::new(Semaphore::new(BYTES as usize)), binary }, parcels)
}

impl Sink {
    /// Sends a text frame. Waits while the client takes nothing.
    pub async fn text(&self, text: String) -> Result<(), Gone> {
        let size = text.len();
        self.send(Outgoing::Text(text), size).await
    }

    async fn bytes(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        let size = bytes.len();
        self.send(Outgoing::Binary(bytes), size).await
    }

    async fn send(&self, message: Outgoing, size: usize) -> Result<(), Gone> {
        let size = u32::try_from(size).unwrap_or(BYTES).min(BYTES);
        let room = Arc::clone(&self.room).acquire_many_owned(size).await.map_err(|_| Gone)?;
        self.queue.send(Parcel { message, room: Some(room) }).await.map_err(|_| Gone)
    }

    /// Says that nothing follows what was sent so far.
    pub async fn close(&self, why: Option<(u16, &'static str)>) {
        // A client that is gone needs no goodbye.
        let _ = self.queue.send(Parcel { message: Outgoing::Close(why), room: None }).await;
    }

    /// Waits until the client is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// Where a stream's messages go. Each waits while the client takes nothing, and says
/// [`Gone`] when there is no client any more, or it has left the channel.
#[derive(Clone)]
pub struct Outlet {
    sink: Sink,
    topic: String,
    join_ref: Option<Ref>,
    left: CancellationToken,
}

impl Outlet {
    /// Of the channel that `join_ref` joined.
    pub fn new(sink: Sink, topic: &str, join_ref: Option<Ref>) -> Outlet {
        Outlet { sink, topic: topic.to_owned(), join_ref, left: CancellationToken::new() }
    }

    /// Cancelled, nothing more is sent.
    pub fn left(&self) -> CancellationToken {
        self.left.clone()
    }

    async fn send(&self, sent: impl Future<Output = Result<(), Gone>>) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.left.cancelled() => Err(Gone),
            sent = sent => sent,
        }
    }

    /// Pushes an event with a document.
    pub async fn push(&self, event: &str, payload: &str) -> Result<(), Gone> {
        self.send(self.sink.text(encode_text(self.join_ref.as_ref(), None, &self.topic, event, payload)))
            .await
    }

    /// Pushes bytes; as `{"data": BASE64}` over long polling, which can't carry them.
    pub async fn push_binary(&self, event: &str, bytes: &[u8]) -> Result<(), Gone> {
        let join_ref = self.join_ref.clone().unwrap_or_else(|| Ref::text(""));
        match self.binary(Binary::ServerPush { join_ref: &join_ref, event }, bytes) {
            Some(frame) => self.send(self.sink.bytes(frame)).await,
            None => self.push(event, &wrapped(bytes)).await,
        }
    }

    /// Answers the push that came with `reference`.
    pub async fn reply(&self, reference: Option<&Ref>, status: &str, response: &str) -> Result<(), Gone> {
        if reference.is_none() {
            return Ok(());
        }
        self.send(self.sink.text(encode_reply(
            self.join_ref.as_ref(),
            reference,
            &self.topic,
            status,
            response,
        )))
        .await
    }

    /// Answers with bytes, in the same form as [`Outlet::push_binary`].
    pub async fn reply_binary(
        &self,
        reference: Option<&Ref>,
        status: &str,
        bytes: &[u8],
    ) -> Result<(), Gone> {
        let Some(answered) = reference else { return Ok(()) };
        let join_ref = self.join_ref.clone().unwrap_or_else(|| Ref::text(""));
        match self.binary(Binary::Reply { join_ref: &join_ref, reference: answered, status }, bytes) {
            Some(frame) => self.send(self.sink.bytes(frame)).await,
            None => self.reply(reference, status, &wrapped(bytes)).await,
        }
    }

    /// Hands on what somebody said to everybody on the topic.
    pub async fn broadcast(&self, event: &str, payload: &str) -> Result<(), Gone> {
        self.send(self.sink.text(encode_text(None, None, &self.topic, event, payload))).await
    }

    /// Hands on bytes for everybody on the topic.
    pub async fn broadcast_binary(&self, event: &str, bytes: &[u8]) -> Result<(), Gone> {
        match self.binary(Binary::Broadcast { event }, bytes) {
            Some(frame) => self.send(self.sink.bytes(frame)).await,
            None => self.broadcast(event, &wrapped(bytes)).await,
        }
    }

    /// The binary frame; none where there are none, or when a name is too long for one.
    fn binary(&self, kind: Binary<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
        self.sink.binary.then(|| encode_binary(kind, &self.topic, bytes).ok()).flatten()
    }
}

fn wrapped(bytes: &[u8]) -> String {
    let mut out = String::from("{\"data\":");
    json::push_string(&mut out, &STANDARD.encode(bytes));
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(parcel: Parcel) -> String {
        match parcel.message {
            Outgoing::Text(text) => text,
            Outgoing::Binary(bytes) => panic!("{bytes:?}"),
            Outgoing::Close(_) => panic!(),
        }
    }

    #[tokio::test]
    async fn bytes_are_a_frame_or_base64() {
        let (sink, mut parcels) = queue(true);
        let outlet = Outlet::new(sink, "t", Some(Ref::number(2)));
        assert!(outlet.push_binary("blob", b"\x00\xff").await.is_ok());
        let Outgoing::Binary(frame) = parcels.recv().await.unwrap().message else { panic!() };
        assert_eq!(frame, b"\x00\x01\x01\x042tblob\x00\xff");

        let (sink, mut parcels) = queue(false);
        let outlet = Outlet::new(sink, "t", Some(Ref::number(2)));
        assert!(outlet.push_binary("blob", b"\x00\xff").await.is_ok());
        assert!(outlet.reply_binary(Some(&Ref::number(3)), "ok", b"\xff").await.is_ok());
        assert!(outlet.broadcast_binary("all", b"").await.is_ok());
        assert_eq!(text(parcels.recv().await.unwrap()), r#"["2",null,"t","blob",{"data":"AP8="}]"#);
        assert_eq!(
            text(parcels.recv().await.unwrap()),
            r#"["2","3","t","phx_reply",{"response":{"data":"/w=="},"status":"ok"}]"#
        );
        assert_eq!(text(parcels.recv().await.unwrap()), r#"[null,null,"t","all",{"data":""}]"#);
    }

    #[tokio::test]
    async fn a_full_queue_makes_the_sender_wait() {
        let (sink, mut parcels) = queue(false);
        let half = || "x".repeat(BYTES as usize / 2);
        for _ in 0..2 {
            assert!(sink.text(half()).await.is_ok());
        }
        let waiting = tokio::spawn({
            let sink = sink.clone();
            async move { sink.text("next".to_owned()).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(parcels.recv().await);
        assert!(waiting.await.unwrap());
        // One that is larger than the room there is gets all of it.
        let huge = tokio::spawn(async move { sink.text("x".repeat(3 * BYTES as usize)).await.is_ok() });
        for size in [half().len(), 4, 3 * BYTES as usize] {
            assert_eq!(text(parcels.recv().await.unwrap()).len(), size);
        }
        assert!(huge.await.unwrap());
    }

    #[tokio::test]
    async fn a_client_that_leaves_frees_who_waits() {
        let (sink, parcels) = queue(true);
        assert!(sink.text("x".repeat(BYTES as usize)).await.is_ok());
        let waiting = tokio::spawn({
            let sink = sink.clone();
            async move { sink.text("next".to_owned()).await.is_err() }
        });
        tokio::task::yield_now().await;
        drop(parcels);
        assert!(waiting.await.unwrap());
        sink.closed().await;
    }
}

//! Channels over a WebSocket (RFC 6455; Phoenix `Phoenix.Transports.WebSocket`).
//!
//! One task reads, in [`socket::run`]; another writes what the queue holds. A client
//! that does not read for as long as it may be silent is given up.

use super::auth::Identity;
use super::http::{Fault, Shared, document};
use super::outlet::{self, Outgoing, Parcel};
use super::platform::Platform;
use super::socket::{self, End, GOODBYE, Incoming, MAX_FRAME, Source};
use super::sockets::{Place, enter};
use crate::error::{Error, Kind};
use crate::wire::Failure;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// `GET /socket/websocket`.
pub async fn upgrade(
    State(platform): Shared,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let error = Error::usage(format!("this is a WebSocket: {}", rejection.body_text()));
            return Fault(error).into_response();
        }
    };
    let (who, place) = match enter(&platform, &uri, &headers).await {
        Ok(entered) => entered,
        Err(error) if error.kind() == Kind::TooLarge => {
            return document(StatusCode::TOO_MANY_REQUESTS, &Failure::from(&error));
        }
        Err(error) => return Fault(error).into_response(),
    };
    let upgrade = upgrade
        .protocols(["phoenix"])
        .max_frame_size(MAX_FRAME)
        .max_message_size(MAX_FRAME)
        .write_buffer_size(0);
    upgrade.on_upgrade(move |ws| serve(ws, platform, who, place))
}

async fn serve(ws: WebSocket, platform: Arc<Platform>, who: Identity, place: Place) {
    let idle = platform.sockets.trial.idle;
    let (sender, receiver) = ws.split();
    let (sink, parcels) = outlet::queue(true);
    let writer = tokio::spawn(write(sender, parcels, idle));
    let mut frames = Frames { receiver, idle, heard: Instant::now(), usable: true };
    let watched = sink.clone();
    socket::run(&platform, who, sink, &mut frames, watched.closed()).await;
    drop(watched);
    // What was sent is read before the connection goes, and what still comes is taken:
    // bytes that nobody reads would cut it off in the client's face.
    let abort = writer.abort_handle();
    let goodbye = async {
        let _ = writer.await;
        frames.drain().await;
    };
    if timeout(GOODBYE, goodbye).await.is_err() {
        abort.abort();
    }
    drop(place);
}

async fn write(
    mut sender: SplitSink<WebSocket, Message>,
    mut parcels: mpsc::Receiver<Parcel>,
    patience: Duration,
) {
    while let Some(Parcel { message, room }) = parcels.recv().await {
        let message = match message {
            Outgoing::Text(text) => Message::Text(text.into()),
            Outgoing::Binary(bytes) => Message::Binary(bytes.into()),
            Outgoing::Close(Some((code, reason))) => {
                Message::Close(Some(CloseFrame { code, reason: reason.into() }))
            }
            Outgoing::Close(None) => break,
        };
        let last = matches!(message, Message::Close(_));
        let sent = timeout(patience, sender.send(message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
        drop(room);
        if last {
            break;
        }
    }
    // Also flushes the answer to the client's own close.
    let _ = timeout(GOODBYE, sender.close()).await;
}

/// The frames of a WebSocket.
struct Frames {
    receiver: SplitStream<WebSocket>,
    idle: Duration,
    /// When something came last.
    heard: Instant,
    /// False once reading has failed: what follows would be taken for something else.
    usable: bool,
}

impl Source for Frames {
    async fn next(&mut self) -> Result<Incoming, End> {
        loop {
            let received = timeout_at(self.heard + self.idle, self.receiver.next()).await;
            let received = received.map_err(|_| End::Idle)?;
            self.heard = Instant::now();
            return match received {
                Some(Ok(Message::Text(text))) => Incoming::text(text.as_str()).map_err(|_| End::Malformed),
                Some(Ok(Message::Binary(bytes))) => Incoming::binary(&bytes).map_err(|_| End::Malformed),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_))) | None => Err(End::Gone),
                Some(Err(error)) => {
                    self.usable = false;
                    Err(broken(&error.to_string()))
                }
            };
        }
    }
}

impl Frames {
    /// Takes what still comes, until the client closes too.
    async fn drain(&mut self) {
        while self.usable {
            self.usable = matches!(self.receiver.next().await, Some(Ok(_)));
        }
    }
}

/// What an error while reading means. Its type is that of a crate which axum keeps to
/// itself, so it is told by its words; an end of the connection is no one's fault.
fn broken(error: &str) -> End {
    match error {
        _ if error.starts_with("Space limit exceeded") => End::TooLarge,
        _ if error.contains("without closing handshake") => End::Gone,
        _ if error.starts_with("WebSocket protocol error") || error.contains("UTF-8") => End::Protocol,
        _ => End::Gone,
    }
}

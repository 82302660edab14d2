//! The topic `exec:ID`: carries a session's bytes to and from the client that is there.

use super::{Order, Session, missing, shell};
use crate::error::{Error, Kind, Result};
use crate::flow::Flow;
use crate::maxd::access::{Access, admit};
use crate::maxd::outlet::{Gone, Outlet};
use crate::maxd::platform::Platform;
use crate::maxd::socket::{Body, Push};
use crate::wire::exec::{Arrived, Attach, Attached, Closed, Eof, FRAMES, Resize, Signal, Taken};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use miniserde::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// SIGHUP.
const HANGUP: i32 = 1;

/// A client at a session.
pub struct Client {
    platform: Arc<Platform>,
    session: Arc<Session>,
    who: Access,
    number: u64,
    /// Offsets behind what was sent.
    sent: Arrived,
    /// Bytes of both streams up to the end of each frame that has not been acknowledged.
    frames: VecDeque<u64>,
    /// What the client knows of standard input.
    told: u64,
    /// Its end was sent.
    ended: bool,
    /// The client has everything.
    done: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.is_served() {
            self.session.attached.store(false, Ordering::Relaxed);
        }
        if self.done {
            self.platform.execs.all().remove(&self.session.id);
            return;
        }
        let (platform, session, who) =
            (Arc::clone(&self.platform), Arc::clone(&self.session), self.who.session);
        let number = self.number;
        // Not when maxd ends.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            // Whose access was revoked does not come back.
            if !platform.auth.stands(who).await {
                session.end("revoked");
            }
            abandon(&platform, &session, number);
        });
    }
}

/// Ends the session if nobody has come behind the client `number` for as long as it keeps.
pub fn abandon(platform: &Arc<Platform>, session: &Arc<Session>, number: u64) {
    // One that has ended meanwhile is not kept for this.
    let (platform, keep, session) = (Arc::clone(platform), session.keep, Arc::downgrade(session));
    tokio::spawn(async move {
        sleep(keep).await;
        let Some(session) = session.upgrade() else { return };
        if session.client.load(Ordering::Relaxed) == number {
            session.end("detached");
            platform.execs.all().remove(&session.id);
        }
    });
}

/// Joins: the reply, and what follows.
pub async fn join(
    platform: &Arc<Platform>,
    who: &Access,
    id: u64,
    attach: Attach,
) -> Result<(String, Box<Client>)> {
    // Nobody sees another's terminal.
    let session = platform.execs.find(id).ok().filter(|session| session.owner == who.user);
    let session = session.ok_or_else(|| missing(id))?;
    let (asks, network) = (who.clone(), session.network);
    platform.store.with(move |t| admit(t, &asks, network, || missing(id))).await?;
    if session.document.detached {
        let message = format!("session {id} was detached: what it writes goes to its log");
        return Err(Error::new(Kind::Conflict, message).hint(format!("see `rig logs command {id}`")));
    }
    let place = {
        let mut flows = session.flows();
        let (first_out, first_err) = (flows.out.acknowledged(), flows.err.acknowledged());
        let (out, err) = (attach.out.unwrap_or(first_out), attach.err.unwrap_or(first_err));
        if out < first_out || err < first_err {
            let message = format!("what session {id} wrote first is not kept: another client has it");
            return Err(Error::new(Kind::Conflict, message));
        }
        if flows.out.acknowledge(out).and_then(|()| flows.err.acknowledge(err)).is_err() {
            return Err(Error::new(Kind::Usage, "this is more than the program has written"));
        }
        Attached { out, err, input: flows.input.end() }
    };
    let number = session.client.fetch_add(1, Ordering::Relaxed) + 1;
    session.attached.store(true, Ordering::Relaxed);
    // Whoever was there before is told.
    session.changed();
    let (platform, who) = (Arc::clone(platform), who.clone());
    let (sent, told) = (Arrived { out: place.out, err: place.err }, place.input);
    let client = Client {
        platform,
        session,
        who,
        number,
        sent,
        frames: VecDeque::new(),
        told,
        ended: false,
        done: false,
    };
    Ok((json::to_string(&place), Box::new(client)))
}

/// Carries until the client or the program is gone.
pub async fn run(mut client: Box<Client>, outlet: &Outlet, inputs: &mut mpsc::Receiver<Push>) -> Result<()> {
    carry(&mut client, outlet, inputs).await?;
    // What it said before it left counts, unless another has come.
    while client.is_served()
        && let Ok(input) = inputs.try_recv()
    {
        client.take(&input)?;
    }
    Ok(())
}

async fn carry(client: &mut Client, outlet: &Outlet, inputs: &mut mpsc::Receiver<Push>) -> Result<()> {
    let mut changes = client.session.changes.subscribe();
    loop {
        changes.mark_unchanged();
        if !client.is_served() {
            return Ok(());
        }
        match client.step(outlet).await {
            Ok(true) => {
                // More waits; but what the client says is not kept waiting either.
                while let Ok(input) = inputs.try_recv() {
                    client.take(&input)?;
                }
                continue;
            }
            Ok(false) => {}
            Err(Gone) => return Ok(()),
        }
        tokio::select! {
            _ = changes.changed() => {}
            input = inputs.recv() => match input {
                Some(input) => { client.take(&input)? },
                None => return Ok(()),
            }
        }
    }
}

impl Client {
    /// Whether no other has come.
    fn is_served(&self) -> bool {
        self.session.client.load(Ordering::Relaxed) == self.number
    }

    /// Sends something, if there is something to send.
    async fn step(&mut self, outlet: &Outlet) -> Result<bool, Gone> {
        let (out, err) = {
            let flows = self.session.flows();
            let room = self.frames.len() < FRAMES;
            let piece = |flow: &Flow, at| if room { flow.piece(at) } else { None };
            (piece(&flows.out, self.sent.out), piece(&flows.err, self.sent.err))
        };
        let mut sent = false;
        for (event, piece, at) in [("out", out, &mut self.sent.out), ("err", err, &mut self.sent.err)] {
            if let Some(piece) = piece {
                let frame = [at.to_be_bytes().as_slice(), &piece].concat();
                outlet.push_binary(event, &frame).await?;
                *at += piece.len() as u64;
                sent = true;
            }
        }
        if sent {
            self.frames.push_back(self.sent.out + self.sent.err);
        }
        let input = self.session.got.load(Ordering::Relaxed);
        if input > self.told {
            self.told = input;
            outlet.push("ack", &json::to_string(&Taken { input })).await?;
        }
        if let (false, false, Some(exit)) = (sent, self.ended, self.session.exit.get())
            && (exit.out, exit.err) == (self.sent.out, self.sent.err)
        {
            outlet.push("exit", &json::to_string(exit)).await?;
            self.ended = true;
        }
        Ok(sent)
    }

    fn take(&mut self, push: &Push) -> Result<()> {
        let malformed = || Error::usage(format!("'{}' is malformed", push.event));
        let broken = |_| Error::usage("a stream of bytes is beyond its window or its end");
        match push.event.as_str() {
            "in" => {
                let bytes = match &push.payload {
                    Body::Binary(bytes) => bytes.clone(),
                    Body::Json(text) => crate::json::member(text, "data")
                        .and_then(crate::json::string)
                        .and_then(|data| STANDARD.decode(data.as_bytes()).ok())
                        .ok_or_else(malformed)?,
                };
                let (offset, bytes) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
                self.session.flows().input.push_at(u64::from_be_bytes(*offset), bytes).map_err(broken)?;
                self.session.typed.notify_one();
                return Ok(());
            }
            "ack" => {
                let ack: Arrived = json::from_str(push.payload.text()).map_err(|_| malformed())?;
                while self.frames.front().is_some_and(|end| *end <= ack.out.saturating_add(ack.err)) {
                    self.frames.pop_front();
                }
                let mut flows = self.session.flows();
                flows.out.acknowledge(ack.out).map_err(broken)?;
                flows.err.acknowledge(ack.err).map_err(broken)?;
            }
            "eof" => {
                let eof: Eof = json::from_str(push.payload.text()).map_err(|_| malformed())?;
                let mut flows = self.session.flows();
                if flows.input.end() == eof.at {
                    flows.input.finish();
                    self.session.typed.notify_one();
                }
            }
            "signal" => {
                let signal: Signal = json::from_str(push.payload.text()).map_err(|_| malformed())?;
                let number = i32::try_from(signal.number).map_err(|_| malformed())?;
                // Who sends more than are taken has sent enough.
                let _ = self.session.orders.try_send(Order::Signal(number));
            }
            "resize" => {
                let size: Resize = json::from_str(push.payload.text()).map_err(|_| malformed())?;
                let _ = self.session.orders.try_send(Order::Resize(shell::size(size.columns, size.rows)));
            }
            "closed" => {
                let closed: Closed = json::from_str(push.payload.text()).map_err(|_| malformed())?;
                self.session.closed.send_modify(|(out, err)| match closed.stream.as_str() {
                    "out" => *out = true,
                    _ => *err = true,
                });
                if self.session.document.tty {
                    // What a program in a terminal hears when that is gone.
                    let _ = self.session.orders.try_send(Order::Signal(HANGUP));
                }
            }
            "done" => self.done = self.ended,
            _ => {}
        }
        self.session.changed();
        Ok(())
    }
}

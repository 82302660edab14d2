//! A program that runs in an app, as rig holds it: what was sent and what has arrived, so
//! that it goes on behind a cut where it was.

use super::{Max, decode};
use crate::error::{Error, Kind, Result};
use crate::json;
use crate::net::base64;
use crate::net::link::{Event, Events, Subscription};
use crate::wire::exec::{Attach, Create, Eof, Exec, Exit, Signal, Taken, WINDOW};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the program and the server say.
pub enum Said {
    /// Standard output.
    Out(Vec<u8>),
    /// Standard error.
    Err(Vec<u8>),
    /// So many bytes of standard input have arrived.
    Taken(u64),
    /// The connection is lost, and why.
    Lost(String),
    /// It is there again; so many bytes of standard input have arrived.
    Restored(u64),
    /// It has ended.
    Exit(Exit),
}

/// How much of each stream has arrived here.
#[derive(Default)]
struct Arrived {
    out: AtomicU64,
    err: AtomicU64,
}

impl Arrived {
    fn attach(&self) -> Attach {
        Attach { out: self.out.load(Ordering::Relaxed), err: self.err.load(Ordering::Relaxed) }
    }
}

/// The side that sends.
pub struct Remote {
    /// Its number.
    pub id: u64,
    subscription: Subscription,
    arrived: Arc<Arrived>,
    /// Standard input that has not been acknowledged, in pieces as it was read, and the
    /// offset of the first.
    sent: VecDeque<Vec<u8>>,
    sent_from: u64,
    finished: bool,
    /// Output that was taken here and not acknowledged yet.
    owed: usize,
}

/// The side that receives.
pub struct Incoming {
    events: Events,
    arrived: Arc<Arrived>,
}

impl Remote {
    /// Begins to run it.
    pub fn create(max: &Max, create: &Create) -> Result<Remote> {
        let exec: Exec = decode(&max.ask("exec:create", miniserde::json::to_string(create))?)?;
        let arrived = Arc::new(Arrived::default());
        let asked = Arc::clone(&arrived);
        let params = Box::new(move || miniserde::json::to_string(&asked.attach()));
        let (_, subscription) = max.subscribe(&format!("exec:{}", exec.id), params)?;
        let (sent, sent_from) = (VecDeque::new(), 0);
        Ok(Remote { id: exec.id, subscription, arrived, sent, sent_from, finished: false, owed: 0 })
    }

    /// The other side; once.
    pub fn events(&mut self) -> Option<Incoming> {
        Some(Incoming { events: self.subscription.take_events()?, arrived: Arc::clone(&self.arrived) })
    }

    /// Sends standard input. The caller keeps to the window.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let at = self.sent_from + self.sent.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.sent.push_back(bytes.to_vec());
        self.push_piece(at, bytes)
    }

    fn push_piece(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.subscription.push_bytes("in", [at.to_be_bytes().as_slice(), bytes].concat())
    }

    /// Standard input has ended.
    pub fn finish(&mut self) -> Result<()> {
        self.finished = true;
        let at = self.sent_from + self.sent.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.push("eof", &Eof { at })
    }

    /// Sends a signal.
    pub fn signal(&self, number: i32) -> Result<()> {
        self.push("signal", &Signal { number: u64::try_from(number).unwrap_or(0) })
    }

    /// Its end has arrived.
    pub fn done(&self) -> Result<()> {
        self.push("done", &self.arrived.attach())
    }

    /// So much output was taken.
    pub fn took(&mut self, count: usize) -> Result<()> {
        self.owed += count;
        if self.owed >= WINDOW / 4 {
            self.owed = 0;
            self.push("ack", &self.arrived.attach())?;
        }
        Ok(())
    }

    /// So many bytes of standard input have arrived; how many pieces these end.
    pub fn acknowledged(&mut self, input: u64) -> usize {
        let mut ended = 0;
        while let Some(piece) = self.sent.front()
            && self.sent_from + piece.len() as u64 <= input
        {
            self.sent_from += piece.len() as u64;
            self.sent.pop_front();
            ended += 1;
        }
        ended
    }

    /// Sends again what was lost; how many pieces had arrived.
    pub fn resume(&mut self, input: u64) -> Result<usize> {
        let ended = self.acknowledged(input);
        let mut at = self.sent_from;
        for piece in &self.sent {
            self.push_piece(at, piece)?;
            at += piece.len() as u64;
        }
        if self.finished {
            self.finish()?;
        }
        Ok(ended)
    }

    fn push(&self, event: &str, payload: &dyn miniserde::Serialize) -> Result<()> {
        self.subscription.push(event, miniserde::json::to_string(payload))
    }
}

impl Incoming {
    /// What is said next.
    pub fn next(&self) -> Result<Said> {
        loop {
            let Some(event) = self.events.recv(None)? else { continue };
            let said = match event {
                Event::Binary { event, payload } => self.bytes(&event, &payload),
                Event::Message { event, payload } => match event.as_str() {
                    "exit" => Some(Said::Exit(decode(&payload)?)),
                    "ack" => Some(Said::Taken(decode::<Taken>(&payload)?.input)),
                    event => {
                        let data = json::member(&payload, "data").and_then(json::string);
                        data.and_then(|data| self.bytes(event, &base64::decode(&data)?))
                    }
                },
                Event::Lost(reason) => Some(Said::Lost(reason)),
                Event::Restored(reply) => Some(Said::Restored(decode::<Taken>(&reply)?.input)),
                Event::Refused(error) => return Err(error),
                Event::Closed => {
                    return Err(Error::new(Kind::Conflict, "another rig has taken this session over"));
                }
            };
            if let Some(said) = said {
                return Ok(said);
            }
        }
    }

    /// Bytes behind their offset; what came before is left out.
    fn bytes(&self, event: &str, frame: &[u8]) -> Option<Said> {
        let arrived = match event {
            "out" => &self.arrived.out,
            "err" => &self.arrived.err,
            _ => return None,
        };
        let (offset, bytes) = frame.split_first_chunk::<8>()?;
        let known = arrived.load(Ordering::Relaxed).checked_sub(u64::from_be_bytes(*offset))?;
        let bytes = bytes.get(usize::try_from(known).ok()?..).filter(|bytes| !bytes.is_empty())?;
        arrived.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Some(if event == "out" { Said::Out(bytes.to_vec()) } else { Said::Err(bytes.to_vec()) })
    }
}

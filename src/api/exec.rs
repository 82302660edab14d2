//! A program that runs in an app, as rig holds it: what was sent and what has arrived, so
//! that it goes on behind a cut where it was.

use super::{Max, decode, number, unclear};
use crate::error::{Error, Kind, Result};
use crate::flow::Flow;
use crate::json;
use crate::net::base64;
use crate::net::link::{Event, Events, Subscription};
use crate::packed::packed;
use crate::queue::Receiver;
use crate::wire::exec::{Arrived, Attach, Closed, Create, Eof, Exit, FRAMES, Resize, Signal, WINDOW};
use miniserde::json::{Number, Object, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

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
struct Place {
    /// Where it begins is known.
    known: AtomicBool,
    out: AtomicU64,
    err: AtomicU64,
}

impl Place {
    fn arrived(&self) -> Arrived {
        Arrived { out: self.out.load(Ordering::Relaxed), err: self.err.load(Ordering::Relaxed) }
    }

    fn attach(&self) -> Attach {
        let Arrived { out, err } = self.arrived();
        let known = self.known.load(Ordering::Relaxed);
        Attach { out: known.then_some(out), err: known.then_some(err) }
    }
}

/// What of a `wire::exec::Exec` counts here.
#[derive(Clone, Copy)]
pub struct Running {
    /// Its number.
    pub id: u64,
    /// Whether it has a terminal.
    pub tty: bool,
    /// How long it goes on without a client, in seconds.
    pub keep: u64,
}

impl Running {
    fn of(exec: &Value) -> Result<Running> {
        let Value::Object(exec) = exec else { return Err(unclear()) };
        match (exec.get("id"), exec.get("tty"), exec.get("keep")) {
            (
                Some(Value::Number(Number::U64(id))),
                Some(Value::Bool(tty)),
                Some(Value::Number(Number::U64(keep))),
            ) => Ok(Running { id: *id, tty: *tty, keep: *keep }),
            _ => Err(unclear()),
        }
    }
}

/// The side that sends.
pub struct Remote {
    /// What runs.
    pub running: Running,
    subscription: Subscription,
    place: Arc<Place>,
    /// Standard input that has not been acknowledged.
    input: Flow,
    /// Output that was taken here and not acknowledged yet: bytes, and pieces.
    owed: (usize, usize),
    /// Nobody reads standard output, or standard error, any more.
    closed: (bool, bool),
}

/// The side that receives.
pub struct Incoming {
    events: Events,
    place: Arc<Place>,
}

impl Remote {
    /// Begins to run it.
    pub fn create(max: &Max, create: &Create) -> Result<Remote> {
        let answer = max.ask("exec:create", miniserde::json::to_string(create))?;
        Remote::join(max, Running::of(&decode(&answer)?)?, true)
    }

    /// Comes to one that runs, in the place of whoever was there.
    pub fn attach(max: &Max, id: u64) -> Result<Remote> {
        let list: Object = decode(&max.ask("exec:list", "{}".to_owned())?)?;
        let Some(Value::Array(sessions)) = list.get("sessions") else { return Err(unclear()) };
        for session in sessions {
            let running = Running::of(session)?;
            if running.id == id {
                return Remote::join(max, running, false);
            }
        }
        Err(Error::new(Kind::NotFound, format!("session {id} does not exist, or has ended"))
            .hint(packed!("see `rig list sessions`")))
    }

    fn join(max: &Max, running: Running, from_start: bool) -> Result<Remote> {
        let place = Arc::new(Place::default());
        place.known.store(from_start, Ordering::Relaxed);
        let asked = Arc::clone(&place);
        let params = Box::new(move || miniserde::json::to_string(&asked.attach()));
        let (reply, subscription) = max.subscribe(&format!("exec:{}", running.id), params)?;
        place.out.store(number(&reply, "out")?, Ordering::Relaxed);
        place.err.store(number(&reply, "err")?, Ordering::Relaxed);
        place.known.store(true, Ordering::Relaxed);
        Ok(Remote {
            running,
            subscription,
            place,
            input: Flow::at(number(&reply, "input")?),
            owed: (0, 0),
            closed: (false, false),
        })
    }

    /// The other side; once.
    pub fn events(&mut self) -> Option<Incoming> {
        Some(Incoming { events: self.subscription.take_events()?, place: Arc::clone(&self.place) })
    }

    /// Sends standard input. The caller keeps to the window.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let at = self.input.end();
        self.input.push(bytes);
        self.push_piece(at, bytes)
    }

    fn push_piece(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.subscription.push_bytes("in", [at.to_be_bytes().as_slice(), bytes].concat())
    }

    /// Standard input has ended.
    pub fn finish(&mut self) -> Result<()> {
        self.input.finish();
        self.push("eof", &Eof { at: self.input.end() })
    }

    /// Sends a signal.
    pub fn signal(&self, number: i32) -> Result<()> {
        self.push("signal", &Signal { number: u64::try_from(number).unwrap_or(0) })
    }

    /// Tells its terminal's size, in columns and rows.
    pub fn resize(&self, (columns, rows): (usize, usize)) -> Result<()> {
        self.push("resize", &Resize { columns: columns as u64, rows: rows as u64 })
    }

    /// Its end has arrived.
    pub fn done(&self) -> Result<()> {
        self.push("done", &Object::new())
    }

    /// A piece of output of so many bytes was taken.
    pub fn took(&mut self, count: usize) -> Result<()> {
        self.owed = (self.owed.0 + count, self.owed.1 + 1);
        if self.owed.0 >= WINDOW / 4 || self.owed.1 >= FRAMES / 4 {
            self.owed = (0, 0);
            self.push("ack", &self.place.arrived())?;
        }
        Ok(())
    }

    /// Nobody reads one of its streams any more: the program is to hear of that.
    pub fn close(&mut self, is_out: bool) -> Result<()> {
        let closed = if is_out { &mut self.closed.0 } else { &mut self.closed.1 };
        if std::mem::replace(closed, true) {
            return Ok(());
        }
        self.push_closed(is_out)
    }

    fn push_closed(&self, is_out: bool) -> Result<()> {
        self.push("closed", &Closed { stream: if is_out { "out" } else { "err" }.to_owned() })
    }

    /// So many bytes of standard input have arrived.
    pub fn acknowledged(&mut self, input: u64) {
        // One that has got more than there was is mistaken.
        let _ = self.input.acknowledge(input);
    }

    /// How many bytes of standard input may be sent now.
    pub fn room(&self) -> usize {
        self.input.room()
    }

    /// Whether all of standard input that was sent has arrived.
    pub fn settled(&self) -> bool {
        self.input.room() == WINDOW
    }

    /// Sends again what was lost.
    pub fn resume(&mut self, input: u64) -> Result<()> {
        self.acknowledged(input);
        // What was taken between the join and this is known to nobody, and it may be all that
        // the server waits for.
        self.owed = (0, 0);
        self.push("ack", &self.place.arrived())?;
        for (is_out, closed) in [(true, self.closed.0), (false, self.closed.1)] {
            if closed {
                self.push_closed(is_out)?;
            }
        }
        let mut at = self.input.acknowledged();
        while let Some(piece) = self.input.piece(at) {
            self.push_piece(at, &piece)?;
            at += piece.len() as u64;
        }
        match self.input.ended() {
            true => self.finish(),
            false => Ok(()),
        }
    }

    fn push(&self, event: &str, payload: &dyn miniserde::Serialize) -> Result<()> {
        self.subscription.push(event, miniserde::json::to_string(payload))
    }
}

impl Incoming {
    /// Waits until something is said, or there is something in another queue, or the time is
    /// over; whether there is anything.
    pub fn wait_or<T>(&self, other: &Receiver<T>, timeout: Option<Duration>) -> bool {
        self.events.wait_or(other, timeout)
    }

    /// What is said next, if it is said already.
    pub fn poll(&self) -> Result<Option<Said>> {
        while let Some(event) = self.events.poll()? {
            if let Some(said) = self.understand(event)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// What is said next.
    pub fn next(&self) -> Result<Said> {
        loop {
            if let Some(event) = self.events.recv(None)?
                && let Some(said) = self.understand(event)?
            {
                return Ok(said);
            }
        }
    }

    fn understand(&self, event: Event) -> Result<Option<Said>> {
        Ok(match event {
            Event::Binary { event, payload } => self.bytes(&event, &payload),
            Event::Message { event, payload } => match event.as_str() {
                "exit" => Some(Said::Exit(decode(&payload)?)),
                "ack" => Some(Said::Taken(number(&payload, "input")?)),
                event => {
                    let data = json::member(&payload, "data").and_then(json::string);
                    data.and_then(|data| self.bytes(event, &base64::decode(&data)?))
                }
            },
            Event::Lost(reason) => Some(Said::Lost(reason)),
            Event::Restored(reply) => Some(Said::Restored(number(&reply, "input")?)),
            Event::Refused(error) => return Err(error),
            Event::Closed => {
                return Err(Error::new(Kind::Conflict, packed!("another rig has taken this session over")));
            }
        })
    }

    /// Bytes behind their offset; what came before is left out.
    fn bytes(&self, event: &str, frame: &[u8]) -> Option<Said> {
        let arrived = match event {
            "out" => &self.place.out,
            "err" => &self.place.err,
            _ => return None,
        };
        let (offset, bytes) = frame.split_first_chunk::<8>()?;
        let known = arrived.load(Ordering::Relaxed).checked_sub(u64::from_be_bytes(*offset))?;
        let bytes = bytes.get(usize::try_from(known).ok()?..).filter(|bytes| !bytes.is_empty())?;
        arrived.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Some(if event == "out" { Said::Out(bytes.to_vec()) } else { Said::Err(bytes.to_vec()) })
    }
}

//! Carries bytes between rig's standard streams and a program in an app until that has
//! ended, over any number of connections.

use super::escape::{Escapes, HELP, Step};
use crate::api::exec::{Incoming, Remote, Said};
use crate::error::{Error, Kind, Result};
use crate::queue::{Receiver, Sender, bounded};
use crate::session::{Session, environment};
use crate::sys::signals::{self, STOPPED};
use crate::sys::terminal;
use crate::sys::thread::{SMALL, start};
use crate::term::raw;
use crate::term::{on_interrupt, on_resize, on_signal};
use crate::time::human;
use crate::wire::exec::{Exit, PIECE, Select, Tty, WINDOW};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The exit code of rig's own failures.
pub const OURS: u8 = 255;
/// What waits to be handled.
const INPUTS: usize = 16;
/// So many signals that wait unheard mean that rig can't hear: the next one ends it.
pub const SIGNALS: usize = 3;
/// How long a connection is lost before it is said on a screen that is the program's.
const UNSEEN: Duration = Duration::from_secs(1);

/// How long what was typed before the user leaves may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where output goes: whether it is standard output, and the bytes.
pub type Sink<'a> = &'a mut dyn FnMut(bool, &[u8]) -> Result<()>;

/// How a carrying ended.
pub enum End {
    /// The program has ended.
    Exit(Exit),
    /// The user has ended it: what becomes of the program is not waited for.
    Left,
}

/// How it is done.
pub enum How<'a> {
    /// Into the sink; with standard input, or without.
    Streams(Sink<'a>, bool),
    /// On the terminal; with escapes, or without.
    Terminal(bool),
}

enum Input {
    Bytes(Vec<u8>),
    End,
    Signal(i32),
    Resized,
}

/// Whether a program that drives a terminal can have the one that rig is in.
pub fn has_terminal(session: &Session) -> bool {
    io::stdin().is_terminal() && session.output.terminal && !session.output.json
}

/// The terminal rig is in, or a usual one.
pub fn tty() -> Tty {
    let (columns, rows) = terminal::size().unwrap_or((80, 24));
    Tty { term: environment("TERM").unwrap_or_default(), columns: columns as u64, rows: rows as u64 }
}

/// How to come back to a session.
fn back(remote: &Remote) -> String {
    let exec = &remote.exec;
    let keep = human(Duration::from_secs(exec.keep));
    match exec.tty {
        true => format!("session {} waits {keep} for `rig shell --attach {}`", exec.id, exec.id),
        false => format!("session {} ends by itself in {keep}", exec.id),
    }
}

/// Standard input that is read and has not arrived.
#[derive(Default)]
struct Gate {
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits until there is room for one more piece.
    fn wait(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while *waiting + PIECE > WINDOW {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Carrier<'a> {
    session: &'a Session,
    remote: Remote,
    gate: Arc<Gate>,
    /// Signals that nobody has heard yet.
    unheard: Arc<AtomicUsize>,
    sink: Option<Sink<'a>>,
    screen: Option<raw::Remote>,
    escapes: Option<Escapes>,
    /// Since when there is no connection, and why.
    lost: Option<(Instant, String)>,
    /// The user leaves: until then rig waits for what was typed before to arrive.
    leaving: Option<Instant>,
}

/// Carries bytes both ways until the program has ended, or the user has seen enough.
pub fn carry<'a>(session: &'a Session, mut remote: Remote, how: How<'a>) -> Result<End> {
    let (sender, inputs) = bounded(INPUTS);
    let (gate, unheard) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
    let incoming = remote.events().ok_or_else(|| Error::new(Kind::Internal, "nobody listens to Max"))?;
    let mut carrier = match how {
        How::Streams(sink, stdin) => {
            match stdin {
                true => read_input(sender.clone(), Arc::clone(&gate))?,
                false => remote.finish()?,
            }
            let (screen, escapes) = (None, None);
            let (lost, leaving) = (None, None);
            Carrier { session, remote, gate, unheard, sink: Some(sink), screen, escapes, lost, leaving }
        }
        How::Terminal(escapes) => {
            let screen = raw::Remote::open(&environment("TERM").unwrap_or_default())?;
            on_interrupt(&back(&remote));
            read_input(sender.clone(), Arc::clone(&gate))?;
            let (screen, escapes) = (Some(screen), escapes.then(Escapes::new));
            let (lost, leaving) = (None, None);
            Carrier { session, remote, gate, unheard, sink: None, screen, escapes, lost, leaving }
        }
    };
    carrier.listen(sender);
    let ended = loop {
        if let Some(end) = carrier.step(&incoming, &inputs).transpose() {
            break end;
        }
        if carrier.leaving.is_some_and(|until| carrier.gone_by(until)) {
            let text = back(&carrier.remote);
            break carrier.leave(&text);
        }
    };
    on_signal(None);
    on_interrupt("");
    ended
}

impl Carrier<'_> {
    /// Hears of signals and of the terminal's size from now on.
    fn listen(&self, sender: Sender<Input>) {
        let (size, drives) = (sender.clone(), self.screen.is_some());
        let unheard = Arc::clone(&self.unheard);
        on_signal(Some(Box::new(move |signal| {
            // On a terminal that is the program's, what comes from elsewhere is for rig; and
            // to stop is rig's own affair.
            drives == (signal == STOPPED)
                && unheard.fetch_add(1, Ordering::Relaxed) < SIGNALS
                && sender.try_send(Input::Signal(signal)).is_ok()
        })));
        if drives {
            // Whoever has as much to do as that is told the size again.
            on_resize(Box::new(move || {
                let _ = size.try_send(Input::Resized);
            }));
        }
    }

    /// How long the next input is waited for.
    fn patience(&self) -> Option<Duration> {
        if let Some(until) = self.leaving {
            return Some(until.saturating_duration_since(Instant::now()));
        }
        let (since, _) = self.lost.as_ref()?;
        let keep = Duration::from_secs(self.remote.exec.keep);
        let limit = if self.screen.is_some() && since.elapsed() < UNSEEN { UNSEEN.min(keep) } else { keep };
        Some(limit.saturating_sub(since.elapsed()))
    }

    /// Whether who leaves need not stay.
    fn gone_by(&self, until: Instant) -> bool {
        self.lost.is_some() || self.remote.settled() || Instant::now() >= until
    }

    /// There is no connection, and nothing has come for a while.
    fn wait_on(&mut self) -> Result<Option<End>> {
        let keep = Duration::from_secs(self.remote.exec.keep);
        let Some((since, reason)) = &self.lost else { return Ok(None) };
        if since.elapsed() >= keep {
            let message = format!("the connection could not be made again for {}", human(keep));
            return Err(Error::new(Kind::Unreachable, message).hint("how the program ended is not known"));
        }
        let text = format!("rig: connection to Max lost ({reason}); reconnecting, ~. ends this");
        self.screen.as_mut().map_or(Ok(()), |screen| screen.notice(&text))?;
        Ok(None)
    }

    /// Waits for something and does what it asks for.
    fn step(&mut self, incoming: &Incoming, inputs: &Receiver<Input>) -> Result<Option<End>> {
        // First what is short: a key that ends a flood is not behind it.
        if let Ok(input) = inputs.try_recv() {
            return self.take(input);
        }
        if let Some(said) = incoming.poll()? {
            return self.hear(said);
        }
        match incoming.wait_or(inputs, self.patience()) {
            true => Ok(None),
            false => self.wait_on(),
        }
    }

    fn take(&mut self, input: Input) -> Result<Option<End>> {
        match input {
            Input::Bytes(bytes) => return self.typed(bytes),
            Input::End => self.remote.finish()?,
            Input::Resized => self.resize()?,
            Input::Signal(signal) => self.signal(signal)?,
        }
        Ok(None)
    }

    fn hear(&mut self, said: Said) -> Result<Option<End>> {
        match said {
            Said::Out(bytes) => self.output(true, &bytes)?,
            Said::Err(bytes) => self.output(false, &bytes)?,
            Said::Taken(input) => {
                let news = self.remote.acknowledged(input);
                self.gate.change(|waiting| *waiting = waiting.saturating_sub(news));
            }
            Said::Lost(reason) => {
                if self.screen.is_none() && self.lost.is_none() {
                    let text = format!("connection to Max lost ({reason}); reconnecting");
                    self.session.output.note(&text);
                }
                let since = self.lost.take().map_or_else(Instant::now, |(since, _)| since);
                self.lost = Some((since, reason));
            }
            Said::Restored(input) => {
                self.lost = None;
                let news = self.remote.resume(input)?;
                self.gate.change(|waiting| *waiting = waiting.saturating_sub(news));
                let redraw = self.screen.as_mut().map_or(Ok(false), raw::Remote::clear)?;
                match redraw {
                    true => self.redraw()?,
                    // What was told meanwhile is lost.
                    false => self.resize()?,
                }
            }
            Said::Exit(exit) => {
                self.remote.done()?;
                return Ok(Some(End::Exit(exit)));
            }
        }
        Ok(None)
    }

    fn output(&mut self, is_out: bool, bytes: &[u8]) -> Result<()> {
        match (&mut self.screen, &mut self.sink) {
            (Some(screen), _) => screen.write(bytes)?,
            (None, Some(sink)) => sink(is_out, bytes)?,
            (None, None) => {}
        }
        self.remote.took(bytes.len())
    }

    fn typed(&mut self, bytes: Vec<u8>) -> Result<Option<End>> {
        let read = bytes.len();
        let steps = match &mut self.escapes {
            Some(escapes) => escapes.take(&bytes),
            None => vec![Step::Send(bytes)],
        };
        let mut sent = 0;
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    sent += bytes.len();
                    self.remote.send(&bytes)?;
                }
                Step::End => {
                    let id = self.remote.exec.id;
                    let text = match self.lost {
                        None => format!("session {id} was ended"),
                        Some(_) => back(&self.remote),
                    };
                    let left = self.leave(&text);
                    if self.lost.is_none() {
                        self.session.max()?.document("exec:delete", &Select { id })?;
                    }
                    self.session.exit_code.set(OURS);
                    return left.map(Some);
                }
                Step::Leave => self.leaving = Some(Instant::now() + LAST_WORDS),
                Step::Suspend => self.suspend()?,
                Step::Help => self.screen.as_ref().map_or(Ok(()), |screen| screen.say(HELP))?,
            }
        }
        // What was an escape goes nowhere.
        self.gate.change(|waiting| *waiting = (*waiting + sent).saturating_sub(read));
        Ok(None)
    }

    /// Gives the terminal back before the program has ended.
    fn leave(&mut self, text: &str) -> Result<End> {
        if let Some(screen) = self.screen.take() {
            // Behind whatever stands in the line.
            let _ = screen.say("");
        }
        self.session.output.note(text);
        Ok(End::Left)
    }

    fn suspend(&mut self) -> Result<()> {
        self.screen.as_mut().map_or(Ok(()), raw::Remote::suspend)?;
        self.redraw()
    }

    /// A program draws its screen again when that has another size.
    fn redraw(&mut self) -> Result<()> {
        if let Some((columns, rows)) = self.screen.as_ref().and_then(|_| terminal::size()) {
            self.remote.resize((columns, rows.saturating_sub(1).max(1)))?;
        }
        self.resize()
    }

    fn resize(&mut self) -> Result<()> {
        match self.screen.as_ref().and_then(|_| terminal::size()) {
            Some(size) => self.remote.resize(size),
            None => Ok(()),
        }
    }

    fn signal(&mut self, signal: i32) -> Result<()> {
        self.unheard.store(0, Ordering::Relaxed);
        if signal == STOPPED {
            return self.suspend();
        }
        if self.lost.is_some() {
            let message = format!("ended by signal {signal} while the connection was lost");
            return Err(Error::new(Kind::Unreachable, message).hint(back(&self.remote)));
        }
        self.remote.signal(signals::number(signal))
    }
}

/// Reads standard input piece by piece, as there is room.
fn read_input(sender: Sender<Input>, gate: Arc<Gate>) -> Result<()> {
    spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            gate.wait();
            let read = terminal::read(&mut buffer).unwrap_or(0);
            let bytes = buffer.get(..read).unwrap_or(&[]).to_vec();
            gate.change(|waiting| *waiting += bytes.len());
            let last = bytes.is_empty();
            if sender.send(if last { Input::End } else { Input::Bytes(bytes) }).is_err() || last {
                return;
            }
        }
    })
}

/// Does this in a thread of its own.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    start(SMALL, Box::new(work)).map(drop).map_err(|error| Error::io("start", "a thread", &error))
}

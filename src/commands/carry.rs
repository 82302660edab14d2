//! Carries bytes between rig's standard streams and a program in an app until that has
//! ended, over any number of connections.

use super::escape::{Escapes, HELP, Step};
use crate::api::exec::{Incoming, Remote, Running, Said};
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::queue::{Receiver, Sender, bounded};
use crate::session::{Session, environment};
use crate::sys::signals::{self, STOPPED};
use crate::sys::terminal;
use crate::sys::thread::{SMALL, start};
use crate::term::raw;
use crate::term::{on_interrupt, on_resize, on_signal};
use crate::time::human;
use crate::wire::exec::{Exit, PIECE, Select, Tty};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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

/// Where output goes: whether it is standard output, and the bytes. False when nobody reads
/// that stream any more.
pub type Sink<'a> = &'a mut dyn FnMut(bool, &[u8]) -> Result<bool>;

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
    /// What an escape asks for.
    Step(Step),
    /// Standard input could not be sent.
    Failed(Error),
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
fn back(running: &Running) -> String {
    let keep = human(Duration::from_secs(running.keep));
    match running.tty {
        true => format!("session {} waits {keep} for `rig shell --attach {}`", running.id, running.id),
        false => format!("session {} ends by itself in {keep}", running.id),
    }
}

/// The sending side, shared with the thread that reads standard input: what is typed is on
/// its way without waking another thread.
struct Shared {
    remote: Mutex<Remote>,
    /// Standard input may go on.
    room: Condvar,
}

impl Shared {
    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more piece.
    fn wait(&self) {
        let mut remote = self.remote();
        while remote.room() < PIECE {
            remote = self.room.wait(remote).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Carrier<'a> {
    session: &'a Session,
    running: Running,
    shared: Arc<Shared>,
    /// Signals that nobody has heard yet.
    unheard: Arc<AtomicUsize>,
    sink: Option<Sink<'a>>,
    screen: Option<raw::Remote>,
    /// Since when there is no connection, and why.
    lost: Option<(Instant, String)>,
    /// The user leaves: until then rig waits for what was typed before to arrive.
    leaving: Option<Instant>,
}

/// Carries bytes both ways until the program has ended, or the user has seen enough.
pub fn carry<'a>(session: &'a Session, mut remote: Remote, how: How<'a>) -> Result<End> {
    let (sender, inputs) = bounded(INPUTS);
    let incoming = remote.events().ok_or_else(|| Error::new(Kind::Internal, "nobody listens to Max"))?;
    let (running, unheard) = (remote.running, Arc::default());
    let (sink, screen, stdin, escapes) = match how {
        How::Streams(sink, stdin) => (Some(sink), None, stdin, None),
        How::Terminal(escapes) => {
            let screen = raw::Remote::open(&environment("TERM").unwrap_or_default())?;
            on_interrupt(&back(&running));
            (None, Some(screen), true, escapes.then(Escapes::new))
        }
    };
    if !stdin {
        remote.finish()?;
    }
    let shared = Arc::new(Shared { remote: Mutex::new(remote), room: Condvar::new() });
    if stdin {
        read_input(sender.clone(), Arc::clone(&shared), escapes)?;
    }
    let mut carrier = Carrier { session, running, shared, unheard, sink, screen, lost: None, leaving: None };
    carrier.listen(sender);
    let ended = loop {
        if let Some(end) = carrier.step(&incoming, &inputs).transpose() {
            break end;
        }
        if carrier.leaving.is_some_and(|until| carrier.gone_by(until)) {
            let text = back(&carrier.running);
            break Ok(carrier.leave(&text));
        }
    };
    if ended.is_err() {
        carrier.give_back();
    }
    on_signal(None);
    on_interrupt("");
    ended.map_err(|error| match error.kind() {
        // It was there.
        Kind::NotFound => {
            let message = format!("session {} has ended while the connection was lost", carrier.running.id);
            Error::new(Kind::NotFound, message).hint(packed!("see how in `rig list audit`"))
        }
        _ => error,
    })
}

impl Carrier<'_> {
    /// Hears of signals and of the terminal's size from now on.
    fn listen(&self, sender: Sender<Input>) {
        let (size, drives) = (sender.clone(), self.screen.is_some());
        let unheard = Arc::clone(&self.unheard);
        on_signal(Some(Box::new(move |signal| {
            // On a terminal that is the program's, what comes from elsewhere is for rig; and
            // to stop is rig's own affair.
            if drives != (signal == STOPPED) {
                return false;
            }
            let heard = unheard.fetch_add(1, Ordering::Relaxed) < SIGNALS
                && sender.try_send(Input::Signal(signal)).is_ok();
            // Who stops without giving the terminal back finds it broken.
            heard || drives
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
        let keep = Duration::from_secs(self.running.keep);
        let limit = if self.screen.is_some() && since.elapsed() < UNSEEN { UNSEEN.min(keep) } else { keep };
        Some(limit.saturating_sub(since.elapsed()))
    }

    /// Whether who leaves need not stay.
    fn gone_by(&self, until: Instant) -> bool {
        self.lost.is_some() || self.shared.remote().settled() || Instant::now() >= until
    }

    /// There is no connection, and nothing has come for a while.
    fn wait_on(&mut self) -> Result<Option<End>> {
        let keep = Duration::from_secs(self.running.keep);
        let Some((since, reason)) = &self.lost else { return Ok(None) };
        if since.elapsed() >= keep {
            let message = format!("the connection could not be made again for {}", human(keep));
            return Err(
                Error::new(Kind::Unreachable, message).hint(packed!("how the program ended is not known"))
            );
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
            Input::Step(step) => return self.escape(step),
            Input::Failed(error) => return Err(error),
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
                self.shared.remote().acknowledged(input);
                self.shared.room.notify_one();
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
                self.shared.remote().resume(input)?;
                self.shared.room.notify_one();
                let redraw = self.screen.as_mut().map_or(Ok(false), raw::Remote::clear)?;
                match redraw {
                    true => self.redraw()?,
                    // What was told meanwhile is lost.
                    false => self.resize()?,
                }
            }
            Said::Exit(exit) => {
                self.shared.remote().done()?;
                return Ok(Some(End::Exit(exit)));
            }
        }
        Ok(None)
    }

    fn output(&mut self, is_out: bool, bytes: &[u8]) -> Result<()> {
        match (&mut self.screen, &mut self.sink) {
            (Some(screen), _) => screen.write(bytes)?,
            (None, Some(sink)) => match sink(is_out, bytes) {
                Ok(true) => {}
                Ok(false) => self.shared.remote().close(is_out)?,
                Err(error) => {
                    // What it goes on to write would be lost.
                    let _ = self.end();
                    return Err(error);
                }
            },
            (None, None) => {}
        }
        self.shared.remote().took(bytes.len())
    }

    fn escape(&mut self, step: Step) -> Result<Option<End>> {
        match step {
            // That is sent by who reads it.
            Step::Send(_) => {}
            Step::End => {
                self.session.exit_code.set(OURS);
                self.give_back();
                if self.lost.is_none() {
                    match self.end() {
                        // The program was faster.
                        Err(error) if error.kind() == Kind::NotFound => {}
                        ended => ended.map_err(|error| error.hint(back(&self.running)))?,
                    }
                }
                return Ok(Some(self.leave(&match self.lost {
                    None => format!("session {} was ended", self.running.id),
                    Some(_) => back(&self.running),
                })));
            }
            Step::Leave => self.leaving = Some(Instant::now() + LAST_WORDS),
            Step::Suspend => self.suspend()?,
            Step::Help => self.screen.as_ref().map_or(Ok(()), |screen| screen.say(HELP))?,
        }
        Ok(None)
    }

    /// Ends the program.
    fn end(&self) -> Result<()> {
        self.session.max()?.document("exec:delete", &Select { id: self.running.id }).map(drop)
    }

    /// Gives the terminal back; what is said then begins a line.
    fn give_back(&mut self) {
        if let Some(mut screen) = self.screen.take() {
            let _ = screen.clear().and_then(|_| screen.say(""));
        }
    }

    /// Gives the terminal back before the program has ended.
    fn leave(&mut self, text: &str) -> End {
        self.give_back();
        self.session.output.note(text);
        End::Left
    }

    fn suspend(&mut self) -> Result<()> {
        self.screen.as_mut().map_or(Ok(()), raw::Remote::suspend)?;
        self.redraw()
    }

    /// A program draws its screen again when that has another size.
    fn redraw(&mut self) -> Result<()> {
        if let Some((columns, rows)) = self.screen.as_ref().and_then(|_| terminal::size()) {
            self.shared.remote().resize((columns, rows.saturating_sub(1).max(1)))?;
        }
        self.resize()
    }

    fn resize(&mut self) -> Result<()> {
        match self.screen.as_ref().and_then(|_| terminal::size()) {
            Some(size) => self.shared.remote().resize(size),
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
            return Err(Error::new(Kind::Unreachable, message).hint(back(&self.running)));
        }
        self.shared.remote().signal(signals::number(signal))
    }
}

/// Reads standard input piece by piece, as there is room, and sends it. What is meant for rig
/// goes to `sender`.
fn read_input(sender: Sender<Input>, shared: Arc<Shared>, mut escapes: Option<Escapes>) -> Result<()> {
    spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            shared.wait();
            let read = terminal::read(&mut buffer).unwrap_or(0);
            let bytes = buffer.get(..read).unwrap_or(&[]);
            let steps = match &mut escapes {
                _ if bytes.is_empty() => Vec::new(),
                Some(escapes) => escapes.take(bytes),
                None => vec![Step::Send(bytes.to_vec())],
            };
            for step in steps {
                let input = match step {
                    Step::Send(bytes) => match shared.remote().send(&bytes) {
                        Ok(()) => continue,
                        Err(error) => Input::Failed(error),
                    },
                    step => Input::Step(step),
                };
                if sender.send(input).is_err() {
                    return;
                }
            }
            if read == 0 {
                if let Err(error) = shared.remote().finish() {
                    let _ = sender.send(Input::Failed(error));
                }
                return;
            }
        }
    })
}

/// Does this in a thread of its own.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    start(SMALL, Box::new(work)).map_err(|error| Error::io("start", "a thread", &error))
}

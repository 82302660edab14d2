//! Who has the terminal, and how it is given back. What its modes are is `console`'s.

use super::console::{self, Modes, When};
use super::signals;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use super::console::{read, shows_escapes, size};

/// The modes to go back to, while they are changed.
static SAVED: Mutex<Option<Modes>> = Mutex::new(None);
/// While the terminal is drawn on, what puts back what was drawn. Held while something is
/// written, so that nothing comes behind [`restore`].
static DRAWN: Mutex<Option<String>> = Mutex::new(None);
/// How long [`restore`] waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_millis(200);

/// Echo is off while this lives.
pub struct EchoOff(());

impl EchoOff {
    /// Turns echo off on standard input.
    pub fn new() -> io::Result<EchoOff> {
        change(When::Forgetting, console::hide)?;
        Ok(EchoOff(()))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        restore();
    }
}

/// The alternate screen is shown, and each key is read at once, while this lives. Ctrl-C
/// is a signal all the same.
pub struct FullScreen(());

impl FullScreen {
    /// Takes the terminal on standard input and output.
    pub fn new() -> io::Result<FullScreen> {
        change(When::Forgetting, console::keys)?;
        *drawn() = Some("\u{1b}[?25h\u{1b}[?1049l".to_owned());
        let screen = FullScreen(());
        screen.write("\u{1b}[?1049h\u{1b}[?25l")?;
        Ok(screen)
    }

    /// Writes to the screen; nothing once the terminal has been restored.
    pub fn write(&self, text: &str) -> io::Result<()> {
        match *drawn() {
            Some(_) => put(text.as_bytes()),
            None => Ok(()),
        }
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        restore();
    }
}

/// Everything that is typed comes as it is, and nothing is made of what is written, while
/// this lives.
pub struct Raw(());

impl Raw {
    /// Takes the terminal on standard input and output.
    pub fn new() -> io::Result<Raw> {
        // What was typed before is for the other side.
        change(When::Written, console::raw)?;
        *drawn() = Some(String::new());
        Ok(Raw(()))
    }

    /// Writes to the terminal; nothing once it has been restored. From now on `undo` is what
    /// puts back what was changed.
    pub fn write(&self, bytes: &[u8], undo: Option<String>) -> io::Result<()> {
        match &mut *drawn() {
            Some(kept) => {
                if let Some(undo) = undo {
                    *kept = undo;
                }
                put(bytes)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn drawn() -> MutexGuard<'static, Option<String>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Puts back what was drawn, if the terminal takes it in time; whether anything was.
fn leave() -> bool {
    let deadline = Instant::now() + PATIENCE;
    let mut shown = loop {
        match DRAWN.try_lock() {
            Ok(shown) => break shown,
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return true,
        }
    };
    let Some(undo) = shown.take() else { return false };
    if !undo.is_empty() && console::writable(PATIENCE) {
        let _ = put(undo.as_bytes());
    }
    true
}

/// Stops this program as Ctrl-Z does, with the terminal as it was found, until it is
/// continued.
pub fn suspend() {
    let own = match SAVED.lock() {
        Ok(saved) if saved.is_some() => console::modes().ok(),
        _ => None,
    };
    restore();
    signals::suspend();
    if let Some(own) = own {
        let _ = change(When::Written, |modes| *modes = own);
    }
}

/// Changes the modes of standard input, and remembers what they were.
fn change(when: When, change: impl FnOnce(&mut Modes)) -> io::Result<()> {
    let mut modes = console::modes()?;
    if let Ok(mut saved) = SAVED.lock() {
        *saved = Some(modes);
    }
    console::remember(modes);
    change(&mut modes);
    console::set(&modes, when)
}

/// Puts the terminal back as it was found; does nothing when it was not touched.
/// May be called from any thread, any number of times. Says whether it was drawn on.
pub fn restore() -> bool {
    let drawn = leave();
    let saved = match SAVED.lock() {
        Ok(mut saved) => saved.take(),
        Err(_) => None,
    };
    if let Some(modes) = saved {
        // Nothing to be done about a terminal that is gone. What was typed meanwhile is for
        // whoever reads next.
        let _ = console::set(&modes, When::Now);
    }
    console::forget();
    drawn
}

/// How many columns the terminal on standard output or standard error has; none
/// without one.
pub fn width() -> Option<usize> {
    size().map(|(columns, _)| columns)
}

//! The terminal's modes and size.

use super::wait::{poll, watch};
use std::io::{self, IsTerminal, Write};
use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The modes to go back to, while they are changed.
static SAVED: Mutex<Option<libc::termios>> = Mutex::new(None);
/// Whether the alternate screen is shown. Held while something is written to it, so that
/// nothing comes behind [`restore`].
static FULL: Mutex<bool> = Mutex::new(false);
/// How long [`restore`] waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_millis(200);

/// Echo is off while this lives.
pub struct EchoOff(());

impl EchoOff {
    /// Turns echo off on standard input.
    pub fn new() -> io::Result<EchoOff> {
        change(|modes| {
            modes.c_lflag &= !libc::ECHO;
            modes.c_lflag |= libc::ECHONL | libc::ICANON;
        })?;
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
        change(|modes| {
            modes.c_lflag &= !(libc::ECHO | libc::ICANON | libc::IEXTEN);
            modes.c_iflag &= !(libc::IXON | libc::ICRNL);
            for (key, value) in [(libc::VMIN, 1), (libc::VTIME, 0), (libc::VSUSP, 0), (libc::VQUIT, 0)] {
                if let Some(slot) = modes.c_cc.get_mut(key) {
                    *slot = value;
                }
            }
        })?;
        *full() = true;
        let screen = FullScreen(());
        screen.write("\u{1b}[?1049h\u{1b}[?25l")?;
        Ok(screen)
    }

    /// Writes to the screen; nothing once the terminal has been restored.
    pub fn write(&self, text: &str) -> io::Result<()> {
        match *full() {
            true => put(text),
            false => Ok(()),
        }
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        restore();
    }
}

fn full() -> MutexGuard<'static, bool> {
    FULL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Shows the cursor and the ordinary screen again, if the terminal takes it in time; whether
/// it was not shown.
fn leave() -> bool {
    let deadline = Instant::now() + PATIENCE;
    let mut shown = loop {
        match FULL.try_lock() {
            Ok(shown) => break shown,
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return true,
        }
    };
    let was = std::mem::take(&mut *shown);
    if was {
        let mut ready = [watch(libc::STDOUT_FILENO, libc::POLLOUT)];
        let _ = poll(&mut ready, Some(PATIENCE));
        if ready.iter().any(|one| one.revents & libc::POLLOUT != 0) {
            let _ = put("\u{1b}[?25h\u{1b}[?1049l");
        }
    }
    was
}

/// Stops this program as Ctrl-Z does, until it is continued. The terminal is the caller's
/// to restore before.
pub fn suspend() {
    // SAFETY: no memory is involved.
    unsafe { libc::raise(libc::SIGTSTP) };
}

/// Changes the modes of standard input, and remembers what they were.
fn change(change: impl FnOnce(&mut libc::termios)) -> io::Result<()> {
    let mut modes = MaybeUninit::uninit();
    // SAFETY: tcgetattr fills `modes` when it returns 0.
    let mut modes = unsafe {
        if libc::tcgetattr(libc::STDIN_FILENO, modes.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        modes.assume_init()
    };
    if let Ok(mut saved) = SAVED.lock() {
        *saved = Some(modes);
    }
    change(&mut modes);
    set(&modes)
}

/// Puts the terminal back as it was found; does nothing when it was not touched.
/// May be called from any thread, any number of times. Says whether the alternate screen
/// was shown.
pub fn restore() -> bool {
    let full = leave();
    let saved = match SAVED.lock() {
        Ok(mut saved) => saved.take(),
        Err(_) => None,
    };
    if let Some(modes) = saved {
        // Nothing to be done about a terminal that is gone.
        let _ = set(&modes);
    }
    full
}

fn set(modes: &libc::termios) -> io::Result<()> {
    // SAFETY: `modes` came from tcgetattr.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, modes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many columns the terminal on standard output or standard error has; none
/// without one.
pub fn width() -> Option<usize> {
    size().map(|(columns, _)| columns)
}

/// The columns and rows of the terminal on standard output or standard error; none without
/// one.
pub fn size() -> Option<(usize, usize)> {
    let descriptor = match (io::stdout().is_terminal(), io::stderr().is_terminal()) {
        (true, _) => libc::STDOUT_FILENO,
        (_, true) => libc::STDERR_FILENO,
        _ => return None,
    };
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: TIOCGWINSZ fills a winsize, for which zero is valid.
    let size = unsafe {
        libc::ioctl(descriptor, libc::TIOCGWINSZ, size.as_mut_ptr());
        size.assume_init()
    };
    Some((usize::from(size.ws_col), usize::from(size.ws_row))).filter(|(columns, _)| *columns > 0)
}

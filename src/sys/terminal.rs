//! The terminal's modes and size.

use super::signals;
use super::wait::{poll, watch};
use std::io::{self, IsTerminal, Write};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The modes to go back to, while they are changed.
static SAVED: Mutex<Option<libc::termios>> = Mutex::new(None);
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
        change(libc::TCSAFLUSH, |modes| {
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
        change(libc::TCSAFLUSH, |modes| {
            modes.c_lflag &= !(libc::ECHO | libc::ICANON | libc::IEXTEN);
            modes.c_iflag &= !(libc::IXON | libc::ICRNL);
            for (key, value) in [(libc::VMIN, 1), (libc::VTIME, 0), (libc::VSUSP, 0), (libc::VQUIT, 0)] {
                if let Some(slot) = modes.c_cc.get_mut(key) {
                    *slot = value;
                }
            }
        })?;
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
/// this lives (cfmakeraw(3)).
pub struct Raw(());

impl Raw {
    /// Takes the terminal on standard input and output.
    pub fn new() -> io::Result<Raw> {
        // What was typed before is for the other side.
        change(libc::TCSADRAIN, |modes| {
            // SAFETY: `modes` is valid, and only written to.
            unsafe { libc::cfmakeraw(modes) };
        })?;
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
    if !undo.is_empty() {
        let mut ready = [watch(libc::STDOUT_FILENO, libc::POLLOUT)];
        let _ = poll(&mut ready, Some(PATIENCE));
        if ready.iter().any(|one| one.revents & libc::POLLOUT != 0) {
            let _ = put(undo.as_bytes());
        }
    }
    true
}

/// Stops this program as Ctrl-Z does, with the terminal as it was found, until it is
/// continued.
pub fn suspend() {
    let own = match SAVED.lock() {
        Ok(saved) if saved.is_some() => modes().ok(),
        _ => None,
    };
    restore();
    signals::suspend();
    if let Some(own) = own {
        let _ = change(libc::TCSADRAIN, |modes| *modes = own);
    }
}

fn modes() -> io::Result<libc::termios> {
    let mut modes = MaybeUninit::uninit();
    // SAFETY: tcgetattr fills `modes` when it returns 0.
    unsafe {
        if libc::tcgetattr(libc::STDIN_FILENO, modes.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(modes.assume_init())
    }
}

/// Changes the modes of standard input, and remembers what they were.
fn change(when: libc::c_int, change: impl FnOnce(&mut libc::termios)) -> io::Result<()> {
    let mut modes = modes()?;
    if let Ok(mut saved) = SAVED.lock() {
        *saved = Some(modes);
    }
    remember(modes);
    change(&mut modes);
    set(&modes, when)
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
        let _ = set(&modes, libc::TCSANOW);
    }
    CRASHED.swap(std::ptr::null_mut(), Ordering::Relaxed);
    drawn
}

/// The modes to go back to when this program crashes; none while they are as they were found.
static CRASHED: AtomicPtr<libc::termios> = AtomicPtr::new(std::ptr::null_mut());

/// What shows that a program crashes: an abort of its own, and what the processor refuses.
const CRASHES: [i32; 5] = [libc::SIGABRT, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE];

/// From now on a crash puts these modes back.
fn remember(modes: libc::termios) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    // Never freed: the handler may be looking at it.
    CRASHED.store(Box::into_raw(Box::new(modes)), Ordering::Relaxed);
    if ONCE.swap(true, Ordering::Relaxed) {
        return;
    }
    for signal in CRASHES {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: zero is valid for a sigaction; the handler makes only calls that may be made
        // there (signal-safety(7)), and happens once (SA_RESETHAND).
        unsafe {
            let chosen = action.assume_init_mut();
            chosen.sa_sigaction = crashed as *const () as libc::sighandler_t;
            chosen.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, chosen, std::ptr::null_mut());
        }
    }
}

/// Puts the terminal back, so far as that can be done here, and goes on to crash.
extern "C" fn crashed(signal: libc::c_int) {
    const UNDO: &[u8] = b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m";
    let modes = CRASHED.load(Ordering::Relaxed);
    if !modes.is_null() {
        // SAFETY: what is not null was leaked, so it is valid; UNDO is static.
        unsafe {
            libc::write(libc::STDOUT_FILENO, UNDO.as_ptr().cast(), UNDO.len());
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, modes);
        }
    }
    // SAFETY: no memory is involved; the signal's default is in force again.
    unsafe { libc::raise(signal) };
}

fn set(modes: &libc::termios, when: libc::c_int) -> io::Result<()> {
    // SAFETY: `modes` came from tcgetattr.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, when, modes) } {
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

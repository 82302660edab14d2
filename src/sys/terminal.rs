//! The terminal's modes and size.

use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;
use std::sync::Mutex;

/// The modes to go back to, while they are changed.
static SAVED: Mutex<Option<libc::termios>> = Mutex::new(None);

/// Echo is off while this lives.
pub struct EchoOff(());

impl EchoOff {
    /// Turns echo off on standard input.
    pub fn new() -> io::Result<EchoOff> {
        let mut modes = MaybeUninit::uninit();
        // SAFETY: tcgetattr fills `modes` when it returns 0.
        let before = unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, modes.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            modes.assume_init()
        };
        if let Ok(mut saved) = SAVED.lock() {
            *saved = Some(before);
        }
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        silent.c_lflag |= libc::ECHONL | libc::ICANON;
        set(&silent)?;
        Ok(EchoOff(()))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was found; does nothing when it was not touched.
/// May be called from any thread, any number of times.
pub fn restore() {
    let saved = match SAVED.lock() {
        Ok(mut saved) => saved.take(),
        Err(_) => None,
    };
    if let Some(modes) = saved {
        // Nothing to be done about a terminal that is gone.
        let _ = set(&modes);
    }
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
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

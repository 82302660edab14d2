//! The console's modes and size. With its control sequences switched on, both ways, it is a
//! terminal like others.

use super::signals;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, CONSOLE_SCREEN_BUFFER_INFO, DISABLE_NEWLINE_AUTO_RETURN, ENABLE_ECHO_INPUT,
    ENABLE_LINE_INPUT, ENABLE_PROCESSED_INPUT, ENABLE_PROCESSED_OUTPUT, ENABLE_VIRTUAL_TERMINAL_INPUT,
    ENABLE_VIRTUAL_TERMINAL_PROCESSING, ENABLE_WINDOW_INPUT, FlushConsoleInputBuffer, GetConsoleMode,
    GetConsoleOutputCP, GetConsoleScreenBufferInfo, GetStdHandle, INPUT_RECORD, KEY_EVENT, KEY_EVENT_RECORD,
    ReadConsoleInputW, STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetConsoleMode,
    SetConsoleOutputCP, WINDOW_BUFFER_SIZE_EVENT,
};

/// The code page in which bytes are UTF-8.
const UTF_8: u32 = 65001;

/// How the console treats what is typed and written.
#[derive(Clone, Copy)]
pub struct Modes {
    input: CONSOLE_MODE,
    /// Of standard output, if that is a console.
    output: Option<CONSOLE_MODE>,
    /// What bytes that are written mean.
    code_page: u32,
}

/// When other modes begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// Behind what is being written, which here is never late.
    Written,
    /// Behind that, and what was typed before is forgotten.
    Forgetting,
}

fn handle(which: STD_HANDLE) -> HANDLE {
    // SAFETY: no memory is involved. What is no console has no mode, which every use of it
    // looks for.
    unsafe { GetStdHandle(which) }
}

fn mode(which: STD_HANDLE) -> io::Result<CONSOLE_MODE> {
    let mut mode = 0;
    // SAFETY: fills `mode`, or returns 0.
    match unsafe { GetConsoleMode(handle(which), &mut mode) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(mode),
    }
}

fn set_mode(which: STD_HANDLE, mode: CONSOLE_MODE) -> io::Result<()> {
    // SAFETY: no memory is involved.
    match unsafe { SetConsoleMode(handle(which), mode) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The modes of standard input and output.
pub fn modes() -> io::Result<Modes> {
    let input = mode(STD_INPUT_HANDLE)?;
    // SAFETY: no memory is involved.
    let code_page = unsafe { GetConsoleOutputCP() };
    Ok(Modes { input, output: mode(STD_OUTPUT_HANDLE).ok(), code_page })
}

/// Changes the modes of standard input and output.
pub fn set(modes: &Modes, when: When) -> io::Result<()> {
    if when == When::Forgetting {
        // SAFETY: no memory is involved.
        unsafe { FlushConsoleInputBuffer(handle(STD_INPUT_HANDLE)) };
    }
    set_mode(STD_INPUT_HANDLE, modes.input)?;
    if let Some(output) = modes.output {
        set_mode(STD_OUTPUT_HANDLE, output)?;
        // SAFETY: no memory is involved.
        unsafe { SetConsoleOutputCP(modes.code_page) };
    }
    Ok(())
}

/// What is typed is not shown.
pub fn hide(modes: &mut Modes) {
    modes.input &= !ENABLE_ECHO_INPUT;
    modes.input |= ENABLE_LINE_INPUT | ENABLE_PROCESSED_INPUT;
}

/// Each key is read at once and not shown; Ctrl-C is a signal.
pub fn keys(modes: &mut Modes) {
    raw(modes);
    modes.input |= ENABLE_PROCESSED_INPUT;
}

/// Everything goes through as it is; the input tells of another size too.
pub fn raw(modes: &mut Modes) {
    modes.input &= !(ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT | ENABLE_PROCESSED_INPUT);
    modes.input |= ENABLE_VIRTUAL_TERMINAL_INPUT | ENABLE_WINDOW_INPUT;
    let output = ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING | DISABLE_NEWLINE_AUTO_RETURN;
    modes.output = modes.output.map(|mode| mode | output);
    modes.code_page = UTF_8;
}

/// A console takes what is written.
pub fn writable(_: Duration) -> bool {
    true
}

/// Nothing is called when a program crashes here: whoever started rig has the console then.
pub fn remember(_: Modes) {}

/// See [`remember`].
pub fn forget() {}

/// The records that are read at once: a key's sequence comes whole.
const RECORDS: usize = 64;

/// What was typed and has not been asked for.
struct Typed {
    bytes: Vec<u8>,
    /// The first half of a character.
    half: Option<u16>,
}

static TYPED: Mutex<Typed> = Mutex::new(Typed { bytes: Vec::new(), half: None });

/// Reads what is typed, or what else is standard input; 0 at its end. Where keys are read one
/// by one they are taken as the console's events, since those tell of another size too.
pub fn read(buffer: &mut [u8]) -> io::Result<usize> {
    if !mode(STD_INPUT_HANDLE).is_ok_and(|mode| mode & ENABLE_WINDOW_INPUT != 0) {
        return io::stdin().lock().read(buffer);
    }
    let mut typed = TYPED.lock().unwrap_or_else(PoisonError::into_inner);
    while typed.bytes.is_empty() {
        let mut records = [INPUT_RECORD::default(); RECORDS];
        let mut count = 0;
        // SAFETY: the pointer and the length are those of `records`; `count` is filled.
        let read = unsafe {
            ReadConsoleInputW(handle(STD_INPUT_HANDLE), records.as_mut_ptr(), RECORDS as u32, &mut count)
        };
        if read == 0 {
            return Err(io::Error::last_os_error());
        }
        let mut resized = false;
        for record in records.iter().take(count as usize) {
            match u32::from(record.EventType) {
                // SAFETY: the type says which of the union it is.
                KEY_EVENT => typed.press(unsafe { &record.Event.KeyEvent }),
                WINDOW_BUFFER_SIZE_EVENT => resized = true,
                _ => {}
            }
        }
        if resized {
            signals::resized();
        }
    }
    let count = typed.bytes.len().min(buffer.len());
    for (to, from) in buffer.iter_mut().zip(typed.bytes.drain(..count)) {
        *to = from;
    }
    Ok(count)
}

impl Typed {
    fn press(&mut self, key: &KEY_EVENT_RECORD) {
        /// The Alt key, which brings a character by its number when it is released.
        const ALT: u16 = 0x12;
        // SAFETY: both of the union are numbers, and this one's function was called.
        let unit = unsafe { key.uChar.UnicodeChar };
        // A key without a character, unless that is Ctrl-@ in a sequence, which has no key.
        let nothing = unit == 0 && (key.wVirtualKeyCode != 0 || key.wVirtualScanCode != 0);
        if nothing || (key.bKeyDown == 0 && key.wVirtualKeyCode != ALT) {
            return;
        }
        for _ in 0..key.wRepeatCount.max(1) {
            self.unit(unit);
        }
    }

    /// Takes a piece of UTF-16.
    fn unit(&mut self, unit: u16) {
        let units = [self.half.take(), Some(unit)];
        for character in char::decode_utf16(units.into_iter().flatten()) {
            match character {
                Ok(character) => {
                    self.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                // The other half may come.
                Err(_) if (0xd800..0xdc00).contains(&unit) => self.half = Some(unit),
                Err(_) => {}
            }
        }
    }
}

/// Whether terminals here know control sequences; switches them on.
pub fn shows_escapes() -> bool {
    [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE].into_iter().all(|which| match mode(which) {
        Ok(mode) => set_mode(which, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING).is_ok(),
        Err(_) => true,
    })
}

/// The columns and rows of the console on standard output or standard error; none without
/// one.
pub fn size() -> Option<(usize, usize)> {
    [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE].into_iter().find_map(|which| {
        let mut info = CONSOLE_SCREEN_BUFFER_INFO::default();
        // SAFETY: fills `info`, or returns 0.
        if unsafe { GetConsoleScreenBufferInfo(handle(which), &mut info) } == 0 {
            return None;
        }
        // What is seen of it, the edges among it.
        let seen = info.srWindow;
        let long = |from: i16, to: i16| usize::try_from(i32::from(to) - i32::from(from) + 1).ok();
        Some((long(seen.Left, seen.Right)?, long(seen.Top, seen.Bottom)?)).filter(|(columns, _)| *columns > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_characters_are_put_together() {
        let mut typed = Typed { bytes: Vec::new(), half: None };
        // A half that stays alone is nothing.
        for unit in "a\u{1f600}€".encode_utf16().chain([0xd83d, 0x62, 0xde00, 0x63]) {
            typed.unit(unit);
        }
        assert_eq!(typed.bytes, "a\u{1f600}€bc".as_bytes());
    }
}

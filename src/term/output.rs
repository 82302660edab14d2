//! Where results and messages go, and how they look there.

use super::text::safe;
use crate::error::{Error, Kind, Result, io_reason};
use crate::json;
use crate::sys::terminal::shows_escapes;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Standard output and standard error.
pub struct Output {
    /// Answer as JSON.
    pub json: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
    /// Standard error is a terminal that can redraw a line.
    pub animated: bool,
    /// Somebody can be asked: standard input and standard error are terminals.
    pub interactive: bool,
    /// Standard output is a terminal that shows more than ASCII.
    pub unicode: bool,
    colour: bool,
    closed: AtomicBool,
}

/// A colour. It only repeats what the text says.
#[derive(Clone, Copy)]
pub enum Colour {
    /// All is well.
    Green,
    /// In between.
    Yellow,
    /// Something is wrong.
    Red,
    /// Less important.
    Dim,
    /// One of several things that are told apart, whichever colours there are.
    Hue(usize),
}

/// Not red, which means that something is wrong.
const HUES: [&str; 8] = ["36", "35", "34", "32", "33", "96", "95", "94"];

impl Output {
    /// The standard streams as they are. `plain` is true with NO_COLOR or TERM=dumb.
    pub fn new(json: bool, plain: bool) -> Output {
        let terminal = io::stdout().is_terminal();
        let plain = plain || !shows_escapes();
        Output {
            json,
            terminal,
            animated: io::stderr().is_terminal() && !plain,
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            unicode: false,
            colour: terminal && !plain,
            closed: AtomicBool::new(false),
        }
    }

    /// Whether the reader of standard output has gone away, which ends a stream
    /// quietly.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Writes `text` as it is.
    pub fn write(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(Error::new(
                Kind::Failed,
                format!("cannot write to standard output: {}", io_reason(&error)),
            )),
            Ok(()) => Ok(()),
        }
    }

    /// Writes one line of a result, made safe.
    pub fn line(&self, text: &str) -> Result<()> {
        let mut line = safe(text).into_owned();
        line.push('\n');
        self.write(&line)
    }

    /// Writes one JSON document as one line.
    pub fn document(&self, document: &dyn miniserde::Serialize) -> Result<()> {
        self.write(&json_line(document))
    }

    /// Writes one JSON document that somebody else wrote, as one line.
    pub fn raw_json(&self, text: &str) -> Result<()> {
        let mut line = escaped(text.replace(['\n', '\r'], " "));
        line.push('\n');
        self.write(&line)
    }

    /// Says something that is no result, on standard error. Silent with `-o json`.
    pub fn note(&self, text: &str) {
        if !self.json {
            self.say(text);
        }
    }

    /// Warns on standard error, also with `-o json`.
    pub fn warn(&self, text: &str) {
        self.say(&format!("warning: {text}"));
    }

    fn say(&self, text: &str) {
        let mut line = safe(text).into_owned();
        line.push('\n');
        self.stderr(&line);
    }

    /// Writes raw text to standard error. That it can't be written is no reason to
    /// fail: nobody reads it.
    pub(super) fn stderr(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Shows an error: one JSON object, or `rig: …` with its hint.
    pub fn error(&self, error: &Error) {
        if self.json {
            self.stderr(&error_json(error, error.exit_code().into()));
            return;
        }
        self.say(&format!("rig: {}", error.message()));
        if let Some(hint) = error.hint_text() {
            self.say(&format!("  {hint}"));
        }
    }

    /// `text` with its colours exchanged, where colours are shown.
    pub fn inverse(&self, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[7m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// `text` in a colour where colours are shown.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "31",
            Colour::Dim => "2",
            Colour::Hue(number) => HUES.get(number % HUES.len()).copied().unwrap_or("0"),
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Tells that a signal has ended rig, behind whatever stands in the line: a `^C`, a
/// progress.
pub(super) fn interrupted(error: &Error, code: i32, json: bool) {
    let mut text = if io::stderr().is_terminal() { "\n" } else { "" }.to_owned();
    if json {
        text.push_str(&error_json(error, code));
    } else {
        text.push_str("rig: interrupted");
        if let Some(hint) = error.hint_text() {
            text.push_str("; ");
            text.push_str(&safe(hint));
        }
        text.push('\n');
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn error_json(error: &Error, exit_code: i32) -> String {
    let mut out = String::from("{\"code\":");
    json::push_string(&mut out, error.kind().code());
    out.push_str(",\"message\":");
    json::push_string(&mut out, error.message());
    out.push_str(",\"hint\":");
    match error.hint_text() {
        Some(hint) => json::push_string(&mut out, hint),
        None => out.push_str("null"),
    }
    out.push_str(",\"exit_code\":");
    out.push_str(&exit_code.to_string());
    out.push_str("}\n");
    out
}

/// A JSON document as one line with its end.
pub fn json_line(document: &dyn miniserde::Serialize) -> String {
    let mut line = escaped(miniserde::json::to_string(document));
    line.push('\n');
    line
}

/// JSON in which the control characters above 0x7e, which some terminals obey and
/// JSON allows unescaped, are escaped too.
fn escaped(text: String) -> String {
    let wild = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if !text.contains(wild) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if wild(c) {
            out.push_str("\\u00");
            out.push(char::from_digit(c as u32 >> 4, 16).unwrap_or('0'));
            out.push(char::from_digit(c as u32 & 15, 16).unwrap_or('0'));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_json_object() {
        let error = Error::new(Kind::NotFound, "network 'x\u{1b}' does not exist").hint("rig list networks");
        assert_eq!(
            error_json(&error, 3),
            "{\"code\":\"not_found\",\"message\":\"network 'x\\u001b' does not exist\",\
             \"hint\":\"rig list networks\",\"exit_code\":3}\n"
        );
    }

    #[test]
    fn json_carries_no_raw_control_character() {
        assert_eq!(escaped("\"a\u{9b}b\u{7f}\"".to_owned()), "\"a\\u009bb\\u007f\"");
    }
}

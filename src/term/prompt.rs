//! Questions to the person at the terminal. Without one they are usage errors that
//! name the flag to answer with.

use super::output::Output;
use super::text::safe;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::redact::Secret;
use crate::sys::terminal::EchoOff;
use std::io::{self, BufRead, Read};

/// The longest line that is read: far more than any token has.
const MAX_LINE: u64 = 64 * 1024;

/// An error that names `flag`, which answers without a terminal, when there is none.
pub fn possible(output: &Output, flag: &str) -> Result<()> {
    if output.interactive {
        return Ok(());
    }
    Err(Error::usage(packed!("this needs a yes, and there is no terminal to ask at"))
        .hint(format!("add {flag}")))
}

/// Asks a yes-or-no question; anything but yes is no. `flag` answers it without a
/// terminal.
pub fn confirm(output: &Output, question: &str, flag: &str) -> Result<bool> {
    possible(output, flag)?;
    let answer = put(output, question, " [y/N] ")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// Asks for a line of text.
pub fn ask(output: &Output, question: &str) -> Result<String> {
    Ok(put(output, question, ": ")?.trim().to_owned())
}

/// Asks for a line that is not shown, and takes it as it is typed.
pub fn hidden(output: &Output, question: &str) -> Result<Secret> {
    // First, since it forgets what was typed before: who sees the question may answer.
    let echo = EchoOff::new().map_err(|error| Error::io("hide the input of", "the terminal", &error))?;
    let answer = put(output, question, ": ");
    drop(echo);
    answer.map(Secret::new).map(|line| without_line_end(&line))
}

/// Shows a question and takes the answer. Ctrl-D leaves the cursor behind the question.
fn put(output: &Output, question: &str, end: &str) -> Result<String> {
    output.stderr(&[&safe(question), end].concat());
    line().inspect_err(|_| output.note(""))
}

/// A secret without the line end behind it.
pub fn without_line_end(secret: &Secret) -> Secret {
    let text = secret.reveal();
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Secret::new(text.to_owned())
}

/// The first line of standard input.
pub fn line() -> Result<String> {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX_LINE).read_line(&mut text);
    match read {
        Ok(0) => Err(Error::new(Kind::Usage, packed!("standard input ended before an answer"))),
        Ok(_) => Ok(text),
        Err(error) => Err(Error::io("read", "standard input", &error)),
    }
}

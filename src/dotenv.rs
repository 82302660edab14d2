//! Dotenv's syntax, read and written.
//!
//! ```text
//! # a comment
//! export NAME=plain value # a comment, since a space stands before it
//! NAME='as it stands, over lines too'
//! NAME="with \n \t \" \\ \$"
//! ```
//!
//! The implementations differ. Here, as in python-dotenv and in a shell, `#` begins a comment
//! only behind a space, so that no password is cut at one; as in motdotla/dotenv backticks
//! quote, and `NAME: value` is read too. `$` is an ordinary character: nothing is put in the
//! place of `${NAME}`. What is none of this is refused, with its line, rather than skipped.

use crate::error::{Error, Result};
use crate::packed::packed;

/// A variable of a file.
#[cfg_attr(test, derive(Debug))]
pub struct Entry {
    /// The number of the line it begins in.
    pub line: usize,
    /// Its name, as it stands there.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Reads all variables, in order; of two of one name both are there.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut found = Vec::new();
    while let Some(variable) = reader.next()? {
        found.push(variable);
    }
    Ok(found)
}

struct Reader<'a> {
    rest: &'a str,
    /// The number of the line that `rest` begins in.
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Option<Entry>> {
        // Empty lines and comments.
        loop {
            self.skip(char::is_whitespace);
            match self.rest.chars().next() {
                None => return Ok(None),
                Some('#') => self.skip(|c| !ends(c)),
                Some(_) => break,
            }
        }
        let line = self.line;
        if let Some(rest) = self.rest.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
            self.rest = rest;
            self.skip(is_space);
        }
        let name = self.name(line)?;
        let value = match self.rest.trim_start_matches(is_space).chars().next() {
            Some(quote @ ('\'' | '"' | '`')) => {
                self.skip(is_space);
                self.quoted(quote, &name)?
            }
            _ => self.plain(),
        };
        Ok(Some(Entry { line, name, value }))
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        let end = self.rest.find(|c| !what(c)).unwrap_or(self.rest.len());
        self.take(end);
    }

    /// The next `count` bytes, whose lines are counted.
    fn take(&mut self, count: usize) -> &str {
        let (taken, rest) = self.rest.split_at(count);
        self.line += lines(taken);
        self.rest = rest;
        taken
    }

    /// The name, and what stands behind it.
    fn name(&mut self, line: usize) -> Result<String> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-'".contains(c)));
        let name = self.take(end.unwrap_or(self.rest.len()));
        let inner = name.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
        let name = inner.unwrap_or(name).to_owned();
        self.skip(is_space);
        // With a colon there is a space behind it: `http://…` is no variable.
        let colon = self.rest.strip_prefix(':').filter(|rest| rest.starts_with([' ', '\t']));
        match self.rest.strip_prefix('=').or(colon) {
            Some(rest) if !name.is_empty() => self.rest = rest,
            _ => {
                return Err(wrong(line, "is not of the form NAME=VALUE")
                    .hint(packed!("a value of several lines stands in quotes")));
            }
        }
        Ok(name)
    }

    /// Up to the end of the line, or to a comment.
    fn plain(&mut self) -> String {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let line = self.take(end);
        let fronts = line.match_indices('#').map(|(at, _)| line.split_at(at).0);
        let front = fronts.into_iter().find(|front| front.ends_with(is_space));
        front.unwrap_or(line).trim_matches(is_space).to_owned()
    }

    /// Up to the same quote, and what may stand behind it.
    fn quoted(&mut self, quote: char, name: &str) -> Result<String> {
        let (begin, mut value) = (self.line, String::new());
        let mut chars = self.rest.char_indices().skip(1).peekable();
        let end = loop {
            let Some((at, c)) = chars.next() else {
                return Err(wrong(
                    begin,
                    &format!("begins a value of '{name}' in {quote}, which does not end"),
                )
                .hint(packed!("put a value that begins with a quote into quotes of another kind")));
            };
            match c {
                '\\' => match chars.next_if(|(_, next)| unescape(quote, *next).is_some()) {
                    Some((_, next)) => value.extend(unescape(quote, next)),
                    None => value.push('\\'),
                },
                // A file's line ends are not the value's.
                '\r' if chars.next_if(|(_, next)| *next == '\n').is_some() => value.push('\n'),
                c if c == quote => break at + 1,
                c => value.push(c),
            }
        };
        self.take(end);
        let line = self.line;
        self.skip(is_space);
        match self.rest.chars().next() {
            None | Some('#') => {}
            Some(c) if ends(c) => {}
            Some(_) => {
                return Err(wrong(line, &format!("goes on behind the {quote} that ends '{name}'"))
                    .hint(packed!("inside double quotes write \\\" for one")));
            }
        }
        Ok(value)
    }
}

/// What a backslash and this character stand for between these quotes.
fn unescape(quote: char, c: char) -> Option<char> {
    match (quote, c) {
        ('\'', '\'' | '\\') | ('"', '"' | '\\' | '\'' | '$' | '`') => Some(c),
        ('"', 'n') => Some('\n'),
        ('"', 'r') => Some('\r'),
        ('"', 't') => Some('\t'),
        ('"', 'a') => Some('\u{7}'),
        ('"', 'b') => Some('\u{8}'),
        ('"', 'f') => Some('\u{c}'),
        ('"', 'v') => Some('\u{b}'),
        _ => None,
    }
}

fn is_space(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// Whether a line ends with it.
fn ends(c: char) -> bool {
    c == '\n' || c == '\r'
}

/// How many lines end in `text`. A carriage return alone ends one too.
fn lines(text: &str) -> usize {
    text.matches(ends).count() - text.matches("\r\n").count()
}

/// An error about a line.
pub fn wrong(line: usize, what: &str) -> Error {
    Error::usage(format!("line {line} {what}")).field("text")
}

#[cfg(test)]
mod tests;

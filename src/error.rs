//! The one error type of both programs, and the table of exit codes.
//!
//! An error says what happened, to what, and what to do next, in that order:
//! `message` carries the first two, `hint` the last. A [`Kind`] is what a user
//! or a script can act on; each has one code (in JSON and on the wire) and one
//! exit code.

use std::fmt;

/// What went wrong, as far as somebody can act on it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum Kind {
    /// Anything that has no kind of its own.
    Failed,
    /// The command line or a name, value or file the user wrote is wrong.
    Usage,
    /// The thing named does not exist, or belongs to somebody else.
    NotFound,
    /// Nobody is logged in, or the token or session is not (or no longer) valid.
    Unauthenticated,
    /// Logged in, but not allowed.
    Forbidden,
    /// Max does not answer: no network, no server, no TLS.
    Unreachable,
    /// It exists already, or changed in the meantime.
    Conflict,
    /// The build failed or the new release never became healthy.
    DeployFailed,
    /// No answer within the time allowed.
    TimedOut,
    /// Larger than Max accepts.
    TooLarge,
    /// The server's disk is full.
    NoSpace,
    /// The server failed at something that should work.
    Internal,
    /// The user pressed Ctrl-C.
    Interrupted,
}

/// Every kind with its code in JSON and its exit code.
pub const KINDS: &[(Kind, &str, u8)] = &[
    (Kind::Failed, "failed", 1),
    (Kind::TooLarge, "too_large", 1),
    (Kind::NoSpace, "no_space", 1),
    (Kind::Internal, "internal", 1),
    (Kind::Usage, "usage", 2),
    (Kind::NotFound, "not_found", 3),
    (Kind::Unauthenticated, "unauthenticated", 4),
    (Kind::Forbidden, "forbidden", 4),
    (Kind::Unreachable, "unreachable", 5),
    (Kind::Conflict, "conflict", 6),
    (Kind::DeployFailed, "deploy_failed", 7),
    (Kind::TimedOut, "timed_out", 8),
    (Kind::Interrupted, "interrupted", 130),
];

impl Kind {
    fn row(self) -> (&'static str, u8) {
        KINDS.iter().find(|row| row.0 == self).map_or(("failed", 1), |row| (row.1, row.2))
    }

    /// The code in JSON and on the wire, such as `not_found`.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The exit code of a command that ends with this kind.
    pub fn exit_code(self) -> u8 {
        self.row().1
    }

    /// The kind with this code; [`Kind::Failed`] for a code from a newer server.
    pub fn from_code(code: &str) -> Kind {
        KINDS.iter().find(|row| row.1 == code).map_or(Kind::Failed, |row| row.0)
    }
}

/// An error, one pointer wide.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    field: Option<String>,
    exit_code: Option<u8>,
}

/// What fallible functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind. `message` is lower case, without a full stop, with
    /// its subject in single quotes.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), hint: None, field: None, exit_code: None }))
    }

    /// A mistake in what the user wrote.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    /// `cannot read 'rig.json': permission denied`, from an I/O error.
    pub fn io(doing: &str, subject: &str, source: &std::io::Error) -> Error {
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull => Kind::NoSpace,
            std::io::ErrorKind::TimedOut => Kind::TimedOut,
            _ => Kind::Failed,
        };
        Error::new(kind, format!("cannot {doing} '{subject}': {}", io_reason(source)))
    }

    /// The same error with a word on what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error, naming the field of the request that is wrong.
    pub fn field(mut self, field: impl Into<String>) -> Error {
        self.0.field = Some(field.into());
        self
    }

    /// The same error with an exit code that is not its kind's.
    pub fn exits(mut self, code: u8) -> Error {
        self.0.exit_code = Some(code);
        self
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        self.0.exit_code.unwrap_or_else(|| self.0.kind.exit_code())
    }

    /// What somebody can act on.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened, and to what.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The field of the request that is wrong.
    pub fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.code())?;
        f.write_str(": ")?;
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

/// The reason of an I/O error in words: the system's text, lower case and
/// without `(os error 2)`.
pub fn io_reason(source: &std::io::Error) -> String {
    let mut text = source.to_string();
    if let Some(at) = text.find(" (os error") {
        text.truncate(at);
    }
    if cfg!(windows) && text.ends_with('.') {
        text.pop();
    }
    let lower = text.get(..1).map(str::to_ascii_lowercase);
    if let Some(lower) = lower {
        text.replace_range(..1, &lower);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_code_that_leads_back_to_it() {
        for (kind, code, exit) in KINDS {
            assert!(Kind::from_code(code) == *kind);
            assert_eq!(kind.code(), *code);
            assert_eq!(kind.exit_code(), *exit);
        }
        assert!(Kind::from_code("from_the_future") == Kind::Failed);
    }

    #[test]
    fn an_io_reason_is_plain_words() {
        let error = std::io::Error::from_raw_os_error(2);
        let reason = io_reason(&error);
        assert!(!cfg!(unix) || reason == "no such file or directory");
        assert!(!reason.contains("os error") && !reason.ends_with('.'));
    }
}

//! Names of apps and networks: RFC 1035 labels, parsed once and never checked
//! again.
//!
//! A label is 1 to 63 characters of `a-z`, `0-9` and `-`, starts with a letter
//! and does not end with a hyphen (RFC 1035, section 2.3.1). An app `web` in a
//! network `blue` is reached as `web.blue.DOMAIN`.

use crate::error::{Error, Result};
use crate::packed::packed;
use std::fmt;

/// The longest label DNS carries.
pub const MAX_LABEL: usize = 63;

/// A valid RFC 1035 label: an app's or a network's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Parses `text`; `what` (`app`, `network`) is used in the error, which names
    /// the broken rule and offers the nearest valid name.
    pub fn parse(what: &str, text: &str) -> Result<Name> {
        let Some(rule) = broken_rule(text) else { return Ok(Name(text.to_owned())) };
        let error = Error::usage(format!("'{}' is no valid {what} name: {rule}", shown(text))).field("name");
        Err(match nearest(text) {
            Some(name) => error.hint(format!("try '{name}'")),
            None => error.hint(packed!("a name has 1 to 63 of a-z, 0-9 and -, and starts with a letter")),
        })
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `APP.NETWORK`, the way it stands in front of the domain.
pub fn split_app(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((app, network)) => (app, Some(network)),
        None => (text, None),
    }
}

fn broken_rule(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match bytes {
        [] => Some("it is empty"),
        _ if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Some("only lower-case letters are allowed")
        }
        _ if !bytes.iter().all(allowed) => Some("only a-z, 0-9 and - are allowed"),
        [first, ..] if !first.is_ascii_lowercase() => Some("it must start with a letter"),
        [.., b'-'] => Some("it must not end with a hyphen"),
        _ if bytes.len() > MAX_LABEL => Some("it is longer than 63 characters"),
        _ => None,
    }
}

/// The nearest valid name, or none when nothing of the text can be kept.
fn nearest(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' => name.push(c),
            '0'..='9' if !name.is_empty() => name.push(c),
            '-' | '_' | '.' | ' ' | '/' if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    name.truncate(MAX_LABEL);
    name.truncate(name.trim_end_matches('-').len());
    (!name.is_empty()).then_some(name)
}

/// At most 80 characters of what the user wrote.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_rfc_1035_are_names() {
        for text in ["a", "web", "a1", "my-app", "a--b", &"x".repeat(63)] {
            assert_eq!(Name::parse("app", text).map(|name| name.to_string()).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn an_error_names_the_rule_and_the_nearest_name() {
        let table = [
            (
                "",
                "'' is no valid app name: it is empty",
                "a name has 1 to 63 of a-z, 0-9 and -, and starts with a letter",
            ),
            ("My_App", "'My_App' is no valid app name: only lower-case letters are allowed", "try 'my-app'"),
            ("my app", "'my app' is no valid app name: only a-z, 0-9 and - are allowed", "try 'my-app'"),
            ("1st", "'1st' is no valid app name: it must start with a letter", "try 'st'"),
            ("web-", "'web-' is no valid app name: it must not end with a hyphen", "try 'web'"),
            ("café", "'café' is no valid app name: only a-z, 0-9 and - are allowed", "try 'caf'"),
            (
                "123",
                "'123' is no valid app name: it must start with a letter",
                "a name has 1 to 63 of a-z, 0-9 and -, and starts with a letter",
            ),
        ];
        for (text, message, hint) in table {
            let error = Name::parse("app", text).err();
            assert_eq!(error.as_ref().map(Error::message), Some(message));
            assert_eq!(error.as_ref().and_then(Error::hint_text), Some(hint));
        }
        let long = Name::parse("network", &"y".repeat(64)).err();
        assert_eq!(
            long.as_ref().and_then(Error::hint_text),
            Some(format!("try '{}'", "y".repeat(63)).as_str())
        );
    }

    #[test]
    fn the_nearest_name_is_itself_valid() {
        for text in ["-a-", "A.B.C", "..", "9-x-", &"-".repeat(99), &"é-".repeat(70), &"ab-".repeat(21)] {
            if let Some(name) = nearest(text) {
                assert!(Name::parse("app", &name).is_ok(), "{text} gave {name}");
            }
        }
    }
}

//! The address of a server: `https://HOST[:PORT][/PATH]`, or `http://` on a loopback
//! address.

use crate::error::{Error, Result};
use crate::packed::packed;
use std::fmt;
use std::net::IpAddr;

/// A server's address, in one spelling: lower case, without the default port and
/// without a slash at the end.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Parses `text`; `https://` may be left out.
    pub fn parse(text: &str) -> Result<Url> {
        let invalid = |why: &str| {
            Error::usage(format!("'{text}' is no server address: {why}"))
                .hint(packed!("write for instance https://max.example.com"))
        };
        let (secure, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some(_) => return Err(invalid("it must begin with https://")),
            None => (true, text),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.chars().all(plain) {
            return Err(invalid("its path holds more than names"));
        }
        if authority.contains('@') {
            return Err(invalid("user names and passwords do not belong into it"));
        }
        let (host, port) = split_authority(authority).map_err(invalid)?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let path = path.trim_end_matches('/').to_owned();
        let url = Url { secure, host, port, path };
        if !secure && !url.is_loopback() {
            return Err(Error::usage(format!("'{text}' would send your token unencrypted"))
                .hint(packed!("use https://, or a loopback address")));
        }
        Ok(url)
    }

    /// Whether it names this machine itself.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Whether it is `https`.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What stands before the paths of the API.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `HOST[:PORT]` as the `Host` header has it.
    pub fn authority(&self) -> String {
        let mut out = self.target();
        if self.port == if self.secure { 443 } else { 80 } {
            out.truncate(out.rfind(':').unwrap_or(out.len()));
        }
        out
    }

    /// `HOST:PORT`, as a proxy is asked for it.
    pub fn target(&self) -> String {
        join(&self.host, self.port)
    }
}

/// Whether `host` names this machine itself (RFC 6761, section 6.3, for names).
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.');
    let local = name == "localhost" || name.ends_with(".localhost");
    local || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub(super) fn join(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The parts of `HOST[:PORT]`, the host in lower case and without brackets; or what is
/// wrong with it.
pub(super) fn split_authority(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let bracketed = text.strip_prefix('[');
    let (host, port) = match bracketed {
        Some(rest) => rest.split_once(']').ok_or("a bracket is missing")?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => Some(digits.parse().ok().filter(|port| *port > 0).ok_or("its port is no number")?),
        None if port.is_empty() => None,
        None => return Err("its port is no number"),
    };
    let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    let valid = match bracketed {
        Some(_) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(name),
    };
    match valid {
        true => Ok((host.to_ascii_lowercase(), port)),
        false => Err("its host name is wrong"),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "https://" } else { "http://" })?;
        f.write_str(&self.authority())?;
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        for (text, url) in [
            ("max.example.com", "https://max.example.com"),
            ("HTTPS://Max.Example.com:443/", "https://max.example.com"),
            ("https://max.example.com:8443/api/", "https://max.example.com:8443/api"),
            ("http://localhost:7070", "http://localhost:7070"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:7070", "http://[::1]:7070"),
            ("http://web.blue.localhost", "http://web.blue.localhost"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), url);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "https://",
            "ftp://x",
            "https://u:p@x",
            "https://x:0",
            "https://x:99999",
            "https://x:",
            "https://x?q",
            "https://x/a?b",
            "https://x y",
            "https://[::1",
            "https://[x]",
            "https://::1",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for text in
            ["http://max.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://[::2]"]
        {
            let error = Url::parse(text).err().unwrap();
            assert_eq!(error.message(), format!("'{text}' would send your token unencrypted"));
        }
    }
}

//! Where a webhook leads: its URL, and which addresses maxd may connect to for it. A
//! webhook is a request that a user has maxd make, so it must not reach what only maxd
//! can: the host itself, its network, a cloud's metadata.

use crate::error::{Error, Result};
use hyper::Uri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest URL.
const LONGEST: usize = 2000;

/// A webhook's URL.
pub struct Target {
    /// Whether it is `https`.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// For the header `Host`.
    pub authority: String,
    /// The path and the query.
    pub path: String,
}

impl Target {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Target> {
        let wrong = |why: &str| {
            Error::usage(format!("'{}' is no URL for a webhook: {why}", shown(url)))
                .hint("for instance https://hooks.example.com/max")
                .field("url")
        };
        if url.len() > LONGEST {
            return Err(wrong(&format!("it has more than {LONGEST} bytes")));
        }
        if url.contains('#') {
            return Err(wrong("it has a fragment, which nobody would be sent"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("it is malformed"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it begins with neither https:// nor http://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it holds a password; messages are signed instead"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = match (authority.as_str().get(authority.host().len()..), secure) {
            // What can't be read must not become the default.
            (Some(rest), _) if !rest.is_empty() => authority.port_u16().filter(|port| *port > 0),
            (_, true) => Some(443),
            (_, false) => Some(80),
        };
        let port = port.ok_or_else(|| wrong("its port is none"))?;
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Target { secure, host, port, authority: authority.as_str().to_owned(), path })
    }
}

/// The beginning of a text that may be long.
fn shown(text: &str) -> String {
    // What stands before the @ may be a password.
    let scheme = text.find("://").map_or(0, |at| at + 3);
    let authority = text.get(scheme..).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or("");
    if let Some(at) = authority.rfind('@') {
        let (before, behind) = (text.get(..scheme).unwrap_or(""), text.get(scheme + at..).unwrap_or(""));
        return shown(&format!("{before}…{}", behind.replacen('@', "", 1)));
    }
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Whether an address is one of the internet's (IANA's special-purpose registries).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    const SPECIAL: &[([u8; 4], u32)] = &[
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        // Multicast, reserved, broadcast.
        ([224, 0, 0, 0], 3),
    ];
    let bits = address.to_bits();
    !SPECIAL.iter().any(|(from, length)| (bits ^ u32::from_be_bytes(*from)) >> (32 - length) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Of what is assigned (2000::/3) these are special, or carry an IPv4 address on.
    match address.segments() {
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x2002, ..] | [0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, secure, host, port, authority, path) in [
            ("https://a.example/x?y=1", true, "a.example", 443, "a.example", "/x?y=1"),
            ("http://A.example:81", false, "a.example", 81, "A.example:81", "/"),
            ("https://[2606:4700::1]:8443/", true, "2606:4700::1", 8443, "[2606:4700::1]:8443", "/"),
        ] {
            let target = Target::parse(url).unwrap();
            let found = (target.secure, target.host.as_str(), target.port);
            assert_eq!(found, (secure, host, port), "{url}");
            assert_eq!((target.authority.as_str(), target.path.as_str()), (authority, path), "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_refused() {
        let long = format!("https://a.example/{}", "x".repeat(2000));
        for (url, why) in [
            ("", "it is malformed"),
            ("a b", "it is malformed"),
            ("hooks.example.com", "it begins with neither https:// nor http://"),
            ("/path", "it begins with neither https:// nor http://"),
            ("ftp://a.example/", "it begins with neither https:// nor http://"),
            ("https://user:pass@a.example/", "it holds a password; messages are signed instead"),
            ("https://a.example@10.0.0.1/", "it holds a password; messages are signed instead"),
            ("https://a.example/#x", "it has a fragment, which nobody would be sent"),
            ("https://a.example:0/", "its port is none"),
            ("https://a.example:99999/", "its port is none"),
            ("https://a.example:/", "its port is none"),
            (&long, "it has more than 2000 bytes"),
        ] {
            let error = Target::parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!error.message().contains("pass@"), "{error}");
            assert!(error.message().ends_with(&format!("is no URL for a webhook: {why}")), "{error}");
            assert_eq!(error.field_name(), Some("url"));
        }
    }

    #[test]
    fn only_the_internet_is_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.0.1",
            "100.128.0.1",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "203.0.114.1",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}

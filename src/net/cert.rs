//! What a certificate says of itself, for people: a walk over its DER (RFC 5280,
//! section 4.1) that checks every bound and trusts nothing. Nothing depends on it but
//! words.

use std::net::IpAddr;

/// More of a name, and more names, are not shown.
const LONGEST: usize = 64;
const MOST: usize = 5;
/// The common name, the organisation, and the alternative names, as object identifiers.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANISATION: &[u8] = &[0x55, 4, 10];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 29, 17];
/// The tags that are met.
const UTC_TIME: u8 = 0x17;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// What people want to know of a certificate. It comes from outside: to be made safe
/// before it is shown.
pub struct Certificate {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its first day, `2026-11-24`.
    pub since: String,
    /// Its last day.
    pub until: String,
    /// The host names and addresses it is for: `'a', 'b'`. Empty without any.
    pub names: String,
}

impl Certificate {
    /// Reads `der`; none when it is no certificate.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let mut fields = Der(Der(der).take()?.1);
        fields = Der(fields.take()?.1);
        // The version may be missing; then come serial number and algorithm.
        if fields.take()?.0 == VERSION {
            fields.take()?;
        }
        fields.take()?;
        let issuer = name(fields.take()?.1);
        let mut validity = Der(fields.take()?.1);
        let (since, until) = (date(validity.take()?), date(validity.take()?));
        let subject = name(fields.take()?.1);
        let mut names = String::new();
        // The key, and what is optional.
        while let Some((tag, field)) = fields.take() {
            if tag == EXTENSIONS {
                names = alternative_names(Der(field).take()?.1);
            }
        }
        Some(Certificate { subject, issuer, since, until, names })
    }
}

/// A DER encoding of which the elements are taken one by one.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The tag and the content of the next element; none at the end, or where it is
    /// malformed.
    #[inline(never)]
    fn take(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (digits, after) = rest.split_at_checked(length - 0x80)?;
            if digits.len() > 3 {
                return None;
            }
            length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }
}

/// A distinguished name: its common name, else its organisation.
fn name(der: &[u8]) -> String {
    let mut best = "nobody".into();
    let mut sets = Der(der);
    while let Some((_, set)) = sets.take() {
        let mut pairs = Der(set);
        while let Some((_, pair)) = pairs.take() {
            let mut pair = Der(pair);
            let (Some((_, kind)), Some((_, text))) = (pair.take(), pair.take()) else { continue };
            if kind == COMMON_NAME {
                return shown(text);
            }
            if kind == ORGANISATION {
                best = shown(text);
            }
        }
    }
    best
}

#[inline(never)]
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(LONGEST).collect()
}

/// `UTCTime` has two digits for the year (RFC 5280, section 4.1.2.5.1).
fn date((tag, text): (u8, &[u8])) -> String {
    let text = shown(text);
    let mut out = String::from(match tag {
        UTC_TIME if text.starts_with(['0', '1', '2', '3', '4']) => "20",
        UTC_TIME => "19",
        _ => "",
    });
    for digit in text.chars() {
        out.push(digit);
        match out.len() {
            4 | 7 => out.push('-'),
            10.. => break,
            _ => {}
        }
    }
    out
}

fn alternative_names(extensions: &[u8]) -> String {
    let mut out = String::new();
    let mut extensions = Der(extensions);
    while let Some((_, extension)) = extensions.take() {
        let mut parts = Der(extension);
        if parts.take().is_none_or(|(_, kind)| kind != ALTERNATIVE_NAMES) {
            continue;
        }
        // Whether it is critical may stand in front of its content.
        let mut content = &[][..];
        while let Some((_, part)) = parts.take() {
            content = part;
        }
        let mut names = Der(Der(content).take().map_or(&[], |list| list.1));
        let mut count = 0;
        while let Some((tag, name)) = names.take() {
            let Some(name) = host(tag, name) else { continue };
            count += 1;
            if count > MOST {
                out.push_str(", …");
                break;
            }
            out.push_str(if count > 1 { ", '" } else { "'" });
            out.push_str(&name);
            out.push('\'');
        }
    }
    out
}

fn host(tag: u8, name: &[u8]) -> Option<String> {
    let address = match (tag, name) {
        (DNS_NAME, _) => return Some(shown(name)),
        (IP_ADDRESS, [a, b, c, d]) => IpAddr::from([*a, *b, *c, *d]),
        (IP_ADDRESS, _) => IpAddr::from(<[u8; 16]>::try_from(name).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}

#[cfg(all(test, feature = "server"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let names = ["a.example".to_owned(), "*.b.example".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_read() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Example Org");
            params.distinguished_name.push(DnType::CommonName, "größer");
            params.not_before = date_time_ymd(1999, 12, 31);
            params.not_after = date_time_ymd(2051, 1, 2);
            for address in [IpAddr::from([10, 0, 0, 1]), "fd00::1".parse().unwrap()] {
                params.subject_alt_names.push(SanType::IpAddress(address));
            }
            params.subject_alt_names.push(SanType::URI("urn:x".try_into().unwrap()));
        });
        let read = Certificate::read(&der).unwrap();
        assert_eq!((read.subject.as_str(), read.issuer.as_str()), ("größer", "größer"));
        assert_eq!((read.since.as_str(), read.until.as_str()), ("1999-12-31", "2051-01-02"));
        assert_eq!(read.names, "'a.example', '*.b.example', '10.0.0.1', 'fd00::1'");
    }

    #[test]
    fn names_are_the_best_there_is_and_not_endless() {
        for (common, organisation, shown) in [
            (Some("x"), Some("y"), "x"),
            (None, Some("only"), "only"),
            (None, None, "nobody"),
            (Some(&*"é".repeat(200)), None, &*"é".repeat(LONGEST)),
        ] {
            let der = certificate(|params| {
                for (kind, text) in [(DnType::OrganizationName, organisation), (DnType::CommonName, common)] {
                    if let Some(text) = text {
                        params.distinguished_name.push(kind, text);
                    }
                }
            });
            assert_eq!(Certificate::read(&der).unwrap().subject, shown);
        }
    }

    #[test]
    fn a_few_of_many_hosts_are_shown() {
        for (count, shown) in [
            (0, ""),
            (1, "'n1'"),
            (5, "'n1', 'n2', 'n3', 'n4', 'n5'"),
            (6, "'n1', 'n2', 'n3', 'n4', 'n5', …"),
            (300, "'n1', 'n2', 'n3', 'n4', 'n5', …"),
        ] {
            let names = (1..=count).map(|n| SanType::DnsName(format!("n{n}").try_into().unwrap()));
            let der = certificate(|params| params.subject_alt_names = names.collect());
            assert_eq!(Certificate::read(&der).unwrap().names, shown);
        }
    }

    /// Cut anywhere and with any byte turned over it is read, or not, but never past its
    /// end.
    #[test]
    fn what_is_damaged_does_no_harm() {
        let der = certificate(|params| params.distinguished_name.push(DnType::CommonName, "x"));
        assert!(Certificate::read(&der).is_some());
        for length in 0..der.len() {
            assert!(Certificate::read(&der[..length]).is_none(), "{length}");
        }
        let mut readable = 0;
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut damaged = der.clone();
                damaged[at] = byte;
                readable += usize::from(Certificate::read(&damaged).is_some());
            }
        }
        // The key and the signature alone are not looked at.
        assert!(readable > der.len() && readable < der.len() * 5, "{readable}");
    }
}

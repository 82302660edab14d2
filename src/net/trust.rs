//! Whom rig trusts: a server whose certificate one of the roots vouches for, or the one
//! certificate that is pinned. And what it says when it does not.

use super::cert::Certificate;
use super::tls::{SIGNATURES, sha256};
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::time::rfc3339;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::verify_tls13_signature;
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// The SHA-256 of a certificate, which names it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// Reads `SHA256:HEX`; in front of the digits there may be nothing, and between them
    /// colons, as `openssl x509 -fingerprint` writes them.
    pub fn parse(text: &str) -> Result<Pin> {
        let wrong = || {
            Error::usage(format!("'{text}' is no fingerprint of a certificate"))
                .hint(packed!("write SHA256: and 64 hexadecimal digits"))
        };
        let digits = match text.split_at_checked(7) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("sha256:") => rest,
            _ => text,
        };
        let mut digits = digits.chars().filter(|c| *c != ':').map(|c| c.to_digit(16));
        let mut pin = [0; 32];
        for byte in &mut pin {
            let mut digit = || digits.next().flatten().ok_or_else(wrong);
            *byte = (digit()? << 4 | digit()?) as u8;
        }
        match digits.next() {
            None => Ok(Pin(pin)),
            Some(_) => Err(wrong()),
        }
    }

    fn of(certificate: &[u8]) -> Pin {
        Pin(sha256(certificate))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SHA256:")?;
        for digit in self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            f.write_char(char::from_digit(u32::from(digit), 16).unwrap_or('0'))?;
        }
        Ok(())
    }
}

const CLOCK: &str = "renew the certificate on the server, or set this machine's clock";

/// Decides about certificates, and remembers the one it refused.
pub struct Trust {
    roots: Arc<RootCertStore>,
    pin: Option<Pin>,
    refused: Mutex<Option<Refused>>,
}

/// Why a certificate was refused.
struct Refused {
    what: String,
    hint: String,
    /// It, when nothing else is wrong but that nobody known vouches for it.
    stranger: Option<(Pin, Certificate)>,
}

impl Trust {
    /// Trusts what `roots` vouch for; with a pin, that certificate and no other.
    pub fn new(roots: Arc<RootCertStore>, pin: Option<Pin>) -> Trust {
        Trust { roots, pin, refused: Mutex::new(None) }
    }

    /// The certificate that was refused last and its fingerprint, if nothing is wrong with
    /// it but that nobody known vouches for it.
    pub fn stranger(&self) -> Option<(Pin, Certificate)> {
        self.refused().take()?.stranger
    }

    /// What it means that `error` ended a handshake with `who`.
    pub fn explain(&self, error: &rustls::Error, who: &str) -> Error {
        match (error, &*self.refused()) {
            (rustls::Error::InvalidCertificate(_), Some(refused)) => {
                untrusted(who, &refused.what, &refused.hint)
            }
            _ => explain(error, who),
        }
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if let Some(pin) = self.pin {
            return match pin == Pin::of(own) {
                true => Ok(()),
                false => Err(CertificateError::ApplicationVerificationFailure.into()),
            };
        }
        let parsed = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, SIGNATURES.all)?;
        verify_server_name(&parsed, name)
    }

    /// What to say about a certificate that `reason` is wrong with; none when there is
    /// nothing particular.
    fn refusal(&self, reason: &CertificateError, own: &[u8], last: &[u8]) -> Option<Refused> {
        let seen = Pin::of(own);
        let certificate = Certificate::read(own)?;
        let mut stranger = None;
        let (what, hint) = match (reason, self.pin) {
            (_, Some(pin)) => (
                format!("its certificate is {seen}, but {pin} is pinned"),
                format!(
                    "somebody may be listening in; if the server has a new certificate, log in with --pin {seen}"
                ),
            ),
            (CertificateError::ExpiredContext { not_after, .. }, _) => {
                (dated(*not_after, &certificate.until, "expired on"), CLOCK.into())
            }
            (CertificateError::NotValidYetContext { not_before, .. }, _) => {
                (dated(*not_before, &certificate.since, "is not valid before"), CLOCK.into())
            }
            (CertificateError::NotValidForNameContext { .. }, _) => {
                let names = if certificate.names.is_empty() { "no host" } else { &certificate.names };
                (format!("its certificate is for {names}"), "use the name the certificate is for".into())
            }
            // What signs itself often is an authority too, which a server must not be; that
            // is not what is wrong with it.
            _ if matches!(reason, CertificateError::UnknownIssuer)
                || certificate.issuer == certificate.subject =>
            {
                stranger = Some((seen, certificate));
                (
                    format!(
                        "its certificate is from an unknown issuer: '{}'",
                        Certificate::read(last)?.issuer
                    ),
                    format!(
                        "if you know it: name its authority with --ca FILE, or trust it alone with --pin {seen}"
                    ),
                )
            }
            _ => return None,
        };
        Some(Refused { what, hint, stranger })
    }
}

/// `its certificate WHAT DAY`; another day than its own is that of one above it.
fn dated(time: UnixTime, own: &str, what: &str) -> String {
    let mut day = rfc3339(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    day.truncate(own.len());
    let whose = if day == own { "its certificate" } else { "the certificate of its authority" };
    format!("{whose} {what} {day}")
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checked = self.check(own, others, name, now);
        *self.refused() = match &checked {
            Err(rustls::Error::InvalidCertificate(reason)) => {
                self.refusal(reason, own, others.last().unwrap_or(own))
            }
            _ => None,
        };
        checked.map(|()| ServerCertVerified::assertion())
    }

    /// Never asked: rig offers TLS 1.3 alone.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

fn untrusted(who: &str, what: &str, hint: &str) -> Error {
    Error::new(Kind::Unreachable, format!("cannot trust {who}: {what}")).hint(hint)
}

/// What a TLS error on a connection with `who` means.
pub fn explain(error: &rustls::Error, who: &str) -> Error {
    use AlertDescription as Alert;
    let unreachable =
        |what: &str, hint: &str| Error::new(Kind::Unreachable, format!("{who} {what}")).hint(hint);
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            untrusted(who, "the signature of its certificate is wrong", "somebody may be listening in")
        }
        rustls::Error::InvalidCertificate(_) => untrusted(
            who,
            "its certificate is not acceptable",
            "a server certificate needs a name, the right usage, and a key and signature of today",
        ),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity,
        ) => unreachable(
            "speaks no TLS 1.3",
            "rig speaks nothing older; update the server, or what stands before it",
        ),
        rustls::Error::AlertReceived(_) => unreachable(
            "refuses the TLS connection",
            "check the URL's host name; the server may know another one, or want a certificate from its clients",
        ),
        _ => unreachable(
            "does not speak TLS",
            "check the URL: is it another port, or plain http on a loopback address?",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_rig_and_openssl_write_it() {
        let hex = "00ff".repeat(16);
        let written = format!("SHA256:{hex}");
        let colons = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let colons = colons.collect::<Vec<_>>().join(":").to_uppercase();
        for text in [&written, &hex, &colons, &format!("sha256:{colons}")] {
            assert_eq!(Pin::parse(text).unwrap().to_string(), written);
        }
        let longer = format!("{written}0");
        for text in
            ["", "SHA256:", "SHA256:00", &longer, &written.replace('f', "g"), &written.replace("0", "é")]
        {
            let error = Pin::parse(text).err().unwrap();
            assert_eq!(error.message(), format!("'{text}' is no fingerprint of a certificate"));
        }
    }
}

//! One message to one webhook: a signed `POST` over a connection of its own, to an address
//! that was looked at. Redirects are not followed, and nothing of the answer's body is read.

use super::target::{Target, is_public};
use crate::error::{Error, Kind, Result, io_reason};
use crate::maxd::store::disk;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use ring::hmac;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

/// How long a message may take, from the name to the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a name may take when a webhook is created: who asks for it waits.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Brings messages.
pub struct Courier {
    /// Whether addresses that are not public are reached, too.
    private: bool,
    tls: TlsConnector,
}

/// What is sent.
pub struct Parcel<'a> {
    /// Its number.
    pub id: i64,
    /// The body, a JSON document.
    pub body: &'a str,
    /// What signs it.
    pub secret: &'a str,
    /// Now, in Unix seconds.
    pub now: u64,
}

impl Courier {
    /// One that trusts the web's authorities and those in the file `ca` (PEM).
    pub fn new(private: bool, ca: Option<&Path>) -> Result<Courier> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca {
            let broken = || {
                Error::usage(format!("'{}' holds no certificate", path.display()))
                    .hint("give a PEM file with --webhook-ca")
            };
            let text = fs::read(path).map_err(|error| disk("read", path, &error))?;
            let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
            let found = found.ok().filter(|found| !found.is_empty()).ok_or_else(broken)?;
            for certificate in found {
                roots.add(certificate).map_err(|_| broken())?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Kind::Failed, format!("cannot start TLS for webhooks: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Courier { private, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Refuses a target of which it is known already that it will not be reached. Its
    /// addresses may be others when a message is sent: they are looked at then, too.
    pub async fn admit(&self, target: &Target) -> Result<()> {
        match timeout(FIRST_LOOK, self.addresses(target)).await {
            Ok(Err(Wrong::Private)) => Err(Error::usage(Wrong::Private.told(target))
                .hint("whoever runs Max can allow it: `maxd serve --webhook-private`")
                .field("url")),
            // That it can't be found now is seen in the list, once something is sent.
            _ => Ok(()),
        }
    }

    /// Sends it; why it was not taken otherwise.
    pub async fn send(&self, target: &Target, parcel: &Parcel<'_>) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.exchange(target, parcel)).await;
        let status = sent.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_redirection() => {
                Err(format!("answered {}, and redirects are not followed", status.as_u16()))
            }
            _ => Err(format!("answered {}", status.as_u16())),
        }
    }

    async fn exchange(&self, target: &Target, parcel: &Parcel<'_>) -> Result<StatusCode, String> {
        let addresses = self.addresses(target).await.map_err(|wrong| wrong.told(target))?;
        let stream = connect(target, &addresses).await?;
        let _ = stream.set_nodelay(true);
        if !target.secure {
            return post(stream, target, parcel).await;
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| format!("'{}' is no name for a certificate", target.host))?;
        let stream = self.tls.connect(name, stream).await;
        let failed =
            |error: std::io::Error| format!("TLS with '{}' failed: {}", target.host, io_reason(&error));
        post(stream.map_err(failed)?, target, parcel).await
    }

    /// The addresses that may be connected to.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Wrong> {
        let found = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port)],
            Err(_) => match lookup_host((target.host.as_str(), target.port)).await {
                Ok(found) => found.collect(),
                Err(_) => Vec::new(),
            },
        };
        if found.is_empty() {
            return Err(Wrong::Unknown);
        }
        let allowed: Vec<_> =
            found.into_iter().filter(|address| self.private || is_public(address.ip())).collect();
        if allowed.is_empty() { Err(Wrong::Private) } else { Ok(allowed) }
    }
}

/// Why there is no address.
enum Wrong {
    Unknown,
    Private,
}

impl Wrong {
    fn told(self, target: &Target) -> String {
        match self {
            Wrong::Unknown => format!("the host '{}' is not known", target.host),
            Wrong::Private if target.host.parse::<IpAddr>().is_ok() => {
                format!("'{}' is no public address", target.host)
            }
            Wrong::Private => format!("'{}' leads to an address that is not public", target.host),
        }
    }
}

async fn connect(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(addresses).await;
    stream.map_err(|error| format!("cannot connect to '{}': {}", target.authority, io_reason(&error)))
}

async fn post<S>(stream: S, target: &Target, parcel: &Parcel<'_>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |_| format!("'{}' broke the connection off", target.authority);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::post(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::USER_AGENT, concat!("maxd/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("x-max-delivery", parcel.id)
        .header("x-max-signature", signature(parcel.secret, parcel.now, parcel.body))
        .body(Full::new(Bytes::from(parcel.body.to_owned())));
    let request = request.map_err(|_| "the URL can't be requested".to_owned())?;
    // The connection ends with this function: the body of the answer is nobody's.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    sender.send_request(request).await.map(|answer| answer.status()).map_err(broken)
}

/// `t=UNIX,v1=HEX`: HMAC-SHA256 of `UNIX.BODY` under the secret.
fn signature(secret: &str, now: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{now}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={now},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `openssl dgst -sha256 -hmac whsec_x` and Python's hmac say of `1700000000.{}`.
    #[test]
    fn a_signature_is_what_others_compute() {
        assert_eq!(
            signature("whsec_x", 1_700_000_000, "{}"),
            "t=1700000000,v1=be8cb8325f2202445260a855532f967e30ad2a9394ce28da66ee02880ddcb661"
        );
    }
}

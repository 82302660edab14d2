//! TLS for both listeners: certificates the operator has, or a private authority of
//! the server's own.

use super::store::disk;
use crate::error::{Error, Kind, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

/// TLS with the operator's certificate chain and key (PEM).
pub fn from_files(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let broken = |path: &Path, what: &str| {
        Error::usage(format!("'{}' holds no {what}", path.display()))
            .hint("give PEM files with --tls-cert and --tls-key")
    };
    let read = |path: &Path| fs::read(path).map_err(|error| disk("read", path, &error));
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<std::result::Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| broken(certificate, "certificate"))?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| broken(key, "private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| {
            Error::usage(format!("cannot use '{}' with '{}': {error}", certificate.display(), key.display()))
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The files of a private authority.
pub struct OwnFiles {
    /// What clients trust: `--ca FILE`.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

/// A private authority in `directory`, made at the first start, and a server
/// certificate for these names and addresses, made at each.
pub fn own(directory: &Path, names: &[String], address: IpAddr) -> Result<OwnFiles> {
    let files = OwnFiles {
        ca: directory.join("ca.pem"),
        certificate: directory.join("server.pem"),
        key: directory.join("server.key"),
    };
    let ca_key = directory.join("ca.key");
    fs::create_dir_all(directory).map_err(|error| disk("make", directory, &error))?;
    if !ca_key.exists() || !files.ca.exists() {
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = authority()?.self_signed(&key).map_err(failed)?;
        write(&ca_key, &key.serialize_pem())?;
        write(&files.ca, &certificate.pem())?;
    }
    let ca_pem = fs::read_to_string(&ca_key).map_err(|error| disk("read", &ca_key, &error))?;
    let issuer = Issuer::new(authority()?, KeyPair::from_pem(&ca_pem).map_err(failed)?);
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    for address in [address, IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])] {
        if !address.is_unspecified() {
            params.subject_alt_names.push(rcgen::SanType::IpAddress(address));
        }
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name.push(DnType::CommonName, "maxd");
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    write(&files.key, &key.serialize_pem())?;
    write(&files.certificate, &certificate.pem())?;
    Ok(files)
}

fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "maxd private authority");
    Ok(params)
}

/// Whole or not at all, and for the owner alone: most of it is keys.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let options = || fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    options()
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| disk("write", path, &error))
}

fn failed(error: rcgen::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot make a certificate: {error}"))
}

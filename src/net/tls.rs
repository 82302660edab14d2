//! The one TLS configuration, shared by HTTP and the socket: TLS 1.3 with the roots
//! of webpki-roots and those the user adds.
//!
//! The [`CryptoProvider`] is put together by hand, since rustls' own would link what
//! rig never uses: TLS 1.2, client certificates, and ring's 151 KB table for P-256,
//! whose signatures the `p256` crate verifies instead.

use super::base64;
use super::roots;
use super::trust::{Pin, Trust};
use super::x25519::X25519;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm,
    alg_id,
};
use std::sync::Arc;
use webpki::ring as algorithms;

/// A configuration, and what decides about certificates in it.
pub struct Tls {
    /// What rustls needs.
    pub config: Arc<ClientConfig>,
    /// Whom to trust.
    pub trust: Arc<Trust>,
}

/// The built-in roots.
pub fn roots() -> RootCertStore {
    RootCertStore { roots: roots::roots() }
}

/// TLS that trusts what `roots` vouch for, or the pinned certificate alone.
pub fn config(roots: Arc<RootCertStore>, pin: Option<Pin>) -> Result<Tls> {
    let trust = Arc::new(Trust::new(roots, pin));
    let provider = Arc::new(provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::new(Kind::Failed, format!("cannot set up TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&trust) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), trust })
}

/// Adds the certificates of the PEM file `name`; of many some may be none for today's
/// rules.
pub fn add(roots: &mut RootCertStore, name: &str, pem: &[u8]) -> Result<()> {
    let before = roots.len();
    let mut found = "holds no certificate";
    for certificate in certificates(&String::from_utf8_lossy(pem)) {
        if certificate.is_none_or(|bytes| roots.add(CertificateDer::from(bytes)).is_err()) {
            found = "holds a certificate that cannot be read";
        }
    }
    if roots.len() > before {
        return Ok(());
    }
    Err(Error::usage(format!("'{name}' {found}"))
        .hint(packed!("a PEM file has lines with BEGIN CERTIFICATE and END CERTIFICATE")))
}

/// The certificates of a PEM file (RFC 7468), and none for each that is no base64.
/// rustls-pki-types reads them too, with ten times the code.
fn certificates(pem: &str) -> impl Iterator<Item = Option<Vec<u8>>> {
    pem.split("-----BEGIN CERTIFICATE-----").skip(1).map(|rest| {
        let (text, _) = rest.split_once("-----END CERTIFICATE-----")?;
        base64::decode(&text.split_whitespace().collect::<String>())
    })
}

/// The SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![X25519, kx_group::SECP384R1],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Random,
        key_provider: &NoKeys,
    }
}

static P256_SHA256: &dyn SignatureVerificationAlgorithm = &P256(&digest::SHA256, alg_id::ECDSA_SHA256);
static P256_SHA384: &dyn SignatureVerificationAlgorithm = &P256(&digest::SHA384, alg_id::ECDSA_SHA384);

pub(super) static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        P256_SHA256,
        P256_SHA384,
        algorithms::ECDSA_P384_SHA256,
        algorithms::ECDSA_P384_SHA384,
        algorithms::ED25519,
        algorithms::RSA_PKCS1_2048_8192_SHA256,
        algorithms::RSA_PKCS1_2048_8192_SHA384,
        algorithms::RSA_PKCS1_2048_8192_SHA512,
        algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[P256_SHA256, algorithms::ECDSA_P384_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithms::ECDSA_P384_SHA384, P256_SHA384]),
        (SignatureScheme::ED25519, &[algorithms::ED25519]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[algorithms::RSA_PKCS1_2048_8192_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[algorithms::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[algorithms::RSA_PKCS1_2048_8192_SHA512]),
    ],
};

/// ECDSA on P-256 (FIPS 186-5, section 6.4) with this hash, by the `p256` crate.
struct P256(&'static digest::Algorithm, AlgorithmIdentifier);

impl std::fmt::Debug for P256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("P256")
    }
}

impl SignatureVerificationAlgorithm for P256 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = DerSignature::try_from(signature).map_err(|_| InvalidSignature)?;
        let hash = digest::digest(self.0, message);
        key.verify_prehash(hash.as_ref(), &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.1
    }
}

/// The system's random numbers.
#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new().fill(out).map_err(|_| GetRandomFailed)
    }
}

/// rig shows no certificate of its own.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::UnsupportedNameType)
    }
}

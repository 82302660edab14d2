//! Authorities and server certificates made for a test.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// An authority of a test's own.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, as files and as bytes.
pub struct Server {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub der: Vec<u8>,
    pub key_der: Vec<u8>,
}

impl Server {
    fn new(dir: &TempDir, certificate: &rcgen::Certificate, key: &KeyPair) -> Server {
        let count = fs::read_dir(dir.path()).unwrap().count();
        let file = |kind: &str| dir.path().join(format!("{count}.{kind}"));
        let (certificate_file, key_file) = (file("pem"), file("key"));
        fs::write(&certificate_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Server {
            certificate: certificate_file,
            key: key_file,
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    /// maxd's flags.
    pub fn flags(&self) -> [&str; 4] {
        ["--tls-cert", self.certificate.to_str().unwrap(), "--tls-key", self.key.to_str().unwrap()]
    }
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = named(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), &pem).unwrap();
        Authority { dir, issuer: Issuer::new(params, key), pem }
    }

    /// An authority that this one vouches for.
    pub fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let mut params = named(&[], name);
        change(&mut params);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Authority { dir: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key), pem }
    }

    /// The file for `--ca`.
    pub fn file(&self) -> String {
        self.dir.path().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// A certificate for these host names and addresses.
    pub fn issue(&self, names: &[&str]) -> Server {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Server {
        let mut params = named(names, "a server");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Server::new(&self.dir, &params.signed_by(&key, &self.issuer).unwrap(), &key)
    }
}

/// A certificate that signs itself, as `openssl req -x509` makes it: an authority too.
pub fn self_signed(dir: &TempDir, name: &str) -> Server {
    let mut params = named(&[name], name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    Server::new(dir, &params.self_signed(&key).unwrap(), &key)
}

fn named(names: &[&str], subject: &str) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}

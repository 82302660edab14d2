//! TLS: a private authority, and certificates that are wrong.

use crate::harness::{Max, Rig, project};
use std::fs;

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let max = Max::with(&["--tls-self-signed"]);
    assert!(max.url.starts_with("https://"), "{}", max.url);
    let ca = max.data().join("tls/ca.pem");
    let token = max.token("ada");
    let mut rig = Rig::new();
    rig.set("RIG_URL", &max.url);
    rig.set("RIG_TOKEN", &token);
    let ran = rig.run(&["list", "networks"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.stderr.starts_with(&format!(
            "rig: cannot trust Max at '{}': its certificate is from an unknown issuer",
            max.url
        )),
        "{}",
        ran.stderr
    );
    rig.set("RIG_CA", ca.to_str().unwrap());
    rig.ok(&["create", "network", "blue"]);
    let dir = crate::harness::site("over tls");
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    // A login remembers the authority.
    let home = Rig::new();
    let args = ["login", "--url", &max.url, "--token-stdin", "--store", "file", "--ca", ca.to_str().unwrap()];
    let ran = home.run_with(&args, &token);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(home.json(&["list", "apps"])["apps"][0]["state"], "running");
    rig.set("RIG_CA", "/no/such/file");
    rig.run(&["list", "networks"]).fails(1, "rig: cannot read '/no/such/file': no such file or directory\n");
    let empty = home.home.path().join("empty.pem");
    fs::write(&empty, "nothing").unwrap();
    rig.set("RIG_CA", empty.to_str().unwrap());
    let ran = rig.run(&["list", "networks"]);
    assert!(
        ran.stderr.starts_with(&format!("rig: '{}' holds no certificate", empty.display())),
        "{}",
        ran.stderr
    );
}

/// A maxd with a certificate for `name` that a private authority signed, both with this
/// kind of key, and a rig that trusts the authority.
fn certified(name: &str, kind: &'static rcgen::SignatureAlgorithm) -> (Max, Rig) {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let issuer_key = rcgen::KeyPair::generate_for(kind).unwrap();
    let mut issuer_params = rcgen::CertificateParams::new(vec![]).unwrap();
    issuer_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = issuer_params.self_signed(&issuer_key).unwrap();
    let issuer = rcgen::Issuer::new(issuer_params, issuer_key);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let (ca_file, cert, key_file) = (dir.path().join("ca"), dir.path().join("cert"), dir.path().join("key"));
    fs::write(&ca_file, ca.pem()).unwrap();
    fs::write(&cert, certificate.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let max = Max::with(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key_file.to_str().unwrap()]);
    let mut rig = max.rig("ada");
    let trusted = rig.home.path().join("ca.pem");
    fs::copy(ca_file, &trusted).unwrap();
    rig.set("RIG_CA", trusted.to_str().unwrap());
    (max, rig)
}

#[test]
fn every_kind_of_elliptic_key_is_accepted() {
    for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let (_max, rig) = certified("localhost", kind);
        rig.ok(&["create", "network", "blue"]);
    }
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let (max, rig) = certified("other.example", &rcgen::PKCS_ECDSA_P256_SHA256);
    let ran = rig.run(&["list", "networks"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.stderr.starts_with(&format!(
            "rig: cannot trust Max at '{}': its certificate is for another name",
            max.url
        )),
        "{}",
        ran.stderr
    );
}

/// The answer that ends an upload early is read although the rest of the upload can't be
/// written any more.
#[test]
fn an_early_answer_arrives_over_tls() {
    let Some(max) = Max::on_a_disk_of(6, &["--tls-self-signed"]) else {
        eprintln!("skipped: this machine allows no mount namespace");
        return;
    };
    let token = max.token("ada");
    let ca = max.dir.path().join("ca.pem");
    // Through the server's own mount namespace.
    let inside = format!("/proc/{}/root{}/tls/ca.pem", max.pid(), max.data().display());
    fs::copy(inside, &ca).unwrap();
    let mut rig = Rig::new();
    rig.set("RIG_URL", &max.url);
    rig.set("RIG_TOKEN", &token);
    rig.set("RIG_CA", ca.to_str().unwrap());
    rig.ok(&["create", "network", "blue"]);
    // Random, so that compression does not help.
    let mut noise = vec![0; 16 << 20];
    nanorand::Rng::fill_bytes(&mut nanorand::WyRand::new_seed(1), &mut noise);
    let large = project(&[("index.html", "x")]);
    fs::write(large.path().join("noise"), noise).unwrap();
    let ran = rig.run(&["deploy", large.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("rig: the server's disk is full\n"), "{}", ran.stderr);
}

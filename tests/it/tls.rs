//! TLS: private authorities, certificates that are wrong, and the one that is pinned.

use crate::certs::{Authority, Server, self_signed};
use crate::harness::{Max, Rig, project};
use crate::terminal::Terminal;
use rcgen::date_time_ymd;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring::{default_provider, sign};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};

/// `SHA256:HEX`, by another implementation than rig's.
pub fn fingerprint(der: &[u8]) -> String {
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("SHA256:{hex}")
}

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

/// A rig for `max` that trusts `authority`.
fn rig(max: &Max, authority: &Authority) -> Rig {
    let mut rig = max.rig("ada");
    rig.set("RIG_CA", &authority.file());
    rig
}

#[test]
fn certificates_that_are_wrong_and_what_is_wrong_with_them() {
    let authority = Authority::new("test authority");
    let clock = "renew the certificate on the server, or set this machine's clock";
    let name = "use the name the certificate is for";
    let old = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2020, 2, 29);
    let new = |params: &mut rcgen::CertificateParams| params.not_before = date_time_ymd(2123, 1, 2);
    for (server, what, hint) in [
        (authority.issue_with(&["localhost"], old), "its certificate expired on 2020-02-29", clock),
        (authority.issue_with(&["localhost"], new), "its certificate is not valid before 2123-01-02", clock),
        (
            authority.issue(&["a.test", "*.b.test", "10.0.0.1"]),
            "its certificate is for 'a.test', '*.b.test', '10.0.0.1'",
            name,
        ),
        (authority.issue(&[]), "its certificate is for no host", name),
    ] {
        let max = Max::with(&server.flags());
        let said = format!("rig: cannot trust Max at '{}': {what}\n  {hint}\n", max.url);
        rig(&max, &authority).run(&["list", "networks"]).fails(5, &said);
    }
}

/// What the issuer calls itself is shown so that it drives no terminal.
#[test]
fn an_unknown_issuer_is_named() {
    let authority = Authority::new("Evil \u{1b}[2J\r\nCorp\u{202e}");
    let server = authority.issue(&["localhost"]);
    let max = Max::with(&server.flags());
    let another = Authority::new("another");
    let rig = rig(&max, &another);
    let hint = format!(
        "if you know it: name its authority with --ca FILE, or trust it alone with --pin {}",
        fingerprint(&server.der)
    );
    rig.run(&["list", "networks"]).fails(
        5,
        &format!(
            "rig: cannot trust Max at '{}': its certificate is from an unknown issuer: \
             'Evil \\u{{1b}}[2J\\u{{d}}\\u{{a}}Corp\\u{{202e}}'\n  {hint}\n",
            max.url
        ),
    );
    let ran = rig.run(&["list", "networks", "-o", "json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert!(error["message"].as_str().unwrap().ends_with("'Evil \u{1b}[2J\r\nCorp\u{202e}'"), "{error}");
    assert!(!ran.stderr.contains('\u{1b}'));
    assert_eq!(error["hint"], hint.as_str());
}

/// A chain is followed to its last certificate: that one's issuer is unknown.
#[test]
fn of_a_chain_the_last_issuer_is_named() {
    let root = Authority::new("the root");
    let middle = root.intermediate("the middle", |_| {});
    let server = middle.issue(&["localhost"]);
    let chain = fs::read_to_string(&server.certificate).unwrap() + &middle.pem;
    fs::write(&server.certificate, chain).unwrap();
    let max = Max::with(&server.flags());
    rig(&max, &root).ok(&["list", "networks"]);
    let another = Authority::new("another");
    let ran = rig(&max, &another).run(&["list", "networks"]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("from an unknown issuer: 'the root'\n"), "{}", ran.stderr);
    // An authority in between may have expired.
    let middle = root.intermediate("the middle", |params| params.not_after = date_time_ymd(2021, 3, 4));
    let server = middle.issue(&["localhost"]);
    let chain = fs::read_to_string(&server.certificate).unwrap() + &middle.pem;
    fs::write(&server.certificate, chain).unwrap();
    let max = Max::with(&server.flags());
    rig(&max, &root).run(&["list", "networks"]).fails(
        5,
        &format!(
            "rig: cannot trust Max at '{}': the certificate of its authority expired on 2021-03-04\n  \
             renew the certificate on the server, or set this machine's clock\n",
            max.url
        ),
    );
}

#[test]
fn ssl_cert_file_adds_to_the_roots_too() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let (at_one, at_two) = (one.issue(&["localhost"]), two.issue(&["localhost"]));
    let (at_one, at_two) = (Max::with(&at_one.flags()), Max::with(&at_two.flags()));
    let mut rig = at_one.rig("ada");
    rig.set("SSL_CERT_FILE", &one.file());
    rig.ok(&["list", "networks"]);
    // Both count.
    rig.set("SSL_CERT_FILE", &two.file());
    assert_eq!(rig.run(&["list", "networks"]).code, 5);
    rig.ok(&["list", "networks", "--ca", &one.file()]);
    rig.set("RIG_URL", &at_two.url);
    rig.set("RIG_TOKEN", &at_two.token("ada"));
    rig.ok(&["list", "networks", "--ca", &one.file()]);
    // What is no certificate among others does not matter, alone it does.
    let file = rig.home.path().join("certs");
    let path = file.to_str().unwrap().to_owned();
    let junk = "-----BEGIN CERTIFICATE-----\nMAAB\n-----END CERTIFICATE-----\n";
    rig.set("SSL_CERT_FILE", &path);
    fs::write(&file, format!("a comment\n{junk}{}", two.pem)).unwrap();
    rig.ok(&["list", "networks"]);
    let names_it = "SSL_CERT_FILE names it: correct or unset that";
    fs::write(&file, junk).unwrap();
    let said = format!("rig: '{path}' holds a certificate that cannot be read\n  {names_it}\n");
    rig.run(&["list", "networks"]).fails(2, &said);
    fs::write(&file, "").unwrap();
    rig.run(&["list", "networks"]).fails(2, &format!("rig: '{path}' holds no certificate\n  {names_it}\n"));
    fs::remove_file(&file).unwrap();
    let said = format!("rig: cannot read '{path}': no such file or directory\n  {names_it}\n");
    rig.run(&["list", "networks"]).fails(1, &said);
}

/// A TLS server that does the handshake and no more; its port.
fn handshakes(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // It fails, as it must; then rig hangs up.
            let _ = connection.complete_io(&mut stream);
            let _ = stream.read(&mut [0; 64]);
        }
    });
    port
}

fn config(version: &'static SupportedProtocolVersion, key: Arc<CertifiedKey>) -> ServerConfig {
    #[derive(Debug)]
    struct Always(Arc<CertifiedKey>);
    impl ResolvesServerCert for Always {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(key)))
}

/// `certificate` with the key of `signer`.
fn key(certificate: &Server, signer: &Server) -> Arc<CertifiedKey> {
    let chain = vec![CertificateDer::from(certificate.der.clone())];
    let key = PrivateKeyDer::try_from(signer.key_der.clone()).unwrap();
    Arc::new(CertifiedKey::new(chain, sign::any_supported_type(&key).unwrap()))
}

/// Asks `port` over TLS.
fn ask(port: u16, authority: &Authority) -> Rig {
    let mut rig = Rig::new();
    rig.set("RIG_URL", &format!("https://localhost:{port}"));
    rig.set("RIG_TOKEN", "max_x");
    rig.set("RIG_CA", &authority.file());
    rig
}

#[test]
fn servers_that_speak_no_tls_1_3_or_no_tls() {
    let authority = Authority::new("test authority");
    let server = authority.issue(&["localhost"]);
    let port = handshakes(config(&version::TLS12, key(&server, &server)));
    ask(port, &authority).run(&["list", "networks"]).fails(
        5,
        &format!(
            "rig: Max at 'https://localhost:{port}' speaks no TLS 1.3\n  \
             rig speaks nothing older; update the server, or what stands before it\n"
        ),
    );
    let plain = Max::start();
    let port = plain.url.rsplit_once(':').unwrap().1.parse().unwrap();
    ask(port, &authority).run(&["list", "networks"]).fails(
        5,
        &format!(
            "rig: Max at 'https://localhost:{port}' does not speak TLS\n  \
             check the URL: is it another port, or plain http on a loopback address?\n"
        ),
    );
    // An alert: there is no such name, the client has no certificate, …
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // fatal, unrecognized_name (RFC 8446, section 6)
        stream.write_all(&[21, 3, 3, 0, 2, 2, 112]).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    ask(port, &authority).run(&["list", "networks"]).fails(
        5,
        &format!(
            "rig: Max at 'https://localhost:{port}' refuses the TLS connection\n  \
             check the URL's host name; the server may know another one, or want a certificate from its clients\n"
        ),
    );
}

/// A pin is no secret: whoever shows the certificate must have its key too.
#[test]
fn a_pinned_certificate_without_its_key_is_refused() {
    let authority = Authority::new("test authority");
    let (server, other) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let port = handshakes(config(&version::TLS13, key(&server, &other)));
    let mut rig = ask(port, &authority);
    for pin in [None, Some(fingerprint(&server.der))] {
        if let Some(pin) = pin {
            rig.set("RIG_PIN", &pin);
        }
        rig.run(&["list", "networks"]).fails(
            5,
            &format!(
                "rig: cannot trust Max at 'https://localhost:{port}': the signature of its certificate is wrong\n  \
                 somebody may be listening in\n"
            ),
        );
    }
}

#[test]
fn a_pin_is_kept_by_the_login_and_holds() {
    let dir = tempfile::tempdir().unwrap();
    // Wrong in every other way: an authority, for another name, and signed by itself.
    let server = self_signed(&dir, "elsewhere.test");
    let mut max = Max::with(&server.flags());
    let (token, pin) = (max.token("ada"), fingerprint(&server.der));
    let mut rig = Rig::new();
    let url = max.url.clone();
    let login = ["login", "--url", &url, "--token-stdin", "--store", "file"];
    let ran = rig.run_with(&login, &token);
    ran.fails(
        5,
        &format!(
            "rig: cannot trust Max at '{}': its certificate is from an unknown issuer: 'elsewhere.test'\n  \
             if you know it: name its authority with --ca FILE, or trust it alone with --pin {pin}\n",
            max.url
        ),
    );
    let with_pin = |pin: &str| {
        [&login[..], &["--pin", pin]].concat().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let ran = rig.run_with(&with_pin(&pin), &token);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    // Logging in anew keeps it, as it keeps the authority.
    assert_eq!(rig.run_with(&login, &token).code, 0);
    rig.ok(&["create", "network", "blue"]);

    // RIG_PIN does for a machine without a login, and wins; so does --pin.
    let mut bare = max.rig("ada");
    bare.set("RIG_PIN", &pin);
    bare.ok(&["list", "networks"]);
    let wrong = format!("SHA256:{}", "0".repeat(64));
    let said = |seen: &str, pinned: &str| {
        format!(
            "rig: cannot trust Max at '{}': its certificate is {seen}, but {pinned} is pinned\n  \
             somebody may be listening in; if the server has a new certificate, log in with --pin {seen}\n",
            url
        )
    };
    rig.set("RIG_PIN", &wrong);
    rig.run(&["list", "networks"]).fails(5, &said(&pin, &wrong));
    rig.ok(&["list", "networks", "--pin", &pin]);
    rig.unset("RIG_PIN");
    rig.run(&["list", "networks", "--pin", "SHA256:12"]).fails(
        2,
        "rig: 'SHA256:12' is no fingerprint of a certificate\n  write SHA256: and 64 hexadecimal digits\n",
    );

    // A new certificate is refused until somebody says so, even a good one.
    let authority = Authority::new("test authority");
    let renewed = authority.issue(&["localhost"]);
    rig.set("RIG_CA", &authority.file());
    max.stop();
    fs::copy(&renewed.certificate, &server.certificate).unwrap();
    fs::copy(&renewed.key, &server.key).unwrap();
    let new_pin = fingerprint(&renewed.der);
    let said = said(&new_pin, &pin);
    max.serve();
    rig.run(&["list", "networks"]).fails(5, &said);
    rig.run(&["whoami", "-o", "json"]).fails(5, &{
        let lines: Vec<&str> = said.lines().collect();
        let (message, hint) = (&lines[0]["rig: ".len()..], lines[1].trim());
        format!(
            "{{\"code\":\"unreachable\",\"message\":\"{message}\",\"hint\":\"{hint}\",\"exit_code\":5}}\n"
        )
    });
    let ran = rig.run_with(&with_pin(&new_pin), &token);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    rig.unset("RIG_CA");
    assert_eq!(rig.json(&["list", "networks"])["networks"][0]["name"], "blue");
    // A login that names an authority does without the pin.
    let file = authority.file();
    let args = [&login[..], &["--ca", &file]].concat();
    assert_eq!(rig.run_with(&args, &token).code, 0);
    let settings = fs::read_to_string(rig.home.path().join(".config/rig/config.json")).unwrap();
    assert!(!settings.contains("SHA256:"), "{settings}");
    rig.ok(&["logout"]);
}

/// The former session, at a server with a pin of its own, is ended with that.
#[test]
fn a_login_elsewhere_ends_the_former_session_with_its_own_pin() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (self_signed(&dir, "one.test"), self_signed(&dir, "two.test"));
    let (first, second) = (Max::with(&one.flags()), Max::with(&two.flags()));
    let rig = Rig::new();
    for (max, server) in [(&first, &one), (&second, &two)] {
        let pin = fingerprint(&server.der);
        let args = ["login", "--url", &max.url, "--token-stdin", "--store", "file", "--pin", &pin];
        let ran = rig.run_with(&args, &max.token("ada"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    }
    rig.ok(&["whoami"]);
}

#[test]
fn on_a_terminal_a_stranger_is_shown_and_asked_about() {
    let dir = tempfile::tempdir().unwrap();
    let server = self_signed(&dir, "max.internal");
    let max = Max::with(&server.flags());
    let (token, pin) = (max.token("ada"), fingerprint(&server.der));
    let rig = Rig::new();
    let login = ["login", "--url", &max.url, "--store", "file"];
    for answer in ["n", ""] {
        let mut terminal = Terminal::spawn(&rig, &login);
        terminal.wait("[y/N] ");
        terminal.type_in(&format!("{answer}\n"));
        assert_eq!(terminal.end(), 5);
        terminal.wait("rig: cannot trust Max at");
        let screen = terminal.written();
        assert!(!screen.contains("API token"), "{screen}");
    }
    assert!(!rig.home.path().join(".config/rig/config.json").exists());
    let mut terminal = Terminal::spawn(&rig, &login);
    terminal.wait("Trust this certificate, and no other, for this server? [y/N] ");
    let screen = terminal.written().replace('\r', "");
    assert_eq!(
        screen,
        format!(
            "cannot trust Max at '{}': its certificate is from an unknown issuer: 'max.internal'\n\
             It was made for 'max.internal', valid from 1975-01-01 to 4096-01-01. Its fingerprint is\n\
             {pin}\n\
             Trust this certificate, and no other, for this server? [y/N] ",
            max.url
        )
    );
    terminal.type_in("y\n");
    terminal.wait("API token (not shown): ");
    terminal.type_in(&format!("{token}\n"));
    assert_eq!(terminal.end(), 0);
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    let settings = fs::read_to_string(rig.home.path().join(".config/rig/config.json")).unwrap();
    assert!(settings.contains(&pin), "{settings}");
    // Known now, it is not asked about; and a server that is wrong otherwise never is.
    let mut terminal = Terminal::spawn(&rig, &login);
    terminal.wait("API token (not shown): ");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.end(), 130);
    let authority = Authority::new("test authority");
    let old = authority.issue_with(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let max = Max::with(&old.flags());
    let mut terminal = Terminal::spawn(&Rig::new(), &["login", "--url", &max.url]);
    assert_eq!(terminal.end(), 5);
    terminal.wait("its certificate expired on 2020-01-01");
    assert!(!terminal.written().contains("[y/N]"), "{}", terminal.written());
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

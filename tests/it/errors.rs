//! Bad input and bad networks: the exact words and the exit code.

use crate::harness::{Max, Rig, project, site, text};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

#[test]
fn wrong_and_revoked_tokens() {
    let max = Max::start();
    let mut rig = Rig::new();
    rig.set("RIG_URL", &max.url);
    rig.set("RIG_TOKEN", "max_nonsense");
    let said = "rig: the API token is not valid\n  make a new one on the server: `maxd token create`\n";
    rig.run(&["list", "networks"]).fails(4, said);
    let ran = rig.run_with(&["login", "--url", &max.url, "--token-stdin"], "max_nonsense");
    ran.fails(4, said);

    let token = max.token("ada");
    let login = Rig::new();
    let ran = login.run_with(&["login", "--url", &max.url, "--token-stdin", "--store", "file"], &token);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    login.ok(&["list", "networks"]);
    rig.set("RIG_TOKEN", &token);
    rig.ok(&["list", "networks"]);
    let maxd = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maxd"));
        let out = command.args(args).args(["--user", "ada", "--data"]).arg(max.data()).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let list = maxd(&["token", "list"]);
    assert!(!list.contains(&token));
    let id = list.lines().last().unwrap().split_whitespace().next().unwrap().to_owned();
    maxd(&["token", "revoke", &id]);
    rig.run(&["list", "networks"]).fails(4, said);
    login.run(&["list", "networks"]).fails(4, "rig: your session has ended\n  run `rig login`\n");
}

#[test]
fn names_and_things_that_do_not_exist() {
    let max = Max::start();
    let rig = max.rig("ada");
    let table: &[(&[&str], i32, &str)] = &[
        (
            &["create", "network", "My_Net"],
            2,
            "rig: 'My_Net' is no valid network name: only lower-case letters are allowed\n  try 'my-net'\n",
        ),
        (
            &["create", "app", "9lives", "-n", "blue"],
            2,
            "rig: '9lives' is no valid app name: it must start with a letter\n  try 'lives'\n",
        ),
        (
            &["status", "network", "none"],
            3,
            "rig: network 'none' does not exist\n  see `rig list networks`\n",
        ),
        (
            &["create", "app", "web.none"],
            3,
            "rig: network 'none' does not exist\n  see `rig list networks`\n",
        ),
        (&["logs", "app", "web.none"], 3, "rig: network 'none' does not exist\n  see `rig list networks`\n"),
    ];
    for (args, code, stderr) in table {
        rig.run(args).fails(*code, stderr);
    }
    rig.ok(&["create", "network", "blue"]);
    rig.run(&["create", "network", "blue"]).fails(
        6,
        "rig: network 'blue' already exists\n  choose another name, or leave it out and Max assigns one\n",
    );
    rig.run(&["status", "app", "web.blue"])
        .fails(3, "rig: app 'web' does not exist in network 'blue'\n  see `rig list apps --network blue`\n");
    rig.run(&["logs", "build", "web.blue"])
        .fails(3, "rig: app 'web' does not exist in network 'blue'\n  see `rig list apps --network blue`\n");
    rig.ok(&["create", "app", "web.blue"]);
    rig.run(&["create", "app", "web.blue"]).fails(
        6,
        "rig: app 'web' already exists in network 'blue'\n  choose another name, or deploy to it\n",
    );
}

#[test]
fn directories_that_can_not_be_deployed() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let deploy = |path: &str| rig.run(&["deploy", path, "-a", "web", "-n", "blue", "--create"]);
    deploy("missing").fails(1, "rig: cannot read 'missing': no such file or directory\n");
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    deploy(path).fails(
        2,
        &format!("rig: there is nothing to deploy in '{path}'\n  name the directory of your app: `rig deploy PATH`\n"),
    );
    let broken = project(&[("rig.json", "{\"app\": }"), ("index.html", "x")]);
    let path = broken.path().to_str().unwrap();
    rig.run(&["deploy", path]).fails(2, &format!("rig: '{path}/rig.json' is no JSON: line 1, column 9\n"));
    // Root may read everything, so that there is nothing to see as root.
    let secret = site("x");
    let file = secret.path().join("index.html");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&file).is_err() {
        let message = format!("rig: cannot pack '{}': permission denied\n", file.display());
        assert!(deploy(secret.path().to_str().unwrap()).stderr.ends_with(&message));
    }
    assert_eq!(
        rig.json(&["list", "apps"])["apps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|app| app["state"] != "empty")
            .count(),
        0
    );
}

#[test]
fn a_source_over_the_limit_is_refused_before_it_is_sent() {
    let max = Max::with(&["--source-limit", "100KiB"]);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(&[("index.html", &"x".repeat(150 * 1024))]);
    let path = dir.path().to_str().unwrap();
    rig.run(&["deploy", path, "-a", "web", "-n", "blue", "--create"]).fails(
        1,
        &format!(
            "rig: '{path}' has 150.0 KiB; Max takes 100.0 KiB\n  \
             leave out what the app does not need: name it in '.rigignore'\n"
        ),
    );
    assert_eq!(rig.json(&["list", "apps"])["apps"].as_array().unwrap().len(), 0);
}

#[test]
fn a_port_in_use_and_plain_http_are_refused_by_maxd() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let serve = |listen: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maxd"));
        command.args([
            "serve",
            "--domain",
            "localhost",
            "--apps-listen",
            "127.0.0.1:0",
            "--listen",
            listen,
            "--data",
        ]);
        let out = command.arg(dir.path()).output().unwrap();
        (out.status.code(), text(&out.stderr))
    };
    let (code, stderr) = serve(&address);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("maxd: cannot listen on '{address}': address in use\n")), "{stderr}");
    let (code, stderr) = serve("0.0.0.0:0");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.starts_with("maxd: plain HTTP is served on loopback addresses only, not on '0.0.0.0:0'\n"),
        "{stderr}"
    );
}

#[test]
fn a_second_maxd_on_the_same_data_is_refused() {
    let max = Max::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_maxd"));
    command.args([
        "serve",
        "--domain",
        "localhost",
        "--apps-listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
        "--data",
    ]);
    let out = command.arg(max.data()).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let said = format!("maxd: another maxd uses '{}'\n", max.data().display());
    assert!(text(&out.stderr).starts_with(&said), "{}", text(&out.stderr));
}

#[test]
fn max_unreachable_and_max_silent() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut rig = Rig::new();
    rig.set("RIG_TOKEN", "max_x");
    rig.set("RIG_URL", &format!("http://127.0.0.1:{port}"));
    rig.run(&["list", "apps"]).fails(
        5,
        &format!(
            "rig: cannot reach Max at 'http://127.0.0.1:{port}': connection refused\n  \
             check the URL, and that the server runs\n"
        ),
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    rig.set("RIG_URL", &format!("http://127.0.0.1:{port}"));
    let started = Instant::now();
    rig.run(&["list", "apps", "--timeout", "300ms"]).fails(
        8,
        &format!(
            "rig: Max at 'http://127.0.0.1:{port}' did not answer within 0.3s\n  \
             try again, or give it longer with --timeout\n"
        ),
    );
    assert!(started.elapsed().as_secs() < 10);
    let ran = rig.run(&["list", "apps", "--timeout", "20ms"]);
    assert!(ran.code == 8 && ran.stderr.contains("' did not answer within 20ms\n"), "{}", ran.stderr);
    rig.set("RIG_URL", "https://no-such-host.invalid");
    let ran = rig.run(&["list", "apps"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.stderr.starts_with("rig: cannot reach Max at 'https://no-such-host.invalid': "),
        "{}",
        ran.stderr
    );
}

#[test]
fn plain_http_to_a_foreign_host_is_refused_before_anything_is_sent() {
    let rig = Rig::new();
    let ran = rig.run_with(&["login", "--url", "http://max.example.com", "--token-stdin"], "max_x");
    ran.fails(
        2,
        "rig: 'http://max.example.com' would send your token unencrypted\n  use https://, or a loopback address\n",
    );
}

/// A server that is no Max: a proxy's error page, a redirect.
#[test]
fn strangers_answers_are_named_and_redirects_are_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let answers = [
            "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ];
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let mut rig = Rig::new();
    rig.set("RIG_TOKEN", "max_x");
    rig.set("RIG_URL", &url);
    let ran = rig.run(&["list", "apps"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("502"), "{}", ran.stderr);
    let ran = rig.run(&["list", "apps"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("'http://127.0.0.1:9/'"), "{}", ran.stderr);
    server.join().unwrap();
}

/// Standard output that can't be written is an error, not a silent success.
#[test]
fn a_full_standard_output_is_an_error() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = rig.command(&["list", "networks"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(text(&out.stderr), "rig: cannot write to standard output: no space left on device\n");
}

#[test]
fn a_full_disk_on_the_server_fails_the_deploy_and_spoils_nothing() {
    let Some(max) = Max::on_a_disk_of(6, &[]) else {
        eprintln!("skipped: this machine allows no mount namespace");
        return;
    };
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let small = site("small enough");
    rig.ok(&["deploy", small.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    // Random, so that compression does not help.
    let mut noise = vec![0; 16 << 20];
    nanorand::Rng::fill_bytes(&mut nanorand::WyRand::new_seed(1), &mut noise);
    let large = site("large");
    fs::write(large.path().join("noise"), noise).unwrap();
    let ran = rig.run(&["deploy", large.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.ends_with("rig: the server's disk is full\n  free some space on it and try again\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "small enough".to_owned()));
    // The space came back: the partial upload is gone.
    let again = site("again");
    rig.ok(&["deploy", again.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "again".to_owned()));
}

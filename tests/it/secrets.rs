//! Secrets: in the programs that get them, and nowhere else.

use crate::harness::{Max, Rig, wait_for};
use crate::lifecycle::{events, pids, under_load};
use crate::terminal::Terminal;
use crate::visitor::{HOST, deploy, lab_with};
use rig::net::{base64, hpke};
use rig::wire::secret::{INFO, about};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Ends at once when `BAD` is set, and without its key.
const SETTINGS: &str = r#"{"build":"cc -O1 -pthread -o server server.c; test -n \"$API_KEY\"; echo $? > built.txt",
    "run":"test -n \"$BAD\" && exit 5; exec ./server"}"#;

/// What must be found nowhere.
const VALUE: &str = "correct-horse-battery-staple-0123456789";

fn started() -> (Max, Rig) {
    started_in(Max::start())
}

fn started_in(max: Max) -> (Max, Rig) {
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    deploy(&max, &rig, &lab_with("one\n", SETTINGS));
    (max, rig)
}

/// Sets a secret of the app from standard input.
fn set(rig: &Rig, name: &str, value: &str) {
    let ran = rig.run_with(&["create", "secret", name, "-a", "lab.blue"], value);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// What a command in the app finds; empty when there is none.
fn found(rig: &Rig, name: &str) -> String {
    rig.ok(&["command", "lab.blue", "--", "sh", "-c", &format!("printf %s \"${name}\"")])
}

fn secrets(rig: &Rig, args: &[&str]) -> Vec<Value> {
    rig.json(&[&["list", "secrets"], args].concat())["secrets"].as_array().unwrap().clone()
}

/// The value, and what stays the same of its base64 wherever it begins.
fn traces(value: &str) -> Vec<Vec<u8>> {
    let inner = |shift: usize| {
        let text = base64::encode(format!("{}{value}", "x".repeat(shift)).as_bytes());
        text.trim_end_matches('=').as_bytes()[4..text.len() - 8].to_vec()
    };
    [vec![value.as_bytes().to_vec()], (0..3).map(inner).collect()].concat()
}

#[track_caller]
fn is_clean(what: &str, bytes: &[u8], value: &str) {
    for trace in traces(value) {
        let there = bytes.windows(trace.len()).any(|window| window == trace);
        assert!(!there, "{what} holds the value, or its base64");
    }
}

/// Every file below a directory, as it is read now; how many there were.
fn files_are_clean(dir: &Path, value: &str) -> usize {
    let mut count = 0;
    for item in fs::read_dir(dir).unwrap().flatten() {
        let path = item.path();
        if path.is_dir() && !path.is_symlink() {
            count += files_are_clean(&path, value);
        } else if let Ok(bytes) = fs::read(&path) {
            is_clean(&path.display().to_string(), &bytes, value);
            count += 1;
        }
    }
    count
}

fn command_lines_are_clean(value: &str) {
    for item in fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(bytes) = fs::read(item.path().join("cmdline")) {
            is_clean(
                &format!("{}: {}", item.path().display(), String::from_utf8_lossy(&bytes)),
                &bytes,
                value,
            );
        }
    }
}

fn metrics(max: &Max) -> Vec<u8> {
    let token = fs::read_to_string(max.data().join("metrics-token")).unwrap();
    let mut stream = TcpStream::connect(max.url.trim_start_matches("http://")).unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    answer
}

#[test]
fn a_value_is_in_the_programs_that_get_it_and_nowhere_else() {
    let (mut max, rig) = started();
    let mut said = Vec::new();
    under_load(&max, &["GET", "POST"], |tally| {
        let ran = rig.run_with(&["create", "secret", "API_KEY", "-a", "lab.blue"], &format!("{VALUE}\n"));
        assert_eq!(ran.stdout, "set API_KEY of app lab of network blue\nrestarted app lab of network blue\n");
        said.push(ran.stderr);
        tally.spread(1);
    });
    command_lines_are_clean(VALUE);
    assert_eq!(found(&rig, "API_KEY"), VALUE);
    let pid = pids(&rig)[0];
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(environ.split(|byte| *byte == 0).any(|one| one == format!("API_KEY={VALUE}").as_bytes()));
    // A build has it.
    let dir = deploy(&max, &rig, &lab_with("two\n", SETTINGS));
    assert_eq!(fs::read_to_string(dir.join("built.txt")).unwrap(), "0\n");
    // A start fails, and one that is detached goes through the log.
    let ran = rig.run(&["create", "var", "BAD=1", "-a", "lab.blue"]);
    assert_eq!(ran.code, 1);
    said.extend([ran.stdout, ran.stderr]);
    rig.ok(&["delete", "var", "BAD", "-a", "lab.blue"]);
    rig.ok(&["command", "lab.blue", "--detach", "--", "test", "-n", "$API_KEY"]);
    said.push(rig.run(&["create", "var", "API_KEY=x", "-a", "lab.blue"]).stderr);
    for args in [
        &["list", "secrets", "-a", "lab.blue", "-o", "json"][..],
        &["list", "vars", "-a", "lab.blue", "-o", "json"],
        &["export", "vars", "-a", "lab.blue", "-o", "json"],
        &["status", "app", "lab.blue", "-o", "json"],
        &["logs", "app", "lab.blue", "-o", "json"],
        &["logs", "build", "lab.blue", "-o", "json"],
        &["logs", "network", "blue", "-o", "json"],
        &["list", "audit", "-o", "json"],
        &["rotate", "key", "-n", "blue", "-o", "json"],
        &["details", "app", "lab.blue", "-o", "json"],
        &["list", "history", "-a", "lab.blue", "-o", "json"],
        &["export", "app", "lab.blue"],
        &["export", "network", "blue"],
        &["rename", "app", "lab.blue", "shop"],
        &["rename", "network", "blue", "red"],
        &["delete", "app", "shop.red", "--yes", "-o", "json"],
        &["list", "trash", "-o", "json"],
        &["restore", "app", "shop.red", "--as", "lab", "-o", "json"],
        &["rename", "network", "red", "blue"],
        &["create", "secret", "API_KEY", "--from-file", "-", "-a", "lab.blue", "--stage"],
        &["rollback", "config", "-a", "lab.blue", "--to", "2", "--yes", "-o", "json"],
    ] {
        let ran = rig.run_with(args, "another");
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        said.extend([ran.stdout, ran.stderr]);
    }
    assert_eq!(found(&rig, "API_KEY"), VALUE);
    let dir = crate::harness::project(&[("web.json", &rig.ok(&["export", "app", "lab.blue"]))]);
    let file = dir.path().join("web.json").to_str().unwrap().to_owned();
    for args in [
        &["import", &file, "-a", "copy.blue", "--yes", "-o", "json"][..],
        &["diff", &file, "-o", "json"],
        &["validate", &file],
    ] {
        said.push(rig.ok(args));
    }
    let ran = rig.run(&["delete", "secret", "API_KEY", "-a", "lab.blue", "--if-version", "1"]);
    assert_eq!(ran.code, 6);
    said.push(ran.stderr);
    is_clean("what was said", said.concat().as_bytes(), VALUE);
    is_clean("/metrics", &metrics(&max), VALUE);
    is_clean("maxd's own log", max.log().as_bytes(), VALUE);
    assert!(files_are_clean(&max.data(), VALUE) > 10);
    command_lines_are_clean(VALUE);
    let found = |data: &Path, key: &[u8]| {
        ["state.db", "state.db-wal"].iter().any(|name| {
            let bytes = fs::read(data.join(name)).unwrap_or_default();
            bytes.windows(key.len()).any(|window| window == key)
        })
    };
    let path = max.data().join("master.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!found(&max.data(), text.trim().as_bytes()));
    assert!(!found(&max.data(), &base64::decode(text.trim()).unwrap()));
    assert!(found(&max.data(), b"API_KEY"));
    max.stop();
    assert!(files_are_clean(&max.data(), VALUE) > 10);
}

#[test]
fn it_is_read_from_a_prompt_a_file_or_standard_input() {
    let (_max, mut rig) = started();
    let place = rig.home.path().to_owned();
    rig.enter(&place);
    let mut terminal = Terminal::spawn(&rig, &["create", "secret", "API_KEY", "-a", "lab.blue"]);
    terminal.wait("value of API_KEY:");
    terminal.type_in(" typed in \r");
    terminal.wait("restarted app lab of network blue");
    assert!(!terminal.written().contains("typed in"));
    assert_eq!(found(&rig, "API_KEY"), " typed in ");
    for (input, value) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), (" é \nb", " é \nb")]
    {
        set(&rig, "API_KEY", input);
        assert_eq!(found(&rig, "API_KEY"), value, "{input:?}");
    }
    fs::write(place.join("key.pem"), "-----BEGIN\nx\n").unwrap();
    rig.ok(&["create", "secret", "PEM", "--from-file", "key.pem", "-a", "lab.blue"]);
    assert_eq!(found(&rig, "PEM"), "-----BEGIN\nx\n");
    let ran = rig.run(&["create", "secret", "API_KEY", "--value", "v", "-a", "lab.blue"]);
    let warning = "warning: a value on the command line is seen by other programs and kept by the shell\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (0, warning));
    let large = "x".repeat(65_536);
    set(&rig, "LARGE", &large);
    assert_eq!(found(&rig, "LARGE").len(), 65_536);
    for (args, input, code, told) in [
        (&["A=1"][..], "", 2, "rig: a secret's value does not stand behind its name\n"),
        (&["A"], "\n", 2, "rig: the value of 'A' is empty\n"),
        (&["A"], "a\0b", 2, "rig: the value of 'A' holds a zero byte, which no environment can\n"),
        (&["PORT"], "1", 2, "rig: 'PORT' is Max's own: it tells an instance where to listen\n"),
        (&["A"], &format!("{large}x"), 1, "rig: the value of 'A' has 65537 bytes; at most 65536 are taken\n"),
        (&["A", "--value", "1", "--from-file", "x"], "", 2, "rig: is it --value or --from-file?\n"),
    ] {
        let ran = rig.run_with(&[&["create", "secret", "-a", "lab.blue"], args].concat(), input);
        assert!(ran.code == code && ran.stderr.starts_with(told), "{ran:?}");
    }
    let listed = secrets(&rig, &["-a", "lab.blue"]);
    let sizes: Vec<_> =
        listed.iter().map(|one| (one["name"].as_str().unwrap(), one["size"].as_u64().unwrap())).collect();
    assert_eq!(sizes, [("API_KEY", 1), ("LARGE", 65_536), ("PEM", 13)]);
    let fingerprint = |listed: &[Value]| listed[0]["fingerprint"].as_str().unwrap().to_owned();
    set(&rig, "API_KEY", "v");
    assert_ne!(fingerprint(&secrets(&rig, &["-a", "lab.blue"])), fingerprint(&listed));
}

#[test]
fn secrets_and_variables_exclude_each_other_and_an_app_s_win() {
    let (max, rig) = started();
    rig.ok(&["create", "var", "A=1", "-a", "lab.blue"]);
    rig.run_with(&["create", "secret", "A", "-a", "lab.blue"], "x")
        .fails(6, "rig: 'A' is a variable already\n  delete that first: `rig delete var A`\n");
    set(&rig, "B", "x");
    rig.run(&["create", "var", "B=1", "-a", "lab.blue"])
        .fails(6, "rig: 'B' is a secret already\n  delete that first: `rig delete secret B`\n");
    rig.run(&["delete", "var", "B", "-a", "lab.blue"])
        .fails(3, "rig: there is no variable 'B'\n  it is a secret: `rig delete secret B`\n");
    // Each prunes its own kind.
    rig.run_with(&["import", "vars", "-", "--prune", "-y", "-a", "lab.blue"], "C=1\n");
    assert_eq!((found(&rig, "A"), found(&rig, "B"), found(&rig, "C")), ("".into(), "x".into(), "1".into()));
    let ran =
        rig.run_with(&["import", "secrets", "-", "--prune", "-y", "-a", "lab.blue"], "export D='1\n2' # x\n");
    assert!(ran.stdout.starts_with("set D of app lab of network blue\ndeleted B of app lab"), "{ran:?}");
    assert_eq!(
        (found(&rig, "B"), found(&rig, "C"), found(&rig, "D")),
        ("".into(), "1".into(), "1\n2".into())
    );
    let ran = rig.run_with(&["import", "secrets", "-", "-y", "-a", "lab.blue"], "A=1\nB='x");
    assert!(ran.stderr.starts_with("rig: '-': line 2 begins a value of 'B' in '"), "{ran:?}");
    // A network's, and an app's variable in its place.
    let ran = rig.run_with(&["create", "secret", "E", "-n", "blue"], "all");
    assert_eq!(ran.stdout, "set E of network blue\nrestarted app lab of network blue\n");
    assert_eq!(found(&rig, "E"), "all");
    rig.ok(&["create", "var", "E=own", "-a", "lab.blue"]);
    assert_eq!(found(&rig, "E"), "own");
    assert_eq!(secrets(&rig, &["-a", "lab.blue"]).len(), 1);
    assert_eq!(secrets(&rig, &["-n", "blue"])[0]["from"], "network");
    assert_eq!(rig.json(&["list", "vars", "-a", "lab.blue"])["variables"][1]["overrides"], true);
    // Staged as variables are.
    let before = pids(&rig);
    let ran = rig.run_with(&["create", "secret", "F", "--stage", "-a", "lab.blue"], "later");
    assert!(
        ran.stdout.ends_with("staged for app lab: `rig apply lab.blue`, or the next deploy\n"),
        "{ran:?}"
    );
    assert_eq!((pids(&rig), found(&rig, "F").as_str()), (before, ""));
    rig.ok(&["apply", "lab.blue"]);
    assert_eq!(found(&rig, "F"), "later");
    assert!(events(&rig).contains(&"secrets changed by ada: F added, staged".to_owned()));
    let eve = max.rig("eve");
    for args in [&["list", "secrets", "-a", "lab.blue"][..], &["rotate", "key", "-n", "blue"]] {
        assert_eq!(eve.run(args).code, 3);
    }
    assert_eq!(eve.run_with(&["create", "secret", "A", "-a", "lab.blue"], "x").code, 3);
}

#[test]
fn a_new_key_keeps_every_secret_and_takes_nothing_that_is_sealed_to_the_old_one() {
    let (mut max, rig) = started();
    set(&rig, "A", "one");
    rig.run_with(&["create", "secret", "B", "-n", "blue"], "two");
    rig.run_with(&["create", "secret", "A", "--stage", "-a", "lab.blue"], "later");
    let old: Value = serde_json::from_str(&rig.ok(&["api", "secret:key", r#"{"network":"blue"}"#])).unwrap();
    let (before, prints) = (pids(&rig), secrets(&rig, &["-a", "lab.blue"]));
    let said = rig.ok(&["rotate", "key", "-n", "blue"]);
    assert_eq!(said, "network blue has key 2 now; 3 secrets sealed to it\n");
    assert_eq!((pids(&rig), secrets(&rig, &["-a", "lab.blue"])), (before, prints));
    // What runs, what is started, and what is started by another maxd.
    assert_eq!((found(&rig, "A"), found(&rig, "B")), ("one".into(), "two".into()));
    rig.ok(&["restart", "app", "lab.blue"]);
    assert_eq!((found(&rig, "A"), found(&rig, "B")), ("one".into(), "two".into()));
    max.kill();
    max.serve();
    wait_for("it to run again", || (max.get(HOST, "/").0 == 200).then_some(()));
    assert_eq!((found(&rig, "A"), found(&rig, "B")), ("one".into(), "two".into()));
    rig.ok(&["apply", "lab.blue"]);
    assert_eq!(found(&rig, "A"), "later");
    let public = base64::decode(old["public_key"].as_str().unwrap()).unwrap();
    let (number, name) = (old["number"].as_u64().unwrap(), about("blue", Some("lab"), "A"));
    let ran = send(&rig, number, "A", &hpke::seal(&public, INFO, name.as_bytes(), b"x").unwrap());
    assert!(ran.contains("'A' is sealed to key 1; the network has key 2 now"), "{ran}");
    set(&rig, "A", "new");
    assert_eq!(found(&rig, "A"), "new");
}

/// Sends what is sealed as a secret of the app; what rig says.
fn send(rig: &Rig, key: u64, name: &str, sealed: &[u8]) -> String {
    let request = json!({
        "network": "blue", "app": "lab", "key": key, "set": [{"name": name, "sealed": base64::encode(sealed)}],
        "delete": [], "prune": false, "stage": false, "preview": false,
    });
    let ran = rig.run(&["api", "secret:change", &request.to_string()]);
    ran.stdout + &ran.stderr
}

#[test]
fn what_is_sealed_for_one_name_opens_for_no_other() {
    let (max, rig) = started();
    let key: Value = serde_json::from_str(&rig.ok(&["api", "secret:key", r#"{"network":"blue"}"#])).unwrap();
    let (public, before) = (base64::decode(key["public_key"].as_str().unwrap()).unwrap(), pids(&rig));
    for place in [about("blue", Some("lab"), "A"), about("blue", None, "B"), about("red", Some("lab"), "B")] {
        let said = send(&rig, 1, "B", &hpke::seal(&public, INFO, place.as_bytes(), b"x").unwrap());
        let told = "the secret 'B' does not open: it was sealed for something else";
        assert!(said.contains(r#""state":"failed""#) && said.contains(told), "{said}");
    }
    let rotated = rig.run(&["rotate", "key", "-n", "blue"]);
    assert!(rotated.code == 1 && rotated.stderr.contains("the secret 'B' does not open"), "{rotated:?}");
    assert_eq!((pids(&rig), max.get(HOST, "/").0), (before, 200));
    let place = about("blue", Some("lab"), "B");
    let said = send(&rig, 1, "B", &hpke::seal(&public, INFO, place.as_bytes(), b"x").unwrap());
    assert!(said.contains(r#""state":"restarted""#), "{said}");
    assert_eq!(found(&rig, "B"), "x");
    assert!(send(&rig, 1, "B", b"short").contains("'B' is not sealed"));
}

#[test]
fn without_its_master_key_maxd_does_not_start() {
    let (mut max, rig) = started();
    set(&rig, "A", "one");
    assert_eq!(max.stop(), Some(0));
    let path = max.data().join("master.key");
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let out = max.try_serve(&[]);
    assert!(out.contains("bring it back, or set MAXD_MASTER_KEY") && !path.exists(), "{out}");
    let out = max.try_serve(&[("MAXD_MASTER_KEY", &base64::encode(&[7; 32]))]);
    assert!(out.contains("the master key in 'MAXD_MASTER_KEY' is not the one of this database"), "{out}");
    fs::write(&path, &text).unwrap();
    max.serve();
    wait_for("it to run again", || (max.get(HOST, "/").0 == 200).then_some(()));
    assert_eq!(found(&rig, "A"), "one");
}

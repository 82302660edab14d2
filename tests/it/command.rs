//! `rig command`: exit codes, streams and signals as if the program ran here, over any cut.

use crate::harness::{Max, Rig, project, signal, text, wait_for};
use crate::relay::Relay;
use std::io::{Read, Write};
use std::process::Stdio;

/// An app that serves nothing but a file, to run things beside.
pub fn world(max: &Max) -> Rig {
    let rig = max.rig("ann");
    let files = project(&[("index.html", "hi"), ("data.txt", "one\ntwo\n")]);
    rig.ok(&["create", "network", "blue"]);
    let path = files.path().to_str().unwrap();
    rig.ok(&["deploy", path, "--app", "web", "--network", "blue", "--create"]);
    rig
}

#[test]
fn every_exit_code_comes_back() {
    let max = Max::start();
    let rig = world(&max);
    for code in (0..256).step_by(5).chain([1, 2, 126, 127, 254]) {
        let ran = rig.run(&["command", "web.blue", &format!("exit {code}")]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (code, "", ""));
    }
    for number in [1, 2, 3, 6, 9, 10, 12, 13, 14, 15] {
        let ran = rig.run(&["command", "web.blue", "--transport", "longpoll", &format!("kill -{number} $$")]);
        assert_eq!(ran.code, 128 + number);
    }
    let ran = rig.run(&["command", "web.blue", "--", "no-such-program"]);
    assert_eq!(ran.code, 127, "{}", ran.stderr);
}

#[test]
fn streams_are_apart_and_arguments_exact() {
    let max = Max::start();
    let rig = world(&max);
    let ran = rig.run(&["command", "web.blue", "--", "printf", "%s|", "a b", "", "*", "$HOME", "--"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "a b||*|$HOME|--|"));
    let ran = rig.run(&["command", "web.blue", "cat data.txt; echo wrong >&2; exit 3"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (3, "one\ntwo\n", "wrong\n"));
    let ran = rig.run_with(&["command", "web.blue", "--", "cat"], "in and\r\nout");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "in and\r\nout"));
    let ran = rig.run(&["command", "web.blue", "--env", "A=b c", "-e", "D=", "echo \"$A-$D-\""]);
    assert_eq!(ran.stdout, "b c--\n");
    let json = rig.json(&["command", "web.blue", "printf 'a\\377'; echo e >&2"]);
    assert_eq!(json["stdout"], serde_json::Value::Null);
    assert_eq!((&json["stdout_base64"], &json["stderr"]), (&"Yf8=".into(), &"e\n".into()));
    assert_eq!((&json["exit_code"], &json["truncated"]), (&0.into(), &false.into()));
}

#[test]
fn rigs_own_failures_are_255() {
    let max = Max::start();
    let rig = world(&max);
    rig.run(&["command", "nope.blue", "--", "ls"]).fails(
        255,
        "rig: app 'nope' does not exist in network 'blue'\n  see `rig list apps --network blue`\n",
    );
    max.rig("eve")
        .run(&["command", "web.blue", "--", "ls"])
        .fails(255, "rig: network 'blue' does not exist\n  see `rig list networks`\n");
    assert_eq!(rig.run(&["command", "web.blue"]).code, 255);
}

#[test]
fn what_takes_too_long_is_ended_with_all_it_has_started() {
    let max = Max::start();
    let rig = world(&max);
    let late = "warning: it was ended: it took longer than --timeout\n";
    let ran = rig.run(&["command", "web.blue", "--timeout", "200ms", "--", "sleep", "60"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (143, late));
    let child = "(trap 'echo child >ended; exit 0' TERM; while :; do sleep 0.05; done) & ";
    let line = format!("{child} trap 'wait; exit 9' TERM; wait");
    let ran = rig.run(&["command", "web.blue", "--timeout", "1s", &line]);
    // A shell says which of its own were ended.
    assert!(ran.code == 9 && ran.stderr.ends_with(late), "{}", ran.stderr);
    assert_eq!(rig.ok(&["command", "web.blue", "--", "cat", "ended"]), "child\n");
    // One that is quick enough is not, and a time that is none is refused.
    assert_eq!(rig.ok(&["command", "web.blue", "--timeout", "1h", "echo done"]), "done\n");
    rig.run(&["command", "web.blue", "--timeout", "0s", "true"])
        .fails(255, "rig: '0s' is no duration\n  write for instance `--timeout 30s` or `2m`\n");
}

#[test]
fn signals_go_to_the_program() {
    let max = Max::start();
    let rig = world(&max);
    for (name, code) in [("INT", 7), ("TERM", 8)] {
        let line = "trap 'exit 7' INT; trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done";
        let mut command = rig.command(&["command", "web.blue", line]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        out.read_exact(&mut ready).unwrap();
        signal(child.id(), name);
        assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(code));
    }
}

#[test]
fn many_bytes_go_both_ways_over_cuts() {
    let max = Max::start();
    let rig = world(&max);
    let relay = Relay::new(&max.url);
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut command = rig.command(&["command", "web.blue", "--url", &relay.url, "--", "cat"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let (mut back, mut buffer, mut cuts) = (Vec::new(), vec![0; 65536], 0);
    while let Ok(count @ 1..) = stdout.read(&mut buffer) {
        back.extend_from_slice(&buffer[..count]);
        if back.len() / 1_000_000 > cuts {
            cuts += 1;
            relay.cut();
        }
    }
    writer.join().unwrap().unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
    assert!(cuts >= 7);
}

#[test]
fn what_runs_is_listed_and_ended_by_its_owner_alone() {
    let max = Max::start();
    let rig = world(&max);
    let mut command = rig.command(&["command", "web.blue", "echo ready; exec sleep 1000"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let sessions = rig.json(&["list", "sessions"]);
    let session = &sessions["sessions"][0];
    assert_eq!((&session["app"], &session["attached"]), (&"web".into(), &true.into()));
    let id = session["id"].to_string();
    let eve = max.rig("eve");
    assert_eq!(eve.json(&["list", "sessions"])["sessions"], serde_json::json!([]));
    let missing = format!("rig: session {id} does not exist, or has ended\n  see `rig list sessions`\n");
    eve.run(&["delete", "session", &id]).fails(3, &missing);
    assert_eq!(rig.ok(&["delete", "session", &id]), format!("ended session {id} of app web\n"));
    assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(143));
}

#[test]
fn a_server_that_was_restarted_has_ended_it_and_rig_says_so() {
    let mut max = Max::start();
    let rig = world(&max);
    let mut command = rig.command(&["command", "web.blue", "echo ready; exec sleep 1000"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    max.stop();
    max.serve();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(255));
    assert!(text(&out.stderr).contains("has ended while the connection was lost"), "{}", text(&out.stderr));
}

/// A command that says `ready` and goes on for long.
pub fn running(rig: &Rig, line: &str) -> std::process::Child {
    let mut command = rig.command(&["command", "web.blue", line]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    child
}

#[test]
fn a_revoked_token_ends_what_it_began() {
    let max = Max::start();
    let rig = world(&max);
    let child = running(&rig, "echo ready; exec sleep 1000");
    let maxd = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_maxd"));
        let out = command.args(args).args(["--user", "ann", "--data"]).arg(max.data()).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let listed = maxd(&["token", "list"]);
    let id = listed.lines().nth(1).unwrap().split('\t').next().unwrap().to_owned();
    maxd(&["token", "revoke", &id]);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(255), "{}", text(&out.stderr));
    // Another token of the same user sees that it is over.
    let again = max.rig("ann");
    wait_for("its end", || {
        (again.json(&["list", "sessions"])["sessions"] == serde_json::json!([])).then_some(())
    });
}

#[test]
fn a_second_client_is_refused_what_is_not_kept() {
    let max = Max::start();
    let rig = world(&max);
    let mut child = running(&rig, "echo ready; head -c 300000 /dev/zero; exec sleep 1000");
    let mut zeros = vec![0; 300_000];
    child.stdout.as_mut().unwrap().read_exact(&mut zeros).unwrap();
    let id = rig.json(&["list", "sessions"])["sessions"][0]["id"].to_string();
    let topic = format!("exec:{id}");
    let refused = wait_for("the first bytes to be acknowledged", || {
        let ran = rig.run(&["api", "--topic", &topic, "--listen", r#"{"out":0,"err":0}"#]);
        (ran.code == 6).then_some(ran)
    });
    assert!(refused.stderr.contains("wrote first is not kept"), "{}", refused.stderr);
    rig.ok(&["delete", "session", &id]);
    assert_eq!(wait_for("rig to end", || child.try_wait().unwrap()).code(), Some(143));
}

#[test]
fn a_reader_that_stops_loses_nothing_however_short_the_pieces() {
    let max = Max::start();
    let rig = world(&max);
    let line = "i=0; while [ $i -lt 120000 ]; do printf .; i=$((i+1)); done; touch ended";
    let mut command = rig.command(&["command", "web.blue", "--no-stdin", line]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("all to be written", || {
        (rig.run(&["command", "web.blue", "test -e ended"]).code == 0).then_some(())
    });
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    let rest = child.wait_with_output().unwrap();
    assert_eq!((rest.status.code(), text(&rest.stderr)), (Some(0), String::new()));
    assert!(out.len() == 120_000 && out.iter().all(|byte| *byte == b'.'), "{}", out.len());
}

#[test]
fn a_program_hears_that_nobody_reads_it_any_more() {
    let max = Max::start();
    let rig = world(&max);
    for flags in [&[][..], &["--tty"], &["--all-instances"]] {
        let mut command = rig.command(&[&["command", "web.blue", "--no-stdin"], flags, &["yes"]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 2]).unwrap();
        drop(out);
        let code = wait_for("rig to end", || child.try_wait().unwrap()).code();
        assert!(matches!(code, Some(141 | 129)), "{flags:?} {code:?}");
    }
    wait_for("no session", || {
        (rig.json(&["list", "sessions"])["sessions"] == serde_json::json!([])).then_some(())
    });
}

#[test]
fn a_program_whose_output_cannot_be_written_is_ended() {
    let max = Max::start();
    let rig = world(&max);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = rig.command(&["command", "web.blue", "--no-stdin", "echo a; exec sleep 1000"]);
    let out = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(255));
    wait_for("no session", || {
        (rig.json(&["list", "sessions"])["sessions"] == serde_json::json!([])).then_some(())
    });
}

#[test]
fn why_it_ended_is_told() {
    let max = Max::start();
    let rig = world(&max);
    let ran = rig.run(&["command", "web.blue", "-o", "json", "--timeout", "200ms", "--", "sleep", "60"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&document["exit_code"], &document["reason"]), (&143.into(), &"timeout".into()));
    let child = running(&rig, "echo ready; exec sleep 1000");
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    let out = child.wait_with_output().unwrap();
    assert_eq!(text(&out.stderr), "warning: it was ended: its app was deleted\n");
    for args in [
        &["command", "web.blue", "a", "b"][..],
        &["shell", "--bogus"],
        &["command", "-o", "xml"],
        &["-o", "json", "command", "--bogus"],
        &["--network", "blue", "shell", "--bogus"],
    ] {
        assert_eq!(rig.run(args).code, 255, "{args:?}");
    }
}

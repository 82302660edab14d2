//! Deploying: what is sent, what runs, and what is said when it fails.

use crate::harness::{Max, project, signal, site, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

/// An app that answers `text`, built by the C compiler.
fn hello() -> tempfile::TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/hello");
    let dir = tempfile::tempdir().unwrap();
    for item in fs::read_dir(source).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), dir.path().join(item.file_name())).unwrap();
    }
    dir
}

#[test]
fn a_deploy_builds_serves_and_is_replaced_by_the_next() {
    let max = Max::start();
    let mut rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = hello();
    rig.enter(dir.path());
    let ran = rig.run(&["deploy", "--app", "hello", "--network", "blue", "--create"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let url = format!("{}/\n", max.apps_url.replace("localhost", "hello.blue.localhost"));
    assert_eq!(ran.stdout, url);
    assert!(ran.stderr.contains("created app hello in network blue\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("release 1 of hello serves after "), "{}", ran.stderr);
    assert_eq!(max.get("hello.blue.localhost", "/").0, 200);
    let before = max.get("hello.blue.localhost", "/").1;

    fs::write(dir.path().join("message.txt"), "something else\n").unwrap();
    let ended = rig.json(&["deploy", "--app", "hello", "--network", "blue"]);
    assert_eq!((ended["state"].as_str(), ended["release"].as_u64()), (Some("live"), Some(2)));
    let after = max.get("hello.blue.localhost", "/").1;
    assert!(after.contains("something else"), "{after}");
    assert_ne!(before, after);

    let status = rig.json(&["status", "app", "hello.blue"]);
    assert_eq!(status["app"]["state"], "running");
    assert_eq!(status["app"]["release"], 2);
    assert_eq!(status["instances"].as_array().unwrap().len(), 1);
    assert!(status["instances"][0]["pid"].as_u64().unwrap() > 1);
}

#[test]
fn a_failed_build_exits_7_with_its_last_lines_and_the_old_release_serves() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let good = site("the old one");
    rig.ok(&["deploy", good.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    let bad = project(&[("rig.json", r#"{"build":"echo compiling; echo broken >&2; exit 3","run":"true"}"#)]);
    let path = bad.path().to_str().unwrap();
    let ran = rig.run(&["deploy", path, "-a", "web", "-n", "blue"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, ""));
    assert!(ran.stderr.contains("\ncompiling\n"), "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with(
            "rig: deploy 2 failed while building: 'echo compiling; echo broken >&2; exit 3' exited with code 3\n  \
             see `rig logs build web.blue`\n"
        ),
        "{}",
        ran.stderr
    );
    // It is told once, and is in the log besides.
    let reason = "'echo compiling; echo broken >&2; exit 3' exited with code 3";
    assert_eq!(ran.stderr.matches(reason).count(), 1, "{}", ran.stderr);
    let log = rig.ok(&["logs", "build", "web.blue", "--no-follow"]);
    assert!(log.ends_with(&format!("deploy 2 failed: {reason}\n")), "{log}");
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "the old one".to_owned()));
    let ran = rig.run(&["deploy", path, "-a", "web", "-n", "blue", "-o", "json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, ""));
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((error["code"].as_str(), error["exit_code"].as_u64()), (Some("deploy_failed"), Some(7)));
    // Two streams have no order.
    let mut last: Vec<&str> = error["hint"].as_str().unwrap().lines().rev().take(2).collect();
    last.sort_unstable();
    assert_eq!(last, ["broken", "compiling"], "{error}");
    assert_eq!(rig.json(&["status", "app", "web.blue"])["app"]["release"], 1);
    assert_eq!(rig.json(&["status", "app", "web.blue"])["deploy"]["state"], "failed");
}

#[test]
fn an_app_that_never_listens_or_ends_at_once_fails_the_deploy() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let deaf = project(&[("rig.json", r#"{"run":"exec sleep 600","health":{"timeout":"1s"}}"#)]);
    let ran = rig.run(&["deploy", deaf.path().to_str().unwrap(), "-a", "deaf", "-n", "blue", "--create"]);
    assert_eq!(ran.code, 7);
    assert!(
        ran.stderr.contains("rig: deploy 1 failed while starting: 'exec sleep 600' did not listen on port "),
        "{}",
        ran.stderr
    );
    let short = project(&[("rig.json", r#"{"run":"echo bye; exit 9"}"#)]);
    let ran = rig.run(&["deploy", short.path().to_str().unwrap(), "-a", "short", "-n", "blue", "--create"]);
    assert_eq!(ran.code, 7);
    assert!(
        ran.stderr.contains("rig: deploy 2 failed while starting: 'echo bye; exit 9' exited with code 9"),
        "{}",
        ran.stderr
    );
    assert_eq!(max.get("short.blue.localhost", "/").0, 503);
    assert_eq!(max.get("nobody.blue.localhost", "/").0, 404);
}

#[test]
fn a_missing_app_needs_create_and_link_writes_rig_json_once() {
    let max = Max::start();
    let mut rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = site("hello");
    rig.enter(dir.path());
    rig.run(&["deploy", "-a", "web", "-n", "blue"])
        .fails(3, "rig: app 'web' does not exist in network 'blue'\n  add --create to create it\n");
    rig.ok(&["deploy", "-a", "web", "-n", "blue", "--create", "--link"]);
    let text = fs::read_to_string(dir.path().join("rig.json")).unwrap();
    assert_eq!(text, "{\n  \"app\": \"web\",\n  \"network\": \"blue\"\n}\n");
    rig.ok(&["deploy"]);
    rig.run(&["deploy", "--link"]).fails(
        6,
        "rig: './rig.json' exists\n  write \"app\" and \"network\" into it, and leave --link out\n",
    );
}

#[test]
fn files_arrive_as_they_are_and_the_ignored_stay() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(&[
        ("index.html", "x"),
        (".gitignore", "*.tmp\n"),
        ("a.tmp", "secret"),
        ("deep/er/file.txt", "content"),
        ("run.sh", "#!/bin/sh\n"),
        (".git/config", "secret"),
        (
            "rig.json",
            r#"{"build":["ls -la","ls -a .git a.tmp || true","readlink link","cat deep/er/file.txt"]}"#,
        ),
    ]);
    fs::set_permissions(dir.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("deep/er", dir.path().join("link")).unwrap();
    let ran = rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let log = &ran.stderr;
    assert!(log.lines().any(|line| line.starts_with("-rwxr-xr-x") && line.ends_with(" run.sh")), "{log}");
    assert!(log.contains("cannot access '.git'") && log.contains("cannot access 'a.tmp'"), "{log}");
    assert!(log.contains("\ndeep/er\n") && log.contains("\ncontent\n"), "{log}");
    // Directories and links are none of its files.
    assert!(log.contains("\nunpacked 5 files (110 B) in "), "{log}");
}

#[test]
fn a_crash_is_restarted_and_a_crash_loop_says_why() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = hello();
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    let pid =
        |rig: &crate::harness::Rig| rig.json(&["status", "app", "web.blue"])["instances"][0]["pid"].as_u64();
    let first = pid(&rig).unwrap();
    signal(u32::try_from(first).unwrap(), "KILL");
    let second = wait_for("the restart", || pid(&rig).filter(|pid| *pid != first));
    assert_ne!(first, second);
    wait_for("the app to serve again", || (max.get("web.blue.localhost", "/").0 == 200).then_some(()));
    let status = rig.json(&["status", "app", "web.blue"]);
    assert_eq!(status["instances"][0]["restarts"], 1);
}

#[test]
fn ctrl_c_during_a_build_says_that_it_goes_on() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir =
        project(&[("index.html", "x"), ("rig.json", r#"{"build":"echo begun; sleep 1; echo finished"}"#)]);
    let mut command =
        rig.command(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line == "begun"));
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let said = "rig: interrupted; deploy 1 goes on in Max; see `rig logs build web.blue`";
    assert!(rest.iter().any(|line| line == said), "{rest:?}");
    wait_for("the deploy to end", || {
        (rig.json(&["status", "app", "web.blue"])["deploy"]["state"] == "live").then_some(())
    });
}

#[test]
fn a_deploy_longer_than_its_timeout_exits_8_and_goes_on() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(&[("index.html", "x"), ("rig.json", r#"{"build":"sleep 3"}"#)]);
    let path = dir.path().to_str().unwrap();
    let ran = rig.run(&["deploy", path, "-a", "web", "-n", "blue", "--create", "--timeout", "1500ms"]);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with(
            "rig: deploy 1 was not finished in time; it goes on in Max\n  \
             see `rig status deploy 1`, or give it longer with --timeout\n"
        ),
        "{}",
        ran.stderr
    );
}

#[test]
fn deploys_of_one_app_wait_for_each_other() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    let sites: Vec<_> = (0..4).map(|n| site(&format!("site {n}"))).collect();
    let children: Vec<_> = sites
        .iter()
        .map(|dir| {
            let mut command =
                rig.command(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", crate::harness::text(&out.stderr));
    }
    let status = rig.json(&["status", "app", "web.blue"]);
    assert_eq!(status["app"]["release"], 4);
    assert_eq!(max.get("web.blue.localhost", "/").0, 200);
}

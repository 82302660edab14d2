//! Releases at run time: they are started again when they crash, replaced without a
//! gap, and stopped with all they have started.

use crate::harness::{Max, Rig, project, signal, site, wait_for};
use crate::visitor::{HOST, Visitor, deploy, lab, lab_with, started};
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn status(rig: &Rig) -> Value {
    rig.json(&["status", "app", "lab.blue"])
}

/// The texts of the app's lines from this source.
fn lines(rig: &Rig, source: &str) -> Vec<String> {
    let log = rig.json(&["logs", "app", "lab.blue", "--tail", "10000"]);
    let lines = log["lines"].as_array().unwrap().iter().filter(|line| line["source"] == source);
    lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// The running processes whose command line begins with these words.
fn processes(words: &[&str]) -> Vec<u32> {
    let line: String = words.iter().map(|word| format!("{word}\0")).collect();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.starts_with(line.as_bytes()))
    })
    .collect()
}

/// A number no other test on this machine sleeps for.
fn unique() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{}.{}", 100_000 + std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn a_crash_is_restarted_after_a_pause_that_grows() {
    let (max, rig, _dir) = started();
    let before = status(&rig)["instances"][0].clone();
    assert_eq!(before["restarts"], 0);
    for (code, pause, restarts) in [(3, "0.5 s", 1), (4, "1 s", 2)] {
        assert_eq!(max.get(HOST, &format!("/exit/{code}")).0, 502);
        let down = wait_for("the crash to be seen", || {
            let status = status(&rig);
            (status["app"]["state"] == "restarting").then_some(status)
        });
        assert_eq!(down["app"]["reason"], format!("exited with code {code}"));
        assert_eq!(down["instances"][0]["pid"], Value::Null);
        assert_eq!(max.get(HOST, "/").0, 503);
        let up = wait_for("the restart", || {
            let status = status(&rig);
            (status["app"]["state"] == "running").then_some(status)
        });
        assert_eq!(
            (up["instances"][0]["restarts"].as_u64(), &up["app"]["reason"]),
            (Some(restarts), &Value::Null)
        );
        assert_ne!(up["instances"][0]["pid"], before["pid"]);
        assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
        let said = format!("exited with code {code}; starting again in {pause}");
        assert!(lines(&rig, "event").contains(&said), "{:?}", lines(&rig, "event"));
    }
}

#[test]
fn a_crash_loop_is_a_state_with_its_reason_until_the_next_deploy() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let settings =
        r#"{"build":"cc -O1 -pthread -o server server.c","run":"test -e bad && exit 5; exec ./server"}"#;
    let dir = deploy(&max, &rig, &lab_with("one\n", settings));
    fs::write(dir.join("bad"), "").unwrap();
    assert_eq!(max.get(HOST, "/exit/5").0, 502);
    let stuck = wait_for("the crash loop", || {
        let status = status(&rig);
        (status["app"]["state"] == "crash_loop").then_some(status)
    });
    let reason = stuck["app"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("exited with code 5, 5 times in "), "{reason}");
    assert_eq!(stuck["instances"][0]["restarts"], 5);
    assert_eq!(stuck["app"]["release"], 1);
    let text = rig.ok(&["status", "app", "lab.blue"]);
    assert!(text.contains("crash loop") && text.contains(reason), "{text}");
    let pauses: Vec<String> =
        lines(&rig, "event").into_iter().filter(|line| line.contains("again in")).collect();
    let expected = ["0.5 s", "1 s", "2 s", "4 s", "30 s"];
    assert_eq!(pauses, expected.map(|pause| format!("exited with code 5; starting again in {pause}")));
    deploy(&max, &rig, &lab("mended\n"));
    assert_eq!(status(&rig)["app"]["state"], "running");
    assert_eq!(status(&rig)["instances"][0]["restarts"], 0);
    assert_eq!(max.get(HOST, "/"), (200, "mended\n".to_owned()));
}

#[test]
fn a_redeploy_under_load_loses_no_request() {
    let (max, rig, _dir) = started();
    let done = AtomicBool::new(false);
    let (slowest, answers) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|n| {
                let (max, done) = (&max, &done);
                scope.spawn(move || {
                    let mut visitor = Visitor::new(max);
                    let (mut slowest, mut answers) = (Duration::ZERO, Vec::new());
                    while !done.load(Ordering::Relaxed) {
                        // Half of them keep their connections.
                        if n % 2 == 0 {
                            visitor = Visitor::new(max);
                        }
                        let begun = Instant::now();
                        let line = if n % 4 < 2 { "GET /" } else { "POST /" };
                        visitor.ask(line, &[]);
                        let (head, body) = visitor.answer();
                        slowest = slowest.max(begun.elapsed());
                        assert_eq!(head.status, 200, "{body}");
                        answers.push(body);
                    }
                    (slowest, answers)
                })
            })
            .collect();
        for message in ["two\n", "three\n"] {
            deploy(&max, &rig, &lab(message));
            // Nobody is given the old one any more.
            assert_eq!(max.get(HOST, "/"), (200, message.to_owned()));
        }
        done.store(true, Ordering::Relaxed);
        let ended: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let slowest = ended.iter().map(|(slowest, _)| *slowest).max().unwrap();
        (slowest, ended.into_iter().map(|(_, answers)| answers).collect::<Vec<_>>())
    });
    for answers in &answers {
        // Each sees the releases in order: it never goes back.
        let mut seen = answers.clone();
        seen.dedup();
        let expected = ["one\n", "two\n", "three\n"];
        assert!(
            seen.len() > 1 && expected.iter().filter(|one| seen.contains(&(**one).to_owned())).eq(&seen),
            "{seen:?}"
        );
    }
    let count: usize = answers.iter().map(Vec::len).sum();
    assert!(count > 300, "only {count} requests");
    assert!(slowest < Duration::from_secs(5), "one request took {slowest:?}");
    wait_for("the access lines", || {
        let log = rig.json(&["logs", "network", "blue", "--tail", "100000"]);
        let lines = log["lines"].as_array().unwrap().iter().filter(|line| line["source"] == "access");
        let texts: Vec<&str> = lines.map(|line| line["text"].as_str().unwrap()).collect();
        (texts.iter().filter(|text| text.contains(" / 200 ")).count() == count + 2).then_some(())
    });
}

#[test]
fn a_request_begun_before_the_switch_is_answered_by_the_old_release() {
    let (max, rig, old) = started();
    let pid = status(&rig)["instances"][0]["pid"].as_u64().unwrap();
    let mut slow = Visitor::new(&max);
    slow.ask("GET /wait/go", &[]);
    wait_for("the app to have it", || {
        lines(&rig, "stdout").contains(&"GET /wait/go HTTP/1.1".to_owned()).then_some(())
    });
    deploy(&max, &rig, &lab("two\n"));
    assert_eq!(max.get(HOST, "/"), (200, "two\n".to_owned()));
    // Still there, since it has something to do.
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    fs::write(old.join("go"), "").unwrap();
    let (head, body) = slow.answer();
    assert_eq!((head.status, body.as_str()), (200, "one\n"));
    // And then it goes.
    wait_for("the old process to end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    assert_eq!(slow.get("/"), (200, "two\n".to_owned()));
}

#[test]
fn sigterm_stops_maxd_and_the_apps_and_loses_nothing_that_was_begun() {
    let mut max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let run = "(trap 'echo told; exit' TERM; while :; do sleep 0.01; done) & exec ./server";
    let settings = format!(r#"{{"build":"cc -O1 -pthread -o server server.c","run":"{run}"}}"#);
    let dir = deploy(&max, &rig, &lab_with("one\n", &settings));
    let pid = status(&rig)["instances"][0]["pid"].as_u64().unwrap();
    let mut slow = Visitor::new(&max);
    slow.ask("GET /wait/go", &[]);
    wait_for("the app to have it", || {
        lines(&rig, "stdout").contains(&"GET /wait/go HTTP/1.1".to_owned()).then_some(())
    });
    let mut idle = Visitor::new(&max);
    assert_eq!(idle.get("/").0, 200);
    signal(max.pid(), "TERM");
    // A connection without a request is closed, and nobody new is let in.
    assert_eq!(idle.rest(), b"");
    let port = max.apps_url.rsplit_once(':').unwrap().1.to_owned();
    wait_for("the listener to close", || {
        TcpStream::connect(format!("127.0.0.1:{port}")).is_err().then_some(())
    });
    fs::write(dir.join("go"), "").unwrap();
    let (head, body) = slow.answer();
    assert_eq!((head.status, body.as_str()), (200, "one\n"));
    assert_eq!(head.header("connection"), Some("close"));
    assert_eq!(max.wait(), Some(0));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    // The next one serves it again, and has its last words.
    max.serve();
    assert!(lines(&rig, "stdout").contains(&"told".to_owned()));
    let stopped = "release 1 stopped: exited with code 143 (SIGTERM)".to_owned();
    assert!(lines(&rig, "event").contains(&stopped));
    wait_for("the app to serve again", || (max.get(HOST, "/") == (200, "one\n".to_owned())).then_some(()));
}

/// Runs a test in the sandbox, where there is one, and outside of it, at once.
fn in_both(test: fn(&Max)) {
    std::thread::scope(|scope| {
        for isolation in ["auto", "none"] {
            scope.spawn(move || test(&Max::with(&["--isolation", isolation])));
        }
    });
}

#[test]
fn what_ignores_sigterm_is_killed_with_its_children() {
    in_both(|max| {
        let rig = max.rig("ada");
        rig.ok(&["create", "network", "blue"]);
        let seconds = unique();
        // An ignored signal stays ignored in what is started.
        let run = format!("trap '' TERM; sleep {seconds} & exec ./server");
        let settings = format!(r#"{{"build":"cc -O1 -pthread -o server server.c","run":"{run}"}}"#);
        deploy(max, &rig, &lab_with("one\n", &settings));
        let leader = status(&rig)["instances"][0]["pid"].as_u64().unwrap();
        assert_eq!(processes(&["sleep", &seconds]).len(), 1);
        let begun = Instant::now();
        rig.ok(&["delete", "app", "lab.blue", "--yes", "--timeout", "1m"]);
        assert!(begun.elapsed() > Duration::from_secs(9), "{:?}", begun.elapsed());
        assert!(!Path::new(&format!("/proc/{leader}")).exists());
        assert_eq!(processes(&["sleep", &seconds]), Vec::<u32>::new());
    });
}

#[test]
fn everything_an_app_has_started_hears_sigterm_and_may_finish() {
    in_both(|max| {
        let rig = max.rig("ada");
        rig.ok(&["create", "network", "blue"]);
        // A child that needs a while, of a command that is gone at once.
        let child =
            "(trap 'sleep 0.3; echo child told; exit 0' TERM; echo child up; while :; do sleep 0.01; done) &";
        let run = format!("{child} exec ./server");
        let settings = format!(r#"{{"build":"cc -O1 -pthread -o server server.c","run":"{run}"}}"#);
        deploy(max, &rig, &lab_with("one\n", &settings));
        wait_for("the child", || lines(&rig, "stdout").contains(&"child up".to_owned()).then_some(()));
        let begun = Instant::now();
        deploy(max, &rig, &lab("two\n"));
        let said = || lines(&rig, "stdout").contains(&"child told".to_owned()).then_some(());
        wait_for("its last words", said);
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        let stopped = "release 1 stopped: exited with code 143 (SIGTERM)".to_owned();
        wait_for("the event", || lines(&rig, "event").contains(&stopped).then_some(()));
    });
}

#[test]
fn an_app_gets_its_own_environment() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let run = "env; NODE_ENV=staging env | grep NODE_ENV; exec ./server";
    let settings = format!(r#"{{"build":"cc -O1 -pthread -o server server.c","run":"{run}"}}"#);
    let dir = deploy(&max, &rig, &lab_with("one\n", &settings)).canonicalize().unwrap();
    let said = wait_for("the environment", || {
        let said = lines(&rig, "stdout");
        said.contains(&"NODE_ENV=staging".to_owned()).then_some(said)
    });
    let mut names: Vec<&str> = said.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // Shells add these.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    let expected = [
        "HOME",
        "HOST",
        "LANG",
        "NODE_ENV",
        "NODE_ENV",
        "PATH",
        "PORT",
        "PYTHONUNBUFFERED",
        "TMPDIR",
        "npm_config_update_notifier",
    ];
    assert_eq!(names, expected);
    for value in [format!("HOME={}", dir.display()), "HOST=127.0.0.1".into(), "NODE_ENV=production".into()] {
        assert!(said.contains(&value), "{value}: {said:?}");
    }
}

#[test]
fn a_health_path_that_answers_500_fails_the_deploy() {
    let (max, rig, _dir) = started();
    let settings = r#"{"build":"cc -O1 -pthread -o server server.c","run":"exec ./server",
                       "health":{"path":"/status/500","timeout":"1s"}}"#;
    let sick = lab_with("two\n", settings);
    let ran = rig.run(&["deploy", sick.path().to_str().unwrap(), "-a", "lab", "-n", "blue"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, ""));
    let said = "rig: deploy 2 failed while starting: 'exec ./server' did not become healthy within 1 s: \
                '/status/500' answered 500\n";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    assert_eq!(status(&rig)["app"]["release"], 1);
    // Nothing of it is left.
    let apps = max.data().join("apps/1");
    assert!(apps.join("1").exists() && !apps.join("2").exists());
    // A redirect is healthy, and the app is asked by its own name.
    let settings = settings.replace("500", "302");
    deploy(&max, &rig, &lab_with("three\n", &settings));
    assert_eq!(max.get(HOST, "/"), (200, "three\n".to_owned()));
}

#[test]
fn a_static_release_follows_a_process_and_the_other_way_round() {
    let (max, rig, _dir) = started();
    let pid = status(&rig)["instances"][0]["pid"].as_u64().unwrap();
    let mut visitor = Visitor::new(&max);
    assert_eq!(visitor.get("/").1, "one\n");
    deploy(&max, &rig, &site("files"));
    assert_eq!(visitor.get("/").1, "files");
    wait_for("the process to end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    let now = status(&rig);
    assert_eq!((now["app"]["state"].as_str(), &now["instances"][0]["pid"]), (Some("running"), &Value::Null));
    deploy(&max, &rig, &lab("three\n"));
    assert_eq!(visitor.get("/").1, "three\n");
    assert!(status(&rig)["instances"][0]["pid"].as_u64().is_some());
}

#[test]
fn a_release_is_run_after_a_restart_as_it_was_before() {
    let mut max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    // What the build leaves looks like another project, or like none that can be read.
    let build = "cc -O1 -pthread -o server server.c && echo '{' >package.json && rm rig.json && mkfifo rig.json Procfile";
    let settings = format!(r#"{{"build":"{build}","run":"exec ./server"}}"#);
    deploy(&max, &rig, &lab_with("one\n", &settings));
    assert_eq!(max.stop(), Some(0));
    max.serve();
    wait_for("the app to serve again", || (max.get(HOST, "/") == (200, "one\n".to_owned())).then_some(()));
    assert_eq!(status(&rig)["app"]["state"], "running");
}

#[test]
fn sigterm_ends_a_build_and_the_deploy_has_failed() {
    for isolation in ["auto", "none"] {
        let mut max = Max::with(&["--isolation", isolation]);
        let rig = max.rig("ada");
        rig.ok(&["create", "network", "blue"]);
        let seconds = unique();
        let settings = format!(r#"{{"build":"sleep {seconds}"}}"#);
        let dir = project(&[("index.html", "x"), ("rig.json", &settings)]);
        let path = dir.path().to_str().unwrap();
        let mut command = rig.command(&["deploy", path, "-a", "lab", "-n", "blue", "--create"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        wait_for("the build", || (!processes(&["sleep", &seconds]).is_empty()).then_some(()));
        assert_eq!(max.stop(), Some(0));
        assert_eq!(processes(&["sleep", &seconds]), Vec::<u32>::new());
        max.serve();
        let deploy = status(&rig)["deploy"].clone();
        assert_eq!((deploy["state"].as_str(), deploy["phase"].as_str()), (Some("failed"), Some("building")));
        assert_eq!(deploy["error"], "maxd was stopped during this deploy");
        // rig, which has reconnected, says so too.
        let code = wait_for("rig to end", || child.try_wait().unwrap());
        assert_eq!(code.code(), Some(7));
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let mut command = Command::new(env!("CARGO_BIN_EXE_maxd"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0", "--ready-file"]);
    command.arg(&ready).arg("--data").arg(dir.path().join("data"));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    wait_for("maxd to be ready", || {
        assert_eq!(child.try_wait().unwrap(), None, "maxd ended");
        ready.exists().then_some(())
    });
    signal(child.id(), "TERM");
    assert_eq!(wait_for("maxd to stop", || child.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn a_build_ends_when_its_app_is_deleted() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let seconds = unique();
    let dir = project(&[("index.html", "x"), ("rig.json", &format!(r#"{{"build":"sleep {seconds}"}}"#))]);
    let mut command =
        rig.command(&["deploy", dir.path().to_str().unwrap(), "-a", "lab", "-n", "blue", "--create"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the build", || (!processes(&["sleep", &seconds]).is_empty()).then_some(()));
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    wait_for("the build to end", || processes(&["sleep", &seconds]).is_empty().then_some(()));
    let code = wait_for("rig to end", || child.try_wait().unwrap());
    assert_ne!(code.code(), Some(0));
    // Its name is free, and nothing of it is left.
    deploy(&max, &rig, &site("next"));
    assert_eq!(max.get(HOST, "/"), (200, "next".to_owned()));
    wait_for("its files to go", || (!max.data().join("apps/1/1").exists()).then_some(()));
}

//! Start, stop, restart, scale: without a failed request, and as it was said also behind a
//! restart of maxd.

use crate::harness::{Max, Rig, signal, site, wait_for};
use crate::relay::Relay;
use crate::visitor::{HOST, Visitor, deploy, lab, lab_with, started};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Those that may be sent again, and those that may not.
const BOTH: &[&str] = &["GET", "POST"];

/// Ends at once while the file `bad` exists, and does not begin while `wait` does.
const SETTINGS: &str = r#"{"build":"cc -O1 -pthread -o server server.c",
    "run":"while test -e wait; do sleep 0.01; done; test -e bad && exit 5; exec ./server"}"#;

/// A server with such an app on it; and the directory of its release.
pub fn moody() -> (Max, Rig, PathBuf) {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = deploy(&max, &rig, &lab_with("one\n", SETTINGS));
    (max, rig, dir)
}

fn status(rig: &Rig) -> Value {
    rig.json(&["status", "app", "lab.blue"])
}

/// The state of the app, how many instances it shall have and how many run.
fn state(rig: &Rig) -> (String, u64, u64) {
    let app = &status(rig)["app"];
    let number = |name: &str| app[name].as_u64().unwrap();
    (app["state"].as_str().unwrap().to_owned(), number("instances"), number("running"))
}

pub fn pids(rig: &Rig) -> Vec<u64> {
    let status = status(rig);
    status["instances"].as_array().unwrap().iter().filter_map(|one| one["pid"].as_u64()).collect()
}

pub fn events(rig: &Rig) -> Vec<String> {
    let log = rig.json(&["logs", "app", "lab.blue", "--tail", "10000"]);
    let lines = log["lines"].as_array().unwrap().iter().filter(|line| line["source"] == "event");
    lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Counts the answers of each port.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<String, usize>>);

impl Tally {
    /// Waits until of a hundred answers in a row so many ports had their part.
    pub fn spread(&self, ports: usize) {
        self.0.lock().unwrap().clear();
        wait_for("every instance to be asked", || {
            let mut counts = self.0.lock().unwrap();
            if counts.values().sum::<usize>() < 100 {
                return None;
            }
            (std::mem::take(&mut *counts).len() == ports).then_some(())
        });
    }

    /// How many answers came since they were last counted.
    pub fn answers(&self) -> usize {
        self.0.lock().unwrap().values().sum()
    }

    /// Waits for an answer.
    fn begins(&self) {
        wait_for("an answer", || (!self.0.lock().unwrap().is_empty()).then_some(()));
    }
}

/// Does `work` while four visitors ask all the time with these methods, each of whom must be
/// answered.
pub fn under_load(max: &Max, methods: &[&str], work: impl FnOnce(&Tally)) {
    let (done, tally) = (AtomicBool::new(false), Tally::default());
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..4)
            .map(|n| {
                let (done, tally) = (&done, &tally);
                scope.spawn(move || {
                    let mut visitor = Visitor::new(max);
                    let line = format!("{} /port", methods[n / 2 % methods.len()]);
                    while !done.load(Ordering::Relaxed) {
                        // Half of them keep their connections.
                        if n % 2 == 0 {
                            visitor = Visitor::new(max);
                        }
                        visitor.ask(&line, &[]);
                        let (head, body) = visitor.answer();
                        assert_eq!(head.status, 200, "{body}");
                        *tally.0.lock().unwrap().entry(body).or_default() += 1;
                    }
                })
            })
            .collect();
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tally.begins();
            work(&tally);
        }));
        done.store(true, Ordering::Relaxed);
        visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        worked.unwrap();
    });
}

#[test]
fn scaling_under_load_spreads_the_requests_and_loses_none() {
    let (max, rig, _dir) = started();
    under_load(&max, BOTH, |tally| {
        let said = rig.ok(&["scale", "app", "lab.blue", "3"]);
        assert_eq!(said, "scaled app lab of network blue to 3 instances\n");
        tally.spread(3);
        assert_eq!((state(&rig), pids(&rig).len()), (("running".to_owned(), 3, 3), 3));
        let said = rig.ok(&["scale", "app", "lab", "1", "-n", "blue"]);
        assert_eq!(said, "scaled app lab of network blue to 1 instance\n");
        tally.spread(1);
    });
    assert_eq!((state(&rig), pids(&rig).len()), (("running".to_owned(), 1, 1), 1));
    let said = events(&rig);
    for text in ["scaled from 1 to 3 instances by ada", "scaled from 3 to 1 instance by ada"] {
        assert!(said.iter().any(|line| line == text), "{said:?}");
    }
    let shown = rig.ok(&["status", "app", "lab.blue"]);
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["instances", "1/1"])), "{shown}");
}

#[test]
fn a_restart_under_load_loses_no_request_and_leaves_nothing_of_the_old() {
    let (max, rig, _dir) = started();
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    let before = pids(&rig);
    under_load(&max, BOTH, |tally| {
        assert_eq!(rig.ok(&["restart", "app", "lab.blue"]), "restarted app lab of network blue\n");
        tally.spread(2);
    });
    let after = pids(&rig);
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    assert!(before.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()), "{before:?}");
    assert!(events(&rig).contains(&"restarted by ada".to_owned()));
    assert_eq!(status(&rig)["app"]["release"], 1);
}

#[test]
fn one_of_several_that_is_killed_costs_no_request_and_comes_back() {
    let (max, rig, _dir) = started();
    rig.ok(&["scale", "app", "lab.blue", "3"]);
    under_load(&max, &["GET"], |tally| {
        tally.spread(3);
        let victim = status(&rig)["instances"][1]["pid"].as_u64().unwrap();
        signal(u32::try_from(victim).unwrap(), "KILL");
        let restarted = || (status(&rig)["instances"][1]["restarts"] == 1).then_some(());
        wait_for("it to be missed", restarted);
        wait_for("it to come back", || (state(&rig).2 == 3).then_some(()));
        tally.spread(3);
    });
    let now = status(&rig);
    assert_eq!((&now["app"]["state"], &now["app"]["reason"]), (&"running".into(), &Value::Null));
    let restarts: Vec<_> = now["instances"].as_array().unwrap().iter().map(|one| &one["restarts"]).collect();
    assert_eq!(restarts, [0, 1, 0]);
}

#[test]
fn a_deploy_switches_all_instances_and_keeps_their_number() {
    let (max, rig, _dir) = started();
    rig.ok(&["scale", "app", "lab.blue", "3"]);
    under_load(&max, BOTH, |tally| {
        deploy(&max, &rig, &lab("two\n"));
        tally.spread(3);
    });
    let now = status(&rig);
    let of = |name: &str| now["instances"].as_array().unwrap().iter().map(|one| one[name].clone()).collect();
    let (numbers, releases): (Vec<Value>, Vec<Value>) = (of("number"), of("release"));
    assert_eq!((numbers, releases), (vec![1.into(), 2.into(), 3.into()], vec![2.into(); 3]));
    assert_eq!(max.get(HOST, "/"), (200, "two\n".to_owned()));
}

#[test]
fn what_is_stopped_stays_so_until_it_is_started_or_deployed() {
    let (mut max, rig, _dir) = moody();
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    let before = pids(&rig);
    assert_eq!(rig.ok(&["stop", "app", "lab.blue"]), "stopped app lab of network blue\n");
    assert_eq!(state(&rig), ("stopped".to_owned(), 2, 0));
    assert!(before.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    let page = |max: &Max| {
        let (status, page) = max.get(HOST, "/");
        assert_eq!(status, 503);
        assert!(page.contains("The app at &#39;lab.blue.localhost&#39; is stopped."), "{page}");
    };
    page(&max);
    let said = rig.ok(&["stop", "app", "lab.blue"]);
    assert_eq!(said, "app lab of network blue was stopped already\n");
    rig.run(&["restart", "app", "lab.blue"])
        .fails(6, "rig: app 'lab' is stopped\n  start it: `rig start app lab.blue`\n");
    // Its number may change meanwhile.
    rig.ok(&["scale", "app", "lab.blue", "3"]);
    assert_eq!(max.stop(), Some(0));
    max.serve();
    assert_eq!(state(&rig), ("stopped".to_owned(), 3, 0));
    page(&max);
    // Its release is still there to run something in.
    assert_eq!(rig.ok(&["command", "lab.blue", "--", "cat", "message.txt"]), "one\n");
    assert_eq!(rig.ok(&["start", "app", "lab.blue"]), "started app lab of network blue\n");
    assert_eq!(state(&rig), ("running".to_owned(), 3, 3));
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    let pids = pids(&rig);
    let said = rig.ok(&["start", "app", "lab.blue"]);
    assert_eq!(said, "app lab of network blue was started already\n");
    assert_eq!(self::pids(&rig), pids);
    rig.ok(&["stop", "app", "lab.blue"]);
    deploy(&max, &rig, &lab("two\n"));
    assert_eq!(state(&rig), ("running".to_owned(), 3, 3));
    assert_eq!(max.stop(), Some(0));
    max.serve();
    wait_for("all to run again", || (state(&rig) == ("running".to_owned(), 3, 3)).then_some(()));
    assert_eq!(max.get(HOST, "/"), (200, "two\n".to_owned()));
    let said = events(&rig);
    assert_eq!(said.iter().filter(|line| *line == "stopped by ada").count(), 2, "{said:?}");
    assert_eq!(said.iter().filter(|line| *line == "started by ada").count(), 1, "{said:?}");
}

#[test]
fn what_never_gets_healthy_changes_nothing() {
    let (max, rig, dir) = moody();
    let before = pids(&rig);
    fs::write(dir.join("bad"), "").unwrap();
    let why = |done: &str| {
        format!(
            "app 'lab' was not {done}: 'while test -e wait; do sleep 0.01; done; test -e bad && exit 5; exec \
             ./server' exited with code 5 before it was healthy"
        )
    };
    let hint = "those that ran go on serving; its last lines are in the app's log";
    rig.run(&["restart", "app", "lab.blue"]).fails(1, &format!("rig: {}\n  {hint}\n", why("restarted")));
    let ran = rig.run(&["scale", "app", "lab.blue", "3", "-o", "json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, &error["code"]), (1, &"failed".into()));
    assert_eq!(error["message"], why("scaled to 3 instances"));
    assert_eq!((state(&rig), pids(&rig)), (("running".to_owned(), 1, 1), before));
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    rig.ok(&["stop", "app", "lab.blue"]);
    let ran = rig.run(&["start", "app", "lab.blue"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("  it stays stopped; "), "{}", ran.stderr);
    assert_eq!(state(&rig), ("stopped".to_owned(), 1, 0));
    let said = format!("not restarted, as ada asked: {}", why("restarted"));
    assert!(events(&rig).contains(&said), "{:?}", events(&rig));
}

#[test]
fn a_change_behind_a_cut_is_made_once_and_goes_on_without_rig() {
    let (max, _, dir) = moody();
    let relay = Relay::new(&max.url);
    let mut rig = max.rig("ada");
    let direct = max.rig("ada");
    rig.set("RIG_URL", &relay.url);
    fs::write(dir.join("wait"), "").unwrap();
    let mut child = rig
        .command(&["restart", "app", "lab.blue"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = || events(&direct).iter().filter(|line| line.starts_with("started release 1 ")).count();
    wait_for("the new instance", || (begun() == 2).then_some(()));
    let sockets = relay.asked("GET /socket/websocket");
    relay.cut();
    wait_for("rig to come again", || (relay.asked("GET /socket/websocket") > sockets).then_some(()));
    fs::remove_file(dir.join("wait")).unwrap();
    let code = wait_for("rig to end", || child.try_wait().unwrap());
    assert_eq!(code.code(), Some(0));
    let said = events(&direct);
    assert_eq!((begun(), said.iter().filter(|line| *line == "restarted by ada").count()), (2, 1), "{said:?}");
    // Nobody waits any more, and it is done all the same.
    fs::write(dir.join("wait"), "").unwrap();
    let late = direct.run(&["restart", "app", "lab.blue", "--timeout", "1s"]);
    late.fails(
        8,
        "rig: app 'lab' was not restarted in time; that goes on in Max\n  see `rig status app lab.blue`, or give it longer with --timeout\n",
    );
    fs::remove_file(dir.join("wait")).unwrap();
    wait_for("it to be done", || {
        (events(&direct).iter().filter(|line| *line == "restarted by ada").count() == 2).then_some(())
    });
}

#[test]
fn a_change_that_a_crash_of_maxd_cut_short_is_made_by_the_next_one() {
    let (mut max, rig, dir) = moody();
    fs::write(dir.join("wait"), "").unwrap();
    let mut command = rig.command(&["scale", "app", "lab.blue", "2"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the new instance", || (pids(&rig).len() == 2).then_some(()));
    assert_eq!(state(&rig), ("running".to_owned(), 1, 1));
    max.kill();
    max.serve();
    // One instance, as it was before, until rig has come again.
    fs::remove_file(dir.join("wait")).unwrap();
    let code = wait_for("rig to end", || child.try_wait().unwrap());
    assert_eq!(code.code(), Some(0));
    assert_eq!(state(&rig).1, 2);
    wait_for("both to run", || (state(&rig).2 == 2).then_some(()));
}

#[test]
fn a_stop_does_not_wait_for_what_is_being_started() {
    let (max, rig, dir) = moody();
    let waiting = |args: &[&str]| {
        fs::write(dir.join("wait"), "").unwrap();
        let begun = || events(&rig).iter().filter(|line| line.starts_with("started release 1 ")).count();
        let before = begun();
        let mut command = rig.command(args);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("the new instance", || (begun() > before).then_some(()));
        rig.ok(&["stop", "app", "lab.blue"]);
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.status.code(), text.as_str()), (Some(6), "rig: the app was stopped meanwhile\n"));
        assert_eq!(state(&rig), ("stopped".to_owned(), 1, 0));
    };
    waiting(&["restart", "app", "lab.blue"]);
    waiting(&["start", "app", "lab.blue"]);
    fs::remove_file(dir.join("wait")).unwrap();
    rig.ok(&["start", "app", "lab.blue"]);
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
}

#[test]
fn each_instance_has_lines_of_its_own() {
    let (_max, rig, _dir) = started();
    rig.ok(&["scale", "app", "lab.blue", "3"]);
    let lines = |args: &[&str]| {
        let mut all = vec!["logs", "app", "lab.blue", "--tail", "10000"];
        all.extend(args);
        rig.json(&all)["lines"].as_array().unwrap().clone()
    };
    let listens = |line: &Value| line["text"].as_str().unwrap().starts_with("listening on port ");
    let port = wait_for("its first line", || {
        let second = lines(&["--instance", "2"]);
        assert!(second.iter().all(|line| line["instance"] == 2), "{second:?}");
        second.iter().find(|line| listens(line)).map(|line| line["text"].clone())
    });
    wait_for("the lines of all", || {
        let all = lines(&[]);
        let of: Vec<_> = all.iter().filter(|line| listens(line)).collect();
        assert!(of.iter().all(|line| (line["text"] == port) == (line["instance"] == 2)), "{of:?}");
        (of.len() == 3).then_some(())
    });
}

#[test]
fn an_unhealthy_one_of_several_gets_no_requests_while_another_is_well() {
    let max = Max::trial("check=50");
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    deploy(&max, &rig, &lab("one\n"));
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    // It goes on, and accepts nobody.
    assert_eq!(max.get(HOST, "/deaf").0, 200);
    let sick = wait_for("it to be seen", || {
        let status = status(&rig);
        (status["app"]["running"] == 1).then_some(status)
    });
    let reason = sick["app"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("1 of 2 instances "), "{reason}");
    assert_eq!(sick["app"]["state"], "running");
    under_load(&max, BOTH, |tally| {
        wait_for("it to be well again", || (state(&rig).2 == 2).then_some(()));
        tally.spread(2);
    });
}

#[test]
fn what_can_not_be_is_refused_with_a_reason() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "lab.blue"]);
    for verb in ["start", "stop", "restart"] {
        rig.run(&[verb, "app", "lab.blue"])
            .fails(6, "rig: app 'lab' has no release to run\n  deploy it first: `rig deploy`\n");
    }
    // The first deploy begins with so many.
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    deploy(&max, &rig, &lab("one\n"));
    assert_eq!(state(&rig), ("running".to_owned(), 2, 2));
    rig.run(&["scale", "app", "lab.blue", "0"])
        .fails(2, "rig: an app that runs has at least one instance\n  `rig stop app lab.blue` stops it\n");
    rig.run(&["scale", "app", "lab.blue", "21"]).fails(2, "rig: an app has at most 20 instances, not 21\n");
    rig.run(&["scale", "app", "lab.blue", "many"])
        .fails(2, "rig: 'many' is no number of instances\n  write for instance `rig scale app web.blue 3`\n");
    deploy(&max, &rig, &site("files"));
    assert_eq!(state(&rig), ("running".to_owned(), 1, 1));
    rig.run(&["scale", "app", "lab.blue", "3"])
        .fails(6, "rig: app 'lab' is static: maxd itself serves it, as one instance\n");
    for verb in ["restart", "stop", "start"] {
        rig.ok(&[verb, "app", "lab.blue"]);
    }
    assert_eq!(max.get(HOST, "/"), (200, "files".to_owned()));
    let other = max.rig("eve");
    for args in [
        &["start", "app", "lab.blue"][..],
        &["stop", "app", "lab.blue"],
        &["restart", "app", "lab.blue"],
        &["scale", "app", "lab.blue", "2"],
    ] {
        let ran = other.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
        assert!(ran.stderr.starts_with("rig: network 'blue' does not exist\n"), "{}", ran.stderr);
    }
}

#[test]
fn one_of_several_that_ends_again_and_again_is_an_alert_until_the_app_is_stopped() {
    let max = Max::with_trial(&[], crate::alerts::QUICK);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = deploy(&max, &rig, &lab_with("one\n", SETTINGS));
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    fs::write(dir.join("bad"), "").unwrap();
    signal(u32::try_from(pids(&rig)[0]).unwrap(), "KILL");
    let alerts = |count: usize| {
        wait_for(&format!("{count} alerts"), || {
            let alerts = status(&rig)["alerts"].as_array().unwrap().clone();
            (alerts.len() == count).then_some(alerts)
        })
    };
    let alert = alerts(1).remove(0);
    assert_eq!(alert["cause"], "crash_loop");
    let message = alert["message"].as_str().unwrap();
    let expected = "1 of 2 instances ends again and again: exited with code 5, 5 times in ";
    assert!(message.starts_with(expected), "{message}");
    let app = status(&rig)["app"].clone();
    assert_eq!((&app["state"], app["reason"].as_str()), (&"running".into(), Some(message)));
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    rig.ok(&["stop", "app", "lab.blue"]);
    alerts(0);
}

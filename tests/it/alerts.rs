//! Alerts: raised by what really goes wrong, resolved by themselves, kept over restarts.

use crate::harness::{Max, Rig, project, site, wait_for};
use crate::receiver::Receiver;
use crate::visitor::{HOST, Visitor, deploy, lab, lab_with};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// Quick, and as if the disk never filled up.
pub const QUICK: &str = "alerts=20,disk=0,second=10";

/// A server with quick alerts and webhooks to anywhere, with a network.
pub fn started() -> (Max, Rig) {
    let max = Max::with_trial(&["--webhook-private"], QUICK);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    (max, rig)
}

/// A project whose build fails.
pub fn broken() -> TempDir {
    project(&[("rig.json", r#"{"build":"exit 3","run":"true"}"#)])
}

/// Deploys to `web` in `blue`; the exit code.
pub fn deploy_web(rig: &Rig, dir: &TempDir) -> i32 {
    rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]).code
}

/// Those that last, or all.
fn alerts(rig: &Rig, more: &[&str]) -> Vec<Value> {
    let args = [&["list", "alerts"], more].concat();
    rig.json(&args)["alerts"].as_array().unwrap().clone()
}

#[track_caller]
fn wait_for_alerts(rig: &Rig, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} alerts"), || Some(alerts(rig, &[])).filter(|found| found.len() == count))
}

#[test]
fn a_failed_deploy_is_an_alert_until_one_succeeds() {
    let (max, rig) = started();
    let none = rig.run(&["list", "alerts"]);
    assert_eq!((none.code, none.stdout.as_str(), none.stderr.as_str()), (0, "", "no alerts\n"));
    assert_eq!(deploy_web(&rig, &broken()), 7);
    let alert = wait_for_alerts(&rig, 1).remove(0);
    assert_eq!(alert["cause"], "deploy_failed");
    assert_eq!((alert["network"].as_str(), alert["app"].as_str()), (Some("blue"), Some("web")));
    assert_eq!(alert["resolved_at"], Value::Null);
    let message = alert["message"].as_str().unwrap();
    assert!(message.starts_with("deploy 1 failed while building: "), "{message}");

    // Where else it is shown, and to whom.
    assert_eq!(rig.json(&["status", "app", "web.blue"])["alerts"], Value::from(vec![alert.clone()]));
    assert_eq!(rig.json(&["status", "network", "blue"])["alerts"], Value::from(vec![alert.clone()]));
    let table = rig.ok(&["list", "alerts"]);
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["ALERT", "APP", "NETWORK", "SINCE", "MESSAGE"]);
    let row = lines.next().unwrap();
    assert!(row.starts_with("deploy failed  web  blue     ") && row.ends_with(message), "{table}");
    let bob = max.rig("bob");
    assert_eq!(alerts(&bob, &["--all"]), Vec::<Value>::new());
    bob.run(&["list", "alerts", "-n", "blue"])
        .fails(3, "rig: network 'blue' does not exist\n  see `rig list networks`\n");
    rig.ok(&["create", "network", "red"]);
    assert_eq!(alerts(&rig, &["-n", "red"]), Vec::<Value>::new());
    assert_eq!(alerts(&rig, &["-n", "blue"]), std::slice::from_ref(&alert));

    // Another failure is the same alert, in other words.
    assert_eq!(deploy_web(&rig, &broken()), 7);
    let again = wait_for("the other words", || {
        let found = alerts(&rig, &[]).remove(0);
        found["message"].as_str().unwrap().starts_with("deploy 2 failed").then_some(found)
    });
    assert_eq!((&again["id"], &again["since"]), (&alert["id"], &alert["since"]));
    assert_eq!(deploy_web(&rig, &site("good")), 0);
    wait_for_alerts(&rig, 0);
    let over = alerts(&rig, &["--all"]);
    assert_eq!((over.len(), &over[0]["id"]), (1, &alert["id"]));
    assert!(over[0]["resolved_at"].as_str().unwrap() > over[0]["since"].as_str().unwrap());
    let table = rig.ok(&["list", "alerts", "--all"]);
    assert!(table.starts_with("ALERT          APP  NETWORK  SINCE"), "{table}");
    assert!(table.lines().next().unwrap().contains("OVER"), "{table}");
    assert_eq!(rig.json(&["status", "app", "web.blue"])["alerts"], Value::from(Vec::<Value>::new()));
}

#[test]
fn a_crash_loop_is_raised_once_also_over_restarts_and_resolved_by_a_good_deploy() {
    let (mut max, rig) = started();
    let receiver = Receiver::start();
    let hook = rig.json(&["create", "webhook", &receiver.url(), "-n", "blue"]);
    let secret = hook["secret"].as_str().unwrap();
    let settings =
        r#"{"build":"cc -O1 -pthread -o server server.c","run":"test -e bad && exit 5; exec ./server"}"#;
    let dir = deploy(&max, &rig, &lab_with("one\n", settings));
    fs::write(dir.join("bad"), "").unwrap();
    assert_eq!(max.get(HOST, "/exit/5").0, 502);
    let alert = wait_for_alerts(&rig, 1).remove(0);
    assert_eq!((alert["cause"].as_str(), alert["app"].as_str()), (Some("crash_loop"), Some("lab")));
    let message = alert["message"].as_str().unwrap();
    assert!(message.starts_with("exited with code 5, 5 times in "), "{message}");
    receiver.wait(1);

    let looping = |rig: &Rig| {
        wait_for("the crash loop", || {
            let status = rig.json(&["status", "app", "lab.blue"]);
            (status["app"]["state"] == "crash_loop").then_some(())
        });
    };
    max.kill();
    max.serve();
    // Before anything could be seen of the app.
    assert_eq!(alerts(&rig, &[])[0]["id"], alert["id"]);
    looping(&rig);
    assert_eq!(alerts(&rig, &[])[0]["id"], alert["id"]);
    deploy(&max, &rig, &lab("mended\n"));
    wait_for_alerts(&rig, 0);
    let posts = receiver.wait(2);
    let briefs: Vec<String> = posts.iter().map(|post| post.brief()).collect();
    assert_eq!(briefs, ["alert.raised crash_loop lab", "alert.resolved crash_loop lab"]);
    for post in &posts {
        post.verify(secret);
        assert_eq!(post.body["alert"]["id"], alert["id"]);
    }
    assert_eq!(posts[0].body["alert"], alert);
    assert_eq!(alerts(&rig, &["--all"]).len(), 1);
    assert_eq!(posts[1].body["alert"], alerts(&rig, &["--all"])[0]);
}

#[test]
fn a_full_disk_concerns_everybody() {
    let max = Max::with_trial(&["--webhook-private"], "alerts=20,disk=4294967295");
    let (ada, bob) = (max.rig("ada"), max.rig("bob"));
    let alert = wait_for_alerts(&ada, 1).remove(0);
    assert_eq!(
        (alert["cause"].as_str(), &alert["network"], &alert["app"]),
        (Some("disk"), &Value::Null, &Value::Null)
    );
    assert!(alert["message"].as_str().unwrap().ends_with(" are free on the disk of Max"), "{alert}");
    assert_eq!(alerts(&bob, &[]), std::slice::from_ref(&alert));
    bob.ok(&["create", "network", "red"]);
    assert_eq!(bob.json(&["status", "network", "red"])["alerts"], Value::from(vec![alert.clone()]));
    assert_eq!(alerts(&bob, &["-n", "red"]), std::slice::from_ref(&alert));
    let table = ada.ok(&["list", "alerts"]);
    assert!(table.lines().nth(1).unwrap().starts_with("disk   -    -        "), "{table}");
}

#[test]
fn what_is_deleted_takes_its_alerts_along() {
    let (max, rig) = started();
    let receiver = Receiver::start();
    rig.ok(&["create", "webhook", &receiver.url(), "-n", "blue"]);
    assert_eq!(deploy_web(&rig, &broken()), 7);
    wait_for_alerts(&rig, 1);
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    assert_eq!(alerts(&rig, &[]), Vec::<Value>::new());
    assert_eq!(rig.json(&["status", "network", "blue"])["alerts"], Value::from(Vec::<Value>::new()));
    // It was told as over, and its name stays in the history.
    let briefs: Vec<String> = receiver.wait(2).iter().map(|post| post.brief()).collect();
    assert_eq!(briefs, ["alert.raised deploy_failed web", "alert.resolved deploy_failed web"]);
    let over = alerts(&rig, &["--all"]).remove(0);
    assert_eq!((over["app"].as_str(), over["resolved_at"].is_string()), (Some("web"), true));
    // The next of that name begins anew.
    assert_eq!(deploy_web(&rig, &broken()), 7);
    assert_ne!(wait_for_alerts(&rig, 1)[0]["id"], over["id"]);
    rig.ok(&["delete", "network", "blue", "--yes"]);
    assert_eq!(alerts(&rig, &["--all"]), Vec::<Value>::new());
    assert!(!max.log().contains("cannot"), "{}", max.log());
}

#[test]
fn many_errors_are_an_alert_until_they_are_few() {
    let (max, rig) = started();
    deploy(&max, &rig, &lab("one\n"));
    let mut visitor = Visitor::new(&max);
    let mut ask = |path: &str, count: usize| {
        for _ in 0..count {
            visitor.ask(&format!("GET {path}"), &[]);
            visitor.answer();
        }
    };
    // One too few to say anything, which the next look would show.
    ask("/status/500", 19);
    wait_for("the requests to be counted", || {
        let traffic = rig.json(&["status", "app", "lab.blue"])["traffic"].clone();
        (traffic["errors"] == 19).then_some(())
    });
    assert_eq!(alerts(&rig, &[]), Vec::<Value>::new());
    ask("/status/503", 1);
    let alert = wait_for_alerts(&rig, 1).remove(0);
    assert_eq!((alert["cause"].as_str(), alert["app"].as_str()), (Some("error_rate"), Some("lab")));
    let message = "20 of 20 requests in a minute were answered with 500 or above (100.0 %)";
    assert_eq!(alert["message"], message);
    // 2.9 % of them.
    ask("/", 660);
    wait_for_alerts(&rig, 0);
    assert_eq!(alerts(&rig, &["--all"])[0]["message"], message);
}

#[test]
fn memory_near_its_limit_is_an_alert_until_it_is_not() {
    let (max, rig) = started();
    let settings = r#"{"build":"cc -O1 -pthread -o server server.c && cc -o hog hog.c",
        "run":"./hog & exec ./server","limits":{"memory":"100MiB"}}"#;
    // Holds 95 MB while there is a file `hungry`.
    let hog = "#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
        int main(void) { for (;; usleep(20000)) { if (access(\"hungry\", F_OK)) continue;\n\
        char *all = malloc(95000000); memset(all, 1, 95000000);\n\
        while (!access(\"hungry\", F_OK)) usleep(20000); free(all); } }\n";
    let server = include_str!("../apps/lab/server.c");
    let files = [("server.c", server), ("hog.c", hog), ("message.txt", "one\n"), ("rig.json", settings)];
    let dir = deploy(&max, &rig, &project(&files));
    fs::write(dir.join("hungry"), "").unwrap();
    let alert = wait_for_alerts(&rig, 1).remove(0);
    assert_eq!((alert["cause"].as_str(), alert["app"].as_str()), (Some("memory"), Some("lab")));
    let message = alert["message"].as_str().unwrap();
    assert!(message.starts_with("uses 9") && message.ends_with(" MiB of 100 MiB memory"), "{message}");
    fs::remove_file(dir.join("hungry")).unwrap();
    wait_for_alerts(&rig, 0);
    assert_eq!(rig.json(&["status", "app", "lab.blue"])["instances"][0]["restarts"], 0);
}

#[test]
fn what_stays_unhealthy_is_an_alert_until_it_is_well() {
    let max = Max::trial("alerts=20,disk=0,check=500");
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let settings = r#"{"build":"cc -O1 -pthread -o server server.c","run":"./server",
        "health":{"path":"/sick/ill"}}"#;
    let dir = deploy(&max, &rig, &lab_with("one\n", settings));
    fs::write(dir.join("ill"), "").unwrap();
    let alert = wait_for_alerts(&rig, 1).remove(0);
    assert_eq!((alert["cause"].as_str(), alert["app"].as_str()), (Some("unhealthy"), Some("lab")));
    assert_eq!(alert["message"], "'/sick/ill' answered 500, 3 times in a row");
    fs::remove_file(dir.join("ill")).unwrap();
    wait_for_alerts(&rig, 0);
}

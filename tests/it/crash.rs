//! `kill -9` of maxd at random moments: what it has acknowledged is there after the
//! restart, and nothing is half there.

use crate::harness::{Max, Rig, site, wait_for};
use nanorand::{Rng, WyRand};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Commands run one after another until one fails; their names are sent on as they are
/// acknowledged.
fn busy(rig: Rig, round: u32, site: String) -> (std::thread::JoinHandle<Rig>, mpsc::Receiver<(String, u64)>) {
    let (report, reports) = mpsc::channel();
    let work = std::thread::spawn(move || {
        for n in 0.. {
            let app = format!("app-{round}-{n}");
            let quiet = |mut command: Command| {
                let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
                out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
            };
            if quiet(rig.command(&["create", "app", &app, "-n", "blue", "--timeout", "5s"])).is_none() {
                break;
            }
            report.send((app.clone(), 0)).unwrap();
            let deploy = ["deploy", &site, "-a", &app, "-n", "blue", "-o", "json", "--timeout", "5s"];
            let Some(out) = quiet(rig.command(&deploy)) else { break };
            let deploy: serde_json::Value = serde_json::from_str(&out).unwrap();
            report.send((app, deploy["release"].as_u64().unwrap())).unwrap();
        }
        rig
    });
    (work, reports)
}

#[test]
fn twenty_kills_lose_nothing_that_was_acknowledged() {
    let mut max = Max::start();
    let mut rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let site = site("still here");
    let mut random = WyRand::new_seed(20_261_124);
    let mut created = BTreeSet::new();
    let mut live = BTreeSet::new();
    for round in 0..20 {
        let (work, reports) = busy(rig, round, site.path().to_str().unwrap().to_owned());
        // At least one acknowledgement, then a random moment within the next commands.
        let mut seen = vec![reports.recv().unwrap()];
        std::thread::park_timeout(Duration::from_micros(random.generate_range(0..150_000u64)));
        max.kill();
        rig = work.join().unwrap();
        seen.extend(reports.iter());
        for (app, release) in seen {
            if release > 0 {
                live.insert(app.clone());
            }
            created.insert(app);
        }
        max.serve();
        let apps = rig.json(&["list", "apps"]);
        let apps = apps["apps"].as_array().unwrap();
        let names: BTreeSet<&str> = apps.iter().map(|app| app["name"].as_str().unwrap()).collect();
        for app in &created {
            assert!(names.contains(app.as_str()), "round {round}: {app} is gone");
        }
        for app in &live {
            let found = apps.iter().find(|found| found["name"] == app.as_str()).unwrap();
            assert_eq!(found["release"], 1, "round {round}: {found}");
        }
        // What was under way has ended one way or the other, or waits for the rest of its source.
        for app in apps {
            let status = rig.json(&["status", "app", app["name"].as_str().unwrap(), "-n", "blue"]);
            let state = status["deploy"]["state"].as_str().unwrap_or("none");
            assert!(["none", "live", "failed", "uploading"].contains(&state), "round {round}: {status}");
        }
    }
    assert!(created.len() >= 20);
    for app in &live {
        let host = format!("{app}.blue.localhost");
        wait_for("the app to serve", || {
            (max.get(&host, "/") == (200, "still here".to_owned())).then_some(())
        });
    }
    // No upload and no release directory is left without its owner.
    let uploads = max.data().join("uploads");
    assert_eq!(std::fs::read_dir(uploads).map_or(0, Iterator::count), 0);
    assert_eq!(max.stop(), Some(0));
}

/// The processes of apps do not outlive a killed maxd's successor.
#[test]
fn a_restart_ends_the_processes_the_killed_server_left() {
    let mut max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let server = include_str!("../apps/hello/server.c");
    let settings = r#"{"build":"cc -o server server.c","run":"./server"}"#;
    let dir = crate::harness::project(&[("server.c", server), ("message.txt", "x"), ("rig.json", settings)]);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    let pid = |rig: &Rig| rig.json(&["status", "app", "web.blue"])["instances"][0]["pid"].as_u64();
    let first = pid(&rig).unwrap();
    max.kill();
    max.serve();
    let second = wait_for("the app to run again", || pid(&rig));
    assert_ne!(first, second);
    wait_for("the old process to be gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap_or_default();
        // Gone, or a zombie that only its new parent can reap.
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    wait_for("the app to serve", || (max.get("web.blue.localhost", "/").0 == 200).then_some(()));
    assert_eq!(max.stop(), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{second}")).exists());
}

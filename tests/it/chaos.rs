//! Connections cut at random while rigs work: every command succeeds or says that it could
//! not reach Max, nothing is applied twice, and every stream is complete.

use crate::harness::{Max, Rig, project, site, wait_for};
use crate::relay::Relay;
use nanorand::{Rng, WyRand};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Cuts of all open connections.
const CUTS: usize = 200;
/// Rigs that create and list; besides them one deploys and two follow.
const WORKERS: usize = 5;

/// Creates apps one after another until it is told to stop: those that were acknowledged,
/// and those of which rig said that it does not know.
fn worker(rig: Rig, number: usize, stop: &AtomicBool) -> (Vec<String>, BTreeSet<String>) {
    let (mut made, mut unknown) = (Vec::new(), BTreeSet::new());
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let app = format!("w{number}-{n}");
        let ran = rig.run(&["create", "app", &app, "-n", "blue", "-o", "json"]);
        match ran.code {
            0 => made.push(app),
            5 => drop(unknown.insert(app)),
            _ => panic!("{app}: {ran:?}"),
        }
        let ran = rig.run(&["list", "apps", "-n", "blue", "-o", "json"]);
        match ran.code {
            0 => {
                let listed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
                let names: BTreeSet<&str> = listed["apps"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|app| app["name"].as_str().unwrap())
                    .collect();
                assert!(made.iter().all(|app| names.contains(app.as_str())), "{made:?} {names:?}");
            }
            5 => assert_eq!(ran.stdout, ""),
            _ => panic!("{ran:?}"),
        }
    }
    (made, unknown)
}

/// Deploys a page again and again: what was said to serve does. How often it was.
fn deployer(max: &Max, rig: &Rig, stop: &AtomicBool) -> usize {
    let mut served = 0;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let page = site(&format!("page {n}"));
        let path = page.path().to_str().unwrap();
        let ran = rig.run(&["deploy", path, "-a", "page", "-n", "blue", "--create", "--timeout", "60s"]);
        match ran.code {
            0 => {
                served += 1;
                assert_eq!(max.get("page.blue.localhost", "/"), (200, format!("page {n}")));
            }
            5 => assert_eq!(ran.stdout, ""),
            _ => panic!("{ran:?}"),
        }
    }
    served
}

/// Follows an app's log to its end; the numbered lines.
fn follower(rig: Rig) -> Vec<u64> {
    let mut command =
        rig.command(&["logs", "app", "counter.blue", "--follow", "--tail", "100000", "--timeout", "60s"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut numbers = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(number) = line.strip_prefix("tick ") {
            numbers.push(number.parse().unwrap());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    numbers
}

/// From 1 to `last`, each once.
#[track_caller]
fn counts(numbers: &[u64], last: u64) {
    let wrong = numbers.iter().zip(1..).find(|(found, wanted)| *found != wanted);
    assert_eq!((wrong, numbers.last()), (None, Some(&last)));
}

/// Cuts all there is at random places in what flows. Meanwhile the app writes `ticks` lines.
fn cut(relay: &Relay, pokes: &Path, ticks: &mut u64) {
    let mut random = WyRand::new_seed(20_261_125);
    let mut cuts = 0;
    let mut file = std::fs::OpenOptions::new().append(true).open(pokes).unwrap();
    while cuts < CUTS {
        let until = relay.bytes() + random.generate_range(0..40_000u64);
        wait_for("traffic", || {
            *ticks += 1;
            std::io::Write::write_all(&mut file, format!("tick {ticks}\n").as_bytes()).unwrap();
            std::thread::park_timeout(Duration::from_millis(2));
            (relay.bytes() >= until).then_some(())
        });
        cuts += usize::from(relay.cut() > 0);
    }
}

#[test]
fn two_hundred_cuts_lose_nothing_and_repeat_nothing() {
    let max = Max::start();
    let direct = max.rig("ada");
    direct.ok(&["create", "network", "blue"]);
    let server = include_str!("../apps/hello/server.c");
    // A line for each poke of the test, so that it goes on as long as the cuts do.
    let run = "tail -f pokes & exec ./server";
    let settings = format!(r#"{{"build":"cc -o server server.c && : > pokes","run":"{run}"}}"#);
    let dir = project(&[("server.c", server), ("message.txt", "x"), ("rig.json", &settings)]);
    direct.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "counter", "-n", "blue", "--create"]);
    let pokes = max.data().join("apps/1/1/pokes");

    let relay = Relay::new(&max.url);
    let through = || {
        let mut rig = max.rig("ada");
        rig.set("RIG_URL", &relay.url);
        rig
    };
    let stop = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> =
        (0..2).map(|_| through()).map(|rig| std::thread::spawn(move || follower(rig))).collect();
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let (rig, stop) = (through(), Arc::clone(&stop));
            std::thread::spawn(move || worker(rig, number, &stop))
        })
        .collect();

    let mut ticks = 0u64;
    let served = std::thread::scope(|scope| {
        let rig = through();
        let (max, ending) = (&max, &stop);
        let deployer = scope.spawn(move || deployer(max, &rig, ending));
        cut(&relay, &pokes, &mut ticks);
        stop.store(true, Ordering::Relaxed);
        deployer.join().unwrap()
    });
    assert!(served > 0);
    let mut created = 0;
    for worker in workers {
        let (made, unknown) = worker.join().unwrap();
        created += made.len();
        let apps = direct.json(&["list", "apps", "-n", "blue"]);
        for app in &made {
            let found =
                apps["apps"].as_array().unwrap().iter().filter(|found| found["name"] == app.as_str()).count();
            assert_eq!(found, 1, "{app}");
        }
        eprintln!("{} created, {} unknown", made.len(), unknown.len());
    }
    assert!(created > 0);
    // The followers see the last line, and the end.
    let all = wait_for("the last line to be logged", || {
        let out = direct.ok(&["logs", "app", "counter.blue", "--tail", "100000"]);
        let numbers: Vec<u64> =
            out.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
        (numbers.last() == Some(&ticks)).then_some(numbers)
    });
    counts(&all, ticks);
    direct.ok(&["delete", "app", "counter.blue", "--yes"]);
    for follower in followers {
        counts(&follower.join().unwrap(), ticks);
    }
}

//! Deploys by rig that are interrupted anywhere: their connection is cut, rig is killed, or
//! maxd is. Each ends whole or fails in order, the next one goes on where it stopped, nobody
//! ever sees a part of a release, and nothing is left over.

use crate::harness::{Max, PATIENCE, Ran, Rig, wait_for};
use crate::relay::Relay;
use crate::resume::{needed, only, walk};
use crate::sender::{Files, sha};
use nanorand::{Rng, WyRand};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The sizes of a tree's files, none of which can be compressed.
const SIZES: [(&str, usize); 8] = [
    ("index.html", 40),
    ("page", 60_000),
    ("a/large", 1_500_000),
    ("a/none", 0),
    ("b/1", 300_000),
    ("b/2", 300_000),
    ("b/c/3", 70_000),
    ("z", 5_000),
];

/// What visitors ask for.
const PAGES: [&str; 2] = ["index.html", "page"];

/// All of a tree.
fn whole() -> u64 {
    SIZES.iter().map(|(_, size)| *size as u64).sum()
}

/// How far a deploy gets before something happens to it.
enum Moment {
    /// So many bytes of a request.
    Sent(&'static str, u64),
    /// So many lines that rig says.
    Said(usize),
}

struct World {
    max: Max,
    relay: Relay,
    rig: Rig,
    dir: TempDir,
    random: WyRand,
    /// What was to be deployed so far.
    trees: Vec<Files>,
    /// The contents of the last one.
    hashes: Vec<String>,
    visitor: Option<JoinHandle<()>>,
    visits: Arc<Visits>,
}

#[derive(Default)]
struct Visits {
    /// What may be served.
    known: Mutex<BTreeSet<Vec<u8>>>,
    answers: AtomicUsize,
    over: AtomicBool,
}

impl World {
    fn new(seed: u64) -> World {
        let max = Max::start();
        let relay = Relay::new(&max.url);
        let mut rig = max.rig("ann");
        rig.ok(&["create", "network", "blue"]);
        rig.set("RIG_URL", &relay.url);
        let (dir, random) = (tempfile::tempdir().unwrap(), WyRand::new_seed(seed));
        let (visits, trees) = (Arc::new(Visits::default()), Vec::new());
        let hashes = Vec::new();
        let mut world = World { max, relay, rig, dir, random, trees, hashes, visitor: None, visits };
        world.renew();
        world.repeat();
        world.visitor = Some(world.visit());
        world
    }

    /// Writes every file anew.
    fn renew(&mut self) {
        for (path, size) in SIZES {
            let mut bytes = vec![0; size];
            self.random.fill_bytes(&mut bytes);
            if PAGES.contains(&path) {
                self.visits.known.lock().unwrap().insert(bytes.clone());
            }
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let tree = Files::read(self.dir.path());
        self.hashes = tree.contents().into_iter().map(sha).collect();
        self.trees.push(tree);
    }

    /// Somebody who looks at the app all the time.
    fn visit(&self) -> JoinHandle<()> {
        let (visits, url) = (Arc::clone(&self.visits), self.max.apps_url.clone());
        std::thread::spawn(move || {
            for page in PAGES.iter().cycle() {
                if visits.over.load(Ordering::Relaxed) {
                    return;
                }
                if let Some((status, body)) = fetch(&url, page) {
                    let known = visits.known.lock().unwrap().contains(&body);
                    assert!(status == 200 && known, "{status}: {}", String::from_utf8_lossy(&body));
                    visits.answers.fetch_add(1, Ordering::Relaxed);
                }
                // Others want to get on too.
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
        })
    }

    fn args(&self) -> Vec<String> {
        let path = self.dir.path().to_str().unwrap();
        ["deploy", path, "-a", "web.blue", "--create"].map(str::to_owned).into()
    }

    /// Deploys what is there to the end.
    #[track_caller]
    fn repeat(&self) {
        let ran = self.rig.run(&self.args());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        self.serves_whole();
    }

    /// The last tree, byte by byte, is the release and what is served.
    #[track_caller]
    fn serves_whole(&self) {
        let app = &self.rig.json(&["status", "app", "web.blue"])["app"];
        let release = self.max.data().join(format!("apps/1/{}", app["release"]));
        assert!(Files::read(&release) == *self.trees.last().unwrap(), "{app}");
        for (path, _) in SIZES {
            let (status, body) = fetch(&self.max.apps_url, path).unwrap();
            assert!(status == 200 && body == fs::read(self.dir.path().join(path)).unwrap(), "{path}");
        }
    }

    fn spawn(&self) -> Child {
        let mut command = self.rig.command(&self.args());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn moment(&mut self) -> Moment {
        match self.random.generate_range(0..10_u8) {
            0 => Moment::Sent("/manifest", self.random.generate_range(1..500)),
            1 => Moment::Said(self.random.generate_range(1..4)),
            _ => Moment::Sent("/contents", self.random.generate_range(1..whole() * 98 / 100)),
        }
    }

    /// A deploy that has come to a moment and, if it is one of sending, stands still there.
    fn until(&self, moment: &Moment) -> (Child, Vec<u8>) {
        let mut said = Vec::new();
        if let Moment::Sent(part, bytes) = moment {
            self.relay.hold(part, *bytes);
        }
        let mut child = self.spawn();
        match moment {
            Moment::Sent(..) => wait_for("that much to be sent", || self.relay.holds().then_some(())),
            Moment::Said(lines) => {
                let (stderr, mut byte) = (child.stderr.as_mut().unwrap(), [0]);
                while said.iter().filter(|byte| **byte == b'\n').count() < *lines {
                    assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
                    said.extend(byte);
                }
            }
        }
        (child, said)
    }

    /// Nothing is left but whole releases and what they consist of.
    fn ends_tidy(mut self) {
        // Nobody will go on with what rig was killed at.
        self.repeat();
        let last = &self.rig.json(&["status", "app", "web.blue"])["deploy"];
        for id in 1..last["id"].as_u64().unwrap() {
            let deploy = self.rig.json(&["api", "deploy:status", &json!({ "id": id }).to_string()]);
            if deploy["state"] == "uploading" {
                self.rig.ok(&["delete", "deploy", &id.to_string()]);
            }
        }
        // From here on it collects all the time.
        self.max.stop();
        self.max.retrial("grace=1");
        self.max.serve();
        self.visits.over.store(true, Ordering::Relaxed);
        self.visitor.take().unwrap().join().unwrap();
        assert!(self.visits.answers.load(Ordering::Relaxed) > 20);
        let data = self.max.data();
        let kept = wait_for("old releases to go", || {
            let items = fs::read_dir(data.join("apps/1")).unwrap();
            let kept: Vec<_> = items.map(|item| item.unwrap().path()).collect();
            (kept.len() <= 10).then_some(kept)
        });
        let kept: Vec<Files> = kept.iter().map(|release| Files::read(release)).collect();
        assert!(kept.iter().all(|release| self.trees.contains(release)));
        only(&self.max, 1, &needed(&kept));
    }

    /// How much of the last tree has arrived.
    fn arrived(&self) -> u64 {
        let root = self.max.data().join("contents/1");
        let files = walk(&root);
        let size = |path: &String| root.join(path).metadata().map_or(0, |data| data.len());
        let hashes = &self.hashes;
        let of = |hash: &String| files.iter().filter(|path| path.contains(hash)).map(size).max();
        hashes.iter().filter_map(of).sum()
    }
}

/// What the app answers, if it answers to the end.
fn fetch(url: &str, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = format!("GET /{path} HTTP/1.1\r\nhost: web.blue.localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    let length = head.split_once("content-length: ")?.1.split_once('\r')?.0;
    let body = answer.split_off(end);
    (body.len() == length.parse::<usize>().unwrap()).then(|| (head[9..12].parse().unwrap(), body))
}

/// Cuts the upload of a deploy at four places at a time.
fn cuts(seed: u64, number: usize) {
    let mut world = World::new(seed);
    let (mut sent, mut deploys) = (0, 0);
    while world.relay.spent() < number {
        world.renew();
        let mut places: Vec<u64> = (0..4).map(|_| world.random.generate_range(0..whole())).collect();
        places.sort_unstable();
        let mut from = 0;
        for place in places {
            world.relay.allow("/contents", place - from);
            from = place;
        }
        if world.random.generate_range(0..4_u8) == 0 {
            world.relay.allow("/manifest", world.random.generate_range(0..500));
        }
        let before = world.relay.bytes();
        world.repeat();
        world.relay.let_go();
        (sent, deploys) = (sent + world.relay.bytes() - before, deploys + 1);
    }
    let cuts = world.relay.spent();
    println!("{cuts} cuts of {deploys} deploys: {sent} bytes for {} of files", deploys * whole());
    // Without going on it would be about three times as much.
    assert!(sent < deploys * whole() * 3 / 2, "{sent}");
    world.ends_tidy();
}

/// Kills rig, or maxd, so often.
fn kills(seed: u64, number: u64, of_maxd: bool) {
    let mut world = World::new(seed);
    let (start, mut failed, mut ran_on) = (world.relay.bytes(), 0, 0);
    for _ in 0..number {
        world.renew();
        let moment = world.moment();
        let (mut child, mut said) = world.until(&moment);
        if of_maxd {
            world.max.kill();
        } else {
            child.kill().unwrap();
        }
        let (before, arrived) = (world.relay.bytes(), world.arrived());
        world.relay.let_go();
        if of_maxd {
            world.max.serve();
        }
        let mut out = child.wait_with_output().unwrap();
        said.append(&mut out.stderr);
        out.stderr = said;
        let code = out.status.code();
        let ran = Ran::new(out);
        match code {
            Some(0) => {
                world.serves_whole();
                ran_on += 1;
            }
            None if !of_maxd => {}
            // In order: it says what was wrong and what to do.
            code => {
                assert!(of_maxd && matches!(code, Some(1 | 6 | 7)), "{code:?}: {}", ran.stderr);
                assert!(ran.stderr.contains("rig: ") && ran.stdout.is_empty(), "{}", ran.stderr);
                failed += 1;
            }
        }
        world.repeat();
        let rest = world.relay.bytes() - before;
        assert!(rest < whole() - arrived + 60_000, "{rest} bytes were sent, and {arrived} were there");
    }
    let sent = world.relay.bytes() - start;
    println!(
        "{number} kills (maxd: {of_maxd}): {ran_on} deploys went on, {failed} failed; {sent} bytes for {} of files",
        number * whole()
    );
    // What maxd has not taken from its connection is lost with it.
    let most = if of_maxd { 15 } else { 11 };
    assert!(sent < number * whole() * most / 10, "{sent}");
    world.ends_tidy();
}

#[test]
fn deploys_survive_cuts_and_kills() {
    cuts(1, 10);
    kills(2, 5, false);
    kills(3, 5, true);
}

#[test]
#[ignore = "takes minutes; `make soak`"]
fn deploys_survive_a_hundred_cuts() {
    cuts(4, 100);
}

#[test]
#[ignore = "takes minutes; `make soak`"]
fn deploys_survive_fifty_kills_of_rig() {
    kills(5, 50, false);
}

#[test]
#[ignore = "takes minutes; `make soak`"]
fn deploys_survive_fifty_kills_of_maxd() {
    kills(6, 50, true);
}

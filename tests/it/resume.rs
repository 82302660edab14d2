//! Uploads that are cut, servers that are killed, and what is left of it all.

use crate::harness::{Max, wait_for};
use crate::sender::{Files, Is, Sender, numbers, sha};
use nanorand::{Rng, WyRand};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Some files that nothing else has, and that don't compress.
fn noise(random: &mut WyRand, large: usize) -> Files {
    let mut bytes = |size: usize| (0..size).map(|_| random.generate::<u8>()).collect::<Vec<u8>>();
    Files::new(&[
        ("a/large", Is::File(0o644, bytes(large))),
        ("b", Is::File(0o755, bytes(3_000))),
        ("index.html", Is::File(0o644, bytes(20))),
        ("z", Is::File(0o644, bytes(5_000))),
    ])
}

/// How much is there, as an answer says.
fn arrived(files: &Files, progress: &Value) -> usize {
    let missing = numbers(progress);
    let contents = files.contents();
    let whole: usize = contents
        .iter()
        .enumerate()
        .filter(|(at, _)| !missing.contains(at))
        .map(|(_, content)| content.len())
        .sum();
    let parts = progress["partial"].as_array().unwrap().iter();
    whole + parts.map(|part| part["bytes"].as_u64().unwrap() as usize).sum::<usize>()
}

/// All files below a directory, but for those of SQLite's.
pub fn walk(directory: &Path) -> BTreeSet<String> {
    let (mut rest, mut found) = (vec![directory.to_owned()], BTreeSet::new());
    while let Some(inside) = rest.pop() {
        for item in fs::read_dir(inside).into_iter().flatten().flatten() {
            match item.file_type().unwrap().is_dir() {
                true => rest.push(item.path()),
                false => {
                    found.insert(item.path().strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }
    found
}

/// What contents and manifests of these there should be.
pub fn needed<'a>(releases: impl IntoIterator<Item = &'a Files>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for files in releases {
        all.insert(format!("manifests/{}", files.name()));
        for content in files.contents() {
            let hash = sha(content);
            all.insert(format!("{}/{hash}", &hash[..2]));
        }
    }
    all
}

/// There is nothing else, sooner or later.
pub fn only(max: &Max, network: u64, needed: &BTreeSet<String>) {
    let root = max.data().join(format!("contents/{network}"));
    let mut last = BTreeSet::new();
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while std::time::Instant::now() < deadline {
        last = walk(&root);
        if last == *needed {
            assert!(walk(&max.data().join("uploads")).is_empty());
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let (more, less) = (last.difference(needed), needed.difference(&last));
    panic!("too many: {:?}\ntoo few: {:?}", more.collect::<Vec<_>>(), less.collect::<Vec<_>>());
}

#[test]
fn an_upload_that_is_cut_anywhere_goes_on_from_there() {
    let max = Max::trial("grace=1");
    let ann = Sender::new(&max, "ann", "blue");
    let mut random = WyRand::new_seed(11);
    let mut releases = Vec::new();
    for _ in 0..25 {
        let files = noise(&mut random, 100_000);
        let deploy = ann.begin();
        let mut progress = ann.send(&max, deploy, "manifest", &files.full());
        for _ in 0..3 {
            let before = arrived(&files, &progress);
            let body = files.missing(&progress);
            ann.cut(deploy, &body, random.generate_range(0..body.len()));
            progress = ann.send(&max, deploy, "manifest", &files.delta(&files));
            if progress["missing"] == "" {
                break;
            }
            assert!(arrived(&files, &progress) >= before, "{progress}");
        }
        if progress["missing"] != "" {
            let rest = files.missing(&progress);
            progress = ann.send(&max, deploy, "contents", &rest);
        }
        assert_eq!(progress["missing"], "");
        let ended = ann.ended(deploy);
        assert_eq!(ended["state"], "live", "{ended}");
        let release = ended["release"].as_u64().unwrap();
        assert_eq!(Files::read(&max.data().join(format!("apps/1/{release}"))), files);
        releases.push(files);
    }
    only(&max, 1, &needed(&releases[releases.len() - 10..]));
}

#[test]
fn an_upload_goes_on_after_a_kill_of_the_server_anywhere() {
    let mut max = Max::trial("grace=1");
    let ann = Sender::new(&max, "ann", "blue");
    let mut random = WyRand::new_seed(12);
    let mut releases = Vec::new();
    for round in 0..52 {
        let files = noise(&mut random, 60_000);
        let deploy = ann.begin();
        let progress = ann.send(&max, deploy, "manifest", &files.full());
        let body = files.missing(&progress);
        let mut stream = ann.open(deploy, "contents", body.len());
        // All but the end: with that the deploy would go on.
        stream.write_all(&body[..random.generate_range(0..body.len() - 40)]).unwrap();
        max.kill();
        max.serve();
        let progress = ann.send(&max, deploy, "manifest", &files.delta(&files));
        assert_eq!(progress["deploy"]["state"], "uploading", "round {round}");
        let progress = ann.send(&max, deploy, "contents", &files.missing(&progress));
        // What the crash cut into was written in order, so none of it is wrong.
        assert_eq!(progress["missing"], "", "round {round}");
        let ended = ann.ended(deploy);
        assert_eq!(ended["state"], "live", "{ended}");
        let release = ended["release"].as_u64().unwrap();
        assert_eq!(Files::read(&max.data().join(format!("apps/1/{release}"))), files);
        releases.push(files);
    }
    only(&max, 1, &needed(&releases[releases.len() - 10..]));
}

#[test]
fn what_was_given_up_is_resumed_by_another_deploy_until_it_is_collected() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let files = noise(&mut WyRand::new_seed(13), 100_000);
    let first = ann.begin();
    let progress = ann.send(&max, first, "manifest", &files.full());
    let body = files.missing(&progress);
    ann.cut(first, &body, body.len() / 2);
    let second = ann.begin();
    // The first may hold its connection still.
    let progress = wait_for("what has come", || {
        let progress = ann.send(&max, second, "manifest", &files.full());
        (arrived(&files, &progress) > 20_000).then_some(progress)
    });
    ann.send(&max, second, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(second)["state"], "live");
    // The first has all of it now, too.
    assert_eq!(ann.send(&max, first, "manifest", &files.full())["missing"], "");
    assert_eq!(ann.ended(first)["state"], "live");
}

#[test]
fn an_upload_whose_user_has_begun_anew_does_not_wait_for_an_hour() {
    // So that it is looked at each second what is due.
    let max = Max::with(&["--trash", "10s"]);
    let ann = Sender::new(&max, "ann", "blue");
    let files = noise(&mut WyRand::new_seed(15), 1000);
    let send = || {
        let deploy = ann.begin();
        (deploy, ann.send(&max, deploy, "manifest", &files.full()))
    };
    let (first, _) = send();
    let (second, progress) = send();
    ann.send(&max, second, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(second)["state"], "live");
    let third = ann.begin();
    let state = |deploy: u64| ann.rig.json(&["status", "deploy", &deploy.to_string()]);
    assert_eq!(state(first)["state"], "uploading");
    let past = "UPDATE deploys SET created_at = p, sent_at = p
                FROM (SELECT strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-2 minutes') p)";
    rusqlite::Connection::open(max.data().join("state.db")).unwrap().execute(past, []).unwrap();
    let ended = wait_for("the first to fail", || Some(state(first)).filter(|now| now["state"] == "failed"));
    assert_eq!(ended["error"], format!("its source was not sent, and deploy {second} came in its place"));
    assert_eq!(state(third)["state"], "uploading");
}

#[test]
fn what_a_purged_app_or_network_had_goes_with_it() {
    let mut max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let mut random = WyRand::new_seed(14);
    let (web, mut other) = (noise(&mut random, 1000), noise(&mut random, 2000));
    // Something that both have.
    if let Some(content) = web.contents().first() {
        other.set("shared", Is::File(0o600, content.to_vec()));
    }
    let to = |app: &str, files: &Files| {
        let deploy = ann.begin_of(app);
        let progress = ann.send(&max, deploy, "manifest", &files.full());
        ann.send(&max, deploy, "contents", &files.missing(&progress));
        assert_eq!(ann.ended(deploy)["state"], "live");
    };
    to("web", &web);
    to("other", &other);
    only(&max, 1, &needed([&web, &other]));
    // An upload of it ends.
    let deploy = ann.begin_of("web");
    let more = noise(&mut random, 100_000);
    let progress = ann.send(&max, deploy, "manifest", &more.full());
    let body = more.missing(&progress);
    let mut stream = ann.open(deploy, "contents", body.len());
    stream.write_all(&body[..body.len() / 2]).unwrap();
    ann.rig.ok(&["delete", "app", "web.blue", "--purge", "--yes"]);
    only(&max, 1, &needed([&other]));
    assert_eq!(ann.refused(&max, deploy, "manifest", &more.delta(&more)).0, 404);
    ann.rig.ok(&["delete", "network", "blue", "--purge", "--yes"]);
    assert!(!max.data().join("contents/1").exists());
    // What a crash has left of a network.
    max.stop();
    fs::create_dir_all(max.data().join("contents/1/manifests")).unwrap();
    max.serve();
    assert!(!max.data().join("contents/1").exists());
}

#[test]
fn a_collection_takes_nothing_that_a_deploy_was_told_is_there() {
    let max = Max::with_trial(&["--keep-releases", "2"], "grace=0");
    let ann = Sender::new(&max, "ann", "blue");
    // So few that they come and go all the time.
    let pool: Vec<Vec<u8>> = (0..12_u8).map(|n| vec![n; 500]).collect();
    let last: Vec<Vec<Files>> = std::thread::scope(|scope| {
        let (max, ann, pool) = (&max, &ann, &pool);
        let deployers = ["a", "b", "c", "d"].map(|app| {
            scope.spawn(move || {
                let mut random = WyRand::new_seed(u64::from(app.as_bytes()[0]));
                let mut releases: Vec<Files> = Vec::new();
                for round in 0..20 {
                    let mut files = Files::default();
                    files.text("index.html", app);
                    for at in 0..4 {
                        let content = &pool[random.generate_range(0..pool.len())];
                        files.set(&format!("f{at}"), Is::File(0o644, content.clone()));
                    }
                    let deploy = ann.begin_of(app);
                    let mut progress = match releases.last() {
                        Some(before) => ann.send(max, deploy, "manifest", &files.delta(before)),
                        None => ann.send(max, deploy, "manifest", &files.full()),
                    };
                    if progress["missing"] != "" {
                        progress = ann.send(max, deploy, "contents", &files.missing(&progress));
                    }
                    assert_eq!(progress["missing"], "", "{app} {round}");
                    let ended = ann.ended(deploy);
                    assert_eq!(ended["state"], "live", "{app} {round}: {ended}");
                    releases.push(files);
                }
                releases
            })
        });
        deployers.map(|deployer| deployer.join().unwrap()).into()
    });
    only(&max, 1, &needed(last.iter().flat_map(|releases| &releases[releases.len() - 2..])));
}

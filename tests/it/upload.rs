//! What rig sends of a tree: only what Max does not have, and once.

use crate::harness::{Max, Rig, wait_for};
use crate::relay::Relay;
use crate::terminal::Terminal;
use nanorand::{Rng, WyRand};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

/// A site with so many pages, something of every kind, and a large file that can't be compressed.
fn tree(pages: usize, noise: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::write(root.join("index.html"), "start").unwrap();
    for page in 0..pages {
        let below = root.join(format!("pages/{}", page % 17));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(format!("{page}.html")), format!("<p>page {page}")).unwrap();
    }
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    fs::write(root.join("with space\n"), "odd").unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("pages/0", root.join("first")).unwrap();
    let mut bytes = vec![0; noise];
    WyRand::new_seed(noise as u64).fill_bytes(&mut bytes);
    fs::write(root.join("noise"), bytes).unwrap();
    dir
}

/// Everything below a directory: its kind, its mode and what it holds.
fn all(root: &Path) -> BTreeMap<String, (char, u32, Vec<u8>)> {
    let (mut found, mut rest) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = rest.pop() {
        for item in fs::read_dir(directory).unwrap() {
            let path = item.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            let mode = data.permissions().mode() & 0o777;
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let what = match () {
                () if data.is_symlink() => {
                    ('l', 0, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
                }
                () if data.is_dir() => {
                    rest.push(path);
                    ('d', mode, Vec::new())
                }
                () => ('f', mode, fs::read(&path).unwrap()),
            };
            found.insert(name, what);
        }
    }
    found
}

/// The app, as its first deploy made it, through a relay.
struct World {
    max: Max,
    relay: Relay,
    rig: Rig,
    dir: TempDir,
}

impl World {
    fn new(pages: usize, noise: usize) -> World {
        let max = Max::start();
        let relay = Relay::new(&max.url);
        let mut rig = max.rig("ann");
        rig.ok(&["create", "network", "blue"]);
        rig.set("RIG_URL", &relay.url);
        World { max, relay, rig, dir: tree(pages, noise) }
    }

    fn path(&self) -> String {
        self.dir.path().to_str().unwrap().to_owned()
    }

    /// Deploys: what is said, and how many bytes went through.
    fn deploy(&self) -> (String, u64) {
        let before = self.relay.bytes();
        let ran = self.rig.run(&["deploy", &self.path(), "-a", "web", "-n", "blue", "--create"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        (ran.stderr, self.relay.bytes() - before)
    }

    /// That release `number` is the tree.
    fn is_there(&self, number: u64) {
        let release = all(&self.max.data().join(format!("apps/1/{number}")));
        let tree = all(self.dir.path());
        assert!(release == tree, "{:?}\n{:?}", release.keys(), tree.keys());
    }
}

#[test]
fn a_dry_run_tells_what_max_lacks_and_leaves_nothing() {
    let world = World::new(30, 10_000);
    let path = world.path();
    let look = |more: &[&str]| world.rig.json(&[&["deploy", &path, "--dry-run"], more].concat());
    let app = ["-a", "web", "-n", "blue"];
    assert_eq!(look(&[])["missing"], Value::Null);
    // Equal contents are sent once: each page is one of its own.
    let all = json!({"files": 35, "bytes": look(&[])["bytes"]});
    assert_eq!(look(&app)["missing"], all);
    assert_eq!(look(&app)["missing"], all);
    world.deploy();
    assert_eq!(look(&app)["missing"], json!({"files": 0, "bytes": 0}));
    fs::write(world.dir.path().join("nothing"), "start").unwrap();
    fs::write(world.dir.path().join("new"), "12345678").unwrap();
    // Another app of the network has what this one has.
    for app in ["web", "other"] {
        let shown = look(&["-a", app, "-n", "blue"]);
        assert_eq!(shown["missing"], json!({"files": 1, "bytes": 8}));
    }
    let text = world.rig.ok(&["deploy", &path, "--dry-run", "-a", "web.blue"]);
    assert!(text.contains("files Max lacks  1\ntheir size       8 B\n"), "{text}");
    let ran = world.rig.run(&["deploy", &path, "--dry-run", "-a", "web.green"]);
    assert!(ran.code == 3 && ran.stderr.starts_with("rig: network 'green' does not exist\n"), "{ran:?}");
    symlink("/etc", world.dir.path().join("out")).unwrap();
    let ran = world.rig.run(&["deploy", &path, "--dry-run", "-a", "web.blue"]);
    let refused = "rig: cannot deploy 'out': it is a symbolic link to an absolute path\n";
    assert!(ran.code == 2 && ran.stderr.starts_with(refused), "{ran:?}");
    assert_eq!(fs::read_dir(world.max.data().join("uploads")).unwrap().count(), 0);
    assert_eq!(world.rig.json(&["list", "apps"])["apps"].as_array().unwrap().len(), 1);
}

#[test]
fn a_server_that_takes_no_manifests_gets_the_whole() {
    let mut world = World::new(20, 1000);
    world.relay = Relay::older(&world.max.url);
    world.rig.set("RIG_URL", &world.relay.url);
    for release in [1, 2] {
        let (said, _) = world.deploy();
        assert!(said.contains("sending 25 files ("), "{said}");
        world.is_there(release);
    }
    assert_eq!((world.relay.asked("/source"), world.relay.asked("/manifest")), (2, 0));
    let shown = world.rig.json(&["deploy", &world.path(), "--dry-run", "-a", "web", "-n", "blue"]);
    assert_eq!((&shown["checked"], &shown["missing"]), (&json!(true), &Value::Null));
}

#[test]
fn what_max_has_is_not_sent_again() {
    let world = World::new(500, 100_000);
    let (said, first) = world.deploy();
    assert!(said.contains("sending 505 of 505 files ("), "{said}");
    assert!(first > 100_000);
    world.is_there(1);
    let (said, none) = world.deploy();
    assert!(said.contains("nothing is sent: Max has every file\n"), "{said}");
    assert!(none < 20_000, "{none}");
    world.is_there(2);
    let root = world.dir.path();
    fs::write(root.join("pages/3/3.html"), "changed").unwrap();
    // The same content under another name, a mode, a link, and what is gone.
    fs::rename(root.join("noise"), root.join("moved")).unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(root.join("first")).unwrap();
    symlink("pages/1", root.join("first")).unwrap();
    fs::remove_dir_all(root.join("pages/5")).unwrap();
    fs::create_dir(root.join("pages/5")).unwrap();
    let (said, some) = world.deploy();
    assert!(said.contains("sending 1 of "), "{said}");
    assert!(some < 20_000, "{some}");
    world.is_there(3);
    // Another machine, or one that has lost its index.
    fs::remove_dir_all(world.rig.home.path().join(".cache")).unwrap();
    let (said, whole) = world.deploy();
    assert!(said.contains("nothing is sent"), "{said}");
    assert!(whole < 100_000, "{whole}");
    world.is_there(4);
}

#[test]
fn a_line_that_stands_still_or_breaks_at_once_ends_with_the_time_and_says_so() {
    let world = World::new(3, 9_000_000);
    let deploy = || {
        let path = world.path();
        world.rig.run(&["deploy", &path, "-a", "web", "-n", "blue", "--create", "--timeout", "3s"])
    };
    world.relay.hold("/contents", 10_000);
    let ran = deploy();
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(!ran.stderr.contains("going on"), "{ran:?}");
    world.relay.let_go();
    for _ in 0..20 {
        world.relay.allow("/contents", 300);
    }
    let ran = deploy();
    // The time is over at the next cut, or between two.
    assert!([5, 8].contains(&ran.code), "{ran:?}");
    let again = ran.stderr.matches("going on where that broke off").count();
    assert!((1..20).contains(&again) && !ran.stderr.contains("does not have"), "{ran:?}");
    // Neither was cancelled: the rest may still come.
    for id in ["1", "2"] {
        assert_eq!(world.rig.json(&["status", "deploy", id])["state"], "uploading");
    }
    world.relay.let_go();
    world.deploy();
    world.is_there(1);
}

#[test]
fn a_change_within_the_tick_of_the_clock_is_seen() {
    let world = World::new(1, 10);
    let page = world.dir.path().join("index.html");
    let times = fs::metadata(&page).unwrap();
    for round in 0..20 {
        // Of the same size, and with the time of before.
        fs::write(&page, format!("{round:05}")).unwrap();
        fs::File::open(&page).unwrap().set_modified(times.modified().unwrap()).unwrap();
        world.deploy();
        assert_eq!(world.max.get("web.blue.localhost", "/").1, format!("{round:05}"));
    }
}

#[test]
fn an_upload_that_is_cut_goes_on_where_it_broke_off() {
    let world = World::new(40, 3_000_000);
    let mut random = WyRand::new_seed(7);
    for round in 1..=6 {
        let mut noise = vec![0; 3_000_000];
        random.fill_bytes(&mut noise);
        fs::write(world.dir.path().join("noise"), noise).unwrap();
        world.relay.allow("/contents", random.generate_range(2_500_000..2_900_000));
        let (said, bytes) = world.deploy();
        assert_eq!(world.relay.spent(), round);
        assert!(said.contains("; going on where that broke off\n"), "{said}");
        // What the system had not given to maxd yet is lost, and sent again.
        assert!(bytes < 5_000_000, "what has arrived is not sent again: {bytes}");
        world.is_there(round as u64);
    }
}

#[test]
fn a_second_deploy_goes_on_where_a_killed_one_stopped() {
    let world = World::new(40, 6_000_000);
    let mut random = WyRand::new_seed(8);
    for round in 0..5 {
        let before = world.relay.bytes();
        let enough = before + random.generate_range(1_000_000..5_000_000);
        let mut noise = vec![0; 6_000_000];
        random.fill_bytes(&mut noise);
        fs::write(world.dir.path().join("noise"), noise).unwrap();
        let args = ["deploy", &world.path(), "-a", "web", "-n", "blue", "--create"];
        let mut child = world.rig.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("some of the upload", || (world.relay.bytes() > enough).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        let sent = world.relay.bytes() - before;
        let (said, rest) = world.deploy();
        assert!(said.contains("sending 1 of ") || round == 0, "{said}");
        // What was on its way when it was killed may be lost.
        assert!(sent + rest < 6_600_000 + 1_000_000, "{sent} and {rest}");
        let status = world.rig.json(&["status", "app", "web.blue"]);
        world.is_there(status["app"]["release"].as_u64().unwrap());
    }
}

#[test]
fn an_index_that_is_damaged_or_of_a_manifest_that_max_has_not_is_no_obstacle() {
    let world = World::new(30, 1000);
    world.deploy();
    let index =
        fs::read_dir(world.rig.home.path().join(".cache/rig/index")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&index).unwrap();
    let changed = |behind: &[u8]| {
        let mut text = whole.clone();
        let at = whole.windows(behind.len()).position(|text| text == behind).unwrap() + behind.len();
        text[at] = if text[at] == b'0' { b'1' } else { b'0' };
        text
    };
    // A digit of a base, and of a content's hash; and an index that is in order, but of a manifest
    // that nobody has sent.
    let (base, hash) = (changed(b"base "), changed(b"f 644 1000 "));
    let mut other = base[..base.len() - 32].to_vec();
    let sum = ring::digest::digest(&ring::digest::SHA256, &other);
    other.extend_from_slice(sum.as_ref());
    let damaged = [&whole[..whole.len() / 2], b"nonsense", b"", &base, &hash, &other];
    for (number, damaged) in damaged.into_iter().enumerate() {
        fs::write(&index, damaged).unwrap();
        fs::write(world.dir.path().join("index.html"), format!("round {number}")).unwrap();
        let (said, _) = world.deploy();
        assert!(said.contains("sending 1 of "), "{said}");
        world.is_there(number as u64 + 2);
    }
    fs::remove_file(&index).unwrap();
    nix::unistd::mkfifo(&index, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(world.deploy().0.contains("nothing is sent"));
    assert!(index.metadata().unwrap().is_file());
}

#[test]
fn an_archive_is_taken_as_it_is() {
    let world = World::new(3, 1000);
    let archive = world.dir.path().with_extension("tar.gz");
    let tar = std::process::Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(world.dir.path())
        .arg(".")
        .status();
    assert!(tar.unwrap().success());
    let target = ["-a", "web", "-n", "blue", "--create"];
    let path = archive.to_str().unwrap();
    assert_eq!(world.rig.run(&[&["deploy", path][..], &target].concat()).code, 0);
    world.is_there(1);
    let mut child = world.rig.command(&[&["deploy", "-"][..], &target].concat());
    let child = child.stdin(fs::File::open(&archive).unwrap()).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    world.is_there(2);
    let page = world.dir.path().join("index.html");
    let page = page.to_str().unwrap();
    let example = "for instance `tar -czf - -C DIRECTORY . | rig deploy -`";
    world
        .rig
        .run(&[&["deploy", page][..], &target].concat())
        .fails(2, &format!("rig: '{page}' is no gzip-compressed tar\n  {example}\n"));
    world
        .rig
        .run(&[&["deploy", path, "--link"][..], &target].concat())
        .fails(2, "rig: --link is for directories\n  name the directory, or leave it out\n");
    world
        .rig
        .run(&["deploy", "-", "--dry-run"])
        .fails(2, "rig: --dry-run is for directories\n  name the directory, or leave it out\n");
    world.rig.run(&["deploy", "nothing"]).fails(1, "rig: cannot read 'nothing': no such file or directory\n");
    world
        .rig
        .run(&["deploy", "-", "-a", "web.blue"])
        .fails(2, &format!("rig: 'standard input' is empty\n  {example}\n"));
    let mut terminal = Terminal::spawn(&world.rig, &["deploy", "-", "-a", "web.blue"]);
    terminal.wait("rig: 'standard input' is a terminal");
    assert_eq!(terminal.end(), 2);
    // Somebody who sends nothing, or nothing more, keeps it for --timeout and not longer.
    for given in [&b""[..], b"\x1f\x8b"] {
        let mut command = world.rig.command(&[&["deploy", "-", "--timeout", "1s"][..], &target].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(given).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            (ended.status.code(), &*said),
            (Some(8), "rig: the source was not sent in time\n  give it longer with --timeout\n")
        );
        drop(stdin);
    }
    fs::remove_file(archive).unwrap();
}

//! Large trees: what a release is made of is what lay in the directory, and the static rig needs
//! little memory for it. GNU find and sha256sum look, which know nothing of rig.

use crate::bytes::measured;
use crate::harness::{Max, Rig, text};
use crate::real::tool;
use nanorand::{Rng, WyRand};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// What the static rig may use of memory, in KiB.
const MEMORY: u64 = 16 * 1024;
/// All that is below a directory but its name: kind, permissions, target and content.
const LOOK: &str = "set -e; find . -mindepth 1 -printf '%y %m %p -> %l\\n'
                    find . -type f -print0 | xargs -0 sha256sum";

/// What is below a directory, a line a thing.
fn look(directory: &Path) -> String {
    let out = Command::new("sh").args(["-c", LOOK]).current_dir(directory).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let told = text(&out.stdout);
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// How many lines begin like this.
fn count(look: &str, start: &str) -> usize {
    look.lines().filter(|line| line.starts_with(start)).count()
}

/// A server that takes large sources, and somebody with a network.
fn world() -> (Max, Rig) {
    let max = Max::with(&["--source-limit", "2GiB"]);
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    (max, rig)
}

/// Deploys a directory with the static rig as a static app: the release is the same, and rig has
/// used little memory. What it is; and what rig said.
fn arrives(max: &Max, rig: &Rig, directory: &Path, release: u32) -> (String, String) {
    let before = look(directory);
    let path = directory.to_str().unwrap();
    let args = ["deploy", path, "-a", "web", "-n", "blue", "--create", "--timeout", "1h"];
    let (url, none) = (max.dir.path().join("url"), Path::new("/dev/null"));
    let (used, said) = measured(rig, &args, none, &url);
    println!("{} files, release {release}: {used} KiB\n{said}", count(&before, "f "));
    assert!(fs::read_to_string(&url).unwrap().starts_with("http://web.blue.localhost:"), "{said}");
    assert!(said.contains("recognised: static\n"), "{said}");
    let after = look(&max.data().join(format!("apps/1/{release}")));
    if let Some((sent, came)) = before.lines().zip(after.lines()).find(|(sent, came)| sent != came) {
        panic!("'{sent}' is '{came}'");
    }
    assert_eq!(before.len(), after.len());
    assert!(used > 0 && used <= MEMORY, "{used} KiB");
    (before, said)
}

/// Mixed: a gibibyte of what compresses and what does not, in files of many sizes.
fn generate(root: &Path) {
    let (mut random, mut left, mut number) = (WyRand::new_seed(1126), 1_u64 << 30, 0_u32);
    let mut noise = vec![0; 1 << 20];
    random.fill_bytes(&mut noise);
    let words: Vec<u8> =
        noise.iter().flat_map(|byte| format!("word {} and ", byte % 61).into_bytes()).collect();
    while left > 0 {
        let directory = root.join(format!("{}/{}", number % 17, number % 101));
        fs::create_dir_all(&directory).unwrap();
        // Most are small, some are large, and a few are as large as many together.
        let most: u64 = match number % 500 {
            0 => 200 << 20,
            1..=10 => 8 << 20,
            _ => 100_000,
        };
        let size = random.generate_range(0..most).min(left);
        left -= size;
        let from = if number % 3 == 0 { &words } else { &noise };
        let path = directory.join(format!("file {number}"));
        let mut file = fs::File::create(&path).unwrap();
        // No two of them are the same.
        let mut start = random.generate_range(0..from.len() as u64 / 2) as usize;
        let mut rest = size;
        while rest > 0 {
            let piece = &from[start..][..rest.min((from.len() - start) as u64) as usize];
            std::io::Write::write_all(&mut file, piece).unwrap();
            rest -= piece.len() as u64;
            start = random.generate_range(0..from.len() as u64 / 2) as usize;
        }
        let mode = [0o644, 0o755, 0o600, 0o444, 0o711][number as usize % 5];
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        if number % 7 == 0 {
            symlink(format!("file {number}"), directory.join(format!("link {number}"))).unwrap();
            symlink(format!("../nowhere/{number}"), directory.join(format!("dangling {number}"))).unwrap();
        }
        if number % 11 == 0 {
            let empty = directory.join(format!("empty {number}"));
            fs::create_dir(&empty).unwrap();
            fs::set_permissions(&empty, Permissions::from_mode([0o700, 0o755][number as usize % 2])).unwrap();
        }
        number += 1;
    }
    fs::write(root.join("index.html"), "a gibibyte\n").unwrap();
}

#[test]
#[ignore = "takes minutes, 3 GiB of disk and the static rig: make test-trees"]
fn a_gibibyte_arrives_as_it_is_in_little_memory() {
    let (max, rig) = world();
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path());
    let (all, _) = arrives(&max, &rig, dir.path(), 1);
    for start in ["f 644", "f 755", "f 600", "f 444", "f 711", "d 700", "d 755", "l "] {
        assert!(count(&all, start) > 50, "{start}: {}", count(&all, start));
    }
}

/// What is installed, with 30,000 files and some links.
const PACKAGES: [&str; 6] = [
    "date-fns@4.1.0",
    "@ant-design/icons@5.5.2",
    "antd@5.23.0",
    "rxjs@7.8.2",
    "lodash@4.17.21",
    "webpack@5.97.1",
];

#[test]
#[ignore = "needs npm, its registry and the static rig: make test-trees"]
fn more_than_twenty_thousand_files_arrive_as_they_are_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let install = "npm install --silent --no-audit --no-fund --ignore-scripts --legacy-peer-deps --prefix .";
    tool(dir.path(), &install.split(' ').chain(PACKAGES).collect::<Vec<_>>());
    // As files alone, which nothing builds.
    for file in ["package.json", "package-lock.json"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    let modules = dir.path().join("node_modules");
    fs::create_dir_all(dir.path().join("cache/empty")).unwrap();
    fs::write(dir.path().join("index.html"), "one").unwrap();
    let (max, rig) = world();
    let (all, said) = arrives(&max, &rig, dir.path(), 1);
    assert!(count(&all, "f ") > 20_000 && count(&all, "l ") > 5, "{}", all.len());
    assert!(!said.contains("nothing is sent"), "{said}");
    // A few things are other ones.
    fs::write(dir.path().join("index.html"), "two").unwrap();
    fs::remove_dir_all(modules.join("lodash")).unwrap();
    fs::rename(modules.join("rxjs/src"), modules.join("rxjs/sources")).unwrap();
    let script = modules.join("webpack/bin/webpack.js");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let (_, said) = arrives(&max, &rig, dir.path(), 2);
    assert!(said.contains("sending 1 of "), "{said}");
    let (_, said) = arrives(&max, &rig, dir.path(), 3);
    assert!(said.contains("nothing is sent: Max has every file\n"), "{said}");
}

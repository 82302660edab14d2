//! git is the oracle: random trees with nested ignore files, and what `git check-ignore` says
//! of each path in them: whether it is left out, and by which line of which file. And what
//! is sent is what git would list.

#![allow(clippy::unwrap_used)]

use super::walk::{explain, walk};
use nanorand::{Rng, WyRand};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many trees, how many paths are asked for in each, and how many of the trees have all
/// their files: elsewhere there are only directories, and a path that is none is a file.
const TREES: usize = 1000;
const PATHS: usize = 110;
const FULL: usize = 100;

type Bytes = Vec<u8>;

/// What decides: the ignore file, its line, the rule. Empty and 0 when nothing does.
type Answer = (Bytes, u64, Bytes);

struct Tree {
    root: PathBuf,
    directories: Vec<Bytes>,
    /// Ignore files by their directory, as lines.
    rules: BTreeMap<Bytes, Vec<Bytes>>,
    /// What is asked for, below the root.
    paths: BTreeSet<Bytes>,
    /// Whether rig's own file name is used beside git's.
    own: bool,
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn pick<'a, T: ?Sized>(random: &mut WyRand, all: &[&'a T]) -> &'a T {
    all[random.generate_range(0..all.len())]
}

fn name(random: &mut WyRand) -> Bytes {
    const USUAL: &[&str] = &["a", "b", "ab", "ba", "aa", "a.b", ".b", "b.a", "ab-", "a b", "z"];
    const ODD: &[&str] = &[
        "*", "?", "[a]", "!a", "\\", "#a", "a ", " ", "]", "a*b", "[", "-", "a\\b", "^", "B", "\n", "\u{e9}a",
    ];
    match random.generate_range(0..10u8) {
        0..7 => pick(random, USUAL).into(),
        7..9 => pick(random, ODD).into(),
        _ => {
            let byte = |random: &mut WyRand| match random.generate::<u8>() {
                0 | b'/' => b'x',
                byte => byte,
            };
            (0..random.generate_range(1..3u8)).map(|_| byte(random)).chain([b'a']).collect()
        }
    }
}

fn join(above: &[u8], name: &[u8]) -> Bytes {
    if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() }
}

/// A rule out of nothing.
fn any(random: &mut WyRand) -> Bytes {
    const PARTS: &[&str] = &[
        "*",
        "*",
        "**",
        "**/",
        "/**",
        "?",
        "/",
        "/",
        "a",
        "a",
        "b",
        "ab",
        ".",
        "-",
        " ",
        "!",
        "#",
        "\\",
        "\\*",
        "\\/",
        "[",
        "]",
        "[a]",
        "[!a]",
        "[^b]",
        "[a-c]",
        "[c-a]",
        "[]a]",
        "[!]a]",
        "[a-]",
        "[-a]",
        "[\\]]",
        "[a\\-c]",
        "[]-a]",
        "[[:alpha:]]",
        "[[:punct:]b]",
        "[[:nope:]]",
        "[[:a]",
        "[[:",
        "[--/]",
        "[a/]",
        "[+--b]",
        "[[:digit:]-z]",
        "\u{e9}",
        "\r",
        "\t",
        "B",
        "\\\\",
        "\\a",
        "***",
        "{a,b}",
    ];
    (0..random.generate_range(1..7u8)).flat_map(|_| pick(random, PARTS).bytes()).collect()
}

/// A rule that begins as the name of something in the tree, so that many match.
fn alike(random: &mut WyRand, below: &[u8]) -> Bytes {
    let mut rule = Vec::new();
    let parts: Vec<&[u8]> = below.split(|byte| *byte == b'/').collect();
    let skip = if random.generate_range(0..3u8) == 0 { parts.len() - 1 } else { 0 };
    for part in parts.into_iter().skip(skip) {
        if !rule.is_empty() {
            rule.push(b'/');
        }
        match random.generate_range(0..12u8) {
            0 => rule.extend(b"**"),
            1 => rule.push(b'*'),
            2 => rule.extend(b"**/"),
            _ => {}
        }
        for byte in part {
            match random.generate_range(0..30u8) {
                0 => rule.push(b'?'),
                1 => rule.push(b'*'),
                2 => rule.extend([b'[', *byte, b']']),
                3 => rule.extend([b'[', b'!', *byte, b']']),
                4 => rule.extend([b'[', byte.saturating_sub(1), b'-', byte.saturating_add(1), b']']),
                10 => rule.extend([b'[', *byte, b'-', b'\t', b']']),
                5 => {}
                6 => rule.extend(b"**"),
                7..10 => rule.extend([b'\\', *byte]),
                _ => rule.push(*byte),
            }
        }
    }
    let before: &[&str] = &["", "", "", "", "/", "**/", "!", "!", "!/", "\\", "//", "\u{feff}"];
    let behind: &[&str] =
        &["", "", "", "", "/", "/**", "/*", " ", "\\ ", "\r", " \r", "  ", "//", "\\", "\0x"];
    [pick(random, before).as_bytes(), &rule, pick(random, behind).as_bytes()].concat()
}

impl Tree {
    fn random(random: &mut WyRand, root: PathBuf) -> Tree {
        let mut directories = vec![Vec::new()];
        let mut paths = BTreeSet::new();
        for _ in 0..random.generate_range(2..14u8) {
            let above = directories[random.generate_range(0..directories.len())].clone();
            let below = join(&above, &name(random));
            if above.iter().filter(|byte| **byte == b'/').count() < 4 && paths.insert(below.clone()) {
                directories.push(below);
            }
        }
        while paths.len() < PATHS {
            let above = directories[random.generate_range(0..directories.len())].clone();
            let mut made = name(random);
            // There are not so many names.
            if random.generate_range(0..4u8) == 0 {
                made.extend(name(random));
            }
            paths.insert(join(&above, &made));
        }
        let mut rules = BTreeMap::new();
        let all: Vec<&Bytes> = paths.iter().collect();
        for directory in &directories {
            let odds = if directory.is_empty() { 20 } else { 11 };
            let count =
                if random.generate_range(0..20u8) < odds { random.generate_range(1..13u8) } else { 0 };
            let prefix = if directory.is_empty() { 0 } else { directory.len() + 1 };
            let inside: Vec<&Bytes> = all
                .iter()
                .copied()
                .filter(|path| path.len() > prefix && path.starts_with(directory))
                .collect();
            let mut lines = Vec::new();
            for _ in 0..count {
                let mut line = match inside.is_empty() || random.generate_range(0..3u8) == 0 {
                    true => any(random),
                    false => {
                        let model = pick(random, &inside);
                        alike(random, &model[prefix..])
                    }
                };
                line.retain(|byte| *byte != b'\n');
                lines.push(line);
            }
            if !lines.is_empty() {
                rules.insert(directory.clone(), lines);
            }
        }
        Tree { root, directories, rules, paths, own: random.generate() }
    }

    /// A byte of each value for each class.
    fn classes(root: PathBuf) -> Tree {
        let names = "alnum alpha blank cntrl digit graph lower print punct space upper xdigit nope";
        let lines = names.split(' ').map(|name| format!("{name}[[:{name}:]]").into_bytes()).collect();
        let bytes = || (1..=255u8).filter(|byte| *byte != b'/');
        let path = |name: &str, byte: u8| [name.as_bytes(), &[byte]].concat();
        let paths = names.split(' ').flat_map(|name| bytes().map(move |byte| path(name, byte))).collect();
        Tree { root, directories: vec![Vec::new()], rules: [(Vec::new(), lines)].into(), paths, own: false }
    }

    fn write(&self, full: bool) {
        for directory in &self.directories {
            fs::create_dir_all(self.root.join(path(directory))).unwrap();
        }
        for file in self.paths.iter().filter(|_| full) {
            let file = self.root.join(path(file));
            if !file.is_dir() {
                fs::write(file, "").unwrap();
            }
        }
        self.write_rules();
    }

    fn write_rules(&self) {
        for (directory, lines) in &self.rules {
            let text = lines.join(&b'\n');
            for name in [".gitignore", ".rigignore"].iter().take(if self.own { 2 } else { 1 }) {
                fs::write(self.root.join(path(directory)).join(name), &text).unwrap();
            }
        }
    }

    fn rig(&self, asked: &[u8]) -> Answer {
        let verdict = explain(&self.root, path(asked), false).unwrap_or_else(|error| panic!("{error}"));
        let Some(cause) = verdict.cause else { return (Vec::new(), 0, Vec::new()) };
        (cause.file.replace(".rigignore", ".gitignore").into_bytes(), cause.line, cause.pattern.into_bytes())
    }

    /// What differs with as few rules as possible.
    fn report(&mut self, repository: &Path, asked: &[u8]) -> String {
        let differs = |tree: &Tree| {
            tree.write_rules();
            let git = check_ignore(repository, &[join(tree.root.file_name().unwrap().as_bytes(), asked)]);
            git[0] != tree.shown(asked)
        };
        for directory in self.rules.keys().cloned().collect::<Vec<_>>() {
            let mut at = 0;
            while at < self.rules[&directory].len() {
                let line = std::mem::take(&mut self.rules.get_mut(&directory).unwrap()[at]);
                if !differs(self) {
                    self.rules.get_mut(&directory).unwrap()[at] = line;
                }
                at += 1;
            }
        }
        self.write_rules();
        let git = check_ignore(repository, &[join(self.root.file_name().unwrap().as_bytes(), asked)]);
        let mut text = format!("{:?}\n  git: {}\n  rig: {}\n", lossy(asked), git[0], self.shown(asked));
        for (directory, lines) in &self.rules {
            for (line, number) in lines.iter().zip(1..).filter(|(line, _)| !line.is_empty()) {
                text += &format!("  {:?} line {number}: {:?}\n", lossy(directory), lossy(line));
            }
        }
        text
    }

    /// rig's answer as [`check_ignore`] gives git's.
    fn shown(&self, asked: &[u8]) -> String {
        let (file, line, rule) = self.rig(asked);
        let top = if line == 0 { Vec::new() } else { join(self.root.file_name().unwrap().as_bytes(), &file) };
        format!("{:?} {line} {:?}", lossy(&top), lossy(&rule))
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(repository).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", repository).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// git's answer for each path: file, line and rule.
fn check_ignore(repository: &Path, paths: &[Bytes]) -> Vec<String> {
    let input = repository.join(".git/asked");
    fs::write(&input, [paths.join(&0), vec![0]].concat()).unwrap();
    let mut command = git(repository);
    command.args(["check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"]);
    let out = command.stdin(File::open(input).unwrap()).output().unwrap();
    assert!(out.status.code().is_some_and(|code| code < 2), "{}", lossy(&out.stderr));
    let fields: Vec<&[u8]> = out.stdout.split(|byte| *byte == 0).collect();
    let answer = |field: &[&[u8]]| {
        let line = if field[1].is_empty() { "0".to_owned() } else { lossy(field[1]) };
        format!("{:?} {line} {:?}", lossy(field[0]), lossy(field[2]))
    };
    fields.chunks_exact(4).map(answer).collect()
}

#[test]
#[ignore = "make test-ignore"]
fn git_says_the_same_of_a_hundred_thousand_paths() {
    // In memory, where that can be.
    let place = Some(Path::new("/dev/shm")).filter(|place| place.is_dir()).map(Path::to_owned);
    let repository = tempfile::tempdir_in(place.unwrap_or_else(std::env::temp_dir)).unwrap();
    let repository = repository.path();
    assert!(git(repository).args(["init", "-q"]).status().unwrap().success());
    let seed = std::env::var("SEED").map_or(20, |seed| seed.parse().unwrap());
    let mut random = WyRand::new_seed(seed);
    let mut trees: Vec<Tree> =
        (0..TREES).map(|at| Tree::random(&mut random, repository.join(format!("t{at:04}")))).collect();
    trees.push(Tree::classes(repository.join("t9999")));
    let mut asked = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        tree.write(index < FULL);
        asked.extend(tree.paths.iter().map(|path| join(tree.root.file_name().unwrap().as_bytes(), path)));
    }
    let answers = check_ignore(repository, &asked);
    assert_eq!(answers.len(), asked.len());
    let mut answers = answers.into_iter();
    let (mut decided, mut wrong) = (0, Vec::new());
    for (index, tree) in trees.iter().enumerate() {
        for (path, answer) in tree.paths.iter().zip(&mut answers) {
            decided += usize::from(answer != "\"\" 0 \"\"");
            if tree.shown(path) != answer {
                wrong.push((index, path.clone()));
            }
        }
    }
    println!("{} paths, {decided} of them decided by a rule", asked.len());
    assert!(asked.len() >= 100_000 && decided > asked.len() / 3);
    let reports: Vec<String> =
        wrong.iter().take(5).map(|(index, path)| trees[*index].report(repository, path)).collect();
    assert!(wrong.is_empty(), "{} paths differ, for instance\n{}", wrong.len(), reports.concat());
    sent_is_what_git_lists(repository, &trees[..FULL]);
}

/// `git ls-files` shows no empty directories, so files are compared.
fn sent_is_what_git_lists(repository: &Path, trees: &[Tree]) {
    let mut command = git(repository);
    command.args(["ls-files", "--others", "--exclude-standard", "-z", "--"]);
    command.args(trees.iter().map(|tree| tree.root.file_name().unwrap()));
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", lossy(&out.stderr));
    let listed: BTreeSet<&[u8]> =
        out.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
    let mut sent = BTreeSet::new();
    for tree in trees {
        // None when nothing is left.
        let Ok(walked) = walk(&tree.root) else { continue };
        let files = walked.entries.iter().filter(|entry| !matches!(entry.kind, super::walk::Kind::Directory));
        let paths = files.map(|entry| entry.path.as_os_str().as_bytes());
        let own = |path: &&[u8]| !path.ends_with(b".rigignore");
        sent.extend(paths.filter(own).map(|path| join(tree.root.file_name().unwrap().as_bytes(), path)));
    }
    let listed =
        listed.into_iter().filter(|path| !path.ends_with(b".rigignore")).map(<[u8]>::to_vec).collect();
    let different: Vec<String> =
        sent.symmetric_difference(&listed).take(10).map(|path| lossy(path)).collect();
    assert!(different.is_empty(), "git and rig differ about {different:?}");
}

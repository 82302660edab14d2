//! Manifests and archives that nobody vouches for: the same things are refused in both, in the
//! same words, and nothing of them stays.

use crate::harness::Max;
use crate::sender::{Files, Is, Sender, gzip, sha, tar};
use std::fs;

/// A file, a directory, and a link with its target.
enum Entry {
    F(&'static str),
    D(&'static str),
    L(&'static str, &'static str),
}
use Entry::{D, F, L};

/// So long that nothing may be.
fn long() -> &'static str {
    Box::leak("x".repeat(1025).into_boxed_str())
}

/// A part of a path that is too long.
fn part() -> &'static str {
    &long()[..256]
}

/// A path that lies too deep.
fn deep() -> &'static str {
    Box::leak(["d"; 129].join("/").into_boxed_str())
}

/// What is refused, of what, and why.
fn table() -> Vec<(Vec<Entry>, String, &'static str)> {
    let out = "it is a symbolic link that leads out of the tree, to ";
    let deep_shown: &str = Box::leak(format!("{}…", &deep()[..200]).into_boxed_str());
    let cases: Vec<(Vec<Entry>, &str, &str)> = vec![
        (vec![F("/etc/passwd")], "/etc/passwd", "its path is absolute"),
        (vec![D("/")], "/", "its path is absolute"),
        (vec![L("/x", "y")], "/x", "its path is absolute"),
        (vec![F("../evil")], "../evil", "its path has '..'"),
        (vec![F("..")], "..", "its path has '..'"),
        (vec![D("..")], "..", "its path has '..'"),
        (vec![D("a"), F("a/../b")], "a/../b", "its path has '..'"),
        (vec![D("a"), F("a/..")], "a/..", "its path has '..'"),
        (vec![L("a/../../l", "x")], "a/../../l", "its path has '..'"),
        (vec![F("a\u{1b}[31m/../b")], "a\u{fffd}[31m/../b", "its path has '..'"),
        (vec![F(long())], "", "its path is longer than 1024 bytes"),
        (vec![F(part())], "", "a part of its path is longer than 255 bytes"),
        (vec![L(part(), "x")], "", "a part of its path is longer than 255 bytes"),
        (vec![D(deep())], deep_shown, "its path has more than 128 parts"),
        (vec![F("a"), F("a")], "a", "its name occurs twice"),
        (vec![D("a"), D("a")], "a", "its name occurs twice"),
        (vec![L("a", "b"), F("a")], "a", "its name occurs twice"),
        (vec![F("a"), D("a")], "a", "its name occurs twice"),
        (vec![D("a"), L("a", "b")], "a", "its name occurs twice"),
        (vec![F("a"), F("a/b")], "a/b", "'a' is a file"),
        (vec![F("a"), D("a/b")], "a/b", "'a' is a file"),
        (vec![D("a"), F("a/b"), L("a/b/c", "d")], "a/b/c", "'a/b' is a file"),
        (vec![L("a", "."), F("a/b")], "a/b", "'a' is a symbolic link"),
        (vec![L("a", "nowhere"), D("a/b")], "a/b", "'a' is a symbolic link"),
        (vec![L("a", "."), L("a/b", "c")], "a/b", "'a' is a symbolic link"),
        (vec![L("l", "")], "l", "it is a symbolic link to nothing"),
        (vec![L("l", "/etc")], "l", "it is a symbolic link to an absolute path"),
        (vec![L("l", "/")], "l", "it is a symbolic link to an absolute path"),
        (vec![L("l", long())], "l", "its target is too long"),
        (vec![L("l", "../x")], "l", "'../x'"),
        (vec![L("l", "..")], "l", "'..'"),
        (vec![D("a"), L("a/l", "../../x")], "a/l", "'../../x'"),
        (vec![D("a"), L("a/l", "b/../../../x")], "a/l", "'b/../../../x'"),
        (vec![D("a"), L("a/up", ".."), L("out", "a/up/../x")], "out", "'a/up/../x'"),
        (vec![D("a"), L("a/up", ".."), L("b", "a/up"), L("out", "b/../x")], "out", "'b/../x'"),
        (vec![L("a", "b"), L("b", "c"), L("c", "..")], "a", "'b'"),
        (vec![L("l", "\u{1b}]0;x\u{7}/../../x")], "l", "'\u{fffd}]0;x\u{fffd}/../../x'"),
    ];
    let leads_out = |why: &str| why.starts_with('\'') && !why.contains("' is ");
    cases
        .into_iter()
        .map(|(entries, path, why)| {
            let why = if leads_out(why) { format!("{out}{why}") } else { why.to_owned() };
            let path = if path.is_empty() {
                Box::leak(format!("{}…", "x".repeat(200)).into_boxed_str())
            } else {
                path
            };
            (entries, why, path)
        })
        .collect()
}

fn manifest(entries: &[Entry]) -> Vec<u8> {
    let mut text = String::from("full\0");
    for entry in entries {
        text.push_str(&match entry {
            F(path) => format!("f 644 0 {} {path}\0", sha(b"")),
            D(path) => format!("d 755 {path}\0"),
            L(path, target) => format!("l {path}\0{target}\0"),
        });
    }
    text.push_str(&format!(". {}\0", sha(b"")));
    gzip(text.as_bytes())
}

/// A header block that no library would write.
pub fn header(kind: u8, name: &str, link: &str, size: usize) -> Vec<u8> {
    let mut block = [0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.to_vec()
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What does not fit into a header, as GNU tar writes it.
    let fits = |bytes: &mut Vec<u8>, kind: u8, text: &'static str| -> &'static str {
        if text.len() <= 100 {
            return text;
        }
        bytes.extend(header(kind, "././@LongLink", "", text.len() + 1));
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        &text[..100]
    };
    for entry in entries {
        let (kind, path, target) = match entry {
            F(path) => (b'0', *path, ""),
            D(path) => (b'5', *path, ""),
            L(path, target) => (b'2', *path, *target),
        };
        let (path, target) = (fits(&mut bytes, b'L', path), fits(&mut bytes, b'K', target));
        bytes.extend(header(kind, path, target, 0));
    }
    bytes.resize(bytes.len() + 1024, 0);
    gzip(&bytes)
}

/// A gzip whose header holds a name that does not end.
fn endless_name() -> Vec<u8> {
    [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255][..], &[b'x'; 1 << 20]].concat()
}

#[test]
fn archives_and_manifests_are_refused_the_same_in_the_same_words() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let cases = table();
    for (entries, why, path) in cases {
        let (one, other) = (ann.begin(), ann.begin());
        let refused = ann.refused(&max, one, "manifest", &manifest(&entries));
        let message = format!("cannot deploy '{path}': {why}");
        assert_eq!(refused, (400, "usage".into(), message.clone(), String::new()));
        assert_eq!(ann.put(&max, other, "source", &archive(&entries)).status, 202);
        for (deploy, phase) in [(one, "uploading"), (other, "unpacking")] {
            let ended = ann.ended(deploy);
            assert_eq!(ended["error"], message);
            assert_eq!((&ended["state"], &ended["phase"]), (&"failed".into(), &phase.into()));
        }
    }
    // Nothing was stored, and nothing lies where it was to be unpacked.
    assert!(!max.data().join("contents").exists());
    assert_eq!(fs::read_dir(max.data().join("uploads")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(max.data().join("apps/1")).map_or(0, Iterator::count), 0);
}

#[test]
fn what_is_no_manifest_is_refused() {
    let max = Max::with(&["--source-limit", "1MiB"]);
    let ann = Sender::new(&max, "ann", "blue");
    let empty = sha(b"");
    let refuse = |text: &str, status: u16, message: &str| {
        let found = ann.refused(&max, ann.begin(), "manifest", &gzip(text.as_bytes()));
        assert_eq!((found.0, found.2.as_str()), (status, message), "{text:?}");
    };
    let malformed = |text: &str, why: &str| refuse(text, 400, &format!("the manifest is malformed{why}"));
    let cut = "the manifest ends too early";
    refuse("", 400, cut);
    refuse("full", 400, cut);
    refuse("full\0", 400, cut);
    refuse("full\0d 755 a\0", 400, cut);
    refuse("full\0d 755 a", 400, cut);
    refuse("full\0l a\0b", 400, cut);
    refuse("full\0l a\0", 400, cut);
    malformed("\0", " at ''");
    malformed("d 755 a\0", ": it begins with neither 'full' nor 'base'");
    malformed("full\0full\0", ": it begins twice");
    malformed(&format!("full\0base {empty}\0"), ": it begins twice");
    malformed("full\0d 0755 a\0", " at 'd 0755 a'");
    malformed("full\0d 789 a\0", " at 'd 789 a'");
    malformed("full\0d 4755 a\0", " at 'd 4755 a'");
    malformed(&format!("full\0f 4755 0 {empty} a\0"), " at 'f 4755 0 e3b0c44298fc1c149afbf4c8996fb92'");
    malformed(
        &format!("full\0f 644 0 {} a\0", empty.to_uppercase()),
        " at 'f 644 0 E3B0C44298FC1C149AFBF4C8996FB924'",
    );
    malformed(
        &format!("full\0f 644 18446744073709551616 {empty} a\0"),
        " at 'f 644 18446744073709551616 e3b0c44298fc1'",
    );
    malformed(&format!("full\0f 644 0x1 {empty} a\0"), " at 'f 644 0x1 e3b0c44298fc1c149afbf4c8996fb9'");
    malformed("full\0h a\0b\0", " at 'h a'");
    malformed("full\0p 644 a\0", " at 'p 644 a'");
    malformed("full\0\u{1b}[31m\0", " at '\u{fffd}[31m'");
    malformed("full\0d 755 \0", " at 'd 755 '");
    malformed("full\0x 755 a\0", " at 'x 755 a'");
    malformed("full\0f 644 1 ABC a\0", " at 'f 644 1 ABC a'");
    malformed(&format!("full\0f 644 01 {empty} a\0"), " at 'f 644 01 e3b0c44298fc1c149afbf4c8996fb92'");
    malformed(&format!("full\0f 644 -1 {empty} a\0"), " at 'f 644 -1 e3b0c44298fc1c149afbf4c8996fb92'");
    malformed("full\0. x\0", " at '. x'");
    malformed(&format!("full\0. {empty}\0d 755 a\0"), ": something follows its end");
    malformed(&format!("full\0{}", "x".repeat(1 << 20)), ": a record is too long");
    malformed(&format!("full\0l {}\0{}", "x".repeat(1024), "y".repeat(1 << 20)), ": a record is too long");
    let named = format!("the manifest is '{empty}' and not '{}' as its end says", sha(b"x"));
    refuse(&format!("full\0. {}\0", sha(b"x")), 400, &named);
    for (records, path, why) in [
        ("d 755 ./a\0", "./a", "its path has '.' or an empty part"),
        ("d 755 a\0d 755 a/.\0", "a/.", "its path has '.' or an empty part"),
        ("d 755 a\0d 755 a//b\0", "a//b", "its path has '.' or an empty part"),
        ("d 755 a/\0", "a/", "its path has '.' or an empty part"),
        ("d 755 b\0d 755 a\0", "a", "it comes behind 'b', out of order"),
        ("d 755 a.b\0d 755 a\0d 755 a/b\0", "a", "it comes behind 'a.b', out of order"),
        ("d 755 a.b\0d 755 a/b\0", "a/b", "it comes behind 'a.b', out of order"),
        ("d 755 a\0d 755 a/b/c\0", "a/b/c", "its directory 'a/b' is missing"),
        ("l a/b/c\0d\0", "a/b/c", "its directory 'a' is missing"),
        ("- a\0", "a", "there is no base to remove it from"),
    ] {
        let text = format!("full\0{records}. {empty}\0");
        refuse(&text, 400, &format!("cannot deploy '{path}': {why}"));
    }
    let sizes = format!("full\0f 644 1 {empty} a\0f 644 2 {empty} b\0. {empty}\0");
    let why = "another file has the same content and another size";
    refuse(&sizes, 400, &format!("cannot deploy 'b': {why}"));

    // Limits.
    let large = "the files are larger than 1048576 bytes together, from";
    let huge = format!("full\0f 644 1048577 {empty} a\0. {empty}\0");
    refuse(&huge, 413, &format!("{large} 'a' on"));
    let two = format!("full\0f 644 1 {} a\0f 644 {} {empty} b\0. {empty}\0", sha(b"x"), u64::MAX);
    refuse(&two, 413, &format!("{large} 'b' on"));
    let many: String = (0..200_001).map(|n| format!("d 755 d{n:06}\0")).collect();
    let most = "the source has more than 200000 files and directories, from 'd200000' on";
    refuse(&format!("full\0{many}. {empty}\0"), 413, most);
    let above = ["0"; 3].map(|digit| digit.repeat(250));
    let mut names: String = (1..=3).map(|parts| format!("d 755 {}\0", above[..parts].join("/"))).collect();
    let above = above.join("/");
    names.extend((0..33_500).map(|n| format!("d 755 {above}/{n:0250}\0")));
    let found = ann.refused(&max, ann.begin(), "manifest", &gzip(format!("full\0{names}").as_bytes()));
    let begin = "the source has more than 33554432 bytes of names, from '000";
    assert!(found.0 == 413 && found.2.starts_with(begin), "{}", found.2);

    // What is no gzip, or one that is cut or damaged.
    let files = Files::new(&[("index.html", Is::File(0o644, b"x".to_vec()))]);
    let whole = files.full();
    let refused = |body: &[u8]| ann.refused(&max, ann.begin(), "manifest", body);
    assert_eq!(refused(b"full\0").2, cut);
    assert_eq!(refused(&endless_name()).2, "the manifest is malformed: the compression is broken");
    let twice = refused(&[whole.clone(), whole.clone()].concat());
    assert_eq!(twice.2, "the manifest is malformed: something follows its end");
    let behind = refused(&[&whole, &b"garbage, garbage"[..]].concat());
    assert_eq!(behind.2, "the manifest is malformed: the compression is broken");
    let garbage = refused(b"garbage, garbage, garbage");
    assert!(garbage.0 == 400 && garbage.2.starts_with("the manifest is malformed: "), "{}", garbage.2);
    for length in 0..whole.len() {
        assert_eq!(refused(&whole[..length]).2, cut, "{length}");
    }
    let mut damaged = whole.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let damaged = refused(&damaged);
    assert!(damaged.0 == 400 && damaged.2.starts_with("the manifest is malformed: "), "{}", damaged.2);

    // A delta that does not fit.
    let deploy = ann.begin();
    ann.send(&max, deploy, "manifest", &whole);
    let base = format!("base {}\0", files.name());
    let why = "it is removed and was not in the base";
    refuse(&format!("{base}- x\0. {empty}\0"), 400, &format!("cannot deploy 'x': {why}"));
    let under = format!("{base}f 644 0 {empty} index.html/x\0. {empty}\0");
    refuse(&under, 400, "cannot deploy 'index.html/x': 'index.html' is a file");
    assert_eq!(ann.send(&max, deploy, "manifest", &files.delta(&files))["missing"], "0");
}

#[test]
fn what_are_no_contents_is_refused() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let files = Files::new(&[("index.html", Is::File(0o644, b"x".to_vec()))]);
    let deploy = ann.begin();
    ann.send(&max, deploy, "manifest", &files.full());
    let (hash, whole) = (sha(b"x"), tar(&[]));
    let refuse = |body: &[u8], message: &str| {
        let deploy = ann.begin();
        ann.send(&max, deploy, "manifest", &files.full());
        let found = ann.refused(&max, deploy, "contents", body);
        assert_eq!(found, (400, "usage".into(), message.into(), "contents".into()));
    };
    let cut = "the contents end too early";
    (0..whole.len()).for_each(|length| refuse(&whole[..length], cut));
    refuse(&gzip(b""), cut);
    refuse(&gzip(&header(b'0', &hash, "", 1)), cut);
    let malformed = |blocks: &[u8], why: &str| {
        refuse(&gzip(&[blocks, &[0; 1024]].concat()), &format!("the contents are malformed: {why}"));
    };
    malformed(&[7; 512], "a header's sum is wrong");
    for kind in *b"12345679xgLKSZ" {
        let why = if kind == b'7' { continue } else { format!("'{hash}' is no regular file") };
        malformed(&header(kind, &hash, "y", 1), &why);
    }
    for name in
        ["", "x", &hash[1..], &format!("{hash}."), &format!("{hash}.-1"), &format!("{hash}.1x"), "../x"]
    {
        let entry = match name {
            name if name.ends_with('.') => {
                // Nothing behind the point is no number.
                malformed(&header(b'0', name, "", 1), &format!("'{name}' is neither HASH nor HASH.OFFSET"));
                continue;
            }
            name => header(b'0', name, "", 1),
        };
        malformed(&entry, &format!("'{name}' is neither HASH nor HASH.OFFSET"));
    }
    let changed = "'index.html' changed while it was sent";
    for (name, size) in [(hash.clone(), 2), (format!("{hash}.2"), 0), (format!("{hash}.1"), 1)] {
        refuse(&gzip(&[header(b'0', &name, "", size), vec![0; 1024]].concat()), changed);
    }
    refuse(&gzip(&[header(b'0', &format!("{hash}.{}", u64::MAX), "", 1), vec![0; 1024]].concat()), changed);
    malformed(&[vec![0; 1024], b"x".to_vec()].concat(), "something follows their end");
    malformed(&vec![0; 2 << 20], "their padding is too long");
    let mut no_sum = whole.clone();
    no_sum[whole.len() - 6] ^= 1;
    refuse(&no_sum, cut);
    for (body, why) in [
        (endless_name(), "the compression is broken"),
        (b"garbage, garbage, garbage".to_vec(), "the compression is broken"),
        ([&whole[..], b"garbage, garbage"].concat(), "the compression is broken"),
        ([&whole[..], &tar(&[(hash.clone(), b"x")])].concat(), "something follows their end"),
    ] {
        refuse(&body, &format!("the contents are malformed: {why}"));
    }
    assert_eq!(ann.send(&max, deploy, "manifest", &files.delta(&files))["missing"], "0");
    assert_eq!(fs::read_dir(max.data().join("contents/1/partial")).unwrap().count(), 0);
}

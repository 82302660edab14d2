//! Archives made by hand to do harm, one each: all are refused in words that say why, and
//! nothing of them stays.

use crate::harness::Max;
use crate::hostile::header;
use crate::sender::{Sender, gzip};
use std::fs;

/// What a case is, the archive, and what the deploy fails with.
type Case = (&'static str, Vec<u8>, String);

/// An entry with its content.
fn entry(kind: u8, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, link, content.len());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(b'0', name, "", content)
}

/// A header with other bytes at a place, and the sum that it should have.
fn altered(mut block: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block[148..156].fill(b' ');
    let sum = block[..512].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Pax's record.
fn pax(kind: u8, key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let fits = |all: &usize| all.to_string().len() + rest.len() == *all;
    let length = (rest.len()..rest.len() + 8).find(fits).unwrap();
    entry(kind, "pax", "", format!("{length}{rest}").as_bytes())
}

/// The entries and the end of a tar.
fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Entries that are refused by name.
fn refused() -> Vec<Case> {
    let a = || file("a", b"a");
    let gnu = |kind: u8, text: &str| entry(kind, "././@LongLink", "", format!("{text}\0").as_bytes());
    let out = "it is a symbolic link that leads out of the tree, to ";
    let (neither, part) = (
        "it is neither a file, a directory nor a symbolic link",
        "a part of its path is longer than 255 bytes",
    );
    let (long, deep) = ("x".repeat(256), ["d"; 129].join("/"));
    let long_shown = format!("{}…", "x".repeat(200));
    let deep_shown = format!("{}…", &deep[..200]);
    let cases: Vec<(&str, Vec<Vec<u8>>, &str, String)> = vec![
        ("a hard link out", vec![entry(b'1', "h", "/etc/passwd", b"")], "h", "it is a hard link".into()),
        ("a hard link upwards", vec![entry(b'1', "h", "../../x", b"")], "h", "it is a hard link".into()),
        ("a hard link inside", vec![a(), entry(b'1', "h", "a", b"")], "h", "it is a hard link".into()),
        (
            "a hard link to a link",
            vec![entry(b'2', "l", "b", b""), entry(b'1', "h", "l", b"")],
            "h",
            "it is a hard link".into(),
        ),
        ("a character device", vec![entry(b'3', "null", "", b"")], "null", "it is a device".into()),
        ("a block device", vec![entry(b'4', "sda", "", b"")], "sda", "it is a device".into()),
        ("a fifo", vec![entry(b'6', "pipe", "", b"")], "pipe", "it is a named pipe".into()),
        ("a socket, as some tars write it", vec![entry(b's', "sock", "", b"")], "sock", neither.into()),
        ("a volume's name", vec![entry(b'V', "label", "", b"")], "label", neither.into()),
        (
            "a file that goes on from another volume",
            vec![entry(b'M', "more", "", b"")],
            "more",
            neither.into(),
        ),
        ("a dump of names", vec![entry(b'D', "dump", "", b"a\0")], "dump", neither.into()),
        (
            "a sparse file of GNU",
            vec![altered(entry(b'S', "s", "", b""), 257, b"ustar  \0")],
            "s",
            "it is a sparse file".into(),
        ),
        (
            "a sparse file of pax",
            vec![pax(b'x', "GNU.sparse.major", "1"), a()],
            "a",
            "it is a sparse file".into(),
        ),
        ("no name", vec![file("", b"x")], "", "it has no name".into()),
        ("a file for the top", vec![file("./", b""), file(".", b"x")], ".", "it has no name".into()),
        (
            "a path that only pax says",
            vec![pax(b'x', "path", "../evil"), a()],
            "../evil",
            "its path has '..'".into(),
        ),
        (
            "an absolute path that only pax says",
            vec![pax(b'x', "path", "/evil"), a()],
            "/evil",
            "its path is absolute".into(),
        ),
        (
            "a path that only GNU says",
            vec![gnu(b'L', "b/../../evil"), a()],
            "b/../../evil",
            "its path has '..'".into(),
        ),
        (
            "a path in two parts",
            vec![altered(file("evil", b""), 345, b"..")],
            "../evil",
            "its path has '..'".into(),
        ),
        (
            "an absolute path in two parts",
            vec![altered(file("evil", b""), 345, b"/etc")],
            "/etc/evil",
            "its path is absolute".into(),
        ),
        (
            "a target that only pax says",
            vec![pax(b'x', "linkpath", "/etc"), entry(b'2', "l", "b", b"")],
            "l",
            "it is a symbolic link to an absolute path".into(),
        ),
        (
            "a target out that only pax says",
            vec![pax(b'x', "linkpath", "../x"), entry(b'2', "l", "b", b"")],
            "l",
            format!("{out}'../x'"),
        ),
        (
            "a target that only GNU says",
            vec![gnu(b'K', "../x"), entry(b'2', "l", "b", b"")],
            "l",
            format!("{out}'../x'"),
        ),
        (
            "a zero in a path",
            vec![pax(b'x', "path", "a\0b"), a()],
            "a\u{fffd}b",
            "its path has a null byte".into(),
        ),
        (
            "a zero in a target",
            vec![pax(b'x', "linkpath", "a\0b"), entry(b'2', "l", "b", b"")],
            "l",
            "its target has a null byte".into(),
        ),
        (
            "the same but for a slash",
            vec![file("b/a", b""), file("b//a", b"")],
            "b/a",
            "its name occurs twice".into(),
        ),
        ("the same but for a point", vec![a(), file("./a", b"")], "a", "its name occurs twice".into()),
        (
            "a file where a directory is",
            vec![file("b/a", b""), file("b", b"")],
            "b",
            "its name occurs twice".into(),
        ),
        (
            "a link where a directory is",
            vec![file("b/a", b""), entry(b'2', "b", "c", b"")],
            "b",
            "its name occurs twice".into(),
        ),
        ("a directory in other words", vec![a(), file("a/", b"")], "a", "its name occurs twice".into()),
        ("a part that is too long", vec![gnu(b'L', &long), a()], &long_shown, part.into()),
        ("too deep", vec![gnu(b'L', &deep), a()], &deep_shown, "its path has more than 128 parts".into()),
        (
            "another size in pax",
            vec![pax(b'x', "size", "0"), a()],
            "a",
            "its headers say different sizes".into(),
        ),
        (
            "a bomb's size in pax",
            vec![pax(b'x', "size", "9000000000000000000"), a()],
            "a",
            "its headers say different sizes".into(),
        ),
        (
            "a terminal's orders",
            vec![file("\u{1b}]0;x\u{7}/../x", b"")],
            "\u{fffd}]0;x\u{fffd}/../x",
            "its path has '..'".into(),
        ),
    ];
    cases
        .into_iter()
        .map(|(what, entries, path, why)| {
            (what, gzip(&tar(&entries)), format!("cannot deploy '{path}': {why}"))
        })
        .collect()
}

/// What is no archive.
fn malformed() -> Vec<Case> {
    let a = || file("a", b"a");
    let one = tar(&[a()]);
    let whole = gzip(&one);
    let sized = |bytes: &[u8]| vec![altered(a(), 124, bytes)];
    let raw = |text: &[u8]| vec![entry(b'x', "pax", "", text), a()];
    let long = |size: usize| vec![a(), entry(b'L', "././@LongLink", "", &vec![b'x'; size]), a()];
    let mut wrong_sum = a();
    wrong_sum[148] ^= 1;
    let unread = "a pax header can't be read";
    let inside: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("a wrong sum", vec![wrong_sum], ": a header can't be read"),
        ("noise", vec![vec![7; 1024]], ": a header can't be read"),
        ("a size below zero", sized(&[0xff; 12]), ": a header can't be read"),
        ("a terminal's orders in a number", sized(b"\x1b]0;x\x07\0\0\0\0\0"), ": a header can't be read"),
        ("a size that is no number", sized(b"size here!!\0"), ": a header can't be read"),
        ("a size with a sign", sized(b"-0000000001\0"), ": a header can't be read"),
        (
            "a mode that is no number",
            vec![altered(a(), 100, b"rwxr-x-")],
            ", at or after 'a': a header can't be read",
        ),
        ("a name of a megabyte", long(1 << 20), ", at or after 'a': headers or padding are too long"),
        (
            "a target of a megabyte",
            vec![entry(b'K', "././@LongLink", "", &vec![b'x'; 1 << 20])],
            ": headers or padding are too long",
        ),
        ("a pax header of a megabyte", raw(&vec![b'x'; 1 << 20]), ": headers or padding are too long"),
        (
            "a global header of a megabyte",
            vec![entry(b'g', "g", "", &vec![b'x'; 1 << 20])],
            ": headers or padding are too long",
        ),
        (
            "a link with a content",
            vec![entry(b'2', "l", "b", &vec![0; 1 << 20]), a()],
            ", at or after 'l': headers or padding are too long",
        ),
        (
            "a directory with a content",
            vec![entry(b'5', "d", "", &vec![0; 1 << 20]), a()],
            ", at or after 'd': headers or padding are too long",
        ),
        (
            "two long names",
            vec![entry(b'L', "L", "", b"b\0"), entry(b'L', "L", "", b"c\0"), a()],
            ": two headers of one kind are about the same file",
        ),
        (
            "names of two kinds",
            vec![entry(b'L', "L", "", b"b\0"), pax(b'x', "path", "c"), a()],
            ": two headers say the same of a file",
        ),
        (
            "a name for nothing",
            vec![a(), pax(b'x', "path", "c")],
            ", at or after 'a': a header is about a file that does not come",
        ),
        ("a path for all files", vec![pax(b'g', "path", "c"), a()], ": a global header is about one file"),
        ("pax with a length that is too small", raw(b"5 path=b\n"), &format!(": {unread}")),
        ("pax with a length that is too large", raw(b"99 path=b\n"), &format!(": {unread}")),
        (
            "pax with a length that overflows",
            raw(b"99999999999999999999999 path=b\n"),
            &format!(": {unread}"),
        ),
        ("pax without a key", raw(b"6 =bc\n"), &format!(": {unread}")),
        (
            "pax with a size below zero",
            vec![pax(b'x', "size", "-1"), a()],
            ": a pax header has a size that is none",
        ),
        (
            "a second archive behind the end",
            vec![a(), vec![0; 1024], file("b", b"")],
            ": something follows its end",
        ),
        (
            "padding without an end",
            vec![a(), vec![0; 4 << 20]],
            ", at or after 'a': headers or padding are too long",
        ),
    ]
    .into_iter()
    .map(|(what, entries, why)| (what, entries, Box::leak(why.to_owned().into_boxed_str()) as &str))
    .collect();
    let mut cases: Vec<Case> = inside
        .into_iter()
        .map(|(what, entries, why)| (what, gzip(&tar(&entries)), format!("the archive is malformed{why}")))
        .collect();

    let cut = |at: &str| format!("the archive ends too early{at}");
    let end = whole.len();
    let flipped = |back: usize| {
        let mut bytes = whole.clone();
        bytes[end - back] ^= 1;
        bytes
    };
    let long_head = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255][..], &vec![b'x'; 1 << 20]].concat();
    cases.extend([
        ("nothing", vec![], cut("")),
        ("a tar of nothing", gzip(b""), cut("")),
        ("half a header", gzip(&one[..300]), cut("")),
        (
            "half a content",
            gzip(&[header(b'0', "a", "", 2000), vec![b'x'; 1000]].concat()),
            cut(", at or after 'a'"),
        ),
        ("no end", gzip(&a()), cut(", at or after 'a'")),
        ("half a gzip header", whole[..7].to_vec(), cut("")),
        ("half a gzip", whole[..end / 2].to_vec(), cut("")),
        ("no gzip trailer", whole[..end - 8].to_vec(), cut(", at or after 'a'")),
        ("half a gzip trailer", whole[..end - 3].to_vec(), cut(", at or after 'a'")),
        (
            "a gzip with a wrong sum",
            flipped(6),
            "the archive is malformed, at or after 'a': the compression is broken".into(),
        ),
        (
            "a gzip with broken blocks",
            [&whole[..10], &[0xff; 100]].concat(),
            "the archive is malformed: the compression is broken".into(),
        ),
        (
            "a gzip with a wrong length",
            flipped(2),
            "the archive is malformed, at or after 'a': the compression is broken".into(),
        ),
        (
            "a gzip with a name without end",
            long_head,
            "the archive is malformed: the compression is broken".into(),
        ),
        ("a tar without gzip", one.clone(), "the archive is malformed: the compression is broken".into()),
        (
            "garbage behind the gzip",
            [&whole[..], b"garbage, garbage"].concat(),
            "the archive is malformed, at or after 'a': the compression is broken".into(),
        ),
        (
            "a second gzip",
            [&whole[..], &gzip(&tar(&[file("b", b"")]))].concat(),
            "the archive is malformed: something follows its end".into(),
        ),
    ]);

    // More than the megabyte that this server takes, from little.
    let large = "the files are larger than 1048576 bytes together, from";
    cases.push(("a bomb", gzip(&tar(&[file("zeros", &vec![0; 8 << 20])])), format!("{large} 'zeros' on")));
    let two = tar(&[file("a", &vec![0; 600_000]), file("b", &vec![0; 600_000])]);
    cases.push(("a bomb of several files", gzip(&two), format!("{large} 'b' on")));
    let claims = altered(file("claims", b""), 124, b"77777777777");
    let most = altered(a(), 124, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    cases.push(("a size of 2^63", gzip(&tar(&[most])), format!("{large} 'a' on")));
    cases.push(("a size that is only claimed", gzip(&tar(&[claims])), format!("{large} 'claims' on")));
    cases
}

#[test]
fn each_hostile_archive_is_refused_in_its_own_words_and_leaves_nothing() {
    let max = Max::with(&["--source-limit", "1MiB"]);
    let ann = Sender::new(&max, "ann", "blue");
    let cases = [refused(), malformed()].concat();
    let mut names: Vec<&str> = cases.iter().map(|(what, ..)| *what).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == cases.len() && cases.len() >= 70, "{}", cases.len());
    for (what, archive, message) in cases {
        let deploy = ann.begin();
        assert_eq!(ann.put(&max, deploy, "source", &archive).status, 202, "{what}");
        let ended = ann.ended(deploy);
        let error = ended["error"].as_str().unwrap();
        assert_eq!(error, message, "{what}");
        assert_eq!((&ended["state"], &ended["phase"]), (&"failed".into(), &"unpacking".into()), "{what}");
        assert_eq!(fs::read_dir(max.data().join("uploads")).unwrap().count(), 0, "{what}");
        assert_eq!(fs::read_dir(max.data().join("apps/1")).map_or(0, Iterator::count), 0, "{what}");
    }
    assert!(!max.data().join("contents").exists());
    // Nothing beside the data of the server either.
    let beside = fs::read_dir(max.dir.path()).unwrap().map(|item| item.unwrap().file_name());
    let mut beside: Vec<_> = beside.collect();
    beside.sort();
    assert_eq!(beside, ["data", "maxd.log", "ready"]);
}

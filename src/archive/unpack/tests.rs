//! Each attack with an archive made by hand, and what honest archives keep.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::error::Kind;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 100 };

/// A header block and its content, padded.
fn entry(kind: u8, name: &str, link: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bytes = block.to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().div_ceil(512) * 512, 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(b'0', name, "", 0o644, content)
}

fn link(name: &str, target: &str) -> Vec<u8> {
    entry(b'2', name, target, 0o777, b"")
}

fn dir(name: &str) -> Vec<u8> {
    entry(b'5', name, "", 0o755, b"")
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpack_bytes(bytes: &[u8], limits: &Limits) -> (tempfile::TempDir, Result<Manifest>) {
    let temp = tempfile::tempdir().unwrap();
    let result = unpack(bytes, &temp.path().join("release"), limits);
    (temp, result)
}

fn error(entries: &[Vec<u8>]) -> String {
    let (temp, result) = unpack_bytes(&gzip(&tar(entries)), &LIMITS);
    for path in ["evil", "release/../evil"] {
        assert!(!temp.path().join(path).exists(), "something was written outside");
    }
    result.err().unwrap().message().to_owned()
}

#[test]
fn an_honest_archive_keeps_contents_modes_links_and_empty_directories() {
    let (temp, result) = unpack_bytes(
        &gzip(&tar(&[
            dir("./"),
            file("./a.txt", b"hello"),
            entry(b'0', "bin/run", "", 0o4755, b"#!/bin/sh\n"),
            entry(b'5', "locked/", "", 0o000, b""),
            dir("bin"),
            dir("empty"),
            link("bin/a", "../a.txt"),
            link("dangling", "not/there"),
            file("bin/zero", b""),
        ])),
        &LIMITS,
    );
    let manifest = result.unwrap();
    assert_eq!((manifest.bytes, manifest.items().count()), (15, 8));
    let root = temp.path().join("release");
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(fs::read(root.join("bin/a")).unwrap(), b"hello");
    assert_eq!(mode("a.txt"), 0o644);
    assert_eq!(mode("bin/run"), 0o755);
    assert_eq!(mode("bin"), 0o755);
    assert_eq!(mode("locked"), 0o700);
    assert!(root.join("empty").is_dir());
    assert_eq!(fs::read_link(root.join("dangling")).unwrap(), Path::new("not/there"));
}

#[test]
fn names_that_lead_out_are_refused() {
    assert_eq!(error(&[file("/tmp/evil", b"x")]), "cannot deploy '/tmp/evil': its path is absolute");
    for name in ["../evil", "a/../../evil", "a/.."] {
        assert_eq!(error(&[file(name, b"x")]), format!("cannot deploy '{name}': its path has '..'"));
    }
    assert_eq!(error(&[file(".", b"")]), "cannot deploy '.': it has no name");
}

#[test]
fn links_that_lead_out_are_refused() {
    for (name, target) in [("up", "../evil"), ("a/up", "../../evil"), ("a/up", "b/../../../evil")] {
        let why = format!("it is a symbolic link that leads out of the tree, to '{target}'");
        assert_eq!(error(&[link(name, target)]), format!("cannot deploy '{name}': {why}"));
    }
    assert_eq!(
        error(&[link("etc", "/etc")]),
        "cannot deploy 'etc': it is a symbolic link to an absolute path"
    );
    assert_eq!(error(&[link("l", "")]), "cannot deploy 'l': it is a symbolic link to nothing");
}

#[test]
fn chained_links_are_followed_in_any_order() {
    // deep/x/y -> top; through it, `..` leads out.
    let chain = [dir("deep/x"), link("deep/x/y", "../.."), link("out", "deep/x/y/../evil")];
    for order in [[0, 1, 2], [2, 1, 0], [0, 2, 1]] {
        let entries = order.map(|i| chain[i].clone());
        assert!(error(&entries).starts_with("cannot deploy 'out'"), "{order:?}");
    }
    let (_temp, result) = unpack_bytes(
        &gzip(&tar(&[link("a", "b"), link("b", "a"), link("c", "d/../e"), link("d", "x/y"), dir("x/y")])),
        &LIMITS,
    );
    result.unwrap();
}

#[test]
fn nothing_is_written_through_a_link() {
    for entries in [
        [link("d", "."), file("d/x", b"x")],
        [link("d", "nowhere"), dir("d/x")],
        [link("d", "."), link("d/x", "y")],
    ] {
        assert!(error(&entries).ends_with(": 'd' is a symbolic link"));
    }
    assert_eq!(error(&[file("d", b""), file("d/x", b"x")]), "cannot deploy 'd/x': 'd' is a file");
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    for entries in [
        [file("a", b"1"), file("./a", b"2")],
        [file("a", b"1"), link("a", "b")],
        [link("a", "b"), file("a", b"1")],
        [dir("a"), dir("a/")],
        [dir("a"), file("a", b"1")],
        [file("a", b""), dir("a")],
    ] {
        assert_eq!(error(&entries), "cannot deploy 'a': its name occurs twice");
    }
}

#[test]
fn special_files_are_refused() {
    for (kind, what) in [
        (b'1', "it is a hard link"),
        (b'3', "it is a device"),
        (b'4', "it is a device"),
        (b'6', "it is a named pipe"),
        (b'Z', "it is neither a file, a directory nor a symbolic link"),
    ] {
        let entries = [file("target", b""), entry(kind, "x", "target", 0o644, b"")];
        assert_eq!(error(&entries), format!("cannot deploy 'x': {what}"));
    }
}

#[test]
fn limits_are_kept() {
    let archive = gzip(&tar(&[file("a", &[0; 600]), file("b", &[0; 600])]));
    let kind = |limits: &Limits| unpack_bytes(&archive, limits).1.map(drop).map_err(|error| error.kind());
    assert!(kind(&Limits { bytes: 1200, entries: 2 }).is_ok());
    assert_eq!(kind(&Limits { bytes: 1199, entries: 2 }), Err(Kind::TooLarge));
    assert_eq!(kind(&Limits { bytes: 1200, entries: 1 }), Err(Kind::TooLarge));
    let (_temp, result) =
        unpack_bytes(&gzip(&tar(&[file("a/b/c/d", b"")])), &Limits { bytes: 0, entries: 3 });
    assert_eq!(
        result.err().unwrap().message(),
        "the source has more than 3 files and directories, from 'a/b/c/d' on"
    );
}

/// What GNU tar and pax write for a long name.
fn long(kind: u8, content: &[u8]) -> Vec<u8> {
    entry(kind, "././@LongLink", "", 0o644, content)
}

#[test]
fn long_names_of_both_kinds_work() {
    let name = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let record = format!(" path={name}\n");
    let length = record.len() + 3;
    let pax = long(b'x', format!("{length}{record}").as_bytes());
    let gnu = long(b'L', format!("{name}\0").as_bytes());
    let global =
        entry(b'g', "pax_global_header", "", 0o644, b"52 comment=0123456789012345678901234567890123456789\n");
    for header in [pax, gnu] {
        let archive = gzip(&tar(&[global.clone(), header, file("short", b"x")]));
        let (temp, result) = unpack_bytes(&archive, &LIMITS);
        assert_eq!(result.unwrap().items().count(), 2);
        assert_eq!(fs::read(temp.path().join("release").join(&name)).unwrap(), b"x");
    }
    let name = "a/".repeat(513);
    let archive = [long(b'L', name.as_bytes()), file("short", b"x")];
    assert!(error(&archive).ends_with(": its path is longer than 1024 bytes"));
}

/// Pax's records.
fn pax(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in pairs {
        let rest = format!(" {key}={value}\n");
        let length =
            (1..=4).map(|digits| rest.len() + digits).find(|all| all.to_string().len() + rest.len() == *all);
        text.push_str(&format!("{}{rest}", length.unwrap()));
    }
    long(b'x', text.as_bytes())
}

#[test]
fn pax_is_read_by_its_lengths() {
    let odd = "odd\n30 path=\nname";
    let (temp, result) = unpack_bytes(
        &gzip(&tar(&[
            pax(&[("SCHILY.xattr.user.x", "a\nb\n"), ("path", odd), ("size", "1")]),
            file("short", b"x"),
            pax(&[("linkpath", odd)]),
            link("l", "elsewhere"),
        ])),
        &LIMITS,
    );
    assert_eq!(result.unwrap().items().count(), 2);
    let root = temp.path().join("release");
    assert_eq!(fs::read(root.join(odd)).unwrap(), b"x");
    assert_eq!(fs::read_link(root.join("l")).unwrap(), Path::new(odd));
}

#[test]
fn what_headers_say_of_a_file_may_not_contradict_it() {
    let x = || file("x", b"x");
    let path = |path: &str| pax(&[("path", path)]);
    let raw = |text: &str| long(b'x', text.as_bytes());
    let global = |text: &str| entry(b'g', "pax_global_header", "", 0o644, text.as_bytes());
    let unread = "a pax header can't be read";
    for (entries, why) in [
        (vec![path("a"), path("b"), x()], "two headers of one kind are about the same file"),
        (
            vec![long(b'L', b"a\0"), long(b'L', b"b\0"), x()],
            "two headers of one kind are about the same file",
        ),
        (vec![long(b'L', b"a\0"), path("b"), x()], "two headers say the same of a file"),
        (vec![pax(&[("path", "a"), ("path", "b")]), x()], "two headers say the same of a file"),
        (vec![pax(&[("size", "1"), ("size", "1")]), x()], "two headers say the same of a file"),
        (vec![pax(&[("size", "-1")]), x()], "a pax header has a size that is none"),
        (vec![pax(&[("size", "18446744073709551616")]), x()], "a pax header has a size that is none"),
        (vec![raw("8 path=a\n"), x()], unread),
        (vec![raw("99 path=a\n"), x()], unread),
        (vec![raw("99999999999999999999 path=a\n"), x()], unread),
        (vec![raw("5 path=a\n"), x()], unread),
        (vec![raw("4 =\n"), x()], unread),
        (vec![raw("+9 path=a\n"), x()], unread),
        (vec![raw("\n"), x()], unread),
        (vec![global("10 path=a\n"), x()], "a global header is about one file"),
        (vec![global("x"), x()], unread),
        (vec![x(), path("a")], "a header is about a file that does not come"),
        (vec![x(), long(b'K', b"a\0")], "a header is about a file that does not come"),
    ] {
        let place = if entries[0][156] == b'0' { ", at or after 'x'" } else { "" };
        assert_eq!(error(&entries), format!("the archive is malformed{place}: {why}"));
    }
    for (header, path, why) in [
        (pax(&[("size", "2")]), "x", "its headers say different sizes"),
        (pax(&[("GNU.sparse.major", "1")]), "x", "it is a sparse file"),
        (path("../evil"), "../evil", "its path has '..'"),
        (path("/tmp/evil"), "/tmp/evil", "its path is absolute"),
        (path("a\0b"), "a\u{fffd}b", "its path has a null byte"),
        (path(""), "", "it has no name"),
    ] {
        assert_eq!(error(&[header, x()]), format!("cannot deploy '{path}': {why}"));
    }
    let (temp, result) = unpack_bytes(&gzip(&tar(&[path("a"), x()])[..1000]), &LIMITS);
    assert_eq!(result.err().unwrap().message(), "the archive ends too early");
    drop(temp);
}

#[test]
fn long_parts_and_deep_paths_are_refused() {
    let named = |name: &str| [long(b'L', name.as_bytes()), file("short", b"")];
    assert!(error(&named(&"x".repeat(256))).ends_with("a part of its path is longer than 255 bytes"));
    assert!(error(&named(&["d"; 129].join("/"))).ends_with("its path has more than 128 parts"));
    for name in ["x".repeat(255), ["d"; 128].join("/")] {
        let limits = Limits { entries: 200, ..LIMITS };
        unpack_bytes(&gzip(&tar(&named(&name))), &limits).1.unwrap();
    }
}

#[test]
fn bombs_are_defused() {
    // A name of a megabyte, a file that claims to be huge, endless padding.
    let name = vec![b'a'; 1 << 20];
    assert!(
        error(&[file("ok", b""), long(b'L', &name), file("short", b"")])
            .contains("at or after 'ok': headers or padding are too long")
    );
    let mut huge = file("huge", b"");
    huge[124..135].copy_from_slice(b"77777777777");
    huge[148..156].fill(b' ');
    let sum = huge.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    huge[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert!(error(&[huge]).starts_with("the files are larger than 1048576 bytes together"));
    let mut padded = tar(&[file("a", b"x")]);
    padded.resize(4 << 20, 0);
    assert!(unpack_bytes(&gzip(&padded), &LIMITS).1.is_err());
    padded.truncate(10 << 10);
    unpack_bytes(&gzip(&padded), &LIMITS).1.unwrap();
}

#[test]
fn what_is_cut_short_at_any_byte_is_an_error() {
    let noise = (0..2000_u32).map(|n| ((n * n) >> 3) as u8).collect::<Vec<_>>();
    let whole = gzip(&tar(&[dir("d"), file("d/a", &noise), link("l", "d")]));
    unpack_bytes(&whole, &LIMITS).1.unwrap();
    for length in 0..whole.len() {
        let (_temp, result) = unpack_bytes(&whole[..length], &LIMITS);
        assert!(result.err().unwrap().message().starts_with("the archive ends too early"), "{length}");
    }
    let plain = tar(&[dir("d"), file("d/a", &noise)]);
    for length in [0, 100, 512, 600, 1024, 2000, plain.len() - 1024] {
        let (_temp, result) = unpack_bytes(&gzip(&plain[..length]), &LIMITS);
        assert!(result.err().unwrap().message().starts_with("the archive ends too early"), "{length}");
    }
}

#[test]
fn garbage_is_an_error() {
    let whole = gzip(&tar(&[file("a", b"x")]));
    let behind_gzip = [whole.as_slice(), b"garbage garbage"].concat();
    let behind_tar = gzip(&[tar(&[file("a", b"x")]), file("b", b"y")].concat());
    let mut wrong_sum = whole.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    for bytes in [behind_gzip, behind_tar, wrong_sum, b"not gzip at all".to_vec(), gzip(&[7; 2048])] {
        let (_temp, result) = unpack_bytes(&bytes, &LIMITS);
        assert!(result.err().unwrap().message().starts_with("the archive is malformed"));
    }
    let members = tar(&[file("a", b"x")]);
    let two = [gzip(&members[..700]), gzip(&members[700..])].concat();
    unpack_bytes(&two, &LIMITS).1.unwrap();
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("old"), "").unwrap();
    let result = unpack(gzip(&tar(&[file("a", b"x")])).as_slice(), temp.path(), &LIMITS);
    assert_eq!(result.err().unwrap().kind(), Kind::Conflict);
}

#[test]
fn errors_show_names_without_control_characters() {
    assert_eq!(
        error(&[file("a\u{1b}[31m/../b", b"")]),
        "cannot deploy 'a\u{fffd}[31m/../b': its path has '..'"
    );
}

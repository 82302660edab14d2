//! Manifests: the files of a deploy as text, each content named by its SHA-256. The codec
//! alone, for both programs; `docs/protocol.md` says what is sent when.
//!
//! ```text
//! full\0                          or base HASH\0: what follows differs from that one
//! d 755 src\0
//! f 644 11 b94d27b9…cde9 src/a\0  permission bits, bytes, content
//! l src/b\0a\0                    a symbolic link and its target
//! - src/c\0                       behind a base only: is no more
//! . HASH\0                        the end: the name of the whole
//! ```
//!
//! The records `f`, `d` and `l` in the order of their paths are the canonical manifest; its
//! SHA-256 is its name.

use crate::error::{Error, Result};
use ring::digest::{Context, SHA256};
use std::cmp::Ordering;
use std::io::Write;

/// A SHA-256, of a content or of a canonical manifest.
pub type Hash = [u8; 32];

/// The longest path, and the longest target of a link, in bytes.
pub const PATH_MAX: usize = 1024;

/// The longest record, with both its zero bytes.
pub const RECORD_MAX: usize = 2 * PATH_MAX + 128;

/// What stands between two zero bytes; of a link, two of them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum Record<'a> {
    /// The first: all records follow.
    Full,
    /// The first: what differs from the manifest with this name follows.
    Base(Hash),
    /// A path and what is there.
    Item(&'a [u8], Item<'a>),
    /// The last: the name of the canonical manifest.
    End(Hash),
}

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum Item<'a> {
    /// A file.
    File {
        /// Its permission bits.
        mode: u32,
        /// Its bytes.
        size: u64,
        /// Its content.
        hash: Hash,
    },
    /// A directory with these permission bits.
    Directory(u32),
    /// A symbolic link to this target.
    Link(&'a [u8]),
    /// Nothing any more.
    Removed,
}

impl<'a> Record<'a> {
    /// Writes it behind `out`, with the zero byte that ends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Record::Full => out.extend_from_slice(b"full"),
            Record::Base(hash) => {
                out.extend_from_slice(b"base ");
                push_hex(out, hash);
            }
            Record::End(hash) => {
                out.extend_from_slice(b". ");
                push_hex(out, hash);
            }
            Record::Item(path, item) => {
                match item {
                    Item::File { mode, size, hash } => {
                        push_mode(out, b"f ", *mode);
                        // Into memory: that can't fail.
                        let _ = write!(out, "{size} ");
                        push_hex(out, hash);
                        out.push(b' ');
                    }
                    Item::Directory(mode) => push_mode(out, b"d ", *mode),
                    Item::Link(_) => out.extend_from_slice(b"l "),
                    Item::Removed => out.extend_from_slice(b"- "),
                }
                out.extend_from_slice(path);
                if let Item::Link(target) = item {
                    out.push(0);
                    out.extend_from_slice(target);
                }
            }
        }
        out.push(0);
    }

    /// Reads one, without the zero byte that ends it. Only what [`Record::write`] writes is
    /// one; what its path may be is not looked at.
    pub fn parse(record: &'a [u8]) -> Result<Record<'a>> {
        parse(record).ok_or_else(|| {
            let start: String = String::from_utf8_lossy(record).chars().take(40).collect();
            let start = start.replace(char::is_control, "\u{fffd}");
            Error::usage(format!("the manifest is malformed at '{start}'"))
        })
    }
}

fn parse(record: &[u8]) -> Option<Record<'_>> {
    let (word, rest) = match record.iter().position(|byte| *byte == b' ') {
        Some(at) => (record.get(..at)?, record.get(at + 1..)?),
        None => (record, &[][..]),
    };
    Some(match word {
        b"full" if record.len() == word.len() => Record::Full,
        b"base" => Record::Base(parse_hex(rest)?),
        b"." => Record::End(parse_hex(rest)?),
        b"-" => Record::Item(path(rest)?, Item::Removed),
        b"d" => {
            let (mode, rest) = mode(rest)?;
            Record::Item(path(rest)?, Item::Directory(mode))
        }
        b"l" => {
            let at = rest.iter().position(|byte| *byte == 0)?;
            Record::Item(path(rest.get(..at)?)?, Item::Link(rest.get(at + 1..)?))
        }
        b"f" => {
            let (mode, rest) = mode(rest)?;
            let at = rest.iter().position(|byte| *byte == b' ')?;
            let size = number(rest.get(..at)?)?;
            let hash = parse_hex(rest.get(at + 1..at + 65)?)?;
            let rest = rest.get(at + 65..)?.strip_prefix(b" ")?;
            Record::Item(path(rest)?, Item::File { mode, size, hash })
        }
        _ => return None,
    })
}

fn path(bytes: &[u8]) -> Option<&[u8]> {
    Some(bytes).filter(|bytes| !bytes.is_empty() && !bytes.contains(&0))
}

/// Three octal digits.
fn mode(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let rest = bytes.get(3..)?.strip_prefix(b" ")?;
    let mut digits = bytes.get(..3)?.iter().map(|byte| u32::from(byte.wrapping_sub(b'0')));
    let mode = digits.try_fold(0, |mode, digit| Some(mode * 8 + digit).filter(|_| digit < 8))?;
    Some((mode, rest))
}

/// A decimal number as it is written.
fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.first()?.is_ascii_digit() && (bytes.len() == 1 || bytes.first() != Some(&b'0'));
    std::str::from_utf8(bytes).ok().filter(|_| digits)?.parse().ok()
}

fn push_mode(out: &mut Vec<u8>, word: &[u8], mode: u32) {
    out.extend_from_slice(word);
    out.extend([6, 3, 0].map(|shift| b'0' + (mode >> shift & 7) as u8));
    out.push(b' ');
}

fn push_hex(out: &mut Vec<u8>, hash: &Hash) {
    let mut digits = [0; 64];
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    for (two, byte) in digits.chunks_exact_mut(2).zip(hash) {
        if let [high, low] = two {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
    out.extend_from_slice(&digits);
}

/// A hash in hexadecimal.
pub fn hex(hash: &Hash) -> String {
    let mut out = Vec::with_capacity(64);
    push_hex(&mut out, hash);
    out.into_iter().map(char::from).collect()
}

/// A hash from 64 lower-case hexadecimal digits.
pub fn parse_hex(text: &[u8]) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => u8::MAX,
    };
    // All are looked at before any is judged: that takes a fraction of the time.
    let (mut hash, mut all) = ([0; 32], 0);
    for (byte, two) in hash.iter_mut().zip(text.as_chunks().0) {
        let [high, low] = two.map(digit);
        all |= high | low;
        *byte = high << 4 | low;
    }
    (text.len() == 64 && all < 16).then_some(hash)
}

/// The order of paths: part by part as bytes, so that a directory comes before what it holds
/// and right before it.
pub fn order(a: &[u8], b: &[u8]) -> Ordering {
    // What is looked for is mostly found.
    if a == b {
        return Ordering::Equal;
    }
    let byte = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(byte).cmp(b.iter().map(byte))
}

/// Hashes what it is fed with.
#[derive(Clone)]
pub struct Hasher(Context);

impl Hasher {
    /// Begins.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Hasher {
        Hasher(Context::new(&SHA256))
    }

    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Goes on.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all of it.
    pub fn finish(self) -> Hash {
        let mut hash = [0; 32];
        hash.iter_mut().zip(self.0.finish().as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }
}

/// Writes rising numbers as ranges: `0-41,43`.
pub fn write_ranges(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut out = String::new();
    let mut push = |first: u64, last: u64| {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&first.to_string());
        if last > first {
            out.push('-');
            out.push_str(&last.to_string());
        }
    };
    let mut run: Option<(u64, u64)> = None;
    for number in numbers {
        run = match run {
            Some((first, last)) if last + 1 == number => Some((first, number)),
            Some((first, last)) => {
                push(first, last);
                Some((number, number))
            }
            None => Some((number, number)),
        };
    }
    if let Some((first, last)) = run {
        push(first, last);
    }
    out
}

/// Reads ranges: the first and the last number of each, all rising.
pub fn parse_ranges(text: &str) -> Option<Vec<(u64, u64)>> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for range in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first.as_bytes())?, number(last.as_bytes())?);
        if first > last || ranges.last().is_some_and(|before| before.1 >= first) {
            return None;
        }
        ranges.push((first, last));
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash(text: &[u8]) -> Hash {
        let mut hasher = Hasher::new();
        hasher.update(text);
        hasher.finish()
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        let file = Item::File { mode: 0o4755 & 0o777, size: 11, hash: hash(b"hello world") };
        let hello = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        for (record, text) in [
            (Record::Full, "full\0".to_owned()),
            (Record::Base(hash(b"hello world")), format!("base {hello}\0")),
            (Record::End(hash(b"hello world")), format!(". {hello}\0")),
            (Record::Item(b"a b/c", file), format!("f 755 11 {hello} a b/c\0")),
            (Record::Item(b"d", Item::Directory(0)), "d 000 d\0".to_owned()),
            (Record::Item(b"l l", Item::Link(b"../x y")), "l l l\0../x y\0".to_owned()),
            (Record::Item(b"\xff\n", Item::Removed), "- \u{1}\n\0".to_owned()),
        ] {
            let mut out = Vec::new();
            record.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), text.replace('\u{1}', "\u{fffd}"));
            assert_eq!(Record::parse(&out[..out.len() - 1]).unwrap(), record);
        }
    }

    #[test]
    fn what_would_be_written_otherwise_is_refused() {
        let hash = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        for text in [
            "",
            " ",
            "full ",
            "full x",
            "FULL",
            "base",
            "base x",
            "-",
            "- ",
            "d 75 x",
            "d 0755 x",
            "d 758 x",
            "d 755",
            "d 755 ",
            "d 755  ",
            "l x",
            "l \0x",
            "x 755 y",
            &format!("base {hash} "),
            &format!(". {}", hash.to_uppercase()),
            &format!("f 644 01 {hash} x"),
            &format!("f 644 +1 {hash} x"),
            &format!("f 644  {hash} x"),
            &format!("f 644 18446744073709551616 {hash} x"),
            &format!("f 644 1 {hash}x"),
            &format!("f 644 1 {hash} "),
            &format!("f 644 1 {} x", &hash[1..]),
        ] {
            let accepted = Record::parse(text.as_bytes()).ok();
            // One odd name is one.
            assert_eq!(accepted, (text == "d 755  ").then_some(Record::Item(b" ", Item::Directory(0o755))));
        }
        let error = Record::parse(b"x\x1b[31m").unwrap_err();
        assert_eq!(error.message(), "the manifest is malformed at 'x\u{fffd}[31m'");
    }

    #[test]
    fn a_directory_comes_right_before_what_it_holds() {
        let mut paths = ["a.b", "a/b", "a", "a-", "a/b/c", "a/b.", "b", "A"];
        paths.sort_by(|a, b| order(a.as_bytes(), b.as_bytes()));
        assert_eq!(paths, ["A", "a", "a/b", "a/b/c", "a/b.", "a-", "a.b", "b"]);
    }

    #[test]
    fn ranges_are_read_as_they_are_written() {
        for (numbers, text) in
            [(vec![], ""), (vec![0], "0"), (vec![0, 1, 2, 4], "0-2,4"), (vec![3, 7, 8], "3,7-8")]
        {
            assert_eq!(write_ranges(numbers.iter().copied()), text);
            let read = parse_ranges(text).unwrap();
            assert_eq!(read.into_iter().flat_map(|(first, last)| first..=last).collect::<Vec<_>>(), numbers);
        }
        for text in [",", "1,", "2-1", "1,1", "3,2", "1-", "-1", "x", " 1", "1-2-3", "01"] {
            assert!(parse_ranges(text).is_none(), "{text}");
        }
    }
}

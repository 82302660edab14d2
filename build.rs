//! Packs what would take more of rig otherwise: the root certificates of webpki-roots, for
//! `src/net/roots.rs` to unpack, and the texts of `packed!` in the sources, for `src/packed.rs`.

#![allow(clippy::expect_used)]

#[path = "src/packed/model.rs"]
mod model;
#[path = "src/packed/pack.rs"]
mod pack;

use std::collections::{BTreeSet, HashMap};
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;
use std::{env, fs};

/// The shortest and the longest repetition, as `src/net/roots.rs` reads them.
const SHORTEST: usize = 3;
const LONGEST: usize = SHORTEST + 127;
/// The most bytes in one run without repetition.
const RUN: usize = 128;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let write = |name: &str, data: &[u8]| {
        fs::write(Path::new(&out).join(name), data).expect("the output directory can be written");
    };
    write("roots.bin", &repetitions(&roots()));

    let (texts, places) = joined(&["packed!"]);
    write("texts.rs", format!("({}, {places})", texts.len()).as_bytes());
    write("texts.bin", &pack::pack(texts.as_bytes()));
    let (words, places) = joined(&["field", "column", "picture", "word"]);
    write("words.rs", format!("({words:?}, {places})").as_bytes());
}

/// The literals in the calls of these functions or macros, each behind the last and with a
/// zero byte behind it; and where each begins, as a slice of Rust.
fn joined(calls: &[&str]) -> (String, String) {
    let mut texts = BTreeSet::new();
    collect(Path::new("src"), calls, &mut texts);
    let mut all = String::new();
    let mut places = String::new();
    for text in texts {
        let place = u16::try_from(all.len()).expect("at most 64 KB of texts");
        places += &format!("({text:?}, {place}),");
        all += &text;
        all.push('\0');
    }
    (all, format!("&[{places}]"))
}

/// The literals in `calls` in the sources of rig below `path`.
fn collect(path: &Path, calls: &[&str], texts: &mut BTreeSet<String>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a readable directory");
        let inside = entries.map(|entry| entry.expect("a readable entry").path());
        inside.filter(|path| !path.ends_with("maxd")).for_each(|path| collect(&path, calls, texts));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let source = fs::read_to_string(path).expect("a readable source");
        let shipped = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        for call in calls {
            let called = |at: &usize| code[..*at].ends_with([' ', '(', '[']);
            let found = code.match_indices(call).map(|(at, _)| at).filter(called);
            found.for_each(|at| literals(&code[at + call.len()..], texts));
        }
    }
}

/// The literals from here to where the bracket that comes first is closed.
fn literals(call: &str, texts: &mut BTreeSet<String>) {
    let mut depth = 0;
    let mut chars = call.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '"' => {
                texts.insert(literal(&mut chars));
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// The literal whose first quote was read.
fn literal(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(char) = chars.next().filter(|char| *char != '"') {
        if char != '\\' {
            text.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('\n') => while chars.next_if(|char| char.is_whitespace()).is_some() {},
            other => text.extend(other),
        }
    }
    text
}

/// The root certificates: three fields of each, its length before each.
fn roots() -> Vec<u8> {
    let mut fields = Vec::new();
    for anchor in webpki_roots::TLS_SERVER_ROOTS {
        let constraints = anchor.name_constraints.as_deref().unwrap_or_default();
        for field in [&*anchor.subject, &*anchor.subject_public_key_info, constraints] {
            fields.extend_from_slice(&u16::try_from(field.len()).expect("a short field").to_le_bytes());
            fields.extend_from_slice(field);
        }
    }
    fields
}

/// Replaces what has occurred before by its distance and length.
fn repetitions(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut seen: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let (mut at, mut run) = (0, 0);
    while at < data.len() {
        let (length, distance) = repeated(data, at, &seen);
        // Another run after a short one would cost what it saves.
        let taken = if length >= SHORTEST + usize::from(at > run) {
            plain(&data[run..at], &mut out);
            out.push(128 + (length - SHORTEST) as u8);
            out.extend_from_slice(&(distance as u16).to_le_bytes());
            run = at + length;
            length
        } else {
            1
        };
        for start in at..at + taken {
            if let Some(key) = data.get(start..start + SHORTEST) {
                seen.entry(key).or_default().push(start);
            }
        }
        at += taken;
    }
    plain(&data[run..], &mut out);
    out
}

/// The longest repetition that starts here: its length and how far back it is.
fn repeated(data: &[u8], at: usize, seen: &HashMap<&[u8], Vec<usize>>) -> (usize, usize) {
    let starts = data.get(at..at + SHORTEST).and_then(|key| seen.get(key)).map_or(&[][..], Vec::as_slice);
    let near = starts.iter().rev().take_while(|start| at - **start <= usize::from(u16::MAX));
    let common = |start: usize| {
        let pairs = data[start..].iter().zip(&data[at..]);
        pairs.take(LONGEST).take_while(|(one, other)| one == other).count()
    };
    near.map(|start| (common(*start), at - start)).max_by_key(|(length, _)| *length).unwrap_or((0, 0))
}

fn plain(data: &[u8], out: &mut Vec<u8>) {
    for run in data.chunks(RUN) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

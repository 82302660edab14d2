//! Packs the root certificates of webpki-roots, which would take 63 KB of rig otherwise, for
//! `src/net/roots.rs` to unpack.

#![allow(clippy::expect_used)]

use std::collections::HashMap;
use std::path::Path;
use std::{env, fs};

/// The shortest and the longest repetition, as `src/net/roots.rs` reads them.
const SHORTEST: usize = 3;
const LONGEST: usize = SHORTEST + 127;
/// The most bytes in one run without repetition.
const RUN: usize = 128;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What the Makefile links into the static rig, which cargo does not know about.
    println!("cargo::rerun-if-changed=src/sys/static");
    let mut fields = Vec::new();
    for anchor in webpki_roots::TLS_SERVER_ROOTS {
        let constraints = anchor.name_constraints.as_deref().unwrap_or_default();
        for field in [&*anchor.subject, &*anchor.subject_public_key_info, constraints] {
            fields.extend_from_slice(&u16::try_from(field.len()).expect("a short field").to_le_bytes());
            fields.extend_from_slice(field);
        }
    }
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("roots.bin"), pack(&fields)).expect("the output directory can be written");
}

/// Replaces what has occurred before by its distance and length.
fn pack(data: &[u8]) -> Vec<u8> {
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

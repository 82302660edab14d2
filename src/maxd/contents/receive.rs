//! The contents of a deploy as they come: a gzip-compressed tar of which any number of bytes is
//! pushed in at a time. So no thread waits for a slow client, and what has come stays.

use super::Pool;
use super::partial::{Verdict, Writing};

use crate::archive::{Tree, broken, entry_of_contents, shown};
use crate::error::{Error, Result};
use crate::manifest::{Hash, hex, parse_hex};
use flate2::write::MultiGzDecoder;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

/// A block of a tar.
const BLOCK: usize = 512;
/// What may follow the end mark: `tar -b` pads to its record size.
const PADDING_MAX: u64 = 1 << 20;
/// How many paths an error names.
const NAMED: usize = 3;

/// The contents of a manifest, each once and with its size. Their places are their numbers.
pub fn each_once(tree: &Tree) -> Vec<(Hash, u64)> {
    let mut known = HashSet::new();
    tree.contents().filter(|content| known.insert(content.0)).collect()
}

/// Takes the contents of one upload.
pub struct Receiver(MultiGzDecoder<Entries>);

impl Receiver {
    /// For what the manifest with this name wants.
    pub fn new(pool: Arc<Pool>, manifest: Hash, wanted: &[(Hash, u64)]) -> Receiver {
        let wanted = wanted.iter().map(|(hash, size)| (*hash, (*size, false))).collect();
        let at = At::Header(Vec::with_capacity(BLOCK));
        Receiver(MultiGzDecoder::new(Entries { pool, manifest, wanted, at, error: None }))
    }

    /// Takes what comes next. Blocks.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(|error| explain(self.0.get_mut(), &error))
    }

    /// Nothing comes any more: looks whether that was all. Blocks.
    pub fn finish(&mut self) -> Result<()> {
        let finished = self.0.try_finish();
        match (self.0.get_mut().error.take(), &self.0.get_ref().at) {
            (Some(error), _) => Err(error),
            (None, At::End(_)) if finished.is_ok() => Ok(()),
            // All that counts has a hash of its own: a checksum that is wrong is one cut short.
            (None, _) => Err(cut_short()),
        }
    }
}

fn explain(entries: &mut Entries, error: &io::Error) -> Error {
    match entries.error.take() {
        Some(error) => error,
        None if error.kind() == io::ErrorKind::UnexpectedEof => cut_short(),
        None => malformed(&broken(error)),
    }
}

fn malformed(why: &str) -> Error {
    Error::usage(format!("the contents are malformed: {why}")).field("contents")
}

fn cut_short() -> Error {
    Error::usage("the contents end too early")
        .hint("what has arrived is kept; deploy again")
        .field("contents")
}

/// The tar behind the compression.
struct Entries {
    pool: Arc<Pool>,
    manifest: Hash,
    /// The size of each, and whether this upload has sent it: so that it ends.
    wanted: HashMap<Hash, (u64, bool)>,
    at: At,
    error: Option<Error>,
}

/// Where in the tar it is.
enum At {
    Header(Vec<u8>),
    /// None while what comes is of no use.
    Content {
        hash: Hash,
        left: u64,
        pad: u64,
        writing: Option<Box<Writing>>,
    },
    Padding(u64),
    /// Behind the end mark, and so much more may come.
    End(u64),
}

impl Entries {
    /// A content is not what the manifest says.
    fn changed(&self, hash: &Hash) -> Error {
        let tree = self.pool.manifest(&self.manifest).ok().flatten();
        let paths: Vec<String> = tree.iter().flat_map(|tree| tree.paths_of(hash)).collect();
        let mut names: Vec<String> = paths.iter().take(NAMED).map(|path| format!("'{path}'")).collect();
        if let more @ 1.. = paths.len().saturating_sub(NAMED) {
            names.push(format!("{more} more"));
        }
        let message = match names.as_slice() {
            [one] => format!("{one} changed while it was sent"),
            [all @ .., last] => format!("{} and {last} changed while they were sent", all.join(", ")),
            [] => "a content changed while it was sent".to_owned(),
        };
        Error::usage(message).hint("deploy again").field("contents")
    }

    /// Takes a part of what has come and says how much that was.
    fn step(&mut self, bytes: &[u8]) -> Result<usize> {
        let part = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        match &mut self.at {
            At::Header(block) => {
                let taken = (BLOCK - block.len()).min(bytes.len());
                block.extend_from_slice(bytes.get(..taken).unwrap_or_default());
                if block.len() == BLOCK {
                    let block = std::mem::take(block);
                    self.at = self.enter(&block)?;
                }
                Ok(taken)
            }
            At::Content { left, writing, .. } => {
                let taken = part(*left);
                if let Some(writing) = writing {
                    writing.write(bytes.get(..taken).unwrap_or_default())?;
                }
                *left -= taken as u64;
                if *left == 0 {
                    self.complete()?;
                }
                Ok(taken)
            }
            At::Padding(left) => {
                let taken = part(*left);
                *left -= taken as u64;
                if *left == 0 {
                    self.at = At::Header(Vec::with_capacity(BLOCK));
                }
                Ok(taken)
            }
            At::End(left) => {
                if bytes.iter().any(|byte| *byte != 0) {
                    return Err(malformed("something follows their end"));
                }
                *left = left
                    .checked_sub(bytes.len() as u64)
                    .ok_or_else(|| malformed("their padding is too long"))?;
                Ok(bytes.len())
            }
        }
    }

    /// What a header announces.
    fn enter(&mut self, block: &[u8]) -> Result<At> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(At::End(PADDING_MAX));
        }
        let (name, size) = entry_of_contents(block).map_err(|why| malformed(&why))?;
        let (hash, offset) = address(&name)
            .ok_or_else(|| malformed(&format!("'{}' is neither HASH nor HASH.OFFSET", shown(&name))))?;
        let whole = match self.wanted.get_mut(&hash) {
            None => return Err(malformed(&format!("'{}' is not in the manifest", hex(&hash)))),
            Some((_, true)) => return Err(malformed(&format!("'{}' comes twice", hex(&hash)))),
            Some((size, sent)) => {
                *sent = true;
                *size
            }
        };
        if offset.checked_add(size) != Some(whole) {
            return Err(self.changed(&hash));
        }
        let writing = self.pool.begin(&hash, offset)?;
        let pad = size.next_multiple_of(BLOCK as u64) - size;
        self.at = At::Content { hash, left: size, pad, writing };
        if size == 0 {
            self.complete()?;
        }
        Ok(std::mem::replace(&mut self.at, At::End(0)))
    }

    /// A content has come as a whole.
    fn complete(&mut self) -> Result<()> {
        let At::Content { hash, pad, writing, .. } = std::mem::replace(&mut self.at, At::End(0)) else {
            return Ok(());
        };
        self.at = match pad {
            0 => At::Header(Vec::with_capacity(BLOCK)),
            pad => At::Padding(pad),
        };
        match writing.map(|writing| writing.finish()).transpose()? {
            Some(Verdict::Wrong) => Err(self.changed(&hash)),
            // Then it is still missing, and not by this upload's fault.
            Some(Verdict::Good | Verdict::Spoilt) | None => Ok(()),
        }
    }
}

impl Write for Entries {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_some() {
            return Err(io::Error::other("failed before"));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.step(rest) {
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(error) => {
                    self.at = At::End(0);
                    self.error = Some(error);
                    return Err(io::Error::other("failed"));
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `HASH` or `HASH.OFFSET`.
fn address(name: &[u8]) -> Option<(Hash, u64)> {
    let hash = parse_hex(name.get(..64)?)?;
    let offset = match name.get(64..)? {
        [] => 0,
        [b'.', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok()?.parse().ok()?
        }
        _ => return None,
    };
    Some((hash, offset))
}

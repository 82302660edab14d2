//! Answers over HTTP, arriving in pieces of any size: an end is found or an error said,
//! and no more is kept than was allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rig::net::exchange::receive;
use std::io::{self, Read, Write};

/// What a caller allows a body to have.
const LIMIT: usize = 4096;
/// What may be read beyond it at once.
const PIECE: usize = 32 * 1024;

struct Pieces<'a> {
    rest: &'a [u8],
    size: usize,
    read: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.size.min(self.rest.len()).min(into.len());
        let (piece, rest) = self.rest.split_at(count);
        into[..count].copy_from_slice(piece);
        self.rest = rest;
        self.read += count;
        Ok(count)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((size, rest)) = data.split_first() else { return };
    // Zero is an end; beyond a hundred it all comes at once.
    let size = if *size > 100 { usize::MAX } else { usize::from(*size).max(1) };
    let whole = answer(rest, usize::MAX);
    let pieces = answer(rest, size);
    // The pieces make no difference.
    assert_eq!(whole, pieces);
});

fn answer(bytes: &[u8], size: usize) -> Option<(u16, Option<Vec<u8>>)> {
    let mut wire = Pieces { rest: bytes, size, read: 0 };
    let answer = receive(&mut wire).ok()?;
    assert!(answer.status == 101 || answer.status >= 200);
    let status = answer.status;
    let _ = answer.header("content-type");
    let body = answer.body(&mut wire, LIMIT).ok();
    if let Some(body) = &body {
        assert!(body.len() <= LIMIT + PIECE && body.len() <= bytes.len());
    }
    Some((status, body))
}

//! A stream of bytes on its way between a program and a client: what has not been
//! acknowledged is kept, so that it can be sent again, and it is never more than a window.

use crate::wire::exec::{PIECE, WINDOW};
use std::collections::VecDeque;

/// A stream and how far it has come.
#[derive(Default)]
pub struct Flow {
    /// The offset of the first byte that is kept.
    start: u64,
    kept: VecDeque<u8>,
    /// There will be no more.
    ended: bool,
}

/// What came does not continue what is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl Flow {
    /// One of which everything before `offset` is done.
    pub fn at(offset: u64) -> Flow {
        Flow { start: offset, ..Flow::default() }
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.kept.len() as u64
    }

    /// The offset up to which everything was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.start
    }

    /// How many bytes may be added.
    pub fn room(&self) -> usize {
        WINDOW.saturating_sub(self.kept.len())
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
    }

    /// Adds bytes that begin at `offset`; what is there already is passed over, and so is
    /// what lies behind a hole: all that was not acknowledged comes again.
    pub fn push_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Broken> {
        let Some(known) = self.end().checked_sub(offset) else { return Ok(()) };
        let fresh = usize::try_from(known).ok().and_then(|known| bytes.get(known..)).unwrap_or(&[]);
        // A client that keeps to the window never has more.
        if fresh.len() > self.room() || (self.ended && !fresh.is_empty()) {
            return Err(Broken);
        }
        self.push(fresh);
        Ok(())
    }

    /// Some bytes from `offset` on; none when there are none yet.
    pub fn piece(&self, offset: u64) -> Option<Vec<u8>> {
        let skipped = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let piece: Vec<u8> = self.kept.iter().skip(skipped).take(PIECE).copied().collect();
        (!piece.is_empty()).then_some(piece)
    }

    /// Forgets what was acknowledged: everything before `offset`.
    pub fn acknowledge(&mut self, offset: u64) -> Result<(), Broken> {
        if offset > self.end() {
            return Err(Broken);
        }
        let done = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.kept.drain(..done.min(self.kept.len()));
        self.start = self.start.max(offset);
        Ok(())
    }

    /// There will be no more.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Whether there will be no more.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_acknowledged_comes_again() {
        let mut flow = Flow::default();
        flow.push(b"hello ");
        flow.push(b"world");
        assert_eq!(flow.piece(0).unwrap(), b"hello world");
        assert_eq!(flow.piece(6).unwrap(), b"world");
        flow.acknowledge(6).unwrap();
        // An old acknowledgement changes nothing.
        flow.acknowledge(2).unwrap();
        assert_eq!((flow.piece(0), flow.piece(6).unwrap()), (None, b"world".to_vec()));
        assert_eq!((flow.piece(11), flow.end(), flow.room()), (None, 11, WINDOW - 5));
        assert_eq!(flow.acknowledge(12), Err(Broken));
    }

    #[test]
    fn what_comes_twice_counts_once_and_what_follows_a_hole_not_at_all() {
        let mut flow = Flow::default();
        flow.push_at(0, b"abc").unwrap();
        flow.push_at(1, b"bcde").unwrap();
        flow.push_at(0, b"ab").unwrap();
        assert_eq!(flow.piece(0).unwrap(), b"abcde");
        flow.push_at(6, b"x").unwrap();
        assert_eq!(flow.piece(0).unwrap(), b"abcde");
        assert_eq!(flow.push_at(5, &vec![0; WINDOW]), Err(Broken));
        flow.finish();
        assert_eq!(flow.push_at(5, b"x"), Err(Broken));
        flow.push_at(2, b"c").unwrap();
    }
}

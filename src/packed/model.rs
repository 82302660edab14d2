//! What `build.rs` packs with and rig unpacks with, so that both make the same guesses: how
//! likely each bit is to be a one, learnt from those before, as in LZMA. A bit that was
//! expected takes less than a bit.
//!
//! A text is bytes, and repetitions of what came before: their lengths and how far back it is.
//! Each is preceded by a bit that says which.

/// The shortest repetition.
pub const SHORTEST: usize = 4;

/// The odds of a byte, by the byte before it.
pub const BYTE: usize = 0;
/// The odds of whether a repetition comes next; one place further, of that behind another.
pub const REPETITION: usize = 1 << 16;
/// The odds of the number that is one more than how much longer than [`SHORTEST`] it is.
pub const LENGTH: usize = REPETITION + 2;
/// The odds of how far back it is.
pub const DISTANCE: usize = LENGTH + NUMBER;
/// How many odds a number takes.
const NUMBER: usize = 16 * 17;

/// The odds of everything.
pub struct Model(Vec<u16>);

impl Model {
    /// Everything is as likely as not.
    pub fn new() -> Model {
        Model(vec![1 << 11; DISTANCE + NUMBER])
    }

    /// Splits a range as likely as the bit at `place`: up to what is returned it is a one.
    pub fn split(&self, place: usize, low: u32, high: u32) -> u32 {
        low + ((high - low) >> 12) * self.0.get(place).map_or(1, |odds| u32::from(*odds))
    }

    /// Learns the bit at `place`.
    pub fn learn(&mut self, place: usize, one: bool) {
        if let Some(odds) = self.0.get_mut(place) {
            *odds = if one { *odds + (((1 << 12) - *odds) >> 4) } else { *odds - (*odds >> 4) };
        }
    }
}

/// Where the odds of a number are whose highest bit is `highest`: of its bit at `place`.
pub fn digit(number: usize, highest: usize, place: usize) -> usize {
    number + 16 + 16 * highest + place
}

//! Texts that `build.rs` packs: those of help and of errors, which few runs of rig show.
//!
//! A text stands in the source where it belongs, as `packed!("…")`. `build.rs` finds it there
//! and packs it with all others; in the binary there is only the number of the text. What is
//! packed is unpacked as a whole when the first text is asked for.
//!
//! What tables name, and every command may show, is not packed: see [`Word`].

mod model;
#[cfg(test)]
mod pack;
mod word;

use model::{BYTE, DISTANCE, LENGTH, Model, REPETITION, SHORTEST, digit};
use std::sync::OnceLock;

/// The bytes that the texts unpack to, and each text with where it begins there. A zero byte
/// ends a text.
const TEXTS: (usize, &[(&str, u16)]) = include!(concat!(env!("OUT_DIR"), "/texts.rs"));

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/texts.bin"));

/// A text that is packed: where it begins in what [`PACKED`] unpacks to.
#[derive(Clone, Copy)]
pub struct Packed(u16);

/// The [`Packed`] for a literal; for pairs of literals, a slice of pairs.
macro_rules! packed {
    ($text:literal) => {
        const { $crate::packed::find($text) }
    };
    ($(($one:literal, $other:literal $(,)?)),+ $(,)?) => {
        &[$(($crate::packed::packed!($one), $crate::packed::packed!($other))),+]
    };
}

pub(crate) use packed;
pub use word::{Word, word};

/// Looks a text up, while rig is compiled.
pub(crate) const fn find(text: &str) -> Packed {
    Packed(place(TEXTS.1, text))
}

/// Where `text` begins. One that `build.rs` has not found is an error of compilation.
const fn place(places: &[(&str, u16)], text: &str) -> u16 {
    let mut at = 0;
    while !same(places[at].0.as_bytes(), text.as_bytes()) {
        at += 1;
    }
    places[at].1
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

impl Packed {
    /// The text itself.
    pub fn text(self) -> &'static str {
        static ALL: OnceLock<String> = OnceLock::new();
        let all = ALL.get_or_init(|| String::from_utf8(unpack(PACKED, TEXTS.0)).unwrap_or_default());
        until_zero(all, self.0)
    }
}

impl From<Packed> for String {
    fn from(packed: Packed) -> String {
        packed.text().to_owned()
    }
}

fn until_zero(all: &str, from: u16) -> &str {
    let from = usize::from(from);
    let length = all.as_bytes().get(from..).and_then(|rest| rest.iter().position(|byte| *byte == 0));
    length.and_then(|length| all.get(from..from + length)).unwrap_or_default()
}

/// Undoes `pack.rs`.
fn unpack(packed: &[u8], length: usize) -> Vec<u8> {
    let mut from = Unpacker { model: Model::new(), packed, low: 0, high: 0, code: 0 };
    let mut out = Vec::new();
    let mut behind = 0;
    while out.len() < length {
        if from.bit(REPETITION + behind) == 0 {
            let last = out.last().map_or(0, |byte| usize::from(*byte));
            out.push(from.tree(BYTE + 256 * last, 8) as u8);
            behind = 0;
        } else {
            let length = from.number(LENGTH) + SHORTEST - 1;
            let distance = from.number(DISTANCE);
            for _ in 0..length {
                out.push(out.len().checked_sub(distance).and_then(|at| out.get(at)).map_or(0, |byte| *byte));
            }
            behind = 1;
        }
    }
    out
}

/// Reads what was packed. `code` is a number to which all bits lead, from `low` to `high`.
struct Unpacker<'a> {
    model: Model,
    packed: &'a [u8],
    low: u32,
    high: u32,
    code: u32,
}

impl Unpacker<'_> {
    fn bit(&mut self, place: usize) -> usize {
        while (self.low ^ self.high) >> 24 == 0 {
            let byte = self.packed.split_off_first().map_or(0, |byte| u32::from(*byte));
            (self.low, self.high, self.code) = (self.low << 8, self.high << 8 | 255, self.code << 8 | byte);
        }
        let middle = self.model.split(place, self.low, self.high);
        let one = self.code <= middle;
        (self.low, self.high) = if one { (self.low, middle) } else { (middle + 1, self.high) };
        self.model.learn(place, one);
        usize::from(one)
    }

    /// A value of so many bits behind a one; the odds of each are by those before.
    fn tree(&mut self, place: usize, bits: usize) -> usize {
        (0..bits).fold(1, |known, _| known << 1 | self.bit(place + known))
    }

    fn number(&mut self, place: usize) -> usize {
        let highest = self.tree(place, 4) & 15;
        (0..highest).rev().fold(1, |known, bit| known << 1 | self.bit(digit(place, highest, bit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_unpacked() {
        assert!(TEXTS.1.len() > 300);
        for (text, at) in TEXTS.1 {
            assert_eq!(Packed(*at).text(), *text);
        }
    }

    #[test]
    fn whatever_is_packed_is_unpacked() {
        let mut random = nanorand::WyRand::new_seed(7);
        for round in 0..300 {
            let letters = [1, 2, 30, 256][round % 4];
            let length = nanorand::Rng::generate_range(&mut random, 0..3000_usize);
            let data: Vec<u8> =
                (0..length).map(|_| nanorand::Rng::generate_range(&mut random, 0..letters) as u8).collect();
            assert!(unpack(&pack::pack(&data), data.len()) == data);
        }
    }

    #[test]
    fn what_is_cut_short_is_no_endless_work() {
        for packed in [&[][..], &[0; 9], &[255; 9]] {
            assert!((100..100_000).contains(&unpack(packed, 100).len()));
        }
    }
}

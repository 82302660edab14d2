//! Packs with a [`Model`], in `build.rs` and in tests; no part of rig.

use super::model::{BYTE, DISTANCE, LENGTH, Model, REPETITION, SHORTEST, digit};
use std::collections::HashMap;

/// The longest repetition.
const LONGEST: usize = 1 << 15;

/// Packs `data`, of at most 64 KB: the numbers from zero to one are split in two at each bit,
/// and the bytes are the first ones of a number that all bits lead to.
pub fn pack(data: &[u8]) -> Vec<u8> {
    let mut out = Packer { model: Model::new(), low: 0, high: u32::MAX, bytes: Vec::new() };
    let mut seen: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let (mut at, mut last, mut behind) = (0, 0, 0);
    while at < data.len() {
        let key = data.get(at..at + SHORTEST).unwrap_or_default();
        let common = |start: usize| {
            let pairs = data[start..].iter().zip(&data[at..]);
            pairs.take(LONGEST).take_while(|(one, other)| one == other).count()
        };
        let starts = seen.get(key).map_or(&[][..], Vec::as_slice).iter().rev();
        let best = starts.map(|start| (common(*start), at - start)).rev().max_by_key(|(length, _)| *length);
        out.bit(REPETITION + behind, best.is_some());
        behind = usize::from(best.is_some());
        let taken = if let Some((length, distance)) = best {
            out.number(LENGTH, length - SHORTEST + 1);
            out.number(DISTANCE, distance);
            length
        } else {
            out.tree(BYTE + 256 * last, 8, usize::from(data[at]));
            1
        };
        for start in at..at + taken {
            if let Some(key) = data.get(start..start + SHORTEST) {
                seen.entry(key).or_default().push(start);
            }
        }
        at += taken;
        last = usize::from(data[at - 1]);
    }
    out.bytes.extend(out.high.to_be_bytes());
    out.bytes
}

struct Packer {
    model: Model,
    low: u32,
    high: u32,
    bytes: Vec<u8>,
}

impl Packer {
    fn bit(&mut self, place: usize, one: bool) {
        let middle = self.model.split(place, self.low, self.high);
        (self.low, self.high) = if one { (self.low, middle) } else { (middle + 1, self.high) };
        while (self.low ^ self.high) >> 24 == 0 {
            self.bytes.push((self.high >> 24) as u8);
            (self.low, self.high) = (self.low << 8, self.high << 8 | 255);
        }
        self.model.learn(place, one);
    }

    fn tree(&mut self, place: usize, bits: usize, value: usize) {
        let mut known = 1;
        for bit in (0..bits).rev() {
            let one = value >> bit & 1;
            self.bit(place + known, one == 1);
            known = known << 1 | one;
        }
    }

    fn number(&mut self, place: usize, value: usize) {
        let highest = value.ilog2() as usize;
        self.tree(place, 4, highest);
        for bit in (0..highest).rev() {
            self.bit(digit(place, highest, bit), value >> bit & 1 == 1);
        }
    }
}

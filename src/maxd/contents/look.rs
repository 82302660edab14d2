//! Looks which contents are there.

use super::Pool;
use crate::archive::Wanted;
use crate::error::Result;
use crate::manifest::{Hash, parse_hex};
use crate::maxd::store::disk;
use rustix::fs::RawDir;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Where so few of one directory are looked for, each is asked for.
const FEW: usize = 4;
/// So many names are read for each that is looked for. In a pool that is much larger than what is
/// wanted, asking for those that were not among them takes less.
const NAMES: usize = 16;

impl Pool {
    /// Whether a content is there.
    pub fn has(&self, hash: &Hash) -> bool {
        self.path(hash).exists()
    }

    /// Which of the contents with these numbers are not there.
    pub fn missing(&self, wanted: &Wanted, mut numbers: Vec<usize>) -> Result<Vec<usize>> {
        let hash = |number: &usize| wanted.get(*number).map_or(Hash::default(), |content| content.0);
        let first = |[first, ..]: Hash| usize::from(first);
        let mut directories = [(0, false); 256];
        for number in &numbers {
            directories.get_mut(first(hash(number))).iter_mut().for_each(|(count, _)| *count += 1);
        }
        let mut there = vec![false; wanted.list().len()];
        let mut found = |name: &[u8]| {
            let number = parse_hex(name).and_then(|hash| wanted.number(&hash));
            number.and_then(|number| there.get_mut(number)).into_iter().for_each(|there| *there = true);
        };
        for (first, (count, whole)) in
            directories.iter_mut().enumerate().filter(|(_, (count, _))| *count > FEW)
        {
            let directory = self.root.join(format!("{first:02x}"));
            let read = names(&directory, *count * NAMES, &mut found);
            *whole = read.map_err(|error| disk("read", &directory, &error))?;
        }
        numbers.retain(|number| {
            let hash = hash(number);
            let whole = directories.get(first(hash)).is_some_and(|(_, whole)| *whole);
            there.get(*number) != Some(&true) && (whole || !self.has(&hash))
        });
        Ok(numbers)
    }
}

/// Reads names in a directory; false when there are more than `most`.
fn names(directory: &Path, most: usize, each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    let directory = match File::open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut items = RawDir::new(directory, buffer.spare_capacity_mut());
    for _ in 0..most {
        match items.next() {
            None => return Ok(true),
            Some(item) => each(item?.file_name().to_bytes()),
        }
    }
    Ok(items.next().is_none())
}

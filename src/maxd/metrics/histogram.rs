//! How long answers took, counted in buckets that grow with the time: eight for each
//! doubling, so that a percentile is at most an eighth too high.

/// So many buckets; the last begins at 126 s and has no end.
pub const BUCKETS: usize = 200;

/// The bucket of so many microseconds.
pub fn bucket(us: u64) -> usize {
    if us < 8 {
        return us as usize;
    }
    let exponent = us.ilog2();
    let eighth = (us >> (exponent - 3)) & 7;
    (((exponent - 2) * 8) as usize + eighth as usize).min(BUCKETS - 1)
}

/// The most microseconds that fall into a bucket.
pub fn most(bucket: usize) -> u64 {
    let (group, eighth) = (bucket / 8, bucket as u64 % 8);
    match group {
        0 => eighth,
        _ => ((9 + eighth) << (group - 1)) - 1,
    }
}

/// How many fell into which bucket: those that have any, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(u8, u32)>);

impl Counts {
    /// Those of a dense table that are not zero.
    pub fn of(counts: impl Iterator<Item = u64>) -> Counts {
        let pairs = counts.take(BUCKETS).zip(0_u8..).filter(|(count, _)| *count > 0);
        Counts(pairs.map(|(count, bucket)| (bucket, u32::try_from(count).unwrap_or(u32::MAX))).collect())
    }

    /// What several have together.
    pub fn sum<'a>(all: impl Iterator<Item = &'a Counts>) -> Counts {
        let mut dense = [0_u64; BUCKETS];
        for (bucket, count) in all.flat_map(|counts| &counts.0) {
            if let Some(sum) = dense.get_mut(usize::from(*bucket)) {
                *sum += u64::from(*count);
            }
        }
        Counts::of(dense.into_iter())
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// So many percent took at most so many microseconds.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.total() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(bucket, count)| {
            seen += u64::from(*count);
            (seen >= rank).then(|| most(usize::from(*bucket)))
        })
    }

    /// For the disk: each bucket with its count, five bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pairs = self.0.iter();
        pairs.flat_map(|(bucket, count)| [*bucket].into_iter().chain(count.to_le_bytes())).collect()
    }

    /// Reads what [`Counts::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Counts {
        let pair = |piece: &[u8]| match piece {
            [bucket, a, b, c, d] if usize::from(*bucket) < BUCKETS => {
                Some((*bucket, u32::from_le_bytes([*a, *b, *c, *d])))
            }
            _ => None,
        };
        Counts(bytes.chunks(5).filter_map(pair).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_its_bucket() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(most(index)), index);
            assert_eq!(bucket(most(index) + 1), index + 1);
        }
        for us in [8, 1000, 123_456, 60_000_000] {
            let most = most(bucket(us));
            assert!(most >= us && most <= us + us / 8, "{us} {most}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut dense = [0_u64; BUCKETS];
        for us in 1..=100_u64 {
            dense[bucket(us * 1000)] += 1;
        }
        let counts = Counts::of(dense.into_iter());
        assert_eq!(counts.total(), 100);
        assert_eq!(counts.percentile(50), Some(most(bucket(50_000))));
        assert_eq!(counts.percentile(95), Some(most(bucket(95_000))));
        assert_eq!(Counts::default().percentile(50), None);
        assert_eq!(Counts::from_bytes(&counts.to_bytes()), counts);
        let twice = Counts::sum([&counts, &counts].into_iter());
        assert_eq!((twice.total(), twice.percentile(95)), (200, counts.percentile(95)));
    }
}

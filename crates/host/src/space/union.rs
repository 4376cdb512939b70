//! Ranges of a disk, counted once.

/// From so many ranges on, new ones are put in order with the others.
const FEW: usize = 1 << 16;

/// Ranges, each of which may be added any number of times.
#[derive(Default)]
pub struct Union {
    /// In order, and apart from each other: start and end.
    ranges: Vec<(u64, u64)>,
    fresh: Vec<(u64, u64)>,
}

impl Union {
    /// Adds a range.
    pub fn add(&mut self, start: u64, length: u64) {
        self.fresh.push((start, start.saturating_add(length)));
        // As many as there are: then each is moved a few times at most.
        if self.fresh.len() >= self.ranges.len().max(FEW) {
            self.settle();
        }
    }

    /// How long they are, together.
    pub fn total(&mut self) -> u64 {
        self.settle();
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    fn settle(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        self.ranges.append(&mut self.fresh);
        self.ranges.sort_unstable();
        let mut kept = 0;
        for n in 1..self.ranges.len() {
            let (start, end) = self.ranges[n];
            if start <= self.ranges[kept].1 {
                self.ranges[kept].1 = self.ranges[kept].1.max(end);
            } else {
                kept += 1;
                self.ranges[kept] = (start, end);
            }
        }
        self.ranges.truncate(kept + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn each_byte_counts_once(ranges in prop::collection::vec((0u64..200, 0u64..40), 0..50)) {
            let (mut union, mut bytes) = (Union::default(), BTreeSet::new());
            for (n, (start, length)) in ranges.iter().enumerate() {
                union.add(*start, *length);
                bytes.extend(*start..start + length);
                if n % 7 == 0 {
                    prop_assert_eq!(union.total(), bytes.len() as u64);
                }
            }
            prop_assert_eq!(union.total(), bytes.len() as u64);
        }
    }
}

//! A drive's volatile cache over a backing file.
//!
//! Invariant: what is read is what was written last. What was written before a [`Cache::flush`] that
//! returned is in the backing file; of what was written since, a cut leaves any part, by sectors.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// What is kept or lost together, unless it is torn.
pub const BLOCK: u64 = 4096;
/// What no cut tears.
pub const SECTOR: u64 = 512;
/// How many bytes wait for a flush; beyond it the oldest reach the disk, as in a real drive.
const HELD: usize = 64 << 20;

/// A write within one block.
struct Write {
    offset: u64,
    bytes: Box<[u8]>,
}

/// A block that differs from the backing file.
struct Block {
    bytes: Box<[u8]>,
    /// How many writes of the log touch it.
    writes: usize,
}

/// What became of the unflushed writes at a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// Reached the disk.
    pub kept: usize,
    /// Reached it in part.
    pub torn: usize,
    /// Did not.
    pub lost: usize,
}

/// The drive.
pub struct Cache {
    disk: File,
    size: u64,
    blocks: HashMap<u64, Block>,
    log: VecDeque<Write>,
    held: usize,
    lies: bool,
}

/// The parts of `len` bytes at `offset` between multiples of `unit`: offset, and place in the bytes.
fn split(offset: u64, len: usize, unit: u64) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let part = ((unit - at % unit) as usize).min(len - done);
        let range = done..done + part;
        done += part;
        (part > 0).then_some((at, range))
    })
}

impl Cache {
    /// A drive with the content of `disk`. One that `lies` says that a flush is done and does nothing.
    pub fn new(disk: File, lies: bool) -> io::Result<Self> {
        let size = disk.metadata()?.len();
        Ok(Self { disk, size, blocks: HashMap::new(), log: VecDeque::new(), held: 0, lies })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// At most `len` bytes at `offset`; fewer at the end.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let len = self.size.saturating_sub(offset).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        self.disk.read_exact_at(&mut bytes, offset)?;
        for (at, range) in split(offset, len, BLOCK) {
            if let Some(block) = self.blocks.get(&(at / BLOCK)) {
                let from = (at % BLOCK) as usize;
                bytes[range.clone()].copy_from_slice(&block.bytes[from..from + range.len()]);
            }
        }
        Ok(bytes)
    }

    /// Writes into the cache.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(ErrorKind::StorageFull.into());
        }
        for (at, range) in split(offset, bytes.len(), BLOCK) {
            self.write_in_block(at, &bytes[range])?;
        }
        while self.held > HELD {
            self.settle_oldest()?;
        }
        Ok(())
    }

    fn write_in_block(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (index, from) = (offset / BLOCK, (offset % BLOCK) as usize);
        if !self.blocks.contains_key(&index) {
            let begin = index * BLOCK;
            let mut old = vec![0; BLOCK.min(self.size - begin) as usize];
            self.disk.read_exact_at(&mut old, begin)?;
            self.blocks.insert(index, Block { bytes: old.into(), writes: 0 });
        }
        let block = self.blocks.get_mut(&index).expect("it was just put there");
        block.bytes[from..from + bytes.len()].copy_from_slice(bytes);
        block.writes += 1;
        self.held += bytes.len();
        self.log.push_back(Write { offset, bytes: bytes.into() });
        Ok(())
    }

    fn settle_oldest(&mut self) -> io::Result<()> {
        let Some(write) = self.log.pop_front() else { return Ok(()) };
        self.disk.write_all_at(&write.bytes, write.offset)?;
        self.held -= write.bytes.len();
        let index = write.offset / BLOCK;
        let block = self.blocks.get_mut(&index).expect("a block lives as long as its writes");
        block.writes -= 1;
        if block.writes == 0 {
            self.blocks.remove(&index);
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.lies && !self.log.is_empty() {
            self.settle_oldest()?;
        }
        Ok(())
    }

    /// Loses power: some of the unflushed writes reach the disk, in some order, some of them in part.
    /// The same seed chooses the same of the same writes.
    pub fn cut(self, seed: u64) -> io::Result<Lost> {
        let mut rng = StdRng::seed_from_u64(seed);
        // All and nothing are the cuts that an even choice would never show.
        let kept = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
        let mut writes: Vec<Write> = self.log.into();
        writes.shuffle(&mut rng);
        let mut lost = Lost::default();
        for write in writes {
            if !rng.random_bool(kept) {
                lost.lost += 1;
                continue;
            }
            let torn = kept < 1.0 && rng.random_bool(0.2);
            for (at, range) in split(write.offset, write.bytes.len(), SECTOR) {
                if !torn || rng.random_bool(0.5) {
                    self.disk.write_all_at(&write.bytes[range], at)?;
                }
            }
            *(if torn { &mut lost.torn } else { &mut lost.kept }) += 1;
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u64 = 3 * BLOCK + SECTOR;

    fn drive(lies: bool) -> (File, Cache) {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(SIZE).unwrap();
        let cache = Cache::new(disk.try_clone().unwrap(), lies).unwrap();
        (disk, cache)
    }

    fn content(disk: &File) -> Vec<u8> {
        let mut bytes = vec![0; SIZE as usize];
        disk.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[derive(Clone, Debug)]
    enum Act {
        Write { sector: u64, sectors: u64 },
        Flush,
    }

    fn act() -> impl Strategy<Value = Act> {
        let sectors = SIZE / SECTOR;
        prop_oneof![
            3 => (0..sectors, 1..12u64)
                .prop_map(move |(sector, n)| Act::Write { sector, sectors: n.min(sectors - sector) }),
            1 => Just(Act::Flush),
        ]
    }

    proptest! {
        /// Every sector is, after a cut, what the last flush left or something written since.
        #[test]
        fn a_cut_leaves_what_was_flushed(acts in prop::collection::vec(act(), 0..40), seed: u64) {
            let (disk, mut cache) = drive(false);
            let mut now = vec![0; SIZE as usize];
            let mut may: Vec<Vec<u8>> = vec![vec![0]; (SIZE / SECTOR) as usize];
            for (n, act) in acts.iter().enumerate() {
                match act {
                    Act::Write { sector, sectors } => {
                        let (from, len) = ((sector * SECTOR) as usize, (sectors * SECTOR) as usize);
                        let byte = n as u8 + 1;
                        now[from..from + len].fill(byte);
                        cache.write(from as u64, &vec![byte; len]).unwrap();
                        (*sector..sector + sectors).for_each(|s| may[s as usize].push(byte));
                    }
                    Act::Flush => {
                        cache.flush().unwrap();
                        prop_assert_eq!(&content(&disk), &now);
                        may.iter_mut().for_each(|m| *m = vec![*m.last().unwrap()]);
                    }
                }
                prop_assert_eq!(&cache.read(0, SIZE as usize).unwrap(), &now);
            }
            cache.cut(seed).unwrap();
            for (sector, bytes) in content(&disk).chunks(SECTOR as usize).enumerate() {
                prop_assert!(bytes.iter().all(|b| *b == bytes[0]), "sector {} is torn", sector);
                prop_assert!(may[sector].contains(&bytes[0]), "sector {}", sector);
            }
        }
    }

    #[test]
    fn cuts_keep_lose_and_tear() {
        let mut all = Lost::default();
        for seed in 0..50 {
            let (_disk, mut cache) = drive(false);
            (0..3).for_each(|n| cache.write(n * BLOCK, &[7; BLOCK as usize]).unwrap());
            let lost = cache.cut(seed).unwrap();
            assert_eq!(lost.kept + lost.torn + lost.lost, 3);
            all.kept += lost.kept;
            all.torn += lost.torn;
            all.lost += lost.lost;
        }
        assert!(all.kept > 10 && all.torn > 2 && all.lost > 10, "{all:?}");
    }

    #[test]
    fn a_liar_flushes_nothing() {
        let (disk, mut cache) = drive(true);
        cache.write(0, &[7; 512]).unwrap();
        cache.flush().unwrap();
        assert_eq!(content(&disk), vec![0; SIZE as usize]);
        assert_eq!(cache.read(0, 1).unwrap(), [7]);
    }

    #[test]
    fn what_is_too_much_to_hold_settles_by_itself() {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(2 * HELD as u64).unwrap();
        let mut cache = Cache::new(disk.try_clone().unwrap(), false).unwrap();
        let piece = vec![9; 1 << 20];
        (0..2 * (HELD as u64 >> 20)).for_each(|n| cache.write(n << 20, &piece).unwrap());
        assert_eq!(cache.held, HELD);
        let mut first = [0; 1];
        disk.read_exact_at(&mut first, 0).unwrap();
        assert_eq!(first, [9]);
        assert!(cache.write(2 * HELD as u64, &[1]).is_err(), "beyond the end");
        assert_eq!(cache.read(2 * HELD as u64 - 1, 9).unwrap(), [9]);
    }
}

//! The content of a volume, piece by piece.
//!
//! Invariant: holes are never read; no more than one piece is in memory.

use super::{FilePool, snapshot, source};
use crate::copy::next_range;
use engine::Reading;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use types::{ByteSize, Problem};

/// Bytes of a piece, at the most.
const PIECE: u64 = 1 << 20;

/// A volume that is being read.
pub struct Content {
    file: File,
    size: ByteSize,
    at: u64,
    /// Where the data that `at` is in ends.
    end: u64,
}

impl Content {
    /// How long it is, holes included.
    pub fn size(&self) -> ByteSize {
        self.size
    }

    /// The next data: where it is, and its bytes. What lies between is zeros.
    ///
    /// # Errors
    /// Those of the file system; `UnexpectedEof` if the file was cut meanwhile.
    pub fn piece(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        if self.at == self.end {
            let Some((start, end)) = next_range(&self.file, self.at, self.size.bytes())? else {
                return Ok(None);
            };
            (self.at, self.end) = (start, end);
        }
        let mut piece = vec![0; PIECE.min(self.end - self.at) as usize];
        self.file.read_exact_at(&mut piece, self.at)?;
        let at = self.at;
        self.at += piece.len() as u64;
        Ok(Some((at, piece)))
    }
}

impl FilePool {
    /// Opens a volume's or a snapshot's file, which stays as it is for as long as the caller has it held.
    ///
    /// # Errors
    /// `volume-lost`, `snapshot-lost`, `io-error`.
    pub fn content(&self, of: Reading) -> Result<Content, Problem> {
        let opened = match of {
            Reading::Volume(volume) => source::open(&self.layout.volume(volume)),
            Reading::Snapshot(snapshot) => snapshot::open(&self.layout, snapshot, ByteSize::MAX),
        };
        let (file, size) = opened.map_err(|fault| fault.problem)?;
        Ok(Content { file, size, at: 0, end: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use types::VolumeId;

    #[test]
    fn data_comes_in_order_and_holes_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), dir.path());
        let pool = FilePool::open(layout.clone()).unwrap();
        let id = VolumeId(uuid::Uuid::from_u128(1));
        let file = File::create(layout.volume(id)).unwrap();
        file.set_len(1 << 40).unwrap();
        let data = vec![7; (PIECE + 4096) as usize];
        for at in [0, 1 << 30, (1 << 40) - (PIECE + 4096)] {
            file.write_all_at(&data, at).unwrap();
        }
        let mut content = pool.content(Reading::Volume(id)).unwrap();
        assert_eq!(content.size(), ByteSize(1 << 40));
        let mut seen = vec![];
        while let Some((at, piece)) = content.piece().unwrap() {
            assert!(piece.iter().all(|b| *b == 7));
            seen.push((at, piece.len() as u64));
        }
        let pair = |at| [(at, PIECE), (at + PIECE, 4096)];
        assert_eq!(seen, [pair(0), pair(1 << 30), pair((1 << 40) - PIECE - 4096)].concat());
        assert!(pool.content(Reading::Volume(VolumeId(uuid::Uuid::from_u128(2)))).is_err());
    }
}

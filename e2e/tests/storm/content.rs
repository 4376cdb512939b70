//! What is in volumes and snapshots, so that nobody loses a byte of it on the way.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What copies keep or leave out: holes, and blocks of zeros.
const BLOCK: usize = 4096;
const CHUNK: usize = 1 << 20;

/// The digest of all that is not zeros, and where it is.
fn digest(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let (mut sum, mut chunk, zeros) = (Sha256::new(), vec![0; CHUNK], [0; BLOCK]);
    let mut at = 0;
    loop {
        at = match seek(&file, SeekFrom::Data(at)) {
            // From the beginning of the chunk, so that its blocks lie alike wherever a hole ends.
            Ok(data) => at.max(data / CHUNK as u64 * CHUNK as u64),
            Err(Errno::NXIO) => return Ok(format!("{:x}", sum.finalize())),
            Err(e) => return Err(e.into()),
        };
        let n = file.read_at(&mut chunk, at)?;
        for (k, block) in chunk[..n].chunks(BLOCK).enumerate() {
            if *block != zeros[..block.len()] {
                sum.update((at + (k * BLOCK) as u64).to_le_bytes());
                sum.update(block);
            }
        }
        at += n as u64;
    }
}

/// By what a file is known not to have been written to.
type Stamp = (u64, u64, u64, SystemTime);

/// The contents of files, by what is in them.
#[derive(Default)]
pub struct Contents(BTreeMap<String, (Stamp, String)>);

impl Contents {
    /// Reads these files, but for those that were not touched since they were read last; one that was
    /// there before has to be what it was, wherever it is now. Forgets all others.
    pub fn look<'a>(&mut self, files: impl Iterator<Item = (&'a String, &'a PathBuf)>) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        for (name, path) in files {
            let file = path.metadata().map_err(|e| format!("{name}: {e}"))?;
            let modified = file.modified().map_err(|e| format!("{name}: {e}"))?;
            let stamp = (file.dev(), file.ino(), file.len(), modified);
            let now = match self.0.get(name) {
                Some((before, digest)) if *before == stamp => digest.clone(),
                before => {
                    let now = digest(path).map_err(|e| format!("{name} cannot be read: {e}"))?;
                    if before.is_some_and(|(_, before)| *before != now) {
                        return Err(format!("{name} is not what it was, and nobody wrote to it"));
                    }
                    now
                }
            };
            seen.insert(name.clone(), (stamp, now));
        }
        self.0 = seen;
        Ok(())
    }

    /// Whether `copy` is what `of` is, as far as both are at rest.
    pub fn same(&self, copy: &str, of: &str) -> bool {
        match (self.0.get(copy), self.0.get(of)) {
            (Some((_, copy)), Some((_, of))) => copy == of,
            _ => true,
        }
    }
}

//! Which sizes are known to be on the disk.
//!
//! Invariant: a size is told of only after an fsync that covers it: a daemon that was killed between
//! `ftruncate` and fsync leaves one that the next daemon sees and a power cut takes back (tried on XFS).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::VolumeId;

/// The sizes that this process has seen to.
#[derive(Clone, Debug, Default)]
pub struct Sizes(Arc<Mutex<HashMap<VolumeId, u64>>>);

impl Sizes {
    fn known(&self) -> MutexGuard<'_, HashMap<VolumeId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the size that the file was seen with durable; costs nothing from the second time on.
    pub fn settle(&self, volume: VolumeId, file: &Path, size: u64) -> io::Result<()> {
        if self.known().get(&volume) == Some(&size) {
            return Ok(());
        }
        match File::open(file).and_then(|file| file.sync_all()) {
            Ok(()) => {}
            // Gone since it was looked at: whoever looks again sees that.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
        self.known().insert(volume, size);
        Ok(())
    }

    /// The file was made this long and synced by us.
    pub fn note(&self, volume: VolumeId, size: u64) {
        self.known().insert(volume, size);
    }

    /// The file is gone.
    pub fn forget(&self, volume: VolumeId) {
        self.known().remove(&volume);
    }
}

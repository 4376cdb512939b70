//! Room for what must be written on a disk that others have filled: the database, and the sidecars.
//!
//! Invariant: a reserve is real, written blocks. It is given up, a part at a time and durably, only when
//! whom it is kept for finds no room, and taken again once there is some.

use super::{Entry, Limit, Sqlite, Store, StoreError, Txn, Watch};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is kept: twice what the log grows to before it is written over (1,000 pages of 4 KiB).
const SIZE: u64 = 8 << 20;
/// What is given at once: about what a transaction takes, since others take what it leaves.
const PART: u64 = 64 << 10;
/// How many parts a start on a full disk gives: whoever begins makes sockets and locks.
const START: usize = 8;
/// How long to wait before taking again what was given.
const AGAIN: Duration = Duration::from_secs(10);

/// A store in one file that can be written to on a full disk.
pub struct Reserved {
    inner: Sqlite,
    reserve: Mutex<Reserve>,
}

/// Room kept for small files that must be written whatever happens.
#[derive(Debug)]
pub struct Spare(Mutex<Reserve>);

impl Spare {
    /// The reserve of `size` bytes in the file at `path`; [`Spare::take`] makes it.
    pub fn at(path: PathBuf, size: u64) -> Self {
        Self(Mutex::new(Reserve::at(path, size, "the sidecars")))
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it whole, as far as there is room.
    pub fn take(&self) {
        self.reserve().take();
    }

    /// Does what must be done: as long as it fails because of `full`, a part is given to it.
    ///
    /// # Errors
    /// What `attempt` fails with for another reason, or once nothing is left to give.
    pub fn or_give<T, E>(
        &self,
        full: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        match attempt() {
            Err(e) if full(&e) => or_give(&mut self.reserve(), full, attempt),
            done => {
                // Whoever holds it is taking or giving just now.
                if let Ok(mut reserve) = self.0.try_lock() {
                    reserve.take_if_due();
                }
                done
            }
        }
    }
}

impl Reserved {
    /// Opens or makes the database at `path`; its reserve lies beside it (`.reserve`).
    ///
    /// # Errors
    /// What [`Sqlite::open`] says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut reserve = Reserve::at(path.with_extension("reserve"), SIZE, "the database");
        let inner = or_give(&mut reserve, is_full, || Sqlite::open(path))?;
        reserve.take();
        if reserve.held < reserve.size {
            (0..START).for_each(|_| _ = reserve.give());
        }
        Ok(Self { inner, reserve: Mutex::new(reserve) })
    }
}

/// Tries until it succeeds, fails for another reason than room, or nothing is left to give.
fn or_give<T, E>(
    reserve: &mut Reserve,
    full: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    loop {
        match attempt() {
            Err(e) if full(&e) && reserve.give() => {}
            other => return other,
        }
    }
}

fn is_full(e: &StoreError) -> bool {
    *e == StoreError::Full
}

impl Store for Reserved {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(prefix, limit)
    }

    fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        match self.inner.commit(txn.clone()) {
            Err(StoreError::Full) => {
                let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
                or_give(&mut reserve, is_full, || self.inner.commit(txn.clone()))
            }
            done => {
                // Whoever holds it is taking or giving just now.
                if let Ok(mut reserve) = self.reserve.try_lock() {
                    reserve.take_if_due();
                }
                done
            }
        }
    }

    fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, from)
    }

    fn revision(&self) -> Result<u64, StoreError> {
        self.inner.revision()
    }
}

/// A file of zeros.
#[derive(Debug)]
struct Reserve {
    path: PathBuf,
    /// How large it shall be.
    size: u64,
    /// For whom it is kept.
    whom: &'static str,
    held: u64,
    tried: Instant,
}

impl Reserve {
    fn at(path: PathBuf, size: u64, whom: &'static str) -> Self {
        // A copy may be all holes, which hold nothing.
        let held = path.metadata().ok().filter(|m| m.blocks() * 512 >= m.len()).map_or(0, |m| m.len());
        Self { path, size, whom, held, tried: Instant::now() }
    }

    fn take_if_due(&mut self) {
        if self.held < self.size && self.tried.elapsed() >= AGAIN {
            self.take();
        }
    }

    /// Makes it whole, as far as there is room.
    fn take(&mut self) {
        self.tried = Instant::now();
        if self.held >= self.size {
            return;
        }
        let before = self.held;
        match self.extend() {
            Ok(()) => tracing::debug!(bytes = self.held, "room is kept for {}", self.whom),
            Err(e) => {
                tracing::warn!(bytes = self.held, error = %e, "too little room is kept for {}", self.whom)
            }
        }
        if self.held == before && before == 0 {
            // An empty file would only be in the way.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn extend(&mut self) -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(false).open(&self.path)?;
        let part = vec![0; PART as usize];
        while self.held < self.size {
            file.seek(SeekFrom::Start(self.held))?;
            // Written and not only promised: what is synced has its blocks.
            if let Err(e) = file.write_all(&part).and_then(|()| file.sync_all()) {
                file.set_len(self.held)?;
                return Err(e);
            }
            self.held += PART;
        }
        Ok(())
    }

    /// Gives a part; returns whether there was one.
    fn give(&mut self) -> bool {
        let rest = self.held.saturating_sub(PART);
        let given = self.held > 0
            && File::options().write(true).open(&self.path).is_ok_and(|file| {
                // Blocks are free for others once the truncation is in the file system's log.
                file.set_len(rest).and_then(|()| file.sync_all()).is_ok()
            });
        if given {
            self.held = rest;
            self.tried = Instant::now();
            tracing::warn!(bytes = rest, "the disk is full: {} live on what was kept", self.whom);
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        let mut n = 0;
        conformance::all(&mut || {
            n += 1;
            Box::new(Reserved::open(&dir.path().join(format!("{n}.db"))).unwrap())
        });
    }

    #[test]
    fn a_copy_of_holes_is_made_real() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.reserve");
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        let mut reserve = Reserve::at(path.clone(), SIZE, "x");
        assert_eq!(reserve.held, 0);
        reserve.take();
        assert!(path.metadata().unwrap().blocks() * 512 >= SIZE);
        assert_eq!(Reserve::at(path, SIZE, "x").held, SIZE);
    }

    #[test]
    fn what_must_be_done_gets_room_and_other_failures_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let spare = Spare::at(dir.path().join("x.reserve"), SIZE);
        spare.take();
        let mut tries = 0;
        let done = spare.or_give(
            |e: &&str| *e == "full",
            || {
                tries += 1;
                if tries < 4 { Err("full") } else { Ok(tries) }
            },
        );
        // The first of these was without anybody's help.
        assert_eq!((done, spare.reserve().held), (Ok(4), SIZE - 2 * PART));
        let other = spare.or_give(|e: &&str| *e == "full", || Err::<(), _>("broken"));
        assert_eq!((other, spare.reserve().held), (Err("broken"), SIZE - 2 * PART));
    }

    #[test]
    fn gives_in_parts_until_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.reserve");
        let mut reserve = Reserve::at(path.clone(), SIZE, "x");
        assert!(!reserve.give(), "nothing was taken");
        reserve.take();
        assert_eq!(path.metadata().unwrap().len(), SIZE);
        let mut tries = 0;
        let full: Result<(), _> = or_give(&mut reserve, is_full, || {
            tries += 1;
            Err(StoreError::Full)
        });
        assert_eq!((full, tries), (Err(StoreError::Full), SIZE / PART + 1));
        assert_eq!(path.metadata().unwrap().len(), 0);
        reserve.take_if_due();
        assert_eq!(reserve.held, 0, "not at once again");
        let mut reserve = Reserve::at(path, SIZE, "x");
        reserve.take();
        let mut tries = 0;
        let second = or_give(&mut reserve, is_full, || {
            tries += 1;
            if tries == 2 { Ok(tries) } else { Err(StoreError::Full) }
        });
        assert_eq!((second, reserve.held), (Ok(2), SIZE - PART));
    }
}

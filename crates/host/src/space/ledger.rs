//! What of the files of one file system is shared, remembered until something may have changed it.
//!
//! Invariant: what is remembered of a file holds only while its stamp does. Sharing also changes with what
//! is done to the other one that has the blocks, and that leaves a trace in a stamp of ours, too: a copy is
//! a new file, and whoever shared and has since been written to, or is gone, is another. Then all is
//! measured anew. What strangers do to copies of their own leaves none, so nothing is believed for ever.

use super::fiemap::Mapper;
use super::scan::{Seen, Stamp};
use super::union::Union;
use engine::port::Sharing;
use rustix::fs::{Mode, OFlags, open};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};
use types::ByteSize;

/// How long anything is believed.
const BELIEVED: Duration = Duration::from_secs(600);
/// How long a change may take to be seen from the other files: XFS gives up the blocks of a removed file
/// in the background (Linux, `xfs_inodegc_worker`).
const EFFECT: Duration = Duration::from_secs(5);

/// What is known of one file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// How it was; `None` if it was written to only just now, so that a stamp does not tell.
    stamp: Option<Stamp>,
    /// What it shares; `None` if the file system did not say.
    shared: Option<u64>,
}

/// What was found of files that were measured before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    /// All is known.
    Known,
    /// There are some of which nothing is known.
    New,
    /// One that others shared with is another, or is gone.
    Changed,
}

/// The files of one file system.
#[derive(Default)]
pub struct Ledger {
    entries: HashMap<u64, Entry>,
    /// What is shared and was not seen in a pool before it, by pool.
    once: Vec<(String, u64)>,
    measured: Option<Instant>,
    /// When it was last seen that what is shared has changed.
    changed: Option<Instant>,
    /// How many files were opened, ever.
    #[cfg(test)]
    pub opened: u64,
}

impl Ledger {
    /// Measures the files of these pools, in this order.
    pub fn measure(&mut self, pools: &[(&str, &[Seen])]) {
        let found = self.refresh(pools);
        if found == Found::Changed {
            self.changed = Some(Instant::now());
        }
        let early = self.changed.zip(self.measured).is_some_and(|(changed, at)| at < changed + EFFECT);
        if found != Found::Known || early {
            self.anew(pools);
        }
    }

    /// Whose a file of the last measure is.
    pub fn sharing(&self, file: &Seen) -> Option<Sharing> {
        let shared = self.entries.get(&file.ino)?.shared?.min(file.allocated);
        Some(Sharing { exclusive: ByteSize(file.allocated - shared), shared: ByteSize(shared) })
    }

    /// What a pool of the last measure shares, as far as none before it does.
    pub fn shared_once(&self, pool: &str) -> ByteSize {
        ByteSize(self.once.iter().find(|(name, _)| name == pool).map_or(0, |(_, bytes)| *bytes))
    }

    /// Measures what has changed, as far as it does not matter for anything else.
    fn refresh(&mut self, pools: &[(&str, &[Seen])]) -> Found {
        if self.measured.is_none_or(|at| at.elapsed() > BELIEVED) {
            return Found::New;
        }
        let files = || pools.iter().flat_map(|(_, files)| files.iter());
        let mut changed = Vec::new();
        let mut there = 0;
        for file in files() {
            match self.entries.get(&file.ino) {
                Some(entry) if entry.stamp == Some(file.stamp) => {}
                // Nobody else has anything of it, so nobody else is another for it.
                Some(Entry { shared: Some(0), .. }) => changed.push(file),
                Some(_) => return Found::Changed,
                None => return Found::New,
            }
            there += 1;
        }
        if there != self.entries.len() {
            let here: std::collections::HashSet<u64> = files().map(|f| f.ino).collect();
            let gone = |ino: &u64| !here.contains(ino);
            if self.entries.iter().any(|(ino, e)| gone(ino) && e.shared != Some(0)) {
                return Found::Changed;
            }
            self.entries.retain(|ino, _| !gone(ino));
        }
        let mut mapper = Mapper::new();
        match changed.iter().all(|file| self.look(&mut mapper, file, &mut |_, _| ()) == Some(0)) {
            true => Found::Known,
            false => Found::New,
        }
    }

    fn anew(&mut self, pools: &[(&str, &[Seen])]) {
        self.entries.clear();
        self.once.clear();
        let (mut mapper, mut union, mut before) = (Mapper::new(), Union::default(), 0);
        for (pool, files) in pools {
            for file in *files {
                self.look(&mut mapper, file, &mut |start, length| union.add(start, length));
            }
            let total = union.total();
            self.once.push(((*pool).to_owned(), total - before));
            before = total;
        }
        self.measured = Some(Instant::now());
    }

    fn look(&mut self, mapper: &mut Mapper, file: &Seen, each: &mut dyn FnMut(u64, u64)) -> Option<u64> {
        #[cfg(test)]
        (self.opened += 1);
        let stamp = file.stamp.settled().then_some(file.stamp);
        let shared = shared(mapper, file, each).unwrap_or_else(|e| {
            tracing::debug!(file = %file.path.display(), error = %e, "it cannot be seen what is shared");
            None
        });
        self.entries.insert(file.ino, Entry { stamp, shared });
        shared
    }
}

/// See [`Mapper::shared`].
pub fn shared(mapper: &mut Mapper, file: &Seen, each: &mut dyn FnMut(u64, u64)) -> io::Result<Option<u64>> {
    if file.allocated == 0 {
        return Ok(Some(0));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    mapper.shared(&File::from(open(&file.path, flags, Mode::empty())?), each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::port::Kept;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    fn look(dir: &Path) -> Vec<Seen> {
        let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        entries
            .into_iter()
            .map(|p| Seen::of(Kept::Image, p.clone(), &p.metadata().unwrap()).unwrap())
            .collect()
    }

    fn settled(dir: &Path) -> Vec<Seen> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let seen = look(dir);
            if seen.iter().all(|file| file.stamp.settled()) {
                return seen;
            }
            assert!(Instant::now() < end, "time passes");
            std::thread::yield_now();
        }
    }

    fn write(dir: &Path, name: &str, at: u64) {
        let path = dir.join(name);
        let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
        // More extents than are asked for at once, where the file system keeps them apart.
        for n in 0..600 {
            file.write_all_at(&[7; 4096], at + n * 8192).unwrap();
        }
        file.sync_all().unwrap();
    }

    #[test]
    fn only_what_changed_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", 0);
        write(dir.path(), "b", 0);
        File::create(dir.path().join("empty")).unwrap().set_len(1 << 40).unwrap();
        let mut ledger = Ledger::default();
        let mut measure = || {
            let seen = settled(dir.path());
            let before = ledger.opened;
            ledger.measure(&[("default", &seen)]);
            for file in &seen {
                let of = ledger.sharing(file).unwrap();
                assert_eq!((of.exclusive.bytes(), of.shared.bytes()), (file.allocated, 0));
            }
            assert_eq!(ledger.shared_once("default"), ByteSize(0));
            ledger.opened - before
        };
        assert_eq!(measure(), 3);
        assert_eq!(measure(), 0);
        write(dir.path(), "a", 16 << 20);
        assert_eq!(measure(), 1);
        // A new one may be a copy of any.
        write(dir.path(), "c", 0);
        assert_eq!(measure(), 4);
        std::fs::remove_file(dir.path().join("b")).unwrap();
        assert_eq!(measure(), 0);
    }

    #[test]
    fn what_was_written_to_just_now_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::default();
        let mut seen = loop {
            write(dir.path(), "a", 0);
            let seen = look(dir.path());
            ledger.measure(&[("default", &seen)]);
            if !seen[0].stamp.settled() {
                break seen;
            }
        };
        let opened = ledger.opened;
        ledger.measure(&[("default", &seen)]);
        assert_eq!(ledger.opened, opened + 1);
        seen = settled(dir.path());
        ledger.measure(&[("default", &seen)]);
        ledger.measure(&[("default", &seen)]);
        assert_eq!(ledger.opened, opened + 2);
    }

    #[test]
    fn what_cannot_be_opened_is_not_known_and_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", 0);
        let mut seen = look(dir.path());
        seen[0].path = dir.path().join("gone");
        let mut ledger = Ledger::default();
        ledger.measure(&[("default", &seen)]);
        assert_eq!(ledger.sharing(&seen[0]), None);
    }
}

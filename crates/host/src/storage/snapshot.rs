//! Snapshots: files beside the volumes, each a copy of one as it was.
//!
//! `snapshots/<id>.raw` is a snapshot, `snapshots/<id>.json` its sidecar; what begins with a dot is a
//! temporary of ours.
//!
//! Invariant: a published file is complete and durable, and is only read from then on; a volume whose
//! content is replaced has the old or the new one, whole, at every moment.

use super::{FilePool, doing, fill, generation, source};
use crate::pools::place;
use crate::{Layout, copy, durable, fault};
use engine::port::{Fault, FileObs, OnProgress, SnapshotObs};
use rustix::fs::ioctl_ficlone;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use types::{ByteSize, Code, SnapshotId, VolumeId};

impl FilePool {
    fn snapshot_fault(&self, doing: &str, snapshot: SnapshotId, e: &io::Error) -> Fault {
        fault::io(&format!("{doing} snapshot {snapshot}"), &self.layout.snapshots(), e)
    }

    pub(super) fn look_at_snapshot(&self, snapshot: SnapshotId) -> Result<SnapshotObs, Fault> {
        let file = match self.layout.snapshot(snapshot).symlink_metadata() {
            Ok(seen) if seen.is_file() => Some(FileObs {
                size: ByteSize(seen.len()),
                allocated: ByteSize(seen.blocks().saturating_mul(512)),
            }),
            Ok(_) => return Err(self.snapshot_fault("use", snapshot, &ErrorKind::InvalidInput.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(self.snapshot_fault("look at", snapshot, &e)),
        };
        Ok(SnapshotObs { file, sidecar: generation(&self.layout.snapshot_sidecar(snapshot)) })
    }

    fn temporaries_of(&self, snapshot: SnapshotId) -> [PathBuf; 2] {
        let name = |tail: &str| self.layout.snapshots().join(format!(".{snapshot}.{tail}"));
        [name("raw.part"), name("json.new")]
    }

    pub(super) fn copy_to_snapshot(
        &self,
        snapshot: SnapshotId,
        of: VolumeId,
        live: bool,
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        let (content, length) = source::open(&self.layout.volume(of))?;
        let [part, _] = self.temporaries_of(snapshot);
        let mut tell = |done, total| progress(doing("copying", done, Some(total)));
        let made = durable::remove(&part)
            .and_then(|()| File::options().read(true).write(true).create_new(true).mode(0o600).open(&part))
            .and_then(|file| match live {
                true => Ok(ioctl_ficlone(&file, &content)?),
                false => copy::content(&content, &file, length.bytes(), length.bytes(), &mut tell),
            })
            // It is believed in only once it was settled.
            .and_then(|()| std::fs::rename(&part, self.layout.snapshot(snapshot)));
        made.map_err(|e| {
            // What keeps this from succeeding is what is told; the next try removes it again.
            let _ = durable::remove(&part);
            match live && copy::unshared(&e) {
                true => Fault::lasting(Code::MachineRunning, "the pool's file system shares no blocks")
                    .hint("stop the machine first, or keep its volumes on XFS with reflink or on Btrfs"),
                false => self.snapshot_fault("make the file of", snapshot, &e),
            }
        })
    }

    pub(super) fn sync_snapshot(&self, snapshot: SnapshotId) -> Result<ByteSize, Fault> {
        let (file, length) = open(&self.layout, snapshot, ByteSize::MAX)?;
        file.sync_all()
            .and_then(|()| durable::sync_dir(&self.layout.snapshots()))
            .map_err(|e| self.snapshot_fault("write out", snapshot, &e))?;
        Ok(length)
    }

    pub(super) fn publish_snapshot_sidecar(&self, snapshot: SnapshotId, sidecar: &[u8]) -> Result<(), Fault> {
        let path = self.layout.snapshot_sidecar(snapshot);
        self.layout
            .must(|| durable::write(&path, sidecar, 0o600))
            .map_err(|e| self.snapshot_fault("write the sidecar of", snapshot, &e))
    }

    pub(super) fn discard_snapshot(&self, snapshot: SnapshotId) -> Result<(), Fault> {
        let [part, new] = self.temporaries_of(snapshot);
        // The file first: a sidecar that is left shows that removing is not done.
        let all = [self.layout.snapshot(snapshot), self.layout.snapshot_sidecar(snapshot), part, new];
        all.iter()
            .try_for_each(|path| durable::discard(path))
            .and_then(|()| durable::sync_dir(&self.layout.snapshots()))
            .map_err(|e| self.snapshot_fault("remove", snapshot, &e))
    }

    /// Makes the snapshot's file that of a volume, too: it has both names until one of them goes. Either
    /// nobody reads it by the first any more once it has the second, or nobody ever writes to it.
    pub(super) fn take_over(
        &self,
        volume: VolumeId,
        snapshot: SnapshotId,
        size: ByteSize,
        sidecar: &[u8],
    ) -> Result<(), Fault> {
        let from = self.layout.snapshot(snapshot);
        fill::link(&self.layout, volume, (&from, size), sidecar, |_| None)?;
        self.sizes.note(volume, size.bytes());
        Ok(())
    }

    pub(super) fn replace_content(
        &self,
        volume: VolumeId,
        (pool, to): (&str, SnapshotId),
        size: ByteSize,
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        let (content, length) = open(&place::layout(&self.layout, pool)?, to, size)?;
        let mut tell = |done, total| progress(doing("copying", done, Some(total)));
        fill::replace(&self.layout, volume, |file| {
            copy::content(&content, file, length.bytes(), size.bytes(), &mut tell)
        })
        .map_err(|e| self.fault("replace the content of", volume, &e))?;
        self.sizes.note(volume, size.bytes());
        Ok(())
    }
}

/// Opens a snapshot's content to be copied to `size` bytes.
pub fn open(layout: &Layout, snapshot: SnapshotId, size: ByteSize) -> Result<(File, ByteSize), Fault> {
    let (content, length) = source::open(&layout.snapshot(snapshot)).map_err(|mut fault| {
        if fault.problem.code == Code::VolumeLost {
            fault.problem.code = Code::SnapshotLost;
        }
        fault
    })?;
    if size < length {
        let text = format!("{size} is smaller than what is copied, which has {length}");
        return Err(Fault::lasting(Code::VolumeTooSmall, text));
    }
    Ok((content, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::port::{FromSnapshot, Pool};
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_snapshot_that_goes_with_its_copy_is_not_copied_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), dir.path());
        let pool = FilePool::open(layout.clone()).unwrap();
        let id = |n| VolumeId(uuid::Uuid::from_u128(n));
        let (snapshot, tell) = (SnapshotId(uuid::Uuid::from_u128(9)), |_| ());
        let from = File::create(layout.volume(id(1))).unwrap();
        from.set_len(4 << 20).unwrap();
        from.write_all_at(b"data", 1 << 20).unwrap();
        pool.take_snapshot(snapshot, id(1), false, &tell).unwrap();
        pool.settle_snapshot(snapshot).unwrap();

        let size = ByteSize(8 << 20);
        let passing = FromSnapshot { pool: "default", id: snapshot, same_file: true };
        let stays = FromSnapshot { same_file: false, ..passing };
        pool.create_from_snapshot(id(3), stays, size, b"{\"generation\":1}", &tell).unwrap();
        for _ in 0..2 {
            pool.create_from_snapshot(id(2), passing, size, b"{\"generation\":1}", &tell).unwrap();
            let seen = pool.observe(id(2)).unwrap();
            assert_eq!((seen.file.unwrap().size, seen.sidecar), (size, Some(1)));
        }
        let inode = |path: PathBuf| path.metadata().unwrap().ino();
        assert_eq!(inode(layout.volume(id(2))), inode(layout.snapshot(snapshot)));
        assert_ne!(inode(layout.volume(id(3))), inode(layout.snapshot(snapshot)));
        pool.remove_snapshot(snapshot).unwrap();
        let [one, two, three] = [1, 2, 3].map(|n| std::fs::read(layout.volume(id(n))).unwrap());
        assert!(two == three && two[..4 << 20] == one && two[4 << 20..].iter().all(|b| *b == 0));
        assert!(!fill::temporaries(&layout, id(2)).iter().any(|part| part.exists()));
    }
}

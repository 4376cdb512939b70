//! What somebody sends, before it is a volume.
//!
//! Invariant: it lies beside the volumes as `.<id>.upload`, under the id that its volume will have; what is
//! broken off is removed by whoever received it, or an hour after the last byte came. It takes no room that
//! the trash would have to go for: whether there is enough is known only once all of it came.

use super::{FilePool, fill};
use crate::image::probe;
use crate::{Layout, durable, fault};
use engine::port::{Bounds, Fault, beyond, no_room_to_receive};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use types::fs::FileSystem;
use types::{ByteSize, Code, Problem, Timestamp, VolumeId};

/// How long nothing may have come for what nobody asked for.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Zeros in pieces of this size are left out.
const BLOCK: usize = 4096;
/// So much is written at most before it is looked again how much is free: all that are received at once stay
/// within what is added to the reserve.
const LOOK: u64 = 1 << 20;

/// Where it is.
pub fn path(layout: &Layout, volume: VolumeId) -> PathBuf {
    layout.volumes().join(format!(".{volume}.upload"))
}

/// A file that is being received; removed unless it is [`Upload::finish`]ed.
pub struct Upload {
    file: File,
    path: PathBuf,
    bounds: Bounds,
    /// What can still be written, as far as is known.
    room: u64,
    /// What was written since it was looked how much is free.
    unseen: u64,
    whole: bool,
}

impl Upload {
    /// These bytes belong there.
    ///
    /// # Errors
    /// `pool-full`, `limit-exceeded`, `invalid-size` beyond what a volume can have, `io-error`.
    pub fn data(&mut self, at: u64, bytes: &[u8]) -> Result<(), Problem> {
        match at.checked_add(bytes.len() as u64).filter(|end| *end <= ByteSize::MAX.bytes()) {
            None => return Err(Problem::new(Code::InvalidSize, format!("the most is {}", ByteSize::MAX))),
            Some(end) if end > self.bounds.most.bytes() => {
                return Err(beyond(ByteSize(end), self.bounds.most));
            }
            Some(_) => {}
        }
        let mut written = Ok(());
        let mut at = at;
        // Cut at the blocks of the file, not at those of what came.
        let mut rest = bytes;
        while !rest.is_empty() && written.is_ok() {
            let until = BLOCK - (at % BLOCK as u64) as usize;
            let mut n = until.min(rest.len());
            let zeros = rest[..n].iter().all(|b| *b == 0);
            // Blocks alike are written, or left out, in one go.
            while n < rest.len() {
                let next = (n + BLOCK).min(rest.len());
                if rest[n..next].iter().all(|b| *b == 0) != zeros {
                    break;
                }
                n = next;
            }
            if !zeros {
                self.take_room(n as u64)?;
                written = self.file.write_all_at(&rest[..n], at);
            }
            at += n as u64;
            rest = &rest[n..];
        }
        written.map_err(|e| fault::io("receive a volume", &self.path, &e).problem)
    }

    /// Refuses to write so much more where what has to stay free would not.
    fn take_room(&mut self, n: u64) -> Result<(), Problem> {
        // What is written to the middle of a block takes the whole of it.
        let n = n.next_multiple_of(BLOCK as u64);
        if self.room < n || self.unseen + n > LOOK {
            let (mut free, keep) = (fault::free(&self.path).unwrap_or_default(), self.bounds.keep);
            let room = |free: ByteSize| free.bytes().saturating_sub(keep.bytes());
            if self.room < n {
                // Some file systems count what was written only once it is on disk.
                self.file.sync_data().map_err(|e| fault::io("receive a volume", &self.path, &e).problem)?;
                free = fault::free(&self.path).unwrap_or_default();
                self.room = room(free);
            }
            self.room = self.room.min(room(free));
            if self.room < n {
                return Err(no_room_to_receive(free, keep));
            }
            self.unseen = 0;
        }
        self.room -= n;
        self.unseen += n;
        Ok(())
    }

    /// It is whole, of this size, and durable; its volume may be asked for.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    pub fn finish(mut self, size: u64) -> Result<(), Problem> {
        let done = self.file.set_len(size).and_then(|()| self.file.sync_all());
        done.map_err(|e| fault::io("receive a volume", &self.path, &e).problem)?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.whole {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl FilePool {
    /// Begins to receive what shall be this volume.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    pub fn receive(&self, volume: VolumeId, bounds: Bounds) -> Result<Upload, Problem> {
        let path = path(&self.layout, volume);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| fault::io("receive a volume", &path, &e).problem)?;
        Ok(Upload { file, path, bounds, room: 0, unseen: 0, whole: false })
    }

    /// Removes what was received for a volume that is not to be.
    pub fn discard(&self, volume: VolumeId) {
        let _ = std::fs::remove_file(path(&self.layout, volume));
    }
}

/// Where a file system tells what it is, and with which bytes.
const MAGICS: [(FileSystem, u64, &[u8]); 3] = [
    (FileSystem::Xfs, 0, b"XFSB"),
    (FileSystem::Ext4, 1024 + 0x38, &[0x53, 0xef]),
    (FileSystem::Btrfs, (64 << 10) + 0x40, b"_BHRfS_M"),
];

/// A file system in what was sent.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Recognised {
    pub fs: FileSystem,
    /// How long it says it is, if it tells that plainly.
    pub says: Option<ByteSize>,
    /// How much was sent.
    pub sent: ByteSize,
}

/// The file system in what was sent, as far as these bytes tell, and how long it says it is; nothing else of
/// it is looked at.
pub(super) fn recognise(layout: &Layout, volume: VolumeId) -> io::Result<Option<Recognised>> {
    let file = match File::open(path(layout, volume)) {
        // Whoever makes the volume of it says so.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    for (fs, at, magic) in MAGICS {
        let mut found = [0; 8];
        let found = &mut found[..magic.len()];
        match file.read_exact_at(found, at) {
            Ok(()) if found == magic => {
                let sent = ByteSize(file.metadata()?.len());
                return Ok(Some(Recognised { fs, says: length(&file, fs).map(ByteSize), sent }));
            }
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e),
            _ => {}
        }
    }
    Ok(None)
}

/// The bytes that a file system says it has: two or three numbers of its superblock.
fn length(file: &File, fs: FileSystem) -> Option<u64> {
    let read = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    match fs {
        FileSystem::Ext4 => {
            let mut sb = [0; 1024];
            // As much of it as there is: what is cut off within is cut off.
            file.read_at(&mut sb, probe::SUPERBLOCK).ok()?;
            probe::ext4_length(&sb)
        }
        // fs/xfs/libxfs/xfs_format.h, `struct xfs_dsb`: sb_blocksize and sb_dblocks.
        FileSystem::Xfs => {
            let both = read(4)?;
            let block = u32::from_be_bytes([both[0], both[1], both[2], both[3]]);
            u64::from_be_bytes(read(8)?).checked_mul(u64::from(block))
        }
        // include/uapi/linux/btrfs_tree.h, `struct btrfs_super_block`: total_bytes and num_devices.
        FileSystem::Btrfs => {
            let one = u64::from_le_bytes(read((64 << 10) + 0x88)?) == 1;
            one.then_some(u64::from_le_bytes(read((64 << 10) + 0x70)?))
        }
        FileSystem::None => None,
    }
}

/// Publishes it as the volume's file. It keeps its first name until then, so that a kill loses nothing.
pub(super) fn take(layout: &Layout, volume: VolumeId, size: ByteSize, sidecar: &[u8]) -> Result<(), Fault> {
    let gone = |e: &io::Error| {
        let gone = || Fault::lasting(Code::Superseded, "what was sent is gone").hint("send it again");
        (e.kind() == io::ErrorKind::NotFound).then(gone)
    };
    fill::link(layout, volume, (&path(layout, volume), size), sidecar, gone)
}

/// Removes what came long ago and is no volume's.
pub(super) fn sweep(layout: &Layout, now: Timestamp, known: &dyn Fn(VolumeId) -> bool) -> io::Result<()> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
    for entry in std::fs::read_dir(layout.volumes())? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|n| n.strip_prefix('.')?.strip_suffix(".upload")?.parse().ok());
        let Some(id) = id.filter(|id| !known(*id)) else { continue };
        let last = entry.metadata()?.modified()?;
        if now.duration_since(last).is_ok_and(|idle| idle > ABANDONED) {
            durable::remove(&path(layout, id))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::port::Pool;
    use std::os::unix::fs::MetadataExt;

    const ANY: Bounds = Bounds { keep: ByteSize(0), most: ByteSize::MAX };

    fn id(n: u128) -> VolumeId {
        VolumeId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn what_was_sent_is_known_by_its_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), dir.path());
        let pool = FilePool::open(layout.clone()).unwrap();
        for (n, fs) in [(1, FileSystem::Ext4), (2, FileSystem::Xfs), (3, FileSystem::Btrfs)] {
            let (file, size) = (File::create(path(&layout, id(n))).unwrap(), ByteSize::mib(320));
            let to = path(&layout, id(n));
            crate::mkfs::fresh((&file, &to), size, (fs, id(n).0), "make it", Code::FormatFailed).unwrap();
            assert_eq!(pool.recognise(id(n)).unwrap(), Some(fs));
            assert_eq!(recognise(&layout, id(n)).unwrap().unwrap().says, Some(size), "{fs}");
            // What is cut would never be mounted.
            File::options().write(true).open(&to).unwrap().set_len(size.bytes() - 1).unwrap();
            let refused = pool.recognise(id(n)).unwrap_err();
            assert_eq!(refused.code, Code::InvalidRequest, "{refused}");
            assert!(refused.message.contains("320.0MB") && refused.hint.is_some(), "{refused}");
        }
        for (n, bytes) in [(4, vec![0; 1 << 20]), (5, b"XFS".to_vec()), (6, vec![])] {
            std::fs::write(path(&layout, id(n)), bytes).unwrap();
            assert_eq!(pool.recognise(id(n)).unwrap(), None);
        }
        assert_eq!(pool.recognise(id(7)).unwrap(), None);
    }

    #[test]
    fn what_is_whole_becomes_a_volume_and_what_is_not_goes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), dir.path());
        let pool = FilePool::open(layout.clone()).unwrap();
        let mut sent = pool.receive(id(1), ANY).unwrap();
        let mut bytes = vec![0; 3 << 20];
        bytes[(1 << 20) + 5] = 7;
        for (n, piece) in bytes.chunks(100_001).enumerate() {
            sent.data(n as u64 * 100_001, piece).unwrap();
        }
        sent.finish(3 << 20).unwrap();
        let size = ByteSize(8 << 20);
        for _ in 0..2 {
            pool.create_from_upload(id(1), size, b"{\"generation\":1}").unwrap();
            let seen = pool.observe(id(1)).unwrap();
            assert_eq!((seen.file.unwrap().size, seen.sidecar), (size, Some(1)));
        }
        let file = layout.volume(id(1));
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 << 10);
        bytes.resize(8 << 20, 0);
        assert!(std::fs::read(&file).unwrap() == bytes);
        assert!(!path(&layout, id(1)).exists());

        let mut large = pool.receive(id(2), Bounds { most: ByteSize::mib(1), ..ANY }).unwrap();
        large.data((1 << 20) - 5, &[0; 5]).unwrap();
        assert_eq!(large.data((1 << 20) - 4, &[0; 5]).unwrap_err().code, Code::LimitExceeded);
        drop(large);
        assert!(!path(&layout, id(2)).exists());
        let fault = pool.create_from_upload(id(2), size, b"{}").unwrap_err();
        assert_eq!(fault.problem.code, Code::Superseded);
        assert_eq!(pool.observe(id(2)).unwrap().file, None);

        pool.receive(id(3), ANY).unwrap().finish(5).unwrap();
        let hours = |n: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Timestamp::from_millis(now.as_millis() as i64 + n * 3_600_000)
        };
        pool.purge_trash(hours(0), &|_| false).unwrap();
        pool.purge_trash(hours(2), &|_| true).unwrap();
        assert!(path(&layout, id(3)).exists());
        pool.purge_trash(hours(2), &|_| false).unwrap();
        assert!(!path(&layout, id(3)).exists());
    }
}

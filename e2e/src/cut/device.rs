//! A drive as a file `disk` in a FUSE file system, whose power can be cut.
//!
//! Invariant: a `fsync` of the file is a flush of the drive; after a cut every request ends with EIO,
//! at once. The thread that answers never touches what is mounted on the drive, or it would wait for itself.

use super::cache::{Cache, Lost};
use super::mounted::{detach, until_gone};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

const FILE: INodeNo = INodeNo(2);
/// Nothing about the file ever changes.
const TTL: Duration = Duration::from_secs(3600);

/// The drive while it has power.
struct Power(Mutex<Option<Cache>>);

impl Power {
    fn with<T>(&self, f: impl FnOnce(&mut Cache) -> io::Result<T>) -> Result<T, Errno> {
        let mut on = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        on.as_mut().ok_or(Errno::EIO).and_then(|cache| f(cache).map_err(Errno::from))
    }
}

/// A drive that is switched on.
pub struct Device {
    power: Arc<Power>,
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl Device {
    /// Switches on the drive whose durable content is `backing`; its file appears in the directory `at`.
    /// One that `lies` acknowledges flushes that it does not do.
    pub fn on(backing: &Path, at: &Path, lies: bool) -> io::Result<Self> {
        std::fs::create_dir_all(at)?;
        let disk = File::options().read(true).write(true).open(backing)?;
        let cache = Cache::new(disk, lies)?;
        let size = cache.size();
        let power = Arc::new(Power(Mutex::new(Some(cache))));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("sistemo-cut".into()), MountOption::NoAtime];
        let session = fuser::spawn_mount(Files { power: power.clone(), size }, at, &config)?;
        Ok(Self { power, at: at.to_owned(), session: Some(session) })
    }

    /// The drive's file.
    pub fn disk(&self) -> PathBuf {
        self.at.join("disk")
    }

    /// Cuts the power; a second cut changes nothing.
    pub fn cut(&self, seed: u64) -> io::Result<Lost> {
        let cache = self.power.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        cache.map_or(Ok(Lost::default()), |cache| cache.cut(seed))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.power.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        detach(&self.at);
        let Some(session) = self.session.take() else { return };
        // It ends when nothing is open any more: a loop device lets go a little after its last close.
        if until_gone(|| !session.guard.is_finished()) {
            let _ = session.join();
        } else {
            eprintln!("{} is still in use", self.at.display());
        }
    }
}

/// The file system: a root directory and one file.
struct Files {
    power: Arc<Power>,
    size: u64,
}

impl Files {
    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match ino {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            FILE => (FileType::RegularFile, 0o600, self.size),
            _ => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE) {
            Some(attr) if parent == INodeNo::ROOT && name == "disk" => {
                reply.entry(&TTL, &attr, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Otherwise the kernel would answer reads from pages that the cut has taken.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.power.with(|cache| cache.read(offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(e) => reply.error(e),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.power.with(|cache| cache.write(offset, data)) {
            // A request of the kernel is far below 4 GiB.
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(e),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.power.with(Cache::flush) {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        }
    }
}

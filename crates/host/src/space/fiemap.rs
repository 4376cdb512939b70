//! What of a file is shared with others (Linux, `Documentation/filesystems/fiemap.rst`).
//!
//! Invariant: memory is one batch of extents, however many a file has; nothing is flushed and no
//! content is read.

use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl, opcode};
use std::fs::File;
use std::io;

/// Extents that are asked for at once.
const BATCH: usize = 512;
/// `FIEMAP_EXTENT_*`: the last one of the file; where it will be is not decided yet; it is compressed, so
/// that its length says nothing of what it takes; others have it, too.
const LAST: u32 = 0x1;
const DELAYED: u32 = 0x4;
const ENCODED: u32 = 0x8;
const SHARED: u32 = 0x2000;

/// `struct fiemap` without its extents.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Head {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Batch {
    head: Head,
    extents: [Extent; BATCH],
}

/// Asks the file system about files, one after the other.
pub struct Mapper(Box<Batch>);

impl Mapper {
    /// One that has asked nothing yet.
    pub fn new() -> Self {
        Self(Box::new(Batch { head: Head::default(), extents: [Extent::default(); BATCH] }))
    }

    /// Calls `each` with where every shared extent is on the disk, and how long it is. Answers how much that
    /// is, together; `None` if the file system does not say what the file takes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn shared(&mut self, file: &File, each: &mut dyn FnMut(u64, u64)) -> io::Result<Option<u64>> {
        let (mut from, mut sum) = (0, 0u64);
        loop {
            let head = Head { start: from, length: u64::MAX - from, count: BATCH as u32, ..Head::default() };
            self.0.head = head;
            // SAFETY: linux/fiemap.h: FS_IOC_FIEMAP is _IOWR('f', 11, struct fiemap), whose size does not
            // count the extents behind it; the kernel writes at most `count` of them, for which there is
            // room, and any bytes are valid there.
            unsafe {
                ioctl(file, Updater::<{ opcode::read_write::<Head>(b'f', 11) }, Batch>::new(&mut self.0))
            }
            .map_err(|e: Errno| io::Error::from(e))?;
            let mapped = (self.0.head.mapped as usize).min(BATCH);
            for extent in &self.0.extents[..mapped] {
                if extent.flags & ENCODED != 0 {
                    return Ok(None);
                }
                if extent.flags & (SHARED | DELAYED) == SHARED {
                    each(extent.physical, extent.length);
                    sum = sum.saturating_add(extent.length);
                }
            }
            let Some(last) = self.0.extents[..mapped].last() else { return Ok(Some(sum)) };
            let next = last.logical.saturating_add(last.length);
            if last.flags & LAST != 0 || next <= from {
                return Ok(Some(sum));
            }
            from = next;
        }
    }
}

//! What the kernel refused, as a person reads it.
//!
//! Invariant: one sentence that names the thing concerned, never a tool's output; full is
//! `pool-full`, the rest `io-error`; only what can pass by itself is passing.

use engine::port::{Capacity, Fault, MAKE_ROOM};
use std::io;
use std::path::Path;
use types::{ByteSize, Code};

/// What the system said, in words and without its number.
pub fn said(e: &io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Whether `e` says that there is no room.
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// The fault of a system call that failed while `doing` ("make the file of volume …") something in
/// the file system of `place`.
pub fn io(doing: &str, place: &Path, e: &io::Error) -> Fault {
    tracing::error!(place = %place.display(), error = %e, "cannot {doing}");
    if is_full(e) {
        return full(doing, place, None);
    }
    let text = format!("cannot {doing}: {}", said(e));
    match e.raw_os_error() {
        Some(libc::EFBIG) => Fault::lasting(Code::PoolFull, text)
            .hint("the file system of the data directory cannot hold a file of this size"),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::EINTR) => {
            Fault::passing(Code::IoError, text)
        }
        Some(libc::EROFS) => Fault::lasting(Code::IoError, text)
            .hint("the file system of the data directory is read-only: the kernel's log may say why"),
        Some(libc::EACCES | libc::EPERM) => Fault::lasting(Code::IoError, text)
            .hint("look at who owns the data directory, and which user the daemon runs as"),
        _ => Fault::lasting(Code::IoError, text)
            .hint("the kernel's log (journalctl -k) says what is wrong with the disk"),
    }
}

/// The fault of a pool without room; `needed` is how much it lacks at least, if that is known.
pub fn full(doing: &str, place: &Path, needed: Option<ByteSize>) -> Fault {
    let free = free(place);
    let text = match (needed, free) {
        (Some(needed), Some(free)) => {
            format!("no room to {doing}: it takes {needed}, and {free} are free")
        }
        (None, Some(free)) => format!("no room to {doing}: {free} are free"),
        _ => format!("no room to {doing}"),
    };
    Fault::lasting(Code::PoolFull, text).hint(MAKE_ROOM)
}

/// What is free in the file system of `place`.
pub fn free(place: &Path) -> Option<ByteSize> {
    room(place).map(|room| room.free)
}

/// Room in the file system of `place`.
pub fn room(place: &Path) -> Option<Capacity> {
    let stat = rustix::fs::statvfs(place).ok()?;
    let bytes = |blocks: u64| ByteSize(blocks.saturating_mul(stat.f_frsize));
    Some(Capacity { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_told_with_numbers_and_without_errno() {
        let e = io::Error::from_raw_os_error(libc::ENOSPC);
        let fault = io("make the file of volume x", Path::new("/"), &e);
        assert_eq!(fault.problem.code, Code::PoolFull);
        assert!(fault.problem.message.contains("free"), "{fault}");
        let fault = io("read x", Path::new("/"), &io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(fault.problem.message, "cannot read x: input/output error");
        assert!(!fault.passing);
        assert!(io("read x", Path::new("/"), &io::Error::from_raw_os_error(libc::EMFILE)).passing);
    }
}

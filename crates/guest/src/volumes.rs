//! Mounting disks into the machine's root.
//!
//! Invariant: a mount point is found within the root and mounted on by descriptor, so that no link
//! leads a mount elsewhere; a disk that cannot be mounted never keeps the machine from booting.

use crate::fact::{Fact, Journal};
use crate::inside::Inside;
use crate::superblock::{self, Kind, detect};
use crate::{disk, log, modules, mounted, renew};
use proto::Mount;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How long the disk of modules may take to appear.
const PATIENCE: Duration = Duration::from_secs(3);

/// Mounts the disk of kernel modules on the root's `/lib/modules`.
///
/// # Errors
/// When it does not appear or cannot be mounted.
pub fn mount_modules(inside: &Inside) -> io::Result<()> {
    let disk = disk::wait(proto::MODULES_SERIAL, Instant::now() + PATIENCE)?;
    mount_on(inside, &disk, Kind::Ext4, "/lib/modules", true)
}

/// Mounts a data disk, which has to appear until `end`; what goes wrong is a note.
pub fn mount_data(inside: &Inside, journal: &Journal, wanted: &Mount, end: Instant) {
    let Mount { serial, path, read_only, identity } = wanted;
    let mounted = disk::wait(serial, end).and_then(|disk| {
        let place = path.trim_end_matches('/');
        if mounted::points(&disk)?.iter().any(|p| p.path == place) {
            return Ok(disk);
        }
        let kind = detect(&disk)?;
        ensure_known(inside, kind)?;
        if !identity.is_empty() && !read_only {
            let renewed = renew::file_system(&disk, kind, identity);
            journal.outcome(&format!("the UUID of disk {serial}"), renewed);
        }
        let sound = superblock::sound(&disk, kind);
        mount_on(inside, &disk, kind, path, *read_only)?;
        journal.outcome(&format!("the file system of disk {serial}"), sound);
        Ok(disk)
    });
    let (serial, path, read_only) = (serial.clone(), path.clone(), *read_only);
    match journal.outcome(&about(wanted), mounted) {
        Some(disk) => {
            log::say(&format!("mounted disk {serial} on {path}"));
            journal.post(&Fact::Mounted { serial, disk, path, read_only });
        }
        None => journal.post(&Fact::NotMounted { serial }),
    }
}

/// Unmounts a data disk that the machine shall no longer have.
pub fn unmount_data(inside: &Inside, journal: &Journal, gone: &Mount) {
    if journal.outcome(&about(gone), unmount_own(inside, gone)).is_some() {
        log::say(&format!("unmounted disk {} from {}", gone.serial, gone.path));
        journal.post(&Fact::Unmounted { serial: gone.serial.clone() });
    }
}

/// Takes off a disk from its place, where something else may be mounted by now, which stays.
fn unmount_own(inside: &Inside, gone: &Mount) -> io::Result<()> {
    let place = gone.path.trim_end_matches('/');
    let own = match disk::find(&gone.serial) {
        Some(disk) => mounted::is_seen(inside, place, &disk)?,
        None => mounted::is_dead_at(inside, place)?,
    };
    if own { unmount_from(inside, place, UnmountFlags::empty()) } else { Ok(()) }
}

/// Takes off what is mounted at `path`; nothing is fine.
///
/// # Errors
/// `EBUSY` while it is used; when the place cannot be reached.
pub fn unmount_from(inside: &Inside, path: &str, flags: UnmountFlags) -> io::Result<()> {
    let (parent, name) = path.rsplit_once('/').ok_or(Errno::INVAL)?;
    if inside.link(path).is_some() {
        return Err(io::Error::other("it cannot be unmounted through a symbolic link"));
    }
    // A descriptor of the mount itself would keep it busy; one of what it is mounted in does not.
    let parent = match inside.open(&format!("{parent}/"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
        Ok(parent) => parent,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    rustix::process::fchdir(&parent)?;
    let unmounted = unmount(name, UnmountFlags::NOFOLLOW | flags);
    rustix::process::chdir("/")?;
    match unmounted {
        // Nothing is mounted there: somebody in the guest was quicker.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn about(mount: &Mount) -> String {
    format!("disk {} at {}", mount.serial, mount.path)
}

/// Mounts the disk that the kernel calls `disk` at `path` in the root.
fn mount_on(inside: &Inside, disk: &str, kind: Kind, path: &str, read_only: bool) -> io::Result<()> {
    if !path.starts_with('/') || path.split('/').all(|n| matches!(n, "" | ".")) {
        return Err(io::Error::other("this is no place for a disk"));
    }
    replay(disk, kind);
    let dir = inside.make_dir(path, 0o755)?;
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    mount(format!("/dev/{disk}"), by_descriptor(&dir), kind.name(), flags, options(kind)).map_err(|e| {
        match (kind, e) {
            // A copy has a UUID of its own from when it is first mounted for writing.
            (Kind::Btrfs, Errno::EXIST) => io::Error::other(
                "a Btrfs with the same UUID is mounted; a copy gets its own once it is attached for writing",
            ),
            (_, e) => e.into(),
        }
    })
}

/// Has the journal of an ext4 replayed before it is mounted to stay. The kernel counts the groups of what it
/// mounts first and replays the journal then (fs/ext4/super.c: `ext4_geometry_check`,
/// `ext4_load_and_init_journal`): if a growth stands in there, which the power went away in, the groups
/// are too few until the next mount. Files in the others give errors, and the next growth is a bug of the
/// kernel (fs/ext4/resize.c, `setup_new_flex_group_blocks`).
pub fn replay(disk: &str, kind: Kind) {
    if kind != Kind::Ext4 || !superblock::needs_replay(disk).unwrap_or(false) {
        return;
    }
    // Where it cannot be written to, there is nothing to replay it with; the mount that follows says so.
    if let Err(e) = renew::replayed(disk, kind, MountFlags::RDONLY, || ()) {
        log::complain(&format!("replaying the journal of {disk}: {e}"));
    }
}

/// Options that every mount of this kind gets.
pub fn options(kind: Kind) -> Option<&'static CStr> {
    match kind {
        // What is damaged is not written on: by itself ext4 goes on, as the other two do not.
        Kind::Ext4 => Some(c"errors=remount-ro"),
        // Clones share their UUID, and XFS takes only one of those, unless it is told not to look.
        Kind::Xfs => Some(c"nouuid"),
        Kind::Btrfs => None,
    }
}

fn ensure_known(inside: &Inside, kind: Kind) -> io::Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems")?;
    let known = known.lines().any(|l| l.split_whitespace().next_back() == Some(kind.name()));
    if known { Ok(()) } else { modules::load_from(inside, kind.name()) }
}

/// A path that leads to exactly what is open here.
fn by_descriptor(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

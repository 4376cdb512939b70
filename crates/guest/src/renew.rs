//! A copy becomes somebody of its own.
//!
//! Invariant: what a copy shall be was decided by the host and does not change, so doing it again,
//! also after a boot that was cut short anywhere, comes to the same; of a root that was renewed as a
//! whole nothing is touched again, whatever its users change later.

pub mod btrfs;
pub mod xfs;

use crate::inside::Inside;
use crate::superblock::{self, Kind};
use crate::{disk, log, volumes};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, unlinkat};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Tells for whom a root was renewed.
const MARK: &str = "/var/lib/sistemo/identity";
/// Where a file system is mounted while it is renewed.
const PLACE: &str = "/run/sistemo/renew";
/// How long somebody may keep a disk locked who only looks at it.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// `struct fsuuid` of `fs/ext4/ext4.h` (include/uapi/linux/ext4.h from 6.6 on).
#[repr(C)]
struct FsUuid {
    length: u32,
    flags: u32,
    uuid: [u8; 16],
}

/// Gives the file system on `disk`, which is not mounted, the UUID `wanted`.
///
/// # Errors
/// When it cannot be mounted or written, or `wanted` is no UUID.
pub fn file_system(disk: &str, kind: Kind, wanted: &str) -> io::Result<()> {
    let Some(uuid) = parse(wanted) else { return Err(Errno::INVAL.into()) };
    if superblock::uuid(disk, kind)? == uuid {
        return Ok(());
    }
    let open = || File::options().read(true).write(true).open(format!("/dev/{disk}"));
    let alone = Alone::with(disk)?;
    match kind {
        Kind::Ext4 => match replayed(disk, kind, MountFlags::empty(), || tell(&uuid))? {
            // Its checksums are made with the UUID: first they have to be freed of it.
            Err(Errno::OPNOTSUPP | Errno::NOTTY) => rewrite(disk, &uuid)?,
            other => other?,
        },
        Kind::Xfs => {
            replayed(disk, kind, MountFlags::empty(), || ())?;
            let device = open()?;
            xfs::renew(&device, &uuid)?;
            device.sync_all()?;
        }
        // Not mounted before: next to the one that it is a copy of, it could not be.
        Kind::Btrfs => {
            let device = open()?;
            btrfs::renew(&device, disk::size(disk)?, &uuid)?;
            device.sync_all()?;
        }
    }
    drop(alone);
    log::say(&format!("the file system of {disk} has a UUID of its own: {wanted}"));
    Ok(())
}

/// A disk that udev leaves alone meanwhile and looks at anew afterwards. Otherwise it may go on to give the
/// UUID that it read before: it misses what is written while it is at work on the disk, and an ext4 whose UUID
/// changes while it is mounted tells nobody. (systemd, "Locking Block Device Access")
struct Alone<'a> {
    disk: &'a str,
    lock: Option<File>,
}

impl<'a> Alone<'a> {
    /// # Errors
    /// When the disk cannot be opened.
    fn with(disk: &'a str) -> io::Result<Self> {
        // Not opened for writing, next to which a kernel may refuse to mount it.
        let lock = File::open(format!("/dev/{disk}"))?;
        let end = Instant::now() + PATIENCE;
        while let Err(e) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if Instant::now() >= end {
                log::complain(&format!("somebody else keeps {disk} locked: {e}"));
                break;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Self { disk, lock: Some(lock) })
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.lock = None;
        if let Err(e) = std::fs::write(format!("/sys/block/{}/uevent", self.disk), "change") {
            log::complain(&format!("nobody is told of the new UUID of {}: {e}", self.disk));
        }
    }
}

/// Mounts it and unmounts it again: that replays the journal, in which another superblock may stand.
///
/// # Errors
/// When it cannot be mounted.
pub fn replayed<T>(
    disk: &str,
    kind: Kind,
    flags: MountFlags,
    meanwhile: impl FnOnce() -> T,
) -> io::Result<T> {
    std::fs::create_dir_all(PLACE)?;
    mount(format!("/dev/{disk}"), PLACE, kind.name(), flags, volumes::options(kind))?;
    let done = meanwhile();
    unmount(PLACE, UnmountFlags::empty())?;
    Ok(done)
}

fn tell(uuid: &[u8; 16]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mounted = rustix::fs::open(PLACE, flags, Mode::empty())?;
    let asked = FsUuid { length: 16, flags: 0, uuid: *uuid };
    // SAFETY: EXT4_IOC_SETFSUUID is _IOW('f', 44, struct fsuuid), whose size counts without the UUID
    // that follows; the kernel only reads it.
    unsafe { ioctl(&mounted, Setter::<{ opcode::write::<[u32; 2]>(b'f', 44) }, FsUuid>::new(asked)) }
}

/// Writes the superblock of an ext4 that is not mounted.
fn rewrite(disk: &str, uuid: &[u8; 16]) -> io::Result<()> {
    let device = File::options().read(true).write(true).open(format!("/dev/{disk}"))?;
    let mut bytes = [0; 1024];
    device.read_exact_at(&mut bytes, 1024)?;
    superblock::renew(&mut bytes, uuid).map_err(io::Error::other)?;
    device.write_all_at(&bytes, 1024)?;
    device.sync_all()
}

/// A UUID as it is written: lower case, with hyphens.
fn parse(text: &str) -> Option<[u8; 16]> {
    let hex: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let mut out = [0; 16];
    if hex.len() != 32 || text.len() != 36 {
        return None;
    }
    for (byte, two) in out.iter_mut().zip(hex.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()?;
    }
    Some(out)
}

/// A UUID in the usual way of writing.
pub fn text(uuid: [u8; 16]) -> String {
    let hex: String = uuid.iter().map(|b| format!("{b:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// Gives a root that is a copy a machine id of its own, and takes away the SSH host keys, so that new
/// ones are made. `old` is the UUID that its file system had.
///
/// # Errors
/// When something cannot be written; the next boot does it again.
pub fn root(inside: &Inside, wanted: &str, old: &str) -> io::Result<()> {
    if wanted.is_empty() || is_renewed(inside, wanted) {
        return Ok(());
    }
    let id = wanted.replace('-', "");
    for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        // An empty or absent one is made by the image's own init; a link leads to the other.
        if inside.link(path).is_none() && !inside.text(path)?.trim().is_empty() {
            inside.write(path, format!("{id}\n").as_bytes(), 0o444)?;
        }
    }
    for name in inside.list("/etc/ssh").iter().filter(|n| n.starts_with("ssh_host_")) {
        remove(inside, "/etc/ssh", name)?;
    }
    // What the copied machine began its random numbers with is no secret between the two.
    remove(inside, "/var/lib/systemd", "random-seed")?;
    let table = inside.text("/etc/fstab")?;
    if !old.is_empty() && table.contains(old) {
        inside.write("/etc/fstab", table.replace(old, wanted).as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Remembers that a root was renewed, its file system too.
///
/// # Errors
/// When that cannot be written; the next boot does it all again.
pub fn finish(inside: &Inside, wanted: &str) -> io::Result<()> {
    inside.make_dir("/var/lib/sistemo", 0o755)?;
    inside.write(MARK, wanted.as_bytes(), 0o644)?;
    log::say("this machine is a copy and has an identity of its own now");
    Ok(())
}

/// Whether a root was renewed for `wanted`.
pub fn is_renewed(inside: &Inside, wanted: &str) -> bool {
    inside.read(MARK).is_ok_and(|mark| mark == wanted.as_bytes())
}

fn remove(inside: &Inside, dir: &str, name: &str) -> io::Result<()> {
    let dir = match inside.open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    match unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(rustix::fs::fsync(&dir)?),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0192f0c1-2345-4abc-8def-0123456789ab";
    const NEW: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn a_root_is_renewed_once() {
        let dir = tempfile::tempdir().unwrap();
        let inside = Inside::at(dir.path().to_str().unwrap()).unwrap();
        for (path, text) in [
            ("etc/machine-id", "aaaa\n"),
            ("etc/fstab", &format!("UUID={OLD} / ext4\nLABEL=x /x ext4\n")),
            ("etc/ssh/ssh_host_rsa_key", "secret"),
            ("etc/ssh/sshd_config", "theirs"),
        ] {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(path), text).unwrap();
        }
        root(&inside, "", OLD).unwrap();
        assert!(inside.exists("/etc/ssh/ssh_host_rsa_key"));
        root(&inside, NEW, OLD).unwrap();
        assert_eq!(inside.text("/etc/machine-id").unwrap(), format!("{}\n", NEW.replace('-', "")));
        assert_eq!(inside.text("/etc/fstab").unwrap(), format!("UUID={NEW} / ext4\nLABEL=x /x ext4\n"));
        finish(&inside, NEW).unwrap();
        assert_eq!(inside.list("/etc/ssh").iter().filter(|n| n.starts_with("ssh")).count(), 1);
        std::fs::write(dir.path().join("etc/ssh/ssh_host_rsa_key"), "new").unwrap();
        root(&inside, NEW, OLD).unwrap();
        assert_eq!(inside.text("/etc/ssh/ssh_host_rsa_key").unwrap(), "new");
    }

    #[test]
    fn only_a_uuid_is_one() {
        assert_eq!(parse(NEW).unwrap()[..5], [0x11, 0x11, 0x11, 0x11, 0x22]);
        for text in ["", "x", &NEW[1..], &NEW.replace('1', "g")] {
            assert_eq!(parse(text), None);
        }
    }
}

//! The kernel's own file systems, and the change of roots.
//!
//! Invariant: the initramfs keeps its own `/proc`, `/sys` and `/dev`, on which the agent relies
//! whatever the machine does to its own.

use super::NEW_ROOT;
use crate::inside::Inside;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

type Kernel = (&'static str, &'static str, MountFlags, Option<&'static CStr>);

fn kernel() -> [Kernel; 3] {
    let plain = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    [
        ("proc", "/proc", plain, None),
        ("sysfs", "/sys", plain, None),
        ("devtmpfs", "/dev", MountFlags::NOSUID, Some(c"mode=755")),
    ]
}

/// Mounts them in the initramfs; answers what failed.
pub fn initial() -> Vec<String> {
    let one = |(kind, path, flags, data): Kernel| {
        std::fs::create_dir_all(path)?;
        match mount(kind, path, kind, flags, data) {
            // The kernel has mounted its devtmpfs already (CONFIG_DEVTMPFS_MOUNT).
            Ok(()) | Err(Errno::BUSY) => Ok(()),
            Err(e) => Err(io::Error::from(e)),
        }
    };
    kernel().into_iter().filter_map(|k| one(k).err().map(|e| failed(k.1, &e))).collect()
}

/// Mounts them in the machine's root; answers what failed.
pub fn inside(inside: &Inside) -> Vec<String> {
    let pts = ("devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"gid=5,mode=620"));
    let one = |(kind, path, flags, data): Kernel| {
        let dir = inside.make_dir(path, 0o755)?;
        mount(kind, format!("/proc/self/fd/{}", dir.as_raw_fd()), kind, flags, data)?;
        io::Result::Ok(())
    };
    let all = kernel().into_iter().chain([pts]);
    all.filter_map(|k| one(k).err().map(|e| failed(k.1, &e))).collect()
}

/// Keeps systemd from unmounting the disk of modules at a shutdown while udev still reads it, which
/// fails and looks like a fault: it comes off at the very end, with the root.
///
/// # Errors
/// When the kernel refuses. The root itself is not written to.
pub fn spare_modules(inside: &Inside) -> io::Result<()> {
    // systemd takes a /run that is mounted already as it is.
    let run = inside.make_dir("/run", 0o755)?;
    let place = format!("/proc/self/fd/{}", run.as_raw_fd());
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", place, "tmpfs", flags, Some(c"mode=755,size=20%"))?;
    // The unit is called after the mount point, which /lib may lead to from elsewhere.
    for unit in ["usr-lib-modules.mount", "lib-modules.mount"] {
        let dir = format!("/run/systemd/system/{unit}.d");
        inside.make_dir(&dir, 0o755)?;
        inside.write(&format!("{dir}/sistemo.conf"), b"[Unit]\nDefaultDependencies=no\n", 0o644)?;
    }
    Ok(())
}

/// What applications without an init expect besides.
pub fn for_applications() {
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    // Its absence is no harm: few applications use it.
    let _ = std::fs::create_dir_all("/dev/shm");
    let _ = mount("tmpfs", "/dev/shm", "tmpfs", plain, Some(c"mode=1777"));
    let _ = mount("cgroup2", "/sys/fs/cgroup", "cgroup2", plain | MountFlags::NOEXEC, None);
}

fn failed(path: &str, e: &io::Error) -> String {
    format!("{path} cannot be mounted: {e}")
}

/// Moves the machine's root over ours and enters it. Whoever was started before stays in the
/// initramfs.
///
/// # Errors
/// When the kernel refuses.
pub fn switch() -> io::Result<()> {
    rustix::process::chdir(NEW_ROOT)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

//! Mounting the file systems of pools.
//!
//! Invariant: where systemd runs, it mounts: what a service mounts by itself is in its own mount namespace, which
//! ends with it, while the guests' disks are open. Elsewhere the daemon does.
//!
//! A mount unit waits for its device, which only udev announces. A container may have systemd without udev:
//! there systemd is asked to run mount(8), and has a mount unit of it all the same, without the order at the end.

use crate::child;
use engine::port::Fault;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use types::Code;

/// A tool that says nothing for so long hangs.
const QUIET: Duration = Duration::from_secs(5 * 60);

/// Whether systemd is this host's init (sd_booted(3)).
fn systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether udev runs, which has this socket: what waits for a device waits for ever without it.
fn udev() -> bool {
    Path::new("/run/udev/control").exists()
}

/// The number of the device that is mounted at `at`, the last one on top; `None` if nothing is.
pub fn device_at(at: &Path) -> io::Result<Option<u64>> {
    Ok(find(&std::fs::read_to_string("/proc/self/mountinfo")?, &at.canonicalize().unwrap_or(at.to_owned())))
}

/// Reads proc_pid_mountinfo(5): the third field is `major:minor`, the fifth the mount point.
fn find(mountinfo: &str, at: &Path) -> Option<u64> {
    let mut here = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, point) = (fields.nth(2)?, fields.nth(1)?);
        (unescaped(point) == at.as_os_str().as_bytes()).then_some(device)
    });
    let (major, minor) = here.next_back()?.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let octal = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let code =
            octal.and_then(|o| std::str::from_utf8(o).ok()).and_then(|o| u8::from_str_radix(o, 8).ok());
        out.push(code.unwrap_or(*byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    out
}

/// Mounts a device. What is discarded in a pool whose file is preallocated stays the pool's; a sparse file
/// gives it back to the host.
pub fn mount(device: &Path, at: &Path, sparse: bool, pool: &str) -> Result<(), Fault> {
    let options = if sparse { "nodev,nosuid,noexec,noatime,discard" } else { "nodev,nosuid,noexec,noatime" };
    let mut command;
    let description = format!("--description=Sistemo's pool {pool}");
    if systemd() && udev() {
        command = Command::new("systemd-mount");
        command.args(["--no-ask-password", "--quiet", "--collect", "--fsck=no", "--type=xfs"]);
        command.arg(format!("--options={options}")).arg(description);
        // At the host's end guests go first, then the daemon, then what they are on.
        command.arg("--property=Before=sistemo.service sistemo-guests.service");
    } else if systemd() {
        command = Command::new("systemd-run");
        command.args(["--no-ask-password", "--quiet", "--collect", "--wait"]).arg(description);
        command.args(["mount", "-t", "xfs", "-o", options]);
    } else {
        command = Command::new("mount");
        command.args(["-t", "xfs", "-o", options]);
    }
    command.arg(device).arg(at);
    child::run(&mut command, "mount", Code::IoError, QUIET, &mut |_| ()).map_err(|failed| {
        let tool = failed.fault.problem.code == Code::ToolMissing;
        if tool { failed.fault } else { unmountable(pool) }
    })
}

fn unmountable(pool: &str) -> Fault {
    Fault::passing(Code::PoolOffline, format!("the file system of pool \"{pool}\" cannot be mounted"))
        .hint("the kernel's log (journalctl -k) says why; `xfs_repair` mends one that is damaged")
}

/// Unmounts what is at `at`.
pub fn unmount(at: &Path, pool: &str) -> Result<(), Fault> {
    let mut command;
    if systemd() {
        command = Command::new("systemd-mount");
        command.args(["--no-ask-password", "--quiet", "--umount"]);
    } else {
        command = Command::new("umount");
    }
    command.arg(at);
    child::run(&mut command, "mount", Code::Busy, QUIET, &mut |_| ()).map_err(|failed| {
        if failed.fault.problem.code == Code::ToolMissing {
            return failed.fault;
        }
        Fault::passing(Code::Busy, format!("pool \"{pool}\" is in use and cannot be unmounted"))
            .hint(format!("end what has files open in it: `lsof {}`", at.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_read_from_the_table() {
        let table = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 7:3 / /var/lib/sistemo/pools/fast rw,nosuid - xfs /dev/loop3 rw
31 22 7:4 / /a\\040b\\134c rw - xfs /dev/loop4 rw
32 30 7:5 / /var/lib/sistemo/pools/fast rw - xfs /dev/loop5 rw
33 22 broken
";
        let at = |path: &str| find(table, Path::new(path));
        assert_eq!(at("/"), Some(rustix::fs::makedev(8, 1)));
        assert_eq!(at("/var/lib/sistemo/pools/fast"), Some(rustix::fs::makedev(7, 5)));
        assert_eq!(at("/a b\\c"), Some(rustix::fs::makedev(7, 4)));
        assert_eq!(at("/var/lib"), None);
    }
}

//! Which file system something is on, and what that means for us.
//!
//! Invariant: the kernel's magic number decides; only for FUSE, where one number stands for
//! everything, the type in the mount table does.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A kind of file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSystem {
    /// What it is called.
    pub name: String,
    /// It is on another host: its locks and its shared memory are not to be relied on.
    pub network: bool,
    /// Whether files can share their blocks (`FICLONE`); `None` if that depends.
    pub reflink: Option<bool>,
    /// It does not outlive the host.
    pub volatile: bool,
}

/// What is known of a magic number: name, network, reflink, volatile
/// (`include/uapi/linux/magic.h`, statfs(2), and the file systems' own headers).
const KNOWN: &[(u64, &str, bool, Option<bool>, bool)] = &[
    (0xef53, "ext4", false, Some(false), false),
    (XFS, "xfs", false, None, false),
    (0x9123_683e, "btrfs", false, Some(true), false),
    (0xca45_1a4e, "bcachefs", false, Some(true), false),
    (0x2fc1_2fc1, "zfs", false, None, false),
    (0xf2f5_2010, "f2fs", false, Some(false), false),
    (0x0102_1994, "tmpfs", false, Some(false), true),
    (0x8584_58f6, "ramfs", false, Some(false), true),
    (0x794c_7630, "overlay", false, None, false),
    (0x6969, "nfs", true, Some(false), false),
    (0xff53_4d42, "cifs", true, Some(false), false),
    (0xfe53_4d42, "smb2", true, Some(false), false),
    (0x517b, "smb", true, Some(false), false),
    (0x564c, "ncp", true, Some(false), false),
    (0x0102_1997, "9p", true, Some(false), false),
    (0x00c3_6400, "ceph", true, Some(false), false),
    (0x5346_414f, "afs", true, Some(false), false),
    (0x6b41_4653, "afs", true, Some(false), false),
    (0x7375_7245, "coda", true, Some(false), false),
    (0x0bd0_0bd0, "lustre", true, Some(false), false),
    (0x1983_0326, "beegfs", true, Some(false), false),
    (0x2003_0528, "orangefs", true, Some(false), false),
    (0x4750_4653, "gpfs", true, Some(false), false),
    (0x7461_636f, "ocfs2", true, None, false),
    (0x0116_1970, "gfs2", true, Some(false), false),
];

const XFS: u64 = 0x5846_5342;
/// The magic number of everything that is made in user space.
const FUSE: u64 = 0x6573_5546;
/// The file systems in user space that are on another host.
const FUSE_NETWORK: &[&str] = &[
    "sshfs",
    "glusterfs",
    "s3fs",
    "s3ql",
    "rclone",
    "gcsfuse",
    "goofys",
    "mount-s3",
    "blobfuse",
    "blobfuse2",
    "ceph",
    "ceph-fuse",
    "davfs",
    "davfs2",
    "curlftpfs",
    "smbnetfs",
    "mfs",
    "moosefs",
    "lizardfs",
    "juicefs",
    "seaweedfs",
    "gvfsd-fuse",
    "nfs",
    "cernvm",
    "cvmfs2",
    "hdfs",
    "fuse_dfs",
    "ipfs",
];

/// Judges by the magic number and, for FUSE, by the type in the mount table (`fuse.sshfs`).
pub fn judge(magic: u64, mounted_as: Option<&str>) -> FileSystem {
    if magic == FUSE {
        let name = mounted_as.unwrap_or("fuse");
        let program = name.strip_prefix("fuse.").unwrap_or(name).to_ascii_lowercase();
        let network = FUSE_NETWORK.contains(&program.as_str());
        return FileSystem { name: name.to_owned(), network, reflink: None, volatile: false };
    }
    match KNOWN.iter().find(|(known, ..)| *known == magic) {
        Some(&(_, name, network, reflink, volatile)) => {
            FileSystem { name: name.to_owned(), network, reflink, volatile }
        }
        None => FileSystem { name: format!("{magic:#x}"), network: false, reflink: None, volatile: false },
    }
}

/// The file system that `path` is on.
///
/// # Errors
/// `path` cannot be looked at.
pub fn of(path: &Path) -> io::Result<FileSystem> {
    let stat = rustix::fs::statfs(path)?;
    // The field is signed and of another width on some machines; the number has 32 bits.
    let magic = stat.f_type as u64 & 0xffff_ffff;
    let table = if magic == FUSE { std::fs::read_to_string("/proc/self/mountinfo")? } else { String::new() };
    let device = std::fs::metadata(path)?.dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mut on = judge(magic, mounted_as(&table, &device));
    if magic == XFS {
        on.reflink = xfs_reflink(path);
    }
    Ok(on)
}

/// Whether the XFS that `path` is on was made with shared blocks; `None` if it does not say.
fn xfs_reflink(path: &Path) -> Option<bool> {
    // `fs/xfs/libxfs/xfs_fs.h`: XFS_IOC_FSGEOMETRY is _IOR('X', 126, struct xfs_fsop_geom), a struct of
    // 256 bytes with `flags` at 92, in which XFS_FSOP_GEOM_FLAGS_REFLINK is bit 20.
    const GEOMETRY: libc::c_ulong = 2 << 30 | 256 << 16 | (b'X' as libc::c_ulong) << 8 | 126;
    let file = std::fs::File::open(path).ok()?;
    let mut geometry = [0u32; 64];
    // SAFETY: the pointer is to the 256 writable bytes that this request fills; it changes nothing.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), GEOMETRY as _, geometry.as_mut_ptr()) };
    (answer == 0).then_some(geometry[23] & 1 << 20 != 0)
}

/// The type of the mount with this device (proc_pid_mountinfo(5): the third field, and the first
/// after the lone hyphen).
fn mounted_as<'a>(table: &'a str, device: &str) -> Option<&'a str> {
    let line = table.lines().find(|l| l.split(' ').nth(2) == Some(device))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_another_host_is_known() {
        for (magic, mounted, network) in [
            (0x6969, None, true),
            (0xff53_4d42, None, true),
            (0xfe53_4d42, None, true),
            (0x0102_1997, None, true),
            (0x00c3_6400, None, true),
            (FUSE, Some("fuse.sshfs"), true),
            (FUSE, Some("fuse.glusterfs"), true),
            (FUSE, Some("fuse.rclone"), true),
            (FUSE, Some("fuseblk"), false),
            (FUSE, Some("fuse.ours"), false),
            (FUSE, None, false),
            (0xef53, None, false),
            (0x5846_5342, None, false),
            (0x9123_683e, None, false),
            (0x0102_1994, None, false),
            (0x1234, None, false),
        ] {
            assert_eq!(judge(magic, mounted).network, network, "{magic:#x} {mounted:?}");
        }
        assert_eq!(judge(0x1234, None).name, "0x1234");
    }

    #[test]
    fn numbers_are_told_once() {
        let mut numbers: Vec<u64> = KNOWN.iter().map(|k| k.0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), KNOWN.len());
    }

    #[test]
    fn the_mount_table_is_read() {
        let table =
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:45 / /a\\040b rw shared:1 - fuse.sshfs h:/ rw\n";
        assert_eq!(mounted_as(table, "0:45"), Some("fuse.sshfs"));
        assert_eq!(mounted_as(table, "0:46"), None);
        assert_eq!(of(Path::new("/proc")).unwrap().name, "0x9fa0");
    }
}

//! Making XFS.
//!
//! Invariant: every feature is one that kernels since 5.10 mount, whatever newer tools prefer; the log takes
//! no room until it is used.

use super::{QUIET, judge};
use crate::child::{self, Version};
use crate::{copy, fault};
use engine::port::Fault;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use types::{ByteSize, Code};
use uuid::Uuid;

/// What makes it, and who has that.
pub const TOOL: (&str, &str) = ("mkfs.xfs", "xfsprogs");
/// The log is there as a whole while it is made; the rest is less than a MiB.
pub const NEEDS: ByteSize = ByteSize::mib(65);

/// Makes one that fills the file.
///
/// # Errors
/// `tool-missing`, `pool-full`, `code`.
pub fn make((file, path): (&File, &Path), uuid: Uuid, doing: &str, code: Code) -> Result<(), Fault> {
    static KNOWN: OnceLock<Version> = OnceLock::new();
    let version = child::version(TOOL, "-V", "mkfs.xfs version ", code, &KNOWN)?;
    let mut command = Command::new(TOOL.0);
    command.args(options(version, uuid)).arg(path);
    let made = child::run(&mut command, TOOL.1, code, QUIET, &mut |_| ());
    made.map_err(|failed| judge(failed, path, doing))?;
    copy::give_back(file).map_err(|e| fault::io(doing, path, &e))
}

fn options(version: Version, uuid: Uuid) -> Vec<String> {
    // Newer tools turn on by themselves what older kernels refuse to mount.
    let mut inodes = "sparse=1".to_owned();
    if version >= (5, 19) {
        inodes += ",nrext64=0";
    }
    if version >= (6, 10) {
        inodes += ",exchange=0";
    }
    let metadata = format!("crc=1,finobt=1,rmapbt=0,reflink=1,bigtime=1,inobtcount=1,uuid={uuid}");
    // Sectors of 4 KiB are right on any disk of the host; of less, each write of the log may be two.
    let mut all = vec!["-q", "-f", "-K", "-b", "size=4096", "-s", "size=4096", "-l", "size=64m", "-m"];
    all.extend([metadata.as_str(), "-i", inodes.as_str()]);
    if version >= (6, 10) {
        all.extend(["-n", "parent=0"]);
    }
    all.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fresh;
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use types::fs::FileSystem;

    #[test]
    fn what_newer_tools_would_add_is_turned_off_where_they_know_it() {
        let all = |version| options(version, Uuid::nil()).join(" ");
        assert!(!all((5, 10)).contains("nrext64"));
        assert!(all((6, 1)).ends_with("-i sparse=1,nrext64=0"));
        assert!(all((6, 13)).ends_with("-i sparse=1,nrext64=0,exchange=0 -n parent=0"));
    }

    #[test]
    fn every_size_is_a_sound_file_system_that_takes_little() {
        let dir = tempfile::tempdir().unwrap();
        for mib in [300, 512, 3 << 20] {
            let path = dir.path().join(mib.to_string());
            let file = File::create_new(&path).unwrap();
            let uuid = Uuid::from_u128(7);
            fresh((&file, &path), ByteSize::mib(mib), (FileSystem::Xfs, uuid), "make it", Code::FormatFailed)
                .unwrap();
            let seen = file.metadata().unwrap();
            assert_eq!(seen.len(), mib << 20);
            assert!(seen.blocks() * 512 < 2 << 20, "{mib}: {}", seen.blocks() * 512);
            let sound = Command::new("xfs_repair").arg("-n").arg(&path).output().unwrap();
            assert!(sound.status.success(), "{mib}: {sound:?}");
            let told = Command::new("xfs_admin").arg("-u").arg(&path).output().unwrap();
            let told = String::from_utf8(told.stdout).unwrap();
            assert!(told.contains(&uuid.to_string()), "{mib}: {told}");
        }
    }
}

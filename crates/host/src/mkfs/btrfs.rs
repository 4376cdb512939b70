//! Making Btrfs.
//!
//! Invariant: every feature is one that kernels since 5.10 mount, whatever newer tools prefer; data is there
//! once and metadata twice.

use super::{QUIET, judge};
use crate::child::{self, Version};
use engine::port::Fault;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use types::{ByteSize, Code};
use uuid::Uuid;

/// What makes it, and who has that.
pub const TOOL: (&str, &str) = ("mkfs.btrfs", "btrfs-progs");
/// Measured from 109 MiB to 3 TiB: 4.6 MiB.
pub const NEEDS: ByteSize = ByteSize::mib(5);

/// Makes one that fills the file.
///
/// # Errors
/// `tool-missing`, `pool-full`, `code`.
pub fn make(path: &Path, uuid: Uuid, doing: &str, code: Code) -> Result<(), Fault> {
    static KNOWN: OnceLock<Version> = OnceLock::new();
    let version = child::version(TOOL, "--version", "mkfs.btrfs, part of btrfs-progs v", code, &KNOWN)?;
    let mut command = Command::new(TOOL.0);
    command.args(["-q", "-f", "-K", "-d", "single", "-m", "dup", "-n", "16384", "-s", "4096"]);
    command.args(["--csum", "crc32c", "-U", &uuid.to_string()]);
    if version >= (6, 19) {
        // Made by itself from there on; kernels before 6.1 do not know it.
        command.args(["-O", "^block-group-tree"]);
    }
    let made = child::run(command.arg(path), TOOL.1, code, QUIET, &mut |_| ());
    made.map_err(|failed| judge(failed, path, doing))
}

#[cfg(test)]
mod tests {
    use super::super::fresh;
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use types::fs::FileSystem;

    #[test]
    fn every_size_is_a_sound_file_system_that_takes_little() {
        let dir = tempfile::tempdir().unwrap();
        for mib in [109, 512, 3 << 20] {
            let path = dir.path().join(mib.to_string());
            let file = File::create_new(&path).unwrap();
            let (size, uuid) = (ByteSize::mib(mib), Uuid::from_u128(7));
            fresh((&file, &path), size, (FileSystem::Btrfs, uuid), "make it", Code::FormatFailed).unwrap();
            let seen = file.metadata().unwrap();
            assert_eq!(seen.len(), size.bytes());
            assert!(seen.blocks() * 512 <= NEEDS.bytes(), "{mib}: {}", seen.blocks() * 512);
            let sound = Command::new("btrfs").args(["check", "--readonly"]).arg(&path).output().unwrap();
            assert!(sound.status.success(), "{mib}: {sound:?}");
            let told = String::from_utf8_lossy(&sound.stdout).into_owned();
            assert!(format!("{told}{}", String::from_utf8_lossy(&sound.stderr)).contains(&uuid.to_string()));
        }
    }
}

//! Real file systems to try things on.

use super::common::tool;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// A file system in a file, mounted until this is dropped.
pub struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    /// Makes one of `mib` with `mkfs.<kind>`.
    pub fn new(kind: &str, mib: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let backing = File::create(&file).unwrap();
        rustix::fs::fallocate(&backing, rustix::fs::FallocateFlags::empty(), 0, mib << 20).unwrap();
        drop(backing);
        tool(&format!("mkfs.{kind}"), &["-q", file.to_str().unwrap()]);
        let at = dir.path().join("at");
        std::fs::create_dir(&at).unwrap();
        tool("mount", &["-o", "loop", file.to_str().unwrap(), at.to_str().unwrap()]);
        Self { dir }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("at")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

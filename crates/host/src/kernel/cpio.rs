//! Writing cpio archives for the kernel to unpack: the format `newc`
//! (Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Invariant: an archive's length is a multiple of 4, so that archives can be concatenated; equal
//! calls make equal bytes.

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making. Paths may begin with `/`; directories go before what is in them.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory.
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.entry(path, DIRECTORY | mode, (0, 0), b"");
    }

    /// A file; `content` is shorter than 4 GiB.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, FILE | mode, (0, 0), content);
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes());
    }

    /// A character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, DEVICE | mode, (major, minor), b"");
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.head(TRAILER, 0, (0, 0), 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        // The kernel's format has 32 bits for it, see `file`.
        self.head(path.trim_start_matches('/'), mode, device, content.len() as u32);
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn head(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), length: u32) {
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_length = name.len() as u32 + 1;
        // Inode, mode, uid, gid, links, mtime, length, device of the file system, device, name, sum.
        let fields = [self.entries, mode, 0, 0, links, 0, length, 0, 0, major, minor, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::path::Path;
    use std::process::{Command, Stdio};

    fn unpack(bytes: &[u8], at: &Path) {
        let mut cpio = Command::new("cpio")
            .args(["-i", "--quiet", "--no-absolute-filenames"])
            .current_dir(at)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(cpio.wait().unwrap().success());
    }

    #[test]
    fn every_kind_is_read_back() {
        let mut archive = Archive::new();
        archive.dir("/dev", 0o755);
        archive.device("/dev/null", 0o666, 1, 3);
        archive.file("/init", 0o755, b"program");
        archive.link("/bin", "usr/bin");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let dir = tempfile::tempdir().unwrap();
        unpack(&bytes, dir.path());
        let null = dir.path().join("dev/null").metadata().unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
        assert_eq!(fs::read(dir.path().join("init")).unwrap(), b"program");
        assert_eq!(dir.path().join("init").metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_link(dir.path().join("bin")).unwrap(), Path::new("usr/bin"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_files_are_read_back(
            files in prop::collection::btree_map("[a-zA-Z0-9_. -]{1,30}", prop::collection::vec(any::<u8>(), 0..600), 0..6),
        ) {
            let mut archive = Archive::new();
            archive.dir("d", 0o700);
            for (name, content) in &files {
                archive.file(&format!("d/x{name}"), 0o600, content);
            }
            let dir = tempfile::tempdir().unwrap();
            unpack(&archive.finish(), dir.path());
            prop_assert_eq!(fs::read_dir(dir.path().join("d")).unwrap().count(), files.len());
            for (name, content) in &files {
                prop_assert_eq!(&fs::read(dir.path().join(format!("d/x{name}"))).unwrap(), content);
            }
        }
    }
}

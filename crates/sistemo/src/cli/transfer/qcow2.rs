//! The content of a qcow2: what the disk holds that is in it, and where.
//!
//! Invariant: nothing is opened but the file itself, whatever others it names, and whoever wrote it.

use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Mapping, StorageOpenOptions};
use std::fs::File;
use std::io;

/// What a qcow2 begins with.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// An open qcow2.
pub struct Disk(FormatAccess<Storage>);

impl Disk {
    /// Reads its tables.
    ///
    /// # Errors
    /// It is damaged, encrypted, compressed with zstd, or rests on another file.
    pub fn open(file: File) -> io::Result<Self> {
        let storage = Storage::from_open_file(file, StorageOpenOptions::new())?;
        let disk = Qcow2::<Storage>::builder(storage).open(DenyImplicitOpenGate::default())?;
        Ok(Self(FormatAccess::new(disk)))
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// The next run of bytes from `at` on that are not all known to be zeros: where it begins and ends.
    ///
    /// # Errors
    /// Its tables are damaged, or cannot be read.
    pub fn data(&self, mut at: u64) -> io::Result<Option<(u64, u64)>> {
        let size = self.size();
        while at < size {
            let (mapping, length) = self.0.get_mapping(at, size - at)?;
            match mapping {
                Mapping::Eof { .. } => break,
                _ if length == 0 => return Err(io::Error::other("its tables lead nowhere")),
                Mapping::Zero { .. } => at += length,
                _ => return Ok(Some((at, size.min(at + length)))),
            }
        }
        Ok(None)
    }

    /// Reads the bytes at `at`.
    ///
    /// # Errors
    /// They cannot be read, or unpacked.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read(buffer, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    fn img(args: &[&str]) {
        let ran = Command::new("qemu-img").args(args).output().expect("qemu-img is installed");
        assert!(ran.status.success(), "{args:?}: {ran:?}");
    }

    /// What a qcow2 holds, put where it belongs.
    fn content(path: &Path) -> io::Result<Vec<u8>> {
        let disk = Disk::open(File::open(path)?)?;
        let mut all = vec![0; disk.size() as usize];
        let mut at = 0;
        while let Some((start, end)) = disk.data(at)? {
            assert!(at <= start && start < end && end <= disk.size());
            disk.read(&mut all[start as usize..end as usize], start)?;
            at = end;
        }
        Ok(all)
    }

    #[test]
    fn what_was_made_a_qcow2_is_read_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        // Data, holes, and an end amid a cluster.
        let mut bytes = vec![0u8; (3 << 20) + 512];
        for (i, byte) in bytes.iter_mut().enumerate() {
            if i % (1 << 20) < 200_000 {
                *byte = (i * 31 % 251) as u8;
            }
        }
        bytes[(3 << 20) + 511] = 7;
        std::fs::write(at("raw"), &bytes).unwrap();
        for (name, how) in [("plain", &[][..]), ("packed", &["-c"]), ("old", &["-o", "compat=0.10"])] {
            img(&[&["convert", "-f", "raw", "-O", "qcow2"], how, &[&at("raw"), &at(name)]].concat());
            assert!(content(Path::new(&at(name))).unwrap() == bytes, "{name}");
        }
    }

    #[test]
    fn other_files_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("secret"), [1; 1 << 20]).unwrap();
        img(&["create", "-q", "-f", "qcow2", "-b", &at("secret"), "-F", "raw", &at("on-top")]);
        assert!(content(Path::new(&at("on-top"))).is_err());
        img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            &format!("data_file={}", at("data")),
            &at("beside"),
            "1M",
        ]);
        assert!(content(Path::new(&at("beside"))).is_err());
    }

    #[test]
    fn junk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("junk");
        for junk in [&b"QFI\xfb"[..], &[&b"QFI\xfb\0\0\0\x03"[..], &[0xff; 4096]].concat()] {
            std::fs::write(&path, junk).unwrap();
            assert!(content(&path).is_err());
        }
    }
}

//! The initramfs of one boot: the kernel's own with this boot's configuration appended
//! (concatenated archives are one initramfs).
//!
//! Invariant: the file has no name once it is made, so nothing is left of it when QEMU ends, however
//! it ends; only its machine's user can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// The name that the file has for a moment.
pub fn path(machine: &Path) -> PathBuf {
    machine.join("initrd.new")
}

/// Makes it in the machine's directory, for `uid` to read.
pub fn make(machine: &Path, base: &Path, archive: &[u8], uid: u32) -> io::Result<File> {
    let path = path(machine);
    crate::durable::remove(&path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
    let reader = File::open(&path);
    fs::remove_file(&path)?;
    let length = io::copy(&mut File::open(base)?, &mut file)?;
    // An archive that is not compressed is found at multiples of four only; zeros between are skipped.
    file.write_all(&[0; 3][..length.next_multiple_of(4).saturating_sub(length) as usize])?;
    file.write_all(archive)?;
    fchown(&file, Some(uid), Some(uid))?;
    reader
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_second_archive_is_aligned_and_no_name_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::write(&base, b"12345").unwrap();
        fs::write(path(dir.path()), b"left by a kill").unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let mut text = String::new();
        make(dir.path(), &base, b"678", uid).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "12345\0\0\x00678");
        assert!(!path(dir.path()).exists());
    }
}

//! The content of a qcow2: what the disk holds that is in it, and where.
//!
//! Invariant: nothing is opened but the file itself, whatever others it names, and whoever wrote it.

mod packed;

use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Mapping, StorageOpenOptions};
use packed::Packed;
use std::fs::File;
use std::io;

/// What a qcow2 begins with.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// An open qcow2.
pub enum Disk {
    /// What the library reads, and the file's length in bytes.
    Known(FormatAccess<Storage>, u64),
    /// Its clusters are compressed with zstd.
    Packed(Packed),
}

impl Disk {
    /// Reads its tables.
    ///
    /// # Errors
    /// It is damaged, encrypted, or rests on another file.
    pub fn open(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        // The smallest cluster is not whole; the library would take what is not there for zeros.
        if length < 512 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if packed::is(&Packed::header(&file)?) {
            return Packed::open(file).map(Self::Packed);
        }
        let checked = file.try_clone()?;
        let storage = Storage::from_open_file(file, StorageOpenOptions::new())?;
        let disk = Qcow2::<Storage>::builder(storage).open(DenyImplicitOpenGate::default())?;
        packed::refuse_cut(&checked, length)?;
        Ok(Self::Known(FormatAccess::new(disk), length))
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Known(disk, _) => disk.size(),
            Self::Packed(disk) => disk.size(),
        }
    }

    /// The next run of bytes from `at` on that are not all known to be zeros: where it begins and ends.
    ///
    /// # Errors
    /// Its tables are damaged, or cannot be read, or lead behind the end of the file.
    pub fn data(&mut self, mut at: u64) -> io::Result<Option<(u64, u64)>> {
        let (disk, file) = match self {
            Self::Known(disk, length) => (disk, *length),
            Self::Packed(disk) => return disk.data(at),
        };
        let size = disk.size();
        while at < size {
            let (mapping, length) = disk.get_mapping(at, size - at)?;
            match mapping {
                Mapping::Eof { .. } => break,
                _ if length == 0 => return Err(io::Error::other("its tables lead nowhere")),
                Mapping::Zero { .. } => at += length,
                // The library would read zeros there.
                Mapping::Raw { offset, .. } if offset.saturating_add(length.min(size - at)) > file => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => return Ok(Some((at, size.min(at + length)))),
            }
        }
        Ok(None)
    }

    /// Reads the bytes at `at`, all of them of one run.
    ///
    /// # Errors
    /// They cannot be read, or unpacked.
    pub fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::Known(disk, _) => disk.read(buffer, at),
            Self::Packed(disk) => disk.read(buffer, at),
        }
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
        let mut disk = Disk::open(File::open(path)?)?;
        let mut all = vec![0; disk.size() as usize];
        let mut at = 0;
        while let Some((start, end)) = disk.data(at)? {
            assert!(at <= start && start < end && end <= disk.size());
            disk.read(&mut all[start as usize..end as usize], start)?;
            at = end;
        }
        Ok(all)
    }

    /// Data, holes, and an end amid a cluster.
    fn bytes() -> Vec<u8> {
        let mut bytes = vec![0u8; (3 << 20) + 512];
        for (i, byte) in bytes.iter_mut().enumerate() {
            if i % (1 << 20) < 200_000 {
                *byte = (i * 31 % 251) as u8;
            }
        }
        // What cannot be compressed, which is put there as it is.
        let mut noise = 1u32;
        for byte in &mut bytes[1 << 20..(1 << 20) + 150_000] {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (noise >> 24) as u8;
        }
        bytes[(3 << 20) + 511] = 7;
        bytes
    }

    /// How a qcow2 may be made of a raw file.
    const WAYS: [(&str, &[&str]); 6] = [
        ("plain", &[]),
        ("packed", &["-c"]),
        ("old", &["-o", "compat=0.10"]),
        ("zstd", &["-c", "-o", "compression_type=zstd"]),
        ("small", &["-c", "-o", "compression_type=zstd,cluster_size=512"]),
        ("large", &["-c", "-o", "compression_type=zstd,cluster_size=2M"]),
    ];

    /// A raw file, and a qcow2 of it for each way, in `dir`.
    fn made(dir: &Path, ways: &[(&str, &[&str])]) -> Vec<u8> {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let bytes = bytes();
        std::fs::write(at("raw"), &bytes).unwrap();
        for (name, how) in ways {
            img(&[&["convert", "-f", "raw", "-O", "qcow2"], *how, &[&at("raw"), &at(name)]].concat());
        }
        bytes
    }

    #[test]
    fn what_was_made_a_qcow2_is_read_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = made(dir.path(), &WAYS);
        for (name, _) in WAYS {
            assert!(content(&dir.path().join(name)).unwrap() == bytes, "{name}");
        }
    }

    #[test]
    fn what_was_cut_off_is_refused_wherever_that_was() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = made(dir.path(), &WAYS);
        for (name, _) in WAYS {
            let whole = std::fs::read(dir.path().join(name)).unwrap();
            let path = dir.path().join("cut");
            let cut = |length: usize| {
                std::fs::write(&path, &whole[..length]).unwrap();
                content(&path)
            };
            for length in (0..16).map(|n| whole.len() * n / 16) {
                assert!(cut(length).is_err(), "{name}, {length} of {}", whole.len());
            }
            // What only fills the last cluster need not be there.
            assert!(cut(whole.len() - 600).map_or(true, |read| read == bytes), "{name}");
        }
    }

    #[test]
    fn what_is_damaged_never_does_more_than_fail() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = made(dir.path(), &WAYS[3..4]);
        let whole = std::fs::read(dir.path().join("zstd")).unwrap();
        let path = dir.path().join("damaged");
        let damaged = |at: usize, with: u8| {
            let mut all = whole.clone();
            all[at] ^= with;
            std::fs::write(&path, all).unwrap();
            let mut disk = Disk::open(File::open(&path)?)?;
            // It may be told to be as large as can be.
            let (mut at, mut buffer) = (0, vec![0; 1]);
            for _ in 0..100 {
                let Some((start, end)) = disk.data(at)? else { break };
                assert!(at <= start && start < end && end <= disk.size());
                disk.read(&mut buffer, start)?;
                at = end;
            }
            io::Result::Ok(())
        };
        for at in 0..112 {
            for bit in 0..8 {
                let _ = damaged(at, 1 << bit);
            }
        }
        // Another kind of compression, a mark of damage, another file.
        for (at, with) in [(104, 2), (79, 2), (15, 1)] {
            assert!(damaged(at, with).is_err(), "{at}");
        }
        // What is compressed begins with zstd's magic number, as its first frame shows.
        let frame = whole.windows(4).position(|w| w == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
        assert!(damaged(frame, 1).is_err());
        // The tables: each entry is led elsewhere.
        let number = |at: usize| u64::from_be_bytes(whole[at..at + 8].try_into().unwrap());
        let first = number(40) as usize;
        let second = (number(first) & 0x00ff_ffff_ffff_fe00) as usize;
        for entry in [first, second, second + 8, second + 16] {
            for byte in 0..8 {
                for bit in 0..8 {
                    let _ = damaged(entry + byte, 1 << bit);
                }
            }
            assert!(damaged(entry + 2, 0x20).is_err());
        }
        assert!(content(&dir.path().join("zstd")).unwrap() == bytes);
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

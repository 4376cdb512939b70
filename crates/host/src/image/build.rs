//! Making an image's content.
//!
//! Invariant: it is made under a temporary name, checked, and only then given to `publish`.

use super::{HostImages, bootstrap, probe, recipe};
use crate::copy::{self, Pace};
use crate::mkfs::{self, Mkfs};
use crate::{durable, fault};
use engine::port::{Fault, ImageObs, OnProgress};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use types::image::ImageSource;
use types::operation::Progress;
use types::{ByteSize, Code, ImageId, Problem};

/// What building takes at most: packages, their content, and the file system made of it.
const ROOM: ByteSize = ByteSize::gib(2);
/// Zeros for the digest of holes.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl HostImages {
    /// Makes, checks and publishes.
    pub(super) fn make(
        &self,
        image: ImageId,
        source: &ImageSource,
        progress: OnProgress<'_>,
    ) -> Result<ImageObs, Fault> {
        let [dir, raw] = self.temporaries(image);
        let doing = format!("make image {image}");
        let failed = |e: io::Error| fault::io(&doing, &self.layout.images(), &e);
        let (file, size) = match source {
            ImageSource::Path(path) => self.copy(path, &raw, &doing, progress)?,
            ImageSource::Recipe(name) => {
                self.has_room(name)?;
                let recipe = recipe::find(name)?;
                durable::make_dir(&dir).map_err(failed)?;
                let root = bootstrap::run(&recipe, &dir, progress)?;
                say(progress, format!("making the file system of image {name}"));
                let made = pack(&root, &raw, &doing)?;
                // The packages' files would take room while the digest is made.
                crate::tree::remove(&dir).map_err(failed)?;
                made
            }
        };
        let digest = digest(&file, size.bytes(), progress).map_err(failed)?;
        self.publish(image, &file, &raw, ImageObs { digest, size }).map_err(failed)
    }

    fn has_room(&self, name: &str) -> Result<(), Fault> {
        let images = self.layout.images();
        match fault::free(&images) {
            Some(free) if free < ROOM => {
                Err(fault::full(&format!("build image {name}"), &images, Some(ROOM)))
            }
            _ => Ok(()),
        }
    }

    /// Copies a file that somebody else may be writing to: what counts is the copy.
    fn copy(
        &self,
        path: &str,
        raw: &Path,
        doing: &str,
        progress: OnProgress<'_>,
    ) -> Result<(File, ByteSize), Fault> {
        let found = probe::probe(path)?;
        let mut tell = |done, total| {
            progress(Progress { what: "copying".into(), done, total: Some(total), unit: "bytes".into() });
        };
        let changed = || Problem::new(Code::ImageInvalid, format!("{path} changed while it was copied"));
        let file = fresh(raw).map_err(|e| fault::io(doing, &self.layout.images(), &e))?;
        let size = found.size.bytes();
        copy::content(&found.file, &file, size, size, &mut tell).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Fault::from(changed()),
            _ => fault::io(doing, &self.layout.images(), &e),
        })?;
        if probe::probe(path).map_or(true, |again| again.stamp != found.stamp) {
            return Err(changed().hint("stop whatever writes to it").into());
        }
        probe::check(&file, size)
            .map_err(|why| Problem::new(Code::ImageInvalid, format!("the copy of {path} {why}")))?;
        Ok((file, found.size))
    }
}

fn say(progress: OnProgress<'_>, what: String) {
    progress(Progress { what, done: 0, total: None, unit: "bytes".into() });
}

fn fresh(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a file system of a directory.
fn pack(root: &Path, raw: &Path, doing: &str) -> Result<(File, ByteSize), Fault> {
    let failed = |e: io::Error| fault::io(doing, raw, &e);
    let mut held = Held::default();
    held.measure(root).map_err(failed)?;
    let size = held.size();
    let file = fresh(raw).map_err(failed)?;
    file.set_len(size.bytes()).map_err(failed)?;
    let what =
        Mkfs { file: raw, size, uuid: None, content: Some(root), journal: true, inodes: held.inodes(size) };
    mkfs::make(&what, doing, Code::ImageFailed)?;
    Ok((file, size))
}

/// What a directory holds.
#[derive(Default)]
pub(crate) struct Held {
    bytes: u64,
    files: u64,
}

impl Held {
    /// Adds what is below `dir`, without following links.
    pub(crate) fn measure(&mut self, dir: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let seen = entry.metadata()?;
            self.files += 1;
            // Blocks of the file's data, and half of one for its part of the directory and extents.
            self.bytes += seen.size().next_multiple_of(4096).max(2048);
            if seen.is_dir() {
                self.measure(&entry.path())?;
            }
        }
        Ok(())
    }

    /// What a file system takes that holds it, with an eighth to spare beside inode tables and
    /// journal.
    fn size(&self) -> ByteSize {
        let bytes = self.bytes + self.bytes / 8 + self.files * 512 + (64 << 20) + (32 << 20);
        ByteSize(bytes).round_up_mib().max(ByteSize::mib(256))
    }

    /// More inodes than one for each 16 KiB, where the files are many and small.
    fn inodes(&self, size: ByteSize) -> Option<u64> {
        let wanted = self.files + self.files / 4 + 1024;
        (wanted > size.bytes() / 16384).then_some(wanted)
    }

    /// What a file system without a journal takes that only ever holds this.
    pub(crate) fn read_only_size(&self) -> ByteSize {
        let bytes = self.bytes + self.bytes / 32 + self.files * 512 + (4 << 20);
        ByteSize(bytes).round_up_mib()
    }

    /// Inodes for just these files.
    pub(crate) fn read_only_inodes(&self) -> u64 {
        self.files + 64
    }
}

/// The sha256 of the first `length` bytes; holes are not read.
fn digest(file: &File, length: u64, progress: OnProgress<'_>) -> io::Result<String> {
    let (mut hash, mut pace, mut done) = (Sha256::new(), Pace::new(), 0);
    copy::read_sparse(file, length, &mut |hole, bytes| {
        let mut left = hole;
        while left > 0 {
            let n = left.min(ZEROS.len() as u64) as usize;
            hash.update(&ZEROS[..n]);
            left -= n as u64;
        }
        hash.update(bytes);
        done += hole + bytes.len() as u64;
        if pace.due() {
            let what = "checking".into();
            progress(Progress { what, done, total: Some(length), unit: "bytes".into() });
        }
    })?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_digest_counts_holes_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let file = fresh(&dir.path().join("f")).unwrap();
        file.set_len(5_000_000).unwrap();
        file.write_all_at(&[7; 3000], 2_000_000).unwrap();
        let mut bytes = vec![0; 5_000_000];
        bytes[2_000_000..2_003_000].fill(7);
        let wanted: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest(&file, 5_000_000, &|_| ()).unwrap(), wanted);
    }
}

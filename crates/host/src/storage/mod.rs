//! Where volumes live: a directory of raw sparse files.
//!
//! `volumes/<id>.raw` is a volume, `volumes/<id>.json` its sidecar; what begins with a dot is a
//! temporary of ours. `snapshots/` is told of in [`snapshot`]. `trash/<milliseconds>.<id>.raw` is a deleted volume that is kept until then.
//!
//! Invariant: a published file is complete; it is never opened for its content here, and nothing that
//! is not named as above is ever touched.

mod content;
mod fill;
mod sizes;
mod snapshot;
mod source;
mod trash;
mod upload;

pub use content::Content;
pub(crate) use fill::name;
pub(crate) use trash::deleted;
pub use upload::Upload;

use crate::image::record;
use crate::pools::place;
use crate::{Layout, copy, durable, fault};
use engine::port::{
    Capacity, Fault, FileObs, Footprint, Fresh, FromSnapshot, OnProgress, Pool, SnapshotObs, VolumeObs,
};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use types::fs::FileSystem;
use types::operation::Progress;
use types::{ByteSize, Code, ImageId, Problem, SnapshotId, Timestamp, VolumeId};
use uuid::Uuid;

/// A sidecar longer than this is not one of ours.
const MAX_SIDECAR: u64 = 1 << 20;

/// One pool.
#[derive(Clone, Debug)]
pub struct FilePool {
    layout: Layout,
    sizes: sizes::Sizes,
    /// Whether files here can share their blocks, once that was tried.
    shares: Arc<OnceLock<bool>>,
}

impl FilePool {
    /// Makes the pool's directories, where they are missing.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    pub fn open(layout: Layout) -> Result<Self, Problem> {
        let pool = Self { layout, sizes: sizes::Sizes::default(), shares: Arc::default() };
        for dir in [pool.layout.volumes(), pool.layout.snapshots(), pool.layout.trash()] {
            // A killed daemon may have renamed without syncing; what is seen from now on is durable.
            let made = durable::make_dir(&dir).and_then(|()| durable::sync_dir(&dir));
            made.map_err(|e| fault::io("make the pool", pool.layout.data(), &e).problem)?;
        }
        pool.layout.spare().take();
        Ok(pool)
    }

    /// Where everything of it is.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn fault(&self, doing: &str, volume: VolumeId, e: &io::Error) -> Fault {
        fault::io(&format!("{doing} volume {volume}"), &self.layout.volumes(), e)
    }

    /// Makes a volume of `size` that begins with this content, of this length.
    fn fill_with(
        &self,
        volume: VolumeId,
        (content, length): (&File, ByteSize),
        size: ByteSize,
        sidecar: &[u8],
        tell: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Fault> {
        fill::fill(&self.layout, volume, sidecar, |file, path, text| {
            copy::content(content, file, length.bytes(), size.bytes(), tell)
                .map_err(|e| fault::io(text, path, &e))
        })?;
        self.sizes.note(volume, size.bytes());
        Ok(())
    }

    /// Whether the volume is published; if so, its name is durable.
    fn published(&self, volume: VolumeId) -> Result<bool, Fault> {
        let path = self.layout.volume(volume);
        let there = path.try_exists().and_then(|there| {
            if there {
                durable::sync_dir(&self.layout.volumes())?;
            }
            Ok(there)
        });
        there.map_err(|e| self.fault("look at", volume, &e))
    }
}

impl Pool for FilePool {
    fn observe(&self, volume: VolumeId) -> Result<VolumeObs, Fault> {
        let file = match self.layout.volume(volume).metadata() {
            Ok(seen) if seen.is_file() => {
                self.sizes
                    .settle(volume, &self.layout.volume(volume), seen.len())
                    .map_err(|e| self.fault("flush", volume, &e))?;
                let allocated = ByteSize(seen.blocks().saturating_mul(512));
                Some(FileObs { size: ByteSize(seen.len()), allocated })
            }
            Ok(_) => return Err(self.fault("use", volume, &ErrorKind::InvalidInput.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.sizes.forget(volume);
                None
            }
            Err(e) => return Err(self.fault("look at", volume, &e)),
        };
        let trashed = file.is_none() && trash::holds(&self.layout, volume)?;
        Ok(VolumeObs { file, sidecar: generation(&self.layout.volume_sidecar(volume)), trashed })
    }

    fn footprint(&self, volume: VolumeId) -> Result<Option<Footprint>, Fault> {
        self.takes(volume).map_err(|e| self.fault("look at", volume, &e))
    }

    fn create_blank(
        &self,
        volume: VolumeId,
        size: ByteSize,
        fs: (FileSystem, Uuid),
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        if self.published(volume)? {
            return Ok(());
        }
        progress(doing("formatting", 0, None));
        fill::fill(&self.layout, volume, sidecar, |file, path, text| {
            crate::mkfs::fresh((file, path), size, fs, text, Code::FormatFailed)
        })?;
        self.sizes.note(volume, size.bytes());
        Ok(())
    }

    fn create_from_upload(&self, volume: VolumeId, size: ByteSize, sidecar: &[u8]) -> Result<(), Fault> {
        if !self.published(volume)? {
            upload::take(&self.layout, volume, size, sidecar)?;
            self.sizes.note(volume, size.bytes());
        }
        durable::remove(&upload::path(&self.layout, volume))
            .map_err(|e| self.fault("tidy up after", volume, &e))
    }

    fn create_from_image(
        &self,
        volume: VolumeId,
        image: ImageId,
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        if self.published(volume)? {
            return Ok(());
        }
        let (content, length) = record::open(&self.layout, image)?;
        if size < length {
            let text = format!("{size} is smaller than the image, which needs {length}");
            return Err(Fault::lasting(Code::VolumeTooSmall, text));
        }
        let mut tell = |done, total| progress(doing("copying image", done, Some(total)));
        self.fill_with(volume, (&content, length), size, sidecar, &mut tell)
    }

    fn create_copy(
        &self,
        volume: VolumeId,
        (pool, from): (&str, VolumeId),
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        if self.published(volume)? {
            return Ok(());
        }
        let (content, length) = source::open(&place::layout(&self.layout, pool)?.volume(from))?;
        if size < length {
            let text = format!("{size} is smaller than what is copied, which has {length}");
            return Err(Fault::lasting(Code::VolumeTooSmall, text));
        }
        let mut tell = |done, total| progress(doing("copying", done, Some(total)));
        self.fill_with(volume, (&content, length), size, sidecar, &mut tell)
    }

    fn observe_snapshot(&self, snapshot: SnapshotId) -> Result<SnapshotObs, Fault> {
        self.look_at_snapshot(snapshot)
    }

    fn take_snapshot(
        &self,
        snapshot: SnapshotId,
        of: VolumeId,
        live: bool,
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.copy_to_snapshot(snapshot, of, live, progress)
    }

    fn settle_snapshot(&self, snapshot: SnapshotId) -> Result<ByteSize, Fault> {
        self.sync_snapshot(snapshot)
    }

    fn write_snapshot_sidecar(&self, snapshot: SnapshotId, sidecar: &[u8]) -> Result<(), Fault> {
        self.publish_snapshot_sidecar(snapshot, sidecar)
    }

    fn remove_snapshot(&self, snapshot: SnapshotId) -> Result<(), Fault> {
        self.discard_snapshot(snapshot)
    }

    fn create_from_snapshot(
        &self,
        volume: VolumeId,
        from: FromSnapshot<'_>,
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        if self.published(volume)? {
            return Ok(());
        }
        let layout = place::layout(&self.layout, from.pool)?;
        let (content, length) = snapshot::open(&layout, from.id, size)?;
        if from.same_file && layout.volumes() == self.layout.volumes() {
            return self.take_over(volume, from.id, size, sidecar);
        }
        let mut tell = |done, total| progress(doing("copying", done, Some(total)));
        self.fill_with(volume, (&content, length), size, sidecar, &mut tell)
    }

    fn reset(
        &self,
        volume: VolumeId,
        to: (&str, SnapshotId),
        size: ByteSize,
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.replace_content(volume, to, size, progress)
    }

    fn grow(&self, volume: VolumeId, to: ByteSize) -> Result<(), Fault> {
        let file = match File::options().write(true).open(self.layout.volume(volume)) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let text = format!("the file of volume {volume} is gone");
                return Err(Fault::lasting(Code::VolumeLost, text)
                    .hint(format!("put {volume}.raw back into the pool, or delete the volume")));
            }
            Err(e) => return Err(self.fault("open", volume, &e)),
        };
        let grown = file.metadata().and_then(|seen| {
            if seen.len() < to.bytes() {
                file.set_len(to.bytes())?;
            }
            file.sync_all()?;
            // As it was before or as it is now: this fsync covers either.
            self.sizes.note(volume, seen.len().max(to.bytes()));
            Ok(())
        });
        grown.map_err(|e| self.fault("grow", volume, &e))
    }

    fn write_sidecar(&self, volume: VolumeId, sidecar: &[u8]) -> Result<(), Fault> {
        let path = self.layout.volume_sidecar(volume);
        self.layout
            .must(|| durable::write(&path, sidecar, 0o600))
            .map_err(|e| self.fault("write the sidecar of", volume, &e))
    }

    fn trash(&self, volume: VolumeId, keep_until: Timestamp) -> Result<(), Fault> {
        // A name in another directory may take a block.
        self.layout
            .must(|| trash::put(&self.layout, volume, keep_until))
            .map_err(|e| self.fault("trash", volume, &e))
    }

    fn remove(&self, volume: VolumeId) -> Result<(), Fault> {
        trash::remove(&self.layout, volume).map_err(|e| self.fault("remove", volume, &e))
    }

    fn restore(&self, volume: VolumeId, sidecar: &[u8]) -> Result<(), Fault> {
        if self.published(volume)? {
            return Ok(());
        }
        let path = self.layout.volume_sidecar(volume);
        // A name in another directory may take a block.
        let taken = self
            .layout
            .must(|| trash::take_out(&self.layout, volume, || durable::write(&path, sidecar, 0o600)));
        match taken {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let text = format!("the file of volume {volume} is neither in the pool nor in its trash");
                Err(Fault::lasting(Code::VolumeLost, text)
                    .hint(format!("put {volume}.raw back into the pool, or delete the volume")))
            }
            other => other.map_err(|e| self.fault("restore", volume, &e)),
        }
    }

    fn purge_trash(&self, now: Timestamp, known: &dyn Fn(VolumeId) -> bool) -> Result<Vec<VolumeId>, Fault> {
        trash::purge(&self.layout, now, known)
            .map_err(|e| fault::io("empty the trash", &self.layout.trash(), &e))
    }

    fn can_make(&self, fs: FileSystem) -> Result<(), Problem> {
        crate::mkfs::ready(fs)
    }

    fn recognise(&self, upload: VolumeId) -> Result<Option<FileSystem>, Problem> {
        let known = upload::recognise(&self.layout, upload);
        let Some(known) = known.map_err(|e| self.fault("look at", upload, &e).problem)? else {
            return Ok(None);
        };
        match known.says.filter(|says| *says > known.sent) {
            None => Ok(Some(known.fs)),
            Some(says) => {
                let text =
                    format!("the {} in it has {says}, and {} were sent: it is cut off", known.fs, known.sent);
                Err(Problem::new(Code::InvalidRequest, text).hint(format!(
                    "send the whole of it; to save what there is, fill a copy up first: `truncate -s {} COPY`",
                    says.bytes()
                )))
            }
        }
    }

    fn needs(&self, size: ByteSize, fresh: Fresh) -> Result<ByteSize, Fault> {
        let image = match fresh {
            Fresh::Blank(fs) => return Ok(crate::mkfs::needs(fs, size)),
            Fresh::Image(image) => image,
        };
        let (content, _) = record::open(&self.layout, image)?;
        // Where files can share their blocks, a clone takes none.
        let (here, there) = (self.layout.volumes().metadata(), content.metadata());
        let apart = matches!((&here, &there), (Ok(here), Ok(there)) if here.dev() != there.dev());
        let copies =
            apart || crate::filesystem::of(&self.layout.volumes()).is_ok_and(|f| f.reflink == Some(false));
        let occupied = there.map_or(0, |seen| seen.blocks().saturating_mul(512));
        Ok(ByteSize(if copies { occupied } else { 0 }))
    }

    fn shares(&self) -> bool {
        *self.shares.get_or_init(|| source::shares(&self.layout.volumes()))
    }

    fn capacity(&self) -> Result<Capacity, Fault> {
        let place = self.layout.volumes();
        let stat = rustix::fs::statvfs(&place)
            .map_err(|e| fault::io("look at the pool's file system", &place, &e.into()))?;
        let bytes = |blocks: u64| ByteSize(blocks.saturating_mul(stat.f_frsize));
        Ok(Capacity { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }
}

fn doing(what: &str, done: u64, total: Option<u64>) -> Progress {
    Progress { what: what.into(), done, total, unit: "bytes".into() }
}

/// The generation in a sidecar; `None` if there is none, or none that can be read.
fn generation(path: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Sidecar {
        generation: u64,
    }
    let mut bytes = Vec::new();
    let file = crate::image::probe::open_file(path).ok()?;
    file.take(MAX_SIDECAR + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > MAX_SIDECAR {
        return None;
    }
    serde_json::from_slice::<Sidecar>(&bytes).ok().map(|s| s.generation)
}

//! Where volumes live.

use super::{Fault, Footprint, OnProgress};
use types::fs::FileSystem;
use types::{ByteSize, ImageId, Problem, SnapshotId, Timestamp, VolumeId};
use uuid::Uuid;

/// A volume's file as it is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileObs {
    /// Its length.
    pub size: ByteSize,
    /// What it occupies on the host.
    pub allocated: ByteSize,
}

/// What is on disk of one volume.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VolumeObs {
    /// The published file, complete and durable; temporaries do not count.
    pub file: Option<FileObs>,
    /// The generation in the published sidecar, if one is there and readable.
    pub sidecar: Option<u64>,
    /// Whether the file is in the trash.
    pub trashed: bool,
}

/// What is on disk of one snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotObs {
    /// The published file; temporaries do not count.
    pub file: Option<FileObs>,
    /// The generation in the published sidecar, if one is there and readable.
    pub sidecar: Option<u64>,
}

/// A snapshot that a volume is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FromSnapshot<'a> {
    /// The pool it lives in.
    pub pool: &'a str,
    /// Which one.
    pub id: SnapshotId,
    /// Its file may become the volume's, too: it goes with it, or neither is ever written to.
    pub same_file: bool,
}

/// What a new volume begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fresh {
    /// An empty file system.
    Blank(FileSystem),
    /// An image's content.
    Image(ImageId),
}

/// Room in a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// The file system's size.
    pub total: ByteSize,
    /// What an unprivileged writer can still take (`statvfs.f_bavail`).
    pub free: ByteSize,
}

/// One directory of volumes (design, section 5).
pub trait Pool: Send + Sync {
    /// Looks at one volume; never at its content.
    ///
    /// # Errors
    /// `io-error`.
    fn observe(&self, volume: VolumeId) -> Result<VolumeObs, Fault>;

    /// What a published volume takes; `None` if it is not there.
    ///
    /// # Errors
    /// `io-error`.
    fn footprint(&self, volume: VolumeId) -> Result<Option<Footprint>, Fault>;

    /// Makes a file of `size` bytes with this file system, empty and of this UUID, together with its sidecar:
    /// both are complete and durable before either is published, sidecar first.
    /// Does nothing if the volume's file is published already.
    ///
    /// # Errors
    /// `pool-full`, `tool-missing`, `format-failed`, `io-error`.
    fn create_blank(
        &self,
        volume: VolumeId,
        size: ByteSize,
        fs: (FileSystem, Uuid),
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault>;

    /// Makes the file of a volume of what was sent for it, which is whole and durable, and no longer than
    /// `size`; published as [`Pool::create_blank`] does.
    ///
    /// # Errors
    /// `superseded` if there is no such thing any more; `pool-full`, `io-error`.
    fn create_from_upload(&self, volume: VolumeId, size: ByteSize, sidecar: &[u8]) -> Result<(), Fault>;

    /// Makes a file of `size` bytes that begins with the image's content (reflink where the file
    /// system can, else its data ranges only), published as [`Pool::create_blank`] does.
    /// The content of a smaller `size` than the image's is never cut: that is an error.
    ///
    /// # Errors
    /// `pool-full`, `image-not-found`, `volume-too-small`, `io-error`.
    fn create_from_image(
        &self,
        volume: VolumeId,
        image: ImageId,
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault>;

    /// Makes a file of `size` bytes that begins with the content of another volume (reflink where the file
    /// system can, else its data ranges only), or of the same one in another pool; published as
    /// [`Pool::create_blank`] does. No process has what is copied open meanwhile.
    ///
    /// # Errors
    /// `pool-full`, `volume-lost`, `volume-too-small`, `pool-offline`, `io-error`.
    fn create_copy(
        &self,
        volume: VolumeId,
        from: (&str, VolumeId),
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault>;

    /// Looks at one snapshot; never at its content.
    ///
    /// # Errors
    /// `io-error`.
    fn observe_snapshot(&self, snapshot: SnapshotId) -> Result<SnapshotObs, Fault>;

    /// Makes the snapshot's file a copy of the volume's as that is now, in place of any that is there:
    /// reflink where the file system can, else its data ranges only, which needs that no process
    /// changes the volume meanwhile; while one may (`live`) that is refused. Durable only with
    /// [`Pool::settle_snapshot`].
    ///
    /// # Errors
    /// `pool-full`, `volume-lost`, `io-error`; `machine-running` if it is `live` and cannot be shared.
    fn take_snapshot(
        &self,
        snapshot: SnapshotId,
        of: VolumeId,
        live: bool,
        progress: OnProgress<'_>,
    ) -> Result<(), Fault>;

    /// Makes the snapshot's file durable; returns its length.
    ///
    /// # Errors
    /// `pool-full`, `snapshot-lost`, `io-error`.
    fn settle_snapshot(&self, snapshot: SnapshotId) -> Result<ByteSize, Fault>;

    /// Publishes the snapshot's sidecar, as [`Pool::write_sidecar`] does for a volume.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    fn write_snapshot_sidecar(&self, snapshot: SnapshotId, sidecar: &[u8]) -> Result<(), Fault>;

    /// Removes the snapshot's file, sidecar and temporaries for good.
    ///
    /// # Errors
    /// `io-error`.
    fn remove_snapshot(&self, snapshot: SnapshotId) -> Result<(), Fault>;

    /// Makes a file of `size` bytes that begins with the content of a snapshot, as [`Pool::create_copy`]
    /// does of a volume.
    ///
    /// # Errors
    /// `pool-full`, `snapshot-lost`, `volume-too-small`, `io-error`.
    fn create_from_snapshot(
        &self,
        volume: VolumeId,
        from: FromSnapshot<'_>,
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault>;

    /// Replaces the content of a published volume by that of a snapshot of this or another pool, with a length of `size` bytes:
    /// complete and durable first, then published by one rename. No process has the volume open.
    ///
    /// # Errors
    /// `pool-full`, `snapshot-lost`, `volume-too-small`, `io-error`.
    fn reset(
        &self,
        volume: VolumeId,
        to: (&str, SnapshotId),
        size: ByteSize,
        progress: OnProgress<'_>,
    ) -> Result<(), Fault>;

    /// Makes the file at least `to` bytes long and durable so: `ftruncate` and one fsync, whatever
    /// the sizes. Never shortens it.
    ///
    /// # Errors
    /// `volume-lost` if there is no file; `pool-full`, `io-error`.
    fn grow(&self, volume: VolumeId, to: ByteSize) -> Result<(), Fault>;

    /// Publishes the sidecar (temporary file, fsync, rename, fsync of the directory). `sidecar` is
    /// a JSON object whose `generation` is what [`VolumeObs::sidecar`] then tells.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    fn write_sidecar(&self, volume: VolumeId, sidecar: &[u8]) -> Result<(), Fault>;

    /// Moves the volume's file and sidecar into the trash, to be kept until `keep_until`.
    /// Does nothing if the volume has no published file; its temporaries go at once.
    ///
    /// # Errors
    /// `io-error`.
    fn trash(&self, volume: VolumeId, keep_until: Timestamp) -> Result<(), Fault>;

    /// Takes the volume's file out of the trash: publishes this sidecar, then removes the one in the
    /// trash, then moves the file back. Does nothing if the volume's file is published.
    ///
    /// # Errors
    /// `volume-lost` if the file is nowhere; `pool-full`, `io-error`.
    fn restore(&self, volume: VolumeId, sidecar: &[u8]) -> Result<(), Fault>;

    /// Removes the volume's file, sidecar and temporaries for good, out of the trash too.
    ///
    /// # Errors
    /// `io-error`.
    fn remove(&self, volume: VolumeId) -> Result<(), Fault>;

    /// Removes from the trash what is kept until `now` or less and of which there is no record: that of
    /// an earlier version, or of a database that was lost; and what was sent and never asked for. Never touches anything it did not make.
    ///
    /// # Errors
    /// `io-error`.
    fn purge_trash(&self, now: Timestamp, known: &dyn Fn(VolumeId) -> bool) -> Result<Vec<VolumeId>, Fault>;

    /// Whether what it takes to make this file system is there.
    ///
    /// # Errors
    /// `tool-missing`.
    fn can_make(&self, fs: FileSystem) -> Result<(), Problem>;

    /// Which file system is in what was sent for a volume and is whole, told by its first bytes; `None`:
    /// none that is known.
    ///
    /// # Errors
    /// `io-error`; `invalid-request` if it says that it is longer than what was sent.
    fn recognise(&self, upload: VolumeId) -> Result<Option<FileSystem>, Problem>;

    /// What making a volume of this size takes at once, at the least.
    ///
    /// # Errors
    /// `image-not-found`, `io-error`.
    fn needs(&self, size: ByteSize, fresh: Fresh) -> Result<ByteSize, Fault>;

    /// Whether copies share their blocks with what they are made of, so that they cost next to
    /// nothing; where that depends, no.
    fn shares(&self) -> bool;

    /// Room in the pool.
    ///
    /// # Errors
    /// `io-error`.
    fn capacity(&self) -> Result<Capacity, Fault>;
}

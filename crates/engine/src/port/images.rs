//! Images and kernels: content that is made or fetched once and used many times.

use super::{Fault, OnProgress};
use types::image::ImageSource;
use types::{ByteSize, ImageId, Problem};

/// A complete, durable image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageObs {
    /// sha256 of the content, in hexadecimal.
    pub digest: String,
    /// Length of the content.
    pub size: ByteSize,
}

/// Images and kernels of one node.
pub trait Images: Send + Sync {
    /// The recipes that can be built here, such as `debian`.
    fn recipes(&self) -> Vec<String>;

    /// Judges, before anything is written, whether `path` can become an image: a readable regular
    /// file that holds a whole ext4 file system. Returns its length and a key that changes when the
    /// file does.
    ///
    /// # Errors
    /// `image-not-found`, `image-invalid`, `no-permission`.
    fn probe(&self, path: &str) -> Result<(ByteSize, String), Problem>;

    /// The image, if it is complete.
    ///
    /// # Errors
    /// `io-error`.
    fn observe(&self, image: ImageId) -> Result<Option<ImageObs>, Fault>;

    /// Builds or copies the image, checks it, and publishes it under its digest.
    ///
    /// # Errors
    /// `tool-missing`, `image-failed`, `image-invalid`, `pool-full`, `io-error`.
    fn build(
        &self,
        image: ImageId,
        source: &ImageSource,
        progress: OnProgress<'_>,
    ) -> Result<ImageObs, Fault>;

    /// Removes the image; its content stays while another image has the same digest.
    ///
    /// # Errors
    /// `io-error`.
    fn remove(&self, image: ImageId) -> Result<(), Fault>;

    /// Judges, before anything is written, whether a kernel that the operator named is there.
    ///
    /// # Errors
    /// `no-kernel`.
    fn check_kernel(&self) -> Result<(), Problem>;

    /// Whether `version` is present and complete.
    ///
    /// # Errors
    /// `io-error`.
    fn has_kernel(&self, version: &str) -> Result<bool, Fault>;

    /// Makes a kernel present: the one that new machines are pinned to. Returns its version.
    ///
    /// # Errors
    /// `no-kernel`, `kernel-failed`, `tool-missing`, `pool-full`.
    fn ensure_kernel(&self, progress: OnProgress<'_>) -> Result<String, Fault>;
}

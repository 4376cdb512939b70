//! Images: content that is made once and used many times.
//!
//! `images/<id>.json` is an image's record, `images/<digest>.raw` the content that any number of
//! records may name; what begins with a dot is a temporary of ours.
//!
//! Invariant: content is there only while a record names it, and never changes.

mod bootstrap;
mod build;
pub mod probe;
mod publish;
mod recipe;
pub mod record;

pub(crate) use build::Held;

use crate::kernel::Kernels;
use crate::{Layout, durable, fault};
use engine::port::{Fault, ImageObs, Images, OnProgress};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use types::image::ImageSource;
use types::{ByteSize, ImageId, Problem};

/// Images and kernels of a data directory.
#[derive(Debug)]
pub struct HostImages {
    layout: Layout,
    kernels: Arc<Kernels>,
    /// Held while it is decided which content stays: two images may have the same.
    contents: Mutex<()>,
}

impl HostImages {
    /// Makes the directory, where it is missing.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    pub fn open(layout: Layout, kernels: Arc<Kernels>) -> Result<Self, Problem> {
        let dir = layout.images();
        // A killed daemon may have renamed without syncing; what is seen from now on is durable.
        let made = durable::make_dir(&dir).and_then(|()| durable::sync_dir(&dir));
        made.map_err(|e| fault::io("make the directory of images", layout.data(), &e).problem)?;
        Ok(Self { layout, kernels, contents: Mutex::new(()) })
    }

    /// The image's temporaries: where it is built, and what becomes its content.
    fn temporaries(&self, image: ImageId) -> [PathBuf; 2] {
        let name = |tail: &str| self.layout.images().join(format!(".{image}.{tail}"));
        [name("build"), name("raw.part")]
    }

    fn sweep(&self, image: ImageId) -> Result<(), Fault> {
        let swept = self.temporaries(image).iter().try_for_each(|path| crate::tree::remove(path));
        swept.map_err(|e| {
            let doing = format!("remove what an earlier build of image {image} left");
            fault::io(&doing, &self.layout.images(), &e)
        })
    }
}

impl Images for HostImages {
    fn recipes(&self) -> Vec<String> {
        recipe::names()
    }

    fn probe(&self, path: &str) -> Result<(ByteSize, String), Problem> {
        probe::probe(path).map(|found| (found.size, found.stamp))
    }

    fn observe(&self, image: ImageId) -> Result<Option<ImageObs>, Fault> {
        record::observe(&self.layout, image)
    }

    fn build(
        &self,
        image: ImageId,
        source: &ImageSource,
        progress: OnProgress<'_>,
    ) -> Result<ImageObs, Fault> {
        if let Some(seen) = self.observe(image)? {
            return Ok(seen);
        }
        // Of an earlier try that was killed, or whose content was lost since.
        self.remove(image)?;
        let made = self.make(image, source, progress);
        // What a failed try left would only take room until the next one.
        let swept = self.sweep(image);
        let seen = made?;
        swept?;
        Ok(seen)
    }

    fn remove(&self, image: ImageId) -> Result<(), Fault> {
        self.sweep(image)?;
        self.forget(image)
    }

    fn check_kernel(&self) -> Result<(), Problem> {
        self.kernels.check_custom()
    }

    fn has_kernel(&self, version: &str) -> Result<bool, Fault> {
        self.kernels.has(version)
    }

    fn ensure_kernel(&self, progress: OnProgress<'_>) -> Result<String, Fault> {
        self.kernels.ensure(progress)
    }
}

//! Giving content its name, and taking it away.
//!
//! Invariant: the record is written before the content has its name, and goes after it: so a kill
//! leaves at most a record without content, which counts as no image and is made or removed again;
//! never content that nobody knows of.

use super::HostImages;
use super::record::Record;
use crate::{durable, fault};
use engine::port::{Fault, ImageObs};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::PoisonError;
use types::ImageId;

impl HostImages {
    /// Publishes the temporary `raw`.
    pub(super) fn publish(
        &self,
        image: ImageId,
        file: &File,
        raw: &Path,
        made: ImageObs,
    ) -> io::Result<ImageObs> {
        // Content is shared, so nobody writes to it by mistake.
        file.set_permissions(Permissions::from_mode(0o400))?;
        file.sync_all()?;
        let _held = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let record = Record { digest: made.digest.clone(), size: made.size.bytes() };
        durable::write(&self.layout.image_record(image), &serde_json::to_vec(&record)?, 0o600)?;
        if record.check(&self.layout)?.is_none() {
            durable::rename(raw, &self.layout.image_content(&made.digest))?;
        }
        Ok(made)
    }

    /// Removes the record, and the content unless another record names it.
    pub(super) fn forget(&self, image: ImageId) -> Result<(), Fault> {
        let failed = |e: io::Error| fault::io(&format!("remove image {image}"), &self.layout.images(), &e);
        let _held = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.layout.image_record(image);
        if let Some(record) = Record::read(&path).map_err(failed)? {
            if !self.named_elsewhere(&record.digest, &path).map_err(failed)? {
                durable::remove(&self.layout.image_content(&record.digest)).map_err(failed)?;
            }
        }
        durable::remove(&path).map_err(failed)?;
        durable::sync_dir(&self.layout.images()).map_err(failed)
    }

    fn named_elsewhere(&self, digest: &str, own: &Path) -> io::Result<bool> {
        for entry in std::fs::read_dir(self.layout.images())? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            if hidden || path == own || path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            if Record::read(&path)?.is_some_and(|r| r.digest == digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

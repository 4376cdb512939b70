//! Which content an image is.
//!
//! Invariant: a record whose content is not there, or is of another length, is no image: it is in the
//! making, half removed, or lost.

use super::probe::open_file;
use crate::{Layout, fault};
use engine::port::{Fault, ImageObs};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use types::{ByteSize, Code, ImageId};

/// A record longer than this is not one of ours.
const MAX: u64 = 64 << 10;

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// sha256 of the content, in hexadecimal.
    pub digest: String,
    /// Length of the content in bytes.
    pub size: u64,
}

impl Record {
    /// The record in `path`; `None` if there is none, or none of ours.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match open_file(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        file.take(MAX).read_to_end(&mut bytes)?;
        let record: Option<Self> = serde_json::from_slice(&bytes).ok();
        // The digest becomes part of a path.
        Ok(record.filter(|r| r.digest.len() == 64 && r.digest.bytes().all(|b| b.is_ascii_hexdigit())))
    }

    /// The image, if its content is there as a whole.
    pub fn check(self, layout: &Layout) -> io::Result<Option<ImageObs>> {
        match layout.image_content(&self.digest).metadata() {
            Ok(seen) if seen.is_file() && seen.len() == self.size => {
                Ok(Some(ImageObs { digest: self.digest, size: ByteSize(self.size) }))
            }
            Ok(_) => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// The image, if it is complete.
pub fn observe(layout: &Layout, image: ImageId) -> Result<Option<ImageObs>, Fault> {
    let seen = Record::read(&layout.image_record(image))
        .and_then(|record| record.map_or(Ok(None), |r| r.check(layout)));
    seen.map_err(|e| fault::io(&format!("look at image {image}"), &layout.images(), &e))
}

/// The image's content and its length.
///
/// # Errors
/// `image-not-found`, `io-error`.
pub fn open(layout: &Layout, image: ImageId) -> Result<(File, ByteSize), Fault> {
    let gone = || {
        Fault::lasting(Code::ImageNotFound, format!("the content of image {image} is gone"))
            .hint("delete the image and pull it again")
    };
    let seen = observe(layout, image)?.ok_or_else(gone)?;
    match open_file(&layout.image_content(&seen.digest)) {
        Ok(file) => Ok((file, seen.size)),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(gone()),
        Err(e) => Err(fault::io(&format!("open image {image}"), &layout.images(), &e)),
    }
}

//! Images: read-only content that root volumes start as clones of.

use crate::Problem;
use crate::id::{ImageId, OperationId};
use crate::meta::Timestamp;
use crate::name::Name;
use crate::size::ByteSize;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an image comes from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "kind", content = "from")]
pub enum ImageSource {
    /// Built on this host from the distribution's mirrors.
    Recipe(String),
    /// A raw ext4 file system in a file on this host.
    Path(String),
}

/// What is wanted of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImageSpec {
    /// The image.
    pub id: ImageId,
    /// Its name.
    pub name: Name,
    /// Counts the changes of this spec, from 1.
    pub generation: u64,
    /// The host that holds it.
    pub node: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Where it comes from.
    pub source: ImageSource,
    /// What makes two sources the same: the recipe, or the file with its time of change.
    pub stamp: String,
    /// Set once the image is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<OperationId>,
}

/// What was seen of an image.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImageStatus {
    /// The spec generation that all of this answers; 0 before the first.
    pub observed_generation: u64,
    /// sha256 of the content, in hexadecimal, once it is complete and durable.
    pub digest: Option<String>,
    /// Its size: no volume can start from it with less.
    pub size: ByteSize,
    /// Why the last try failed, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Problem>,
}

/// An image as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Image")]
pub struct Image {
    /// The image's id.
    pub id: ImageId,
    /// Its name.
    pub name: Name,
    /// `ready`, `building`, `deleting` or `failed`.
    pub status: String,
    /// `sha256:…`, once ready.
    pub digest: Option<String>,
    /// Its size in bytes, once ready.
    pub size_bytes: Option<u64>,
    /// Where it comes from.
    pub source: ImageSource,
    /// How many volumes started from it.
    pub volumes: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Why the last try failed.
    pub fault: Option<Problem>,
    /// The spec's revision, for `If-Match`; it moves with every change of what is wanted.
    #[serde(default)]
    pub revision: u64,
}

/// Asks for an image to be made ready.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    /// A recipe or a path.
    pub image: String,
}

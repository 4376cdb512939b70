//! What a volume can be made with.
//!
//! Invariant: the words are those of the command line, of the API and of the records, the same everywhere.

use crate::size::ByteSize;
use crate::{Code, Problem};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// A file system that an empty volume can be made with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// None: a bare device, which no guest mounts by itself.
    None,
}

impl FileSystem {
    /// All of them, the usual one first.
    pub const ALL: [Self; 4] = [Self::Ext4, Self::Xfs, Self::Btrfs, Self::None];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::None => "none",
        }
    }

    /// Whether it is what a volume gets that nobody chose one for.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The smallest volume that can have it: of XFS and Btrfs what their `mkfs` takes; ext4 with a journal
    /// needs a little over one MiB of its own, and a bare device is no smaller either.
    pub fn least(self) -> ByteSize {
        match self {
            Self::Ext4 | Self::None => ByteSize::mib(8),
            Self::Xfs => ByteSize::mib(300),
            Self::Btrfs => ByteSize::mib(109),
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FileSystem {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|fs| fs.as_str() == text).ok_or_else(|| {
            let text =
                format!("\"{}\" is no file system that a volume can be made with", text.escape_debug());
            Problem::new(Code::InvalidRequest, text).hint("give one of ext4, xfs, btrfs, none")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_everywhere_and_others_are_refused_with_all_of_them() {
        for fs in FileSystem::ALL {
            assert_eq!(fs.as_str().parse(), Ok(fs));
            assert_eq!(serde_json::to_value(fs).unwrap(), fs.as_str());
        }
        for text in ["", "zfs", "EXT4", "ext4 "] {
            let refused = text.parse::<FileSystem>().unwrap_err();
            assert_eq!(refused.code, Code::InvalidRequest);
            assert!(FileSystem::ALL.iter().all(|fs| refused.hint.as_ref().unwrap().contains(fs.as_str())));
        }
    }
}

//! Identifiers: UUIDv7, so that they sort by creation time.
//!
//! Invariant: ids made together share their *beginning* (the timestamp), so short names come from
//! the random tail ([`short`](MachineId::short)) and are guarded by a claim in the store.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The last 12 hexadecimal digits: the random tail of the UUIDv7 (RFC 9562, 5.7).
            pub fn short(&self) -> String {
                let s = self.0.simple().to_string();
                s[s.len() - 12..].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

id!(/// Identifies a machine for its whole life.
    MachineId);
id!(/// Identifies a volume for its whole life; also its file's name in the pool.
    VolumeId);
id!(/// Identifies a snapshot; also its file's name in the pool.
    SnapshotId);
id!(/// Identifies an image record; the content is identified by its digest.
    ImageId);
id!(/// Identifies a network.
    NetworkId);
id!(/// Identifies a pool; also the mark in what it is on.
    PoolId);
id!(/// Identifies an accepted request; history refers to it.
    OperationId);
id!(/// Identifies a token for the API.
    TokenId);
id!(/// Identifies one run of a machine: one hypervisor process, from start to exit.
    RunId);

/// Whether `text` has the shape of a UUID, in any of the spellings that [`Uuid`] parses.
pub fn looks_like_id(text: &str) -> bool {
    Uuid::parse_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_comes_from_the_tail() {
        let id: VolumeId = "0192f0c1-2345-7abc-8def-0123456789ab".parse().unwrap();
        assert_eq!(id.short(), "0123456789ab");
        assert_eq!(id.to_string(), "0192f0c1-2345-7abc-8def-0123456789ab");
    }
}

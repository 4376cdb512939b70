//! The vocabulary of Sistemo as types: ids, names, sizes, specs, statuses, requests, error codes.
//!
//! Invariant: nothing here performs I/O or knows a runtime; a value that exists has been validated,
//! so every other room can rely on it.

pub mod access;
pub mod code;
pub mod event;
pub mod fs;
pub mod id;
pub mod image;
pub mod label;
pub mod machine;
pub mod meta;
pub mod name;
pub mod network;
pub mod operation;
pub mod page;
pub mod pool;
pub mod size;
pub mod snapshot;
pub mod storage;
pub mod volume;

pub use access::Role;
pub use code::{Code, Problem};
pub use id::{ImageId, MachineId, NetworkId, OperationId, PoolId, RunId, SnapshotId, TokenId, VolumeId};
pub use meta::{Actor, Timestamp};
pub use name::Name;
pub use operation::{Operation, OperationState, Verb};
pub use page::List;
pub use size::ByteSize;

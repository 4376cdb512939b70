//! The hands: the engine's ports done on Linux.
//!
//! Invariant: every effect is an *ensure* with one publication point (a rename, one nftables
//! transaction, a marker file), so that a kill at any moment leaves either nothing or the whole, and
//! a second try finds the first one's work. Whatever a guest can write is never parsed as root.

pub mod clock;
pub mod doctor;
pub mod durable;
pub mod filesystem;
pub mod guest;
pub mod image;
pub mod kernel;
pub mod layout;
pub mod net;
pub mod pools;
pub mod recover;
pub mod space;
pub mod storage;
pub mod vmm;

mod apt;
mod child;
mod copy;
mod fault;
mod mkfs;
mod tool;
mod tree;

/// Ways in for the fuzz targets, and for nobody else.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::guest::observation;
    pub use crate::image::probe::judge as superblock;
    pub use crate::recover::{pool_name, trash_name};
    pub use crate::vmm::{Lines, message};
}

pub use layout::Layout;

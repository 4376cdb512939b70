//! Disks that lose their power, and file systems on them.
//!
//! Invariant: however a test ends, no mount, loop device or file of it stays for longer than until
//! the next one begins ([`Place::new`] takes back what killed ones left).

mod cache;
mod device;
mod mounted;
mod place;

pub use cache::{BLOCK, Cache, Lost, SECTOR};
pub use device::Device;
pub use mounted::{Kind, Mounted, detach, end_users, preallocated};
pub use place::{Place, Powered};

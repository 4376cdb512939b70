//! PID 1: from the kernel's hand to the image's init.
//!
//! Invariant: PID 1 never ends and never panics the kernel; without a root the agent stays up and
//! says why.

mod boot;
mod entry;
mod mounts;
mod reaper;

use crate::inside::Inside;
use crate::log;
use rustix::fs::fstat;
use std::io;

/// Where the root is mounted before the switch.
pub const NEW_ROOT: &str = "/newroot";

/// Boots the machine; never comes back.
///
/// # Errors
/// None.
pub fn run() -> io::Result<()> {
    // A panic is said on the console by the hook; PID 1 has to stay.
    if std::panic::catch_unwind(boot::boot).is_err() {
        log::complain("the boot broke off");
    }
    reaper::idle()
}

/// Whether this is the machine's root, and not the place in the initramfs where it was mounted.
pub fn is_root(inside: &Inside) -> bool {
    let device = |inside: &Inside| fstat(inside.fd()).ok().map(|s| s.st_dev);
    Inside::at("/").is_ok_and(|ours| device(inside) != device(&ours))
}

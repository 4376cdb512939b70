//! `sistemo-agent`: PID 1 of the initramfs, then the guest's agent.
//!
//! One static binary in several processes. PID 1 ([`init`]) brings the machine up and hands over to
//! the image's own init. The agent ([`agent`]) is started before the root is mounted and serves the
//! host from then on; it stays in the initramfs and reaches into the machine's root through
//! [`inside::Inside`]. What PID 1 and helpers do, the agent learns from a journal of [`fact::Fact`]s.
//!
//! Invariant: nothing but a missing root keeps a machine from booting; whatever else fails is a note.
//! Nothing in the root, least of all a symbolic link, leads our file work out of it.

pub mod agent;
mod clock;
pub mod disk;
pub mod exec;
pub mod fact;
pub mod freeze;
pub mod grow;
pub mod init;
pub mod inside;
pub mod log;
pub mod modules;
pub mod mounted;
pub mod names;
pub mod net;
pub mod release;
pub mod renew;
pub mod setup;
pub mod superblock;
pub mod trim;
mod used;
pub mod volumes;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// This program once more, as another process of the guest: `role` and its arguments.
pub fn again(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("sistemo-agent").arg(role);
    command
}

/// Lets tokio watch a descriptor.
///
/// # Errors
/// When the kernel has no resources for it.
pub fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and always the same, for as long as the AsyncFd holds it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(io::Error::from)
}

//! What a guest is told about itself: in the initramfs at boot, and again at every hello.
//!
//! Invariant: disks are named by their virtio serial, never by an order or a device name.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Everything that one machine's guest needs to know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestConfig {
    /// The generation of the machine's spec that this describes.
    pub generation: u64,
    /// The host name.
    pub hostname: String,
    /// Serial of the root disk.
    pub root: String,
    /// The UUID that says who the root is, if it is a copy; else empty. See [`Mount::identity`].
    pub root_identity: String,
    /// Whether the kernel's modules come on the disk [`crate::MODULES_SERIAL`].
    pub modules: bool,
    /// Data disks to mount.
    pub mounts: Vec<Mount>,
    /// Interfaces to configure.
    pub nics: Vec<Nic>,
    /// Name servers for `/etc/resolv.conf`.
    pub nameservers: Vec<String>,
    /// Lines for root's `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// What to run in an image that has no init of its own.
    pub entry: Option<Entry>,
}

/// A data disk and its mount point.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// The disk's serial.
    pub serial: String,
    /// Absolute path in the guest.
    pub path: String,
    /// Mount it read-only.
    pub read_only: bool,
    /// The UUID that its file system shall have, if it is a copy of another; else empty.
    pub identity: String,
}

/// An interface with a static IPv4 address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Nic {
    /// Its Ethernet address, as `52:54:00:xx:xx:xx`: how the guest finds it.
    pub mac: String,
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// The default route; `None`: no default route through this interface.
    pub gateway: Option<Ipv4Addr>,
}

/// What an application image runs (OCI image-spec, `config.md`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory; empty for `/`.
    pub cwd: String,
    /// `user[:group]`, by name or number; empty for root.
    pub user: String,
}

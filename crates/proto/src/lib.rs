//! What host and guest agent say to each other.
//!
//! The agent serves HTTP/2 (RFC 9113) on a byte stream: the virtio-serial port [`PORT`]. The host
//! is the client. Before each session both ends run the handshake of [`preamble`], since either may
//! restart at any time and the stream may hold bytes of a dead session.
//!
//! Invariant: guests outlive daemon upgrades. Fields are only added, with defaults; what one end does
//! not know it ignores; a path that an agent does not know answers 404. Whatever comes from the
//! other end is bounded before it is held.

mod config;
mod frame;
mod message;
pub mod preamble;

pub use config::{Entry, GuestConfig, Mount, Nic};
pub use frame::{Frame, MAX as MAX_FRAME};
pub use message::{
    Clock, ClockSet, DiskUsage, ExecRequest, Freeze, GrowDisk, Grown, Growth, Held, Refusal, ReleaseDisk,
    State, Thawed, TrimDisk, Trimmed, Tty, UsedDisk, decode_exec, encode_exec, paths,
};

/// The name of the virtio-serial port that the agent serves
/// (`/sys/class/virtio-ports/*/name` in the guest).
pub const PORT: &str = "org.sistemo.agent.0";
/// The version of this protocol; raised only when an old peer could not cope.
pub const VERSION: u32 = 1;
/// The longest JSON document either end accepts, in bytes.
pub const MAX_JSON: usize = 4 << 20;
/// The serial (virtio-blk, at most 20 characters) of the read-only disk of kernel modules.
pub const MODULES_SERIAL: &str = "sistemo-modules";
/// Where the boot configuration is in the initramfs: a [`GuestConfig`] as JSON.
pub const CONFIG_PATH: &str = "/etc/sistemo/config.json";
/// Where the initramfs lists the modules to load, one path a line, in the order of loading.
pub const MODULES_LIST: &str = "/etc/sistemo/modules";

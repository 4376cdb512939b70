//! Requests and answers of the agent.
//!
//! Invariant: everything that is a stream is framed by [`crate::Frame`] or is one JSON document a
//! line; nothing is longer than [`crate::MAX_JSON`].

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use std::io;

/// The agent's paths.
pub mod paths {
    /// `POST`, body [`crate::GuestConfig`]: the current configuration, applied as far as a running
    /// guest can; answers [`super::State`].
    pub const HELLO: &str = "/v1/hello";
    /// `GET`: [`super::State`] as a line of JSON at once and after every change, until the session
    /// ends.
    pub const EVENTS: &str = "/v1/events";
    /// `POST`, body: [`super::encode_exec`], then frames for the command; answers frames from the
    /// command.
    pub const EXEC: &str = "/v1/exec";
    /// `POST`: shut the guest down in order; answers 202 before it happens.
    pub const SHUTDOWN: &str = "/v1/shutdown";
    /// `POST`, body [`super::Clock`]: the guest has stood still and its clock with it; set it to this,
    /// never back. Answers [`super::ClockSet`].
    pub const CLOCK: &str = "/v1/clock";
    /// `POST`, body [`super::ReleaseDisk`]: unmount a disk wherever it is mounted, and write out what
    /// is not written. Answers 200 when nothing uses it, 409 with a refusal that names what does.
    pub const RELEASE: &str = "/v1/release";
    /// `POST`, body [`super::GrowDisk`]: a disk has become larger; fill it. Answers [`super::Grown`]
    /// once it is filled, or after a few seconds while that goes on.
    pub const GROW: &str = "/v1/grow";
    /// `POST`, body [`super::TrimDisk`]: tell the host what of a mounted disk is not used. Answers
    /// [`super::Trimmed`].
    pub const TRIM: &str = "/v1/trim";
    /// `POST`, body [`super::Freeze`]: write out what is not written, then hold every file system still,
    /// until [`THAW`] or for so long at most. Answers 200 once all are held.
    pub const FREEZE: &str = "/v1/freeze";
    /// `POST`: let go of what [`FREEZE`] held. Answers [`super::Thawed`].
    pub const THAW: &str = "/v1/thaw";
    /// `GET`: what is in use of the disks that are mounted. Answers [`super::DiskUsage`].
    pub const USAGE: &str = "/v1/usage";
}

/// What is in use of the disks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskUsage {
    /// Those that have a serial and are mounted.
    pub disks: Vec<UsedDisk>,
}

/// What is in use of one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UsedDisk {
    /// The disk's serial.
    pub serial: String,
    /// Bytes of its file systems that are in use.
    pub used: u64,
}

/// A disk to let go of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseDisk {
    /// The disk's serial.
    pub serial: String,
    /// Also while it is used.
    pub force: bool,
}

/// A disk that has become larger.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GrowDisk {
    /// The disk's serial.
    pub serial: String,
    /// Bytes it has now.
    pub bytes: u64,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Grown {
    /// The file system is still growing.
    pub growing: bool,
    /// What a person should know.
    pub note: Option<String>,
}

/// A disk to trim.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrimDisk {
    /// The disk's serial.
    pub serial: String,
}

/// What was trimmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Trimmed {
    /// Bytes that the guest told its disk it does not use.
    pub bytes: u64,
}

/// How to hold the file systems still.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Freeze {
    /// After so many seconds they are let go, whatever happens.
    pub seconds: u64,
}

/// What is held.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// The serials of the disks with a file system that is; an agent from before this was asked does not
    /// tell.
    pub serials: Option<Vec<String>>,
}

/// How they were held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Thawed {
    /// All of them, from the answer to [`paths::FREEZE`] until now.
    pub throughout: bool,
}

/// The host's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// Milliseconds since 1970 (UTC).
    pub unix_ms: u64,
}

impl Clock {
    /// Now.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// By how many milliseconds `theirs` is ahead of this; 0 if it is not.
    pub fn behind(self, theirs: Self) -> u64 {
        theirs.unix_ms.saturating_sub(self.unix_ms)
    }
}

/// What became of a [`Clock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockSet {
    /// By how many milliseconds the guest's clock was set forward.
    pub forward_ms: u64,
}

/// What the agent knows of its guest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// [`crate::VERSION`] of the agent.
    pub protocol: u32,
    /// The agent's own version.
    pub agent: String,
    /// `/proc/sys/kernel/random/boot_id` of the guest: changes at a reboot inside it.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel: String,
    /// The generation of the configuration that was applied last; 0 until the boot's is.
    pub generation: u64,
    /// The root file system is mounted.
    pub root_mounted: bool,
    /// Why booting failed, if it did.
    pub error: Option<String>,
    /// What a person should know: a mount that failed, a step that was skipped.
    pub notes: Vec<String>,
    /// File systems that are being grown.
    pub growing: Vec<Growth>,
}

/// A file system on its way to the size of its disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Growth {
    /// The disk's serial.
    pub serial: String,
    /// Bytes it has now.
    pub done: u64,
    /// Bytes it shall have.
    pub total: u64,
}

/// Why the agent would not do something; the body of its answers of 400 and above.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// One sentence.
    pub message: String,
    /// For [`paths::EXEC`]: the exit code a shell would give (127 not found, 126 not executable).
    pub exit: Option<u8>,
}

/// A command to run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// Program and arguments, passed on exactly.
    pub argv: Vec<String>,
    /// Variables added to the agent's defaults, as `NAME=value`.
    pub env: Vec<String>,
    /// The working directory; empty: root's home.
    pub cwd: String,
    /// Give it a terminal of this size.
    pub tty: Option<Tty>,
}

/// A terminal's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tty {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// The head of an exec stream: `[length u32 be][JSON]`.
pub fn encode_exec(request: &ExecRequest) -> Vec<u8> {
    // It holds strings and numbers only, so it always serialises.
    let json = serde_json::to_vec(request).unwrap_or_default();
    let mut out = Vec::with_capacity(4 + json.len());
    out.extend_from_slice(&(json.len() as u32).to_be_bytes());
    out.extend_from_slice(&json);
    out
}

/// Takes the head of an exec stream from the front of `bytes`, once it is there as a whole.
///
/// # Errors
/// `InvalidData` for a head that is too long or is no request.
pub fn decode_exec(bytes: &mut BytesMut) -> io::Result<Option<ExecRequest>> {
    let [a, b, c, d, ..] = bytes[..] else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > crate::MAX_JSON {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if bytes.len() < 4 + length {
        return Ok(None);
    }
    bytes.advance(4);
    let json = bytes.split_to(length);
    serde_json::from_slice(&json).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_head_is_read_once_whole() {
        let asked = ExecRequest { argv: vec!["a b".into(), String::new()], ..ExecRequest::default() };
        let bytes = encode_exec(&asked);
        let mut buffer = BytesMut::from(&bytes[..bytes.len() - 1]);
        assert_eq!(decode_exec(&mut buffer).unwrap(), None);
        buffer.extend_from_slice(&bytes[bytes.len() - 1..]);
        buffer.extend_from_slice(b"rest");
        assert_eq!(decode_exec(&mut buffer).unwrap(), Some(asked));
        assert_eq!(&buffer[..], b"rest");
    }

    #[test]
    fn a_head_beyond_the_limit_is_refused_at_once() {
        assert!(decode_exec(&mut BytesMut::from(&[0xff, 0, 0, 0][..])).is_err());
        assert!(decode_exec(&mut BytesMut::from(&b"\0\0\0\x02no"[..])).is_err());
    }

    #[test]
    fn an_older_or_newer_peer_is_understood() {
        let newer: State = serde_json::from_str(r#"{"agent":"9.0","unheard_of":[1]}"#).unwrap();
        assert_eq!(newer.agent, "9.0");
        assert!(!newer.root_mounted);
    }
}

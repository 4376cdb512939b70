//! Error codes: the vocabulary of what can go wrong.
//!
//! Invariant: a code never changes its spelling, exit code or HTTP status once released; scripts
//! rely on them. Each has a page in `docs/codes/`.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

macro_rules! codes {
    ($($variant:ident = $text:tt, $exit:literal, $status:literal;)*) => {
        /// What went wrong, as a stable word.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
        pub enum Code {
            $(
                #[doc = concat!("`", $text, "`")]
                #[serde(rename = $text)]
                $variant,
            )*
        }

        impl Code {
            /// Every code, in the order of this file.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The stable spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),* }
            }

            /// The exit code of a command that ends with this error.
            pub const fn exit(self) -> u8 {
                match self { $(Code::$variant => $exit),* }
            }

            /// The HTTP status of an answer that carries this error.
            pub const fn http_status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }
        }
    };
}

codes! {
    // What was asked makes no sense.
    Usage = "usage", 2, 400;
    InvalidName = "invalid-name", 2, 400;
    InvalidSize = "invalid-size", 2, 400;
    InvalidRequest = "invalid-request", 2, 400;
    InvalidUrl = "invalid-url", 2, 400;
    InsecureUrl = "insecure-url", 2, 400;
    InvalidConfig = "invalid-config", 2, 400;
    NotYet = "not-yet", 2, 501;
    // What was named does not exist.
    MachineNotFound = "machine-not-found", 3, 404;
    VolumeNotFound = "volume-not-found", 3, 404;
    SnapshotNotFound = "snapshot-not-found", 3, 404;
    ImageNotFound = "image-not-found", 3, 404;
    NetworkNotFound = "network-not-found", 3, 404;
    PoolNotFound = "pool-not-found", 3, 404;
    OperationNotFound = "operation-not-found", 3, 404;
    RouteNotFound = "route-not-found", 3, 404;
    TokenNotFound = "token-not-found", 3, 404;
    UserNotFound = "user-not-found", 3, 404;
    // It exists, but not in a state that allows it.
    NameTaken = "name-taken", 4, 409;
    VolumeInUse = "volume-in-use", 4, 409;
    VolumeNotAttached = "volume-not-attached", 4, 409;
    VolumeNotBootable = "volume-not-bootable", 4, 409;
    VolumeLost = "volume-lost", 4, 409;
    SnapshotLost = "snapshot-lost", 4, 409;
    SnapshotNotReady = "snapshot-not-ready", 4, 409;
    VolumeTooSmall = "volume-too-small", 4, 409;
    CannotShrink = "cannot-shrink", 4, 409;
    ReadOnly = "read-only", 4, 409;
    NoFreeSlot = "no-free-slot", 4, 409;
    MachineRunning = "machine-running", 4, 409;
    MachineNotRunning = "machine-not-running", 4, 409;
    ImageInUse = "image-in-use", 4, 409;
    ImageInvalid = "image-invalid", 4, 409;
    ChecksumMismatch = "checksum-mismatch", 4, 409;
    Deleting = "being-deleted", 4, 409;
    NotDeleted = "not-deleted", 4, 409;
    Protected = "protected", 4, 409;
    Busy = "busy", 4, 409;
    Conflict = "conflict", 4, 409;
    Superseded = "superseded", 4, 409;
    NotConfirmed = "not-confirmed", 4, 409;
    NetworkFull = "network-full", 4, 409;
    LimitExceeded = "limit-exceeded", 4, 409;
    PoolFull = "pool-full", 4, 507;
    PoolOffline = "pool-offline", 4, 409;
    PoolInUse = "pool-in-use", 4, 409;
    HostHalting = "host-halting", 4, 409;
    // It is not for whoever asked, or not now.
    PreconditionFailed = "precondition-failed", 4, 412;
    RevisionGone = "revision-gone", 4, 410;
    NotAuthenticated = "not-authenticated", 4, 401;
    RateLimited = "rate-limited", 4, 429;
    // The host cannot.
    NoHypervisor = "no-hypervisor", 4, 409;
    NoKernel = "no-kernel", 4, 409;
    NoPermission = "no-permission", 4, 403;
    ToolMissing = "tool-missing", 4, 409;
    DaemonRunning = "daemon-running", 4, 409;
    DataDirInvalid = "data-dir-invalid", 4, 409;
    // It was tried and failed.
    IoError = "io-error", 1, 500;
    ImageFailed = "image-failed", 1, 500;
    KernelFailed = "kernel-failed", 1, 500;
    FormatFailed = "format-failed", 1, 500;
    NetworkFailed = "network-failed", 1, 500;
    BootFailed = "boot-failed", 1, 500;
    KeepsDying = "keeps-dying", 1, 500;
    GuestUnreachable = "guest-unreachable", 1, 502;
    GuestFailed = "guest-failed", 1, 502;
    DatabaseFailed = "database-failed", 1, 500;
    Internal = "internal", 1, 500;
    // Nobody answered, or not in time.
    DaemonUnreachable = "daemon-unreachable", 5, 503;
    ShuttingDown = "shutting-down", 5, 503;
    TimedOut = "timed-out", 124, 504;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A refusal or failure as a person reads it: code, one sentence, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The stable word for what went wrong.
    pub code: Code,
    /// One sentence that names the things concerned.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn spellings_are_unique_and_serialise_as_themselves() {
        let mut seen = HashSet::new();
        for &code in Code::ALL {
            assert!(seen.insert(code.as_str()));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_ne!(code.exit(), 0);
        }
    }
}

//! Errors of the system, as a person reads them.

use engine::port::Fault;
use std::io;
use types::Code;

/// What the system said, in words and without its number.
pub fn said(e: &io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The fault of a system call that failed while `doing` something ("read the sidecar of …").
pub fn io(doing: &str, e: &io::Error) -> Fault {
    tracing::error!(error = %e, "cannot {doing}");
    let text = format!("cannot {doing}: {}", said(e));
    match e.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            Fault::lasting(Code::PoolFull, text).hint("make room in the file system of the data directory")
        }
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => {
            Fault::passing(Code::IoError, text)
        }
        _ => Fault::lasting(Code::IoError, text).hint("the daemon's log says more"),
    }
}

//! Keeps an agent running.
//!
//! Invariant: the supervisor holds nothing and does nothing that could make it fail.

use crate::{again, log};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

/// Between the end of an agent, or a failure to start one, and the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the agent, and a new one whenever it ends; never comes back.
///
/// # Errors
/// None: where there is no process or no memory to be had now, there may be later.
pub fn supervise() -> io::Result<()> {
    let _ = rustix::process::setsid();
    // Out of memory, the host's way in shall be the last to go.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    loop {
        let mut serve = again("serve");
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = serve.status();
        // At a shutdown everybody gets SIGTERM; the pause lets ours arrive before a new agent
        // begins that would miss its own.
        std::thread::sleep(PAUSE);
        let how = match ended {
            Ok(status) => match status.signal() {
                Some(signal) => format!("was ended by signal {signal}"),
                None => format!("ended ({status})"),
            },
            Err(e) => format!("cannot be started: {e}"),
        };
        log::complain(&format!("the agent {how}; starting it again"));
    }
}

//! A daemon for as long as the host's end takes, where none is up: its guests may be.
//!
//! Invariant: it is ended again, and killed if this command is dropped before.

use crate::cli::context::Context;
use crate::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use types::{Code, Problem};

/// How long it may take until it answers.
const UP: Duration = Duration::from_secs(30);
/// How long it may take to end; `shutdown_timeout` has nothing to wait for by then.
const DOWN: Duration = Duration::from_secs(10);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// The daemon.
pub struct Borrowed(Child);

/// Starts one and waits until it answers. `None` where the API is not that of a daemon of this host, or
/// there is nothing that it could know: then nobody is missed.
pub async fn up(context: &Context, client: &Client) -> Result<Option<Borrowed>, Problem> {
    let config = context.config(false)?;
    let ours = config.url == format!("unix://{}", config.socket().display());
    if !ours || !config.data_dir.join("sistemo.db").exists() {
        return Ok(None);
    }
    let cannot = |e: std::io::Error| Problem::new(Code::Internal, format!("cannot start the daemon: {e}"));
    let child = Command::new(std::env::current_exe().map_err(cannot)?)
        .arg("up")
        .arg("--data-dir")
        .arg(&config.data_dir)
        // The service manager waits for another one.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let mut daemon = Borrowed(child);
    let answers = async {
        while client.get::<serde_json::Value>(&["status"]).await.is_err() {
            if daemon.0.try_wait().map_err(cannot)?.is_some() {
                return Err(Problem::new(
                    Code::DaemonUnreachable,
                    "no daemon is up, and none can be started",
                )
                .hint("what it says above tells why"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(UP, answers).await.map_err(|_| {
        Problem::new(Code::TimedOut, format!("the daemon did not answer for {} s", UP.as_secs()))
            .hint("look at what it logged")
    })??;
    Ok(Some(daemon))
}

impl Borrowed {
    /// Ends it; one that does not end is killed.
    pub async fn down(mut self) {
        let pid = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // It is our child and not waited for: the number is still its own.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(DOWN, self.0.wait()).await;
    }
}

//! The daemon, if one runs, and the agent it gives to guests.

use crate::api::Status;
use crate::client::Client;
use host::doctor::Finding;
use std::time::Duration;
use types::{Code, Problem};

const CHECK: &str = "daemon";
const LIMIT: Duration = Duration::from_secs(2);

/// The agent that guests boot with.
pub fn agent() -> Finding {
    match crate::daemon::agent::find() {
        Ok(_) => Finding::ok("agent", "it is at hand"),
        Err(problem) => {
            let fix = problem.hint.unwrap_or_else(|| "put sistemo-agent beside sistemo".into());
            Finding::fail("agent", problem.message, fix)
        }
    }
}

/// Asks the daemon how it is, and what it has to say of its pools.
pub fn daemon(url: &str) -> Vec<Finding> {
    let said = ask(url);
    let pools = said.as_ref().map(|status| status.pools.clone()).unwrap_or_default();
    let full = pools.into_iter().filter_map(|pool| pool.warning).map(|warning| {
        let fix = "`sistemo storage df` shows what takes the room; grow the pool, or delete volumes and empty the trash";
        Finding::warn("room", warning, fix)
    });
    std::iter::once(judge(said)).chain(full).collect()
}

fn judge(said: Result<Status, Problem>) -> Finding {
    match said {
        Ok(status) if status.version == env!("CARGO_PKG_VERSION") => {
            Finding::ok(CHECK, format!("version {} runs as process {}", status.version, status.pid))
        }
        Ok(status) => {
            let text =
                format!("version {} runs, this command is {}", status.version, env!("CARGO_PKG_VERSION"));
            Finding::warn(CHECK, text, "restart the daemon; machines run on")
        }
        Err(problem) if problem.code == Code::DaemonUnreachable => {
            Finding::warn(CHECK, "none answers", "`sistemo up` starts one")
        }
        Err(problem) => {
            let fix = problem.hint.unwrap_or_else(|| "the daemon's log says more".into());
            Finding::fail(CHECK, problem.message, fix)
        }
    }
}

fn ask(url: &str) -> Result<Status, Problem> {
    let client = Client::new(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Code::Internal, format!("cannot begin: {e}")))?;
    runtime.block_on(async {
        match tokio::time::timeout(LIMIT, client.get(&["status"])).await {
            Ok(answer) => answer,
            Err(_) => Err(Problem::new(Code::TimedOut, "the daemon takes connections and does not answer")
                .hint("the daemon's log says more; restart it: machines run on")),
        }
    })
}

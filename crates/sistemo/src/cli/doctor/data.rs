//! Database and pool.

use crate::config::Config;
use crate::daemon::recover::{Listed, layout, listed};
use host::doctor::Finding;

const CHECK: &str = "database";
const REBUILD: &str = "stop the daemon and run `sistemo recover`: it removes nothing";

/// The database, read beside a daemon that may have it open.
pub fn database(config: &Config) -> Finding {
    let dir = config.data_dir.display();
    match listed(config) {
        Ok(Some(Listed { half_done: true, .. })) => {
            Finding::fail(CHECK, "a recovery has begun and not ended", "run `sistemo recover` again")
        }
        Ok(Some(all)) => {
            let (machines, volumes) = (all.machines.len(), all.volumes.len());
            Finding::ok(CHECK, format!("whole; machines {machines}, volumes {volumes}"))
        }
        Ok(None) if host::recover::anything(&layout(config)).unwrap_or(false) => {
            Finding::fail(CHECK, format!("there is none in {dir}, but machines or volumes"), REBUILD)
        }
        Ok(None) => Finding::ok(CHECK, format!("there is none in {dir} yet")),
        Err(problem) if denied(config) => Finding::unseen(CHECK, problem.message),
        Err(problem) => Finding::fail(CHECK, problem.message, problem.hint.unwrap_or_else(|| REBUILD.into())),
    }
}

/// Whether it is for want of permission that the database cannot be read.
fn denied(config: &Config) -> bool {
    let opened = std::fs::File::open(config.data_dir.join("sistemo.db"));
    opened.is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
}

/// What only one of pool and database knows.
pub fn pool(config: &Config) -> Vec<Finding> {
    host::doctor::pool(&layout(config), || listed(config).ok().map(Option::unwrap_or_default))
}

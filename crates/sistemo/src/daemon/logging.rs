//! The daemon's log: lines on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use types::{Code, Problem};

/// What libraries say of their insides is not worth a reader's time; a filter that names them wins.
const LIBRARIES: &str = "h2=info,hyper=info,hyper_util=info,netlink_proto=info,netlink_packet_route=error";

/// Begins logging.
///
/// # Errors
/// `invalid-config` if `filter` is no list of levels.
pub fn init(filter: &str) -> Result<(), Problem> {
    let filter = EnvFilter::try_new(format!("{LIBRARIES},{filter}")).map_err(|e| {
        Problem::new(
            Code::InvalidConfig,
            format!("log = \"{}\" is not understood: {e}", filter.escape_debug()),
        )
        .hint("write error, warn, info, debug or trace, or a list such as info,engine=debug")
    })?;
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false);
    // Under systemd the journal knows the time.
    let set = if std::env::var_os("JOURNAL_STREAM").is_some() && !terminal {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
    // Only a test that runs two daemons in one process gets here twice.
    set.or(Ok(()))
}

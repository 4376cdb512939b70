//! The daemon's log: lines on standard error.

use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};
use types::{Code, Problem};

/// What libraries say of their insides is not worth a reader's time; a filter that names them wins.
const LIBRARIES: &str = "h2=info,hyper=info,hyper_util=info,netlink_proto=info,netlink_packet_route=error";

/// What is logged, and how to change that.
pub struct Logging(Option<reload::Handle<EnvFilter, Registry>>);

/// Begins logging: lines for people, or a JSON object a line.
///
/// # Errors
/// `invalid-config` if `filter` is no list of levels.
pub fn init(filter: &str, json: bool) -> Result<Logging, Problem> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal && !json).with_target(false);
    // Under systemd the journal knows the time.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some() && !terminal;
    let layer = match (json, journal) {
        (true, _) => lines.json().boxed(),
        (false, true) => lines.without_time().boxed(),
        (false, false) => lines.boxed(),
    };
    let set = tracing_subscriber::registry().with(filter).with(layer).try_init();
    // Only a test that runs two daemons in one process finds one set.
    Ok(Logging(set.is_ok().then_some(handle)))
}

impl Logging {
    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// `invalid-config` if it is no list of levels.
    pub fn set(&self, filter: &str) -> Result<(), Problem> {
        let filter = parse(filter)?;
        if let Some(handle) = &self.0 {
            handle
                .reload(filter)
                .map_err(|e| Problem::new(Code::Internal, format!("the log cannot be changed: {e}")))?;
        }
        Ok(())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, Problem> {
    EnvFilter::try_new(format!("{LIBRARIES},{filter}")).map_err(|e| {
        Problem::new(
            Code::InvalidConfig,
            format!("log = \"{}\" is not understood: {e}", filter.escape_debug()),
        )
        .hint("write error, warn, info, debug or trace, or a list such as info,engine=debug")
    })
}

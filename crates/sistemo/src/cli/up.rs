//! `sistemo up`: the daemon in the foreground.

use super::Ended;
use super::context::Context;
use crate::daemon;
use clap::Args;

/// Flags of `up`.
#[derive(Args)]
pub struct Up {
    /// Where TCP listens, or off [default: 127.0.0.1:7777]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a list [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// How to write the log: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Up {
    /// Runs until a signal.
    pub fn run(self, context: &Context) -> Ended {
        let flags = [("listen", self.listen), ("log", self.log), ("log_format", self.log_format)]
            .into_iter()
            .filter_map(|(key, value)| value.map(|v| (key, v)))
            .collect();
        Ok(daemon::up(context.daemon(flags)?)?)
    }
}

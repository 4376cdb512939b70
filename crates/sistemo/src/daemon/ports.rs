//! Which hands the engine gets: this host's, or in tests simulated ones.

use crate::api::Guests;
use crate::config::Config;
use engine::port::{Ports, Wake};
use std::sync::Arc;
use types::{Code, Problem};

/// The ports and the guests behind them.
pub struct Opened {
    /// For the engine.
    pub ports: Ports,
    /// For the API.
    pub guests: Arc<dyn Guests>,
}

/// Opens the ports; `ssh_key` is the line that opens a guest's login, `wake` is told of news.
pub fn open(config: &Config, ssh_key: Option<&str>, wake: Wake) -> Result<Opened, Problem> {
    #[cfg(debug_assertions)]
    if std::env::var_os("SISTEMO_SIM").is_some() {
        return Ok(super::sim::open(&wake));
    }
    let _ = (super::agent::find()?, config, ssh_key, wake);
    Err(Problem::new(Code::NotYet, "this host's ports are not built yet"))
}

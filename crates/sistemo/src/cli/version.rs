//! `sistemo version`.

use super::context::Context;
use super::{Ended, render};
use clap::Args;
use serde::Serialize;
use types::Timestamp;

/// The commit that was built; empty where nobody said.
const COMMIT: &str = env!("SISTEMO_COMMIT");

/// Flags of `version`: none.
#[derive(Args)]
pub struct Version {}

#[derive(Serialize)]
struct About {
    version: &'static str,
    commit: Option<&'static str>,
    built_at: Timestamp,
    target: &'static str,
    agent: bool,
}

impl Version {
    /// Prints what this program is and what it was built from; it asks no daemon.
    pub fn run(self, context: &Context) -> Ended {
        let seconds: i64 = env!("SISTEMO_BUILT").parse().unwrap_or(0);
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            commit: (!COMMIT.is_empty()).then_some(COMMIT),
            built_at: Timestamp::from_millis(seconds.saturating_mul(1000)),
            target: env!("SISTEMO_TARGET"),
            agent: crate::daemon::agent::built_in(),
        };
        render::one(context.format(), &about, text)
    }
}

fn text(about: &About) -> String {
    let agent = if about.agent { "built in" } else { "none built in" };
    format!("sistemo {}\n", about.version)
        + &render::fields(&[
            ("Commit", render::or_dash(about.commit)),
            ("Built", about.built_at.to_string()),
            ("Target", about.target.to_owned()),
            ("Agent", agent.to_owned()),
        ])
}

//! `sistemo version`.

use super::context::Context;
use super::{Ended, render};
use clap::Args;
use serde::Serialize;

/// Flags of `version`: none.
#[derive(Args)]
pub struct Version {}

#[derive(Serialize)]
struct About {
    version: &'static str,
}

impl Version {
    /// Prints this program's version; it asks no daemon.
    pub fn run(self, context: &Context) -> Ended {
        let about = About { version: env!("CARGO_PKG_VERSION") };
        render::one(context.format(), &about, |a| format!("sistemo {}\n", a.version))
    }
}

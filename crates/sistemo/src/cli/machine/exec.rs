//! `sistemo machine exec NAME [-it] -- CMD…`.
use crate::cli::Ended;
use crate::cli::context::Context;
use clap::Args;
/// What to run where.
#[derive(Args)]
pub struct Exec {
    /// Name or id
    machine: String,
    #[arg(last = true, required = true)]
    command: Vec<std::ffi::OsString>,
}
impl Exec {
    /// Runs it.
    pub async fn run(self, _: &Context) -> Ended {
        let _ = (self.machine, self.command);
        Ok(())
    }
}

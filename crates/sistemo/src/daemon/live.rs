//! Live streams of real guests, for the API.

use crate::api::{ExecRequest, Frames, Guests};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use host::guest::Agents;
use host::vmm::Qemu;
use std::sync::Arc;
use types::{MachineId, Problem, RunId};

/// The guests of this host.
pub struct Live {
    /// Commands.
    pub agents: Agents,
    /// Consoles.
    pub qemu: Arc<Qemu>,
}

impl Guests for Live {
    fn exec(
        &self,
        machine: MachineId,
        run: RunId,
        request: ExecRequest,
    ) -> BoxFuture<'_, Result<Box<dyn Frames>, Problem>> {
        let tty = request.tty.then_some(proto::Tty { rows: request.rows, cols: request.cols });
        let env = request.term.filter(|_| request.tty).map(|t| format!("TERM={t}"));
        let asked = proto::ExecRequest {
            argv: request.argv,
            env: env.into_iter().collect(),
            cwd: String::new(),
            tty,
        };
        Box::pin(async move {
            let stream = self.agents.exec(machine, run, &asked).await?;
            Ok(Box::new(stream) as Box<dyn Frames>)
        })
    }

    fn console(
        &self,
        machine: MachineId,
        follow: bool,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Problem> {
        Ok(self.qemu.console(machine, follow))
    }

    fn usage(&self, machine: MachineId, run: RunId, tap: &str) -> Option<host::vmm::Usage> {
        self.qemu.usage(machine, run, tap)
    }
}

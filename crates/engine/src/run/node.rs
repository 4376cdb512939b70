//! The host: how far its end is.

use super::close::Ending;
use super::{Broken, Next};
use crate::Engine;
use crate::db::{Change, MachineRecord};
use crate::plan::Answer;
use crate::plan::node::{RunLook, plan};
use types::machine::MachineSpec;
use types::operation::{Kind, Progress};
use types::{Code, Operation, Problem, Verb};
use uuid::Uuid;

impl Engine {
    pub(super) fn look_at_node(&self, id: Uuid) -> Result<Next, Broken> {
        let Some(mark) = self.mark()?.filter(|mark| mark.id == id) else { return Ok(Next::Idle) };
        let halting = self.holds(&mark);
        let machines = self.0.db.records::<MachineSpec>()?;
        let runs: Vec<RunLook> = machines.iter().filter_map(run_look).collect();
        let problem = match plan(halting, &runs) {
            Answer::Do(step) => match step {},
            Answer::Wait(wait) => {
                let (all, left) = (machines.len() as u64, wait.on.len() as u64);
                let what = "waiting for guests to shut down".into();
                let done = all - left;
                let progress = Progress { what, done, total: Some(all), unit: "machines".into() };
                self.0.live.progress(Kind::Node, id, &progress);
                return Ok(self.wait((Kind::Node, id), &wait));
            }
            Answer::Settled => None,
            Answer::Stuck(problem) => Some(problem),
        };
        let mut change = Change::system();
        change.on(&mark);
        self.commit_and_close(change, Kind::Node, id, |op| {
            Some(match (op.verb, &problem, &mark.host_boot) {
                (Verb::HostShutdown, Some(problem), _) => Ending::failed(problem.clone()),
                (Verb::HostShutdown, None, None) => Ending::failed(called_off()),
                (Verb::HostShutdown, None, Some(_)) if halting => Ending::with(pulled(&machines, op)),
                (Verb::HostShutdown, None, Some(_)) => {
                    let warning = "the host went down before the end of every guest was seen".into();
                    Ending::with(vec![warning])
                }
                _ => Ending::well(),
            })
        })?;
        Ok(Next::Idle)
    }
}

fn run_look(machine: &MachineRecord) -> Option<RunLook> {
    let run = machine.status.run.as_ref()?;
    let stuck = machine.status.fault.clone().filter(|_| run.kill);
    Some(RunLook { id: machine.spec.id, stuck })
}

fn called_off() -> Problem {
    Problem::new(Code::Superseded, "the end of the host was called off")
        .hint("`sistemo history` shows by whom")
}

/// Whose plug was pulled since then.
fn pulled(machines: &[MachineRecord], op: &Operation) -> Vec<String> {
    let late = machines.iter().filter(|m| {
        let exit = m.status.last_exit.as_ref();
        exit.is_some_and(|e| e.how == "killed" && e.at >= op.created_at)
    });
    late.map(|m| super::machine::plug_pulled(&m.spec)).collect()
}

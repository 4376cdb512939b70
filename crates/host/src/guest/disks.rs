//! What an agent is asked about the disks of its guest.
//!
//! Invariant: every question has a deadline; a guest's words are cleaned before a person reads them.

use super::state::clean;
use super::{Agents, PATIENCE, config, session, unreachable};
use crate::durable;
use bytes::Bytes;
use engine::port::{Fault, Grown, Held, RunPlan};
use futures_util::future::join_all;
use hyper::StatusCode;
use proto::{DiskUsage, GrowDisk, GuestConfig, Refusal, ReleaseDisk, State, TrimDisk, paths};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use types::{ByteSize, Code, MachineId, Problem, RunId};

/// How long an agent may take for what it does itself.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to write out what was not written when a disk is unmounted.
const WRITE_OUT: Duration = Duration::from_secs(120);
/// How long it may take to write out what was not written before everything is held still.
const FREEZE: Duration = Duration::from_secs(60);
/// How many seconds it is held at most.
const HELD: u64 = 30;
/// How long letting go may take.
const THAW: Duration = Duration::from_secs(30);
/// How long guests may take to say what is in use: somebody waits for a list.
const USAGE: Duration = Duration::from_secs(1);
/// The most disks that a guest is believed to have.
const DISKS: usize = 64;
/// How long a trim may take.
const TRIM: Duration = Duration::from_secs(600);
/// One that came to nothing after so long is not begun anew by itself: a worker waits for it meanwhile.
const ENOUGH: Duration = Duration::from_secs(60);

impl Agents {
    pub(super) fn tell_plan(&self, plan: &RunPlan) -> Result<(), Fault> {
        // For an agent that says hello later, too.
        let path = self.inner.layout.guest_config(plan.machine, plan.run);
        let kept = std::fs::read(&path).and_then(|json| {
            let mut told: GuestConfig = serde_json::from_slice(&json)?;
            told.generation = plan.generation;
            let shut_out = config::shut_out(plan, &told.mounts);
            told.mounts = config::mounts(plan, &told.mounts);
            durable::write(&path, &serde_json::to_vec(&told)?, 0o600)?;
            Ok((told, shut_out))
        });
        let (told, shut_out) = kept.map_err(|e| {
            tracing::error!(error = %e, "cannot write down what a guest is told");
            Fault::passing(Code::IoError, format!("cannot write down what machine \"{}\" is told", plan.name))
        })?;
        let state: State = self.question(plan.machine, plan.run, paths::HELLO, &told, ANSWER)?;
        self.session(plan.machine, plan.run).news(&state, &self.inner.wake);
        if state.generation < plan.generation {
            return Err(Fault::passing(
                Code::GuestFailed,
                format!("the agent in machine \"{}\" has not done yet what it was told", plan.name),
            )
            .hint(super::ANEW));
        }
        // Once: what else is done in this run is not worse for it.
        match self.session(plan.machine, plan.run).shut_out_anew(&shut_out) {
            None => Ok(()),
            Some((volume, at)) => {
                let text = format!("volume \"{volume}\" is not mounted, since another is still at {at}");
                Err(Fault::lasting(Code::GuestFailed, text)
                    .hint("restart the machine, or attach the volume with another mount point"))
            }
        }
    }

    pub(super) fn release_disk(
        &self,
        machine: MachineId,
        run: RunId,
        serial: &str,
        force: bool,
    ) -> Result<(), Fault> {
        let asked = ReleaseDisk { serial: serial.to_owned(), force };
        self.question::<_, serde_json::Value>(machine, run, paths::RELEASE, &asked, WRITE_OUT).map(drop)
    }

    pub(super) fn grow_disk(
        &self,
        machine: MachineId,
        run: RunId,
        serial: &str,
        to: ByteSize,
    ) -> Result<Grown, Fault> {
        let asked = GrowDisk { serial: serial.to_owned(), bytes: to.bytes() };
        let said: proto::Grown = self.question(machine, run, paths::GROW, &asked, ANSWER)?;
        Ok(Grown { growing: said.growing, note: said.note.as_deref().map(clean) })
    }

    pub(super) fn trim_disk(&self, machine: MachineId, run: RunId, serial: &str) -> Result<(), Fault> {
        let asked = TrimDisk { serial: serial.to_owned() };
        let began = Instant::now();
        let said = self.question::<_, proto::Trimmed>(machine, run, paths::TRIM, &asked, TRIM);
        let said = said.map_err(|fault| match began.elapsed() {
            took if took >= TRIM => unending(),
            took => Fault { passing: fault.passing && took < ENOUGH, ..fault },
        })?;
        tracing::debug!(%machine, %serial, bytes = said.bytes, "the guest has trimmed a disk");
        Ok(())
    }

    pub(super) fn ask_usage(&self, runs: &[(MachineId, RunId)]) -> HashMap<RunId, Vec<(String, ByteSize)>> {
        let asked = runs.iter().map(|(machine, run)| {
            let (run, session) = (*run, self.session(*machine, *run));
            async move {
                // One that is not there yet is not waited for.
                let sender = session.sender(Duration::ZERO).await?;
                let said =
                    tokio::time::timeout(USAGE, session::get(sender, paths::USAGE)).await.ok()?.ok()?;
                let said: DiskUsage = serde_json::from_slice(&said).ok()?;
                let disks = said.disks.into_iter().take(DISKS);
                Some((run, disks.map(|d| (clean(&d.serial), ByteSize(d.used))).collect()))
            }
        });
        let all = self.inner.runtime.block_on(join_all(asked));
        all.into_iter().flatten().collect()
    }

    pub(super) fn freeze_disks(&self, machine: MachineId, run: RunId) -> Result<Held, Fault> {
        let asked = proto::Freeze { seconds: HELD };
        tracing::debug!(%machine, "the guest is asked to hold still");
        let held: proto::Held = self.question(machine, run, paths::FREEZE, &asked, FREEZE)?;
        tracing::debug!(%machine, ?held, "the guest holds still");
        Ok(Held(held.serials.map(|all| all.into_iter().take(DISKS).collect())))
    }

    pub(super) fn thaw_disks(&self, machine: MachineId, run: RunId) -> Result<bool, Fault> {
        let nothing = serde_json::json!({});
        tracing::debug!(%machine, "the guest is to go on");
        let said: proto::Thawed = self.question(machine, run, paths::THAW, &nothing, THAW)?;
        tracing::debug!(%machine, throughout = said.throughout, "the guest goes on");
        Ok(said.throughout)
    }

    /// Asks a run's agent something, and waits for what it says; blocks.
    fn question<Q: Serialize, A: DeserializeOwned>(
        &self,
        machine: MachineId,
        run: RunId,
        path: &str,
        asked: &Q,
        patience: Duration,
    ) -> Result<A, Fault> {
        let session = self.session(machine, run);
        let body = serde_json::to_vec(asked).unwrap_or_default();
        let asking = async {
            let sender = session.sender(PATIENCE).await.ok_or_else(unreachable)?;
            let answer = tokio::time::timeout(patience, session::ask(sender, path, body));
            answer.await.map_err(|_| unreachable())?
        };
        // Whatever came in the way of an answer may pass: an agent that ended is started again.
        let passing = |problem| Fault { problem, passing: true };
        let (status, said) = self.inner.runtime.block_on(asking).map_err(passing)?;
        match status {
            StatusCode::OK | StatusCode::ACCEPTED => serde_json::from_slice(&said)
                .map_err(|_| Fault { problem: session::nonsense(), passing: false }),
            _ => Err(refused(status, &said)),
        }
    }
}

/// The fault of a guest that trims for longer than anybody waits.
fn unending() -> Fault {
    let minutes = TRIM.as_secs() / 60;
    let text = format!("the guest did not say within {minutes} minutes that it has trimmed the volume");
    Fault::lasting(Code::GuestUnreachable, text)
        .hint("it may still be at it: look into the guest, and try again when it has less to do")
}

fn refused(status: StatusCode, said: &Bytes) -> Fault {
    let words = clean(&serde_json::from_slice::<Refusal>(said).unwrap_or_default().message);
    match status {
        StatusCode::CONFLICT => Problem::new(Code::Busy, words).into(),
        StatusCode::NOT_FOUND => {
            Problem::new(Code::GuestFailed, "the agent in the guest is too old for this")
                .hint("restart the machine: it then gets the agent of this version")
                .into()
        }
        _ => Problem::new(Code::GuestFailed, format!("the guest refused: {words}")).hint(super::ANEW).into(),
    }
}

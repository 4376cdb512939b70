//! What a daemon holds of a running hypervisor: its control, its console, and news of its end.
//!
//! Invariant: everything here can be lost and made again from the run's directory, so a restarted
//! daemon takes over what runs; dropping it ends it and frees the sockets.

use super::cgroup::Cgroup;
use super::console::Console;
use super::health::Known;
use super::qmp::{Qmp, Session};
use engine::port::Wake;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use types::MachineId;
use types::operation::Kind;

/// Between two tries to reach a hypervisor that is there and does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// The mark in a run's directory that its guest has powered off in order.
pub const CLEAN: &str = "clean";
/// Events that change what a machine is.
const NEWS: &[&str] =
    &["SHUTDOWN", "RESET", "STOP", "RESUME", "BLOCK_IO_ERROR", "GUEST_PANICKED", "DEVICE_DELETED"];

/// A run, as its files tell it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Whose.
    pub machine: MachineId,
    /// Its short name, for the log.
    pub name: String,
    /// Its sockets and marker.
    pub dir: PathBuf,
    /// Its processes.
    pub cgroup: Cgroup,
}

impl Run {
    /// Whether a process is there; what cannot be read counts as yes.
    fn lives(&self) -> bool {
        self.cgroup.populated().unwrap_or(true)
    }
}

/// See the module.
pub struct Attached {
    qmp: Qmp,
    known: Arc<Known>,
    tasks: Vec<AbortHandle>,
    silent: Receiver<()>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Attached {
    /// Takes hold of a run.
    pub fn new(tokio: &Handle, run: &Run, console: Arc<Console>, wake: &Wake) -> Self {
        let (machine, name, tell) = (run.machine, run.name.clone(), wake.clone());
        let (off, switched_off) = mpsc::channel(1);
        let known = Arc::new(Known::default());
        let doubted = Arc::clone(&known);
        let on_event = Arc::new(move |event: &str, data: &serde_json::Value| {
            tracing::debug!(run = %name, %event, %data, "hypervisor's event");
            if event == "SHUTDOWN" {
                // Full: it is about to be looked at anyway.
                let _ = off.try_send(());
            }
            if NEWS.contains(&event) {
                doubted.forget();
                tell(Kind::Machine, machine.0);
            }
        });
        let (qmp, session) = Qmp::new(run.dir.join("qmp.sock"), on_event);
        let (last, silent) = sync_channel(1);
        let tasks = vec![
            tokio.spawn(control(run.clone(), session, Arc::clone(&known))).abort_handle(),
            tokio.spawn(rest(run.clone(), qmp.clone(), switched_off)).abort_handle(),
            tokio.spawn(listen(run.clone(), console, last)).abort_handle(),
            tokio.spawn(end(run.clone(), wake.clone())).abort_handle(),
        ];
        Self { qmp, known, tasks, silent }
    }

    /// What is known of the guest.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known)
    }

    /// The run's control.
    pub fn qmp(&self) -> Qmp {
        self.qmp.clone()
    }

    /// Waits until the console of a run that has ended is in its log as a whole.
    pub fn drain(&self, patience: Duration) {
        // The task drops its end when there is no more to read.
        let _ = self.silent.recv_timeout(patience);
    }
}

async fn control(run: Run, mut session: Session, known: Arc<Known>) {
    loop {
        let ended = session.serve().await;
        // What happens until the next session is told by nobody.
        known.forget();
        // The sockets were there before the process: where nobody listens, nobody will.
        let nobody = |e: &io::Error| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
        if !run.lives() || ended.as_ref().is_err_and(nobody) {
            return;
        }
        tracing::warn!(run = %run.name, ?ended, "lost the hypervisor's control; trying again");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Ends the process of a machine that its guest has switched off, at once and whenever one does.
async fn rest(run: Run, qmp: Qmp, mut switched_off: mpsc::Receiver<()>) {
    loop {
        // Before the first word too: it may have happened while no daemon ran.
        let (run, qmp) = (run.clone(), qmp.clone());
        let laid = tokio::task::spawn_blocking(move || lay_to_rest(&run, &qmp)).await;
        if !matches!(laid, Ok(Ok(()))) {
            tracing::debug!(?laid, "a machine that is off cannot be ended yet");
        }
        if switched_off.recv().await.is_none() {
            return;
        }
    }
}

/// QEMU waits in this state (`-no-shutdown`), so that its end is never taken for a failure: how it
/// came is kept before the process can go.
fn lay_to_rest(run: &Run, qmp: &Qmp) -> io::Result<()> {
    match super::status(qmp, super::ANSWER) {
        Ok(status) if status == "shutdown" => {
            std::fs::File::create(run.dir.join(CLEAN))?;
            qmp.execute("quit", serde_json::Value::Null, super::ANSWER)
                .map(drop)
                .map_err(|e| io::Error::other(format!("{e:?}")))
        }
        _ => Ok(()),
    }
}

async fn listen(run: Run, console: Arc<Console>, _last: SyncSender<()>) {
    loop {
        if let Err(e) = hear(&run, &console).await {
            tracing::debug!(run = %run.name, error = %e, "console");
        }
        if !run.lives() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn hear(run: &Run, console: &Arc<Console>) -> io::Result<()> {
    let mut stream = UnixStream::connect(run.dir.join("console.sock")).await?;
    let mut told = false;
    loop {
        let mut piece = vec![0; 16 << 10];
        let n = stream.read(&mut piece).await?;
        if n == 0 {
            return Ok(());
        }
        piece.truncate(n);
        let console = console.clone();
        let kept = tokio::task::spawn_blocking(move || console.append(&piece)).await;
        // The guest must not stall because its log's disk is full.
        match kept.map_err(io::Error::other).and_then(|r| r) {
            Err(e) if !told => {
                tracing::warn!(run = %run.name, error = %e, "the console's log is not kept");
                told = true;
            }
            Err(_) => {}
            Ok(()) => told = false,
        }
    }
}

/// Wakes the machine when no process of the run is left.
async fn end(run: Run, wake: Wake) {
    if let Err(e) = ended(&run).await {
        // The periodic look of the reconciler finds it, later.
        tracing::warn!(run = %run.name, error = %e, "cannot watch the hypervisor");
    }
    wake(Kind::Machine, run.machine.0);
}

async fn ended(run: &Run) -> io::Result<()> {
    let Some(events) = run.cgroup.events()? else { return Ok(()) };
    // SAFETY: a `File` has one descriptor, open until it is dropped, and here the `AsyncFd` owns it.
    let events = unsafe { AsyncFd::register_with_interest(events, Interest::PRIORITY) }?;
    while Cgroup::read(events.get_ref())? {
        events.ready(Interest::PRIORITY).await?.clear_ready();
    }
    Ok(())
}

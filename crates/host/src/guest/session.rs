//! The session with one run's agent.
//!
//! Invariant: at most one connection to a run's socket. The task ends only once the socket is gone,
//! which is when the run was cleaned away.

use super::body::Outgoing;
use super::connect::{Sender, connect};
use super::state::{clean, observation};
use crate::Layout;
use bytes::{Bytes, BytesMut};
use engine::port::{GuestObs, RunDisk, Wake};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use proto::{Refusal, State, paths};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use types::operation::Kind;
use types::{Code, MachineId, Name, Problem, RunId, VolumeId};

/// Between two connections.
const PAUSE: Duration = Duration::from_millis(100);
/// The same, with a guest that says nothing but nonsense, or ends one session after the other: listening
/// to it costs the host.
const REST: Duration = Duration::from_secs(10);
/// A session that ends sooner is soon over.
const SHORT: Duration = Duration::from_secs(5);
/// How long the first tries wait for an answer, and the later ones at most.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(15);
/// How long hello may take: the agent then mounts what is new.
const HELLO: Duration = Duration::from_secs(60);
/// How long it may take until the agent begins to tell news.
const BEGIN: Duration = Duration::from_secs(30);
/// The least time between two pieces of news from one guest.
const BREATH: Duration = Duration::from_millis(100);
/// The longest line of news.
const LINE: usize = 256 << 10;

/// One run's session.
pub struct Session {
    machine: MachineId,
    socket: PathBuf,
    config: PathBuf,
    /// See [`Layout::late_clock`].
    late: PathBuf,
    seen: Mutex<GuestObs>,
    /// Who last said hello: the agent's version, and the boot of the guest.
    who: Mutex<(String, String)>,
    /// The volumes of which it was said that they wait for the next run to be mounted.
    shut_out: Mutex<BTreeSet<VolumeId>>,
    sender: watch::Sender<Option<Sender>>,
}

impl Session {
    /// A session that has not begun.
    pub fn new(layout: &Layout, machine: MachineId, run: RunId) -> Self {
        Self {
            machine,
            socket: layout.agent_socket(machine, run),
            config: layout.guest_config(machine, run),
            late: layout.late_clock(machine, run),
            seen: Mutex::default(),
            who: Mutex::default(),
            shut_out: Mutex::default(),
            sender: watch::channel(None).0,
        }
    }

    fn seen(&self) -> MutexGuard<'_, GuestObs> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the agent last said.
    pub fn observe(&self) -> GuestObs {
        self.seen().clone()
    }

    /// The sender of the present session; waits at most so long for one.
    pub async fn sender(&self, patience: Duration) -> Option<Sender> {
        let mut watching = self.sender.subscribe();
        let there = tokio::time::timeout(patience, watching.wait_for(Option::is_some)).await;
        there.ok()?.ok()?.clone()
    }

    /// Keeps a session with the agent until the socket is gone.
    pub async fn keep(&self, wake: &Wake) {
        let (mut patience, mut short) = (FIRST, false);
        loop {
            let mut pause = PAUSE;
            match self.once(patience, wake).await {
                Ok((lived, ended)) => {
                    match ended {
                        Ok(()) => patience = FIRST,
                        Err(problem) => tracing::debug!(machine = %self.machine, "agent: {problem}"),
                    }
                    // One is borne: what a daemon before us left in the channel may have ended it.
                    let again = short;
                    short = lived < SHORT;
                    if short && again {
                        pause = REST;
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound => return,
                // Each try discards the answer to the one before: a guest that is slow to answer
                // must get longer, or it would never be heard.
                Err(e) if e.kind() == ErrorKind::TimedOut => patience = (patience * 2).min(LONGEST),
                Err(e) => {
                    tracing::debug!(machine = %self.machine, "agent: {e}");
                    if e.kind() == ErrorKind::QuotaExceeded {
                        pause = REST;
                    }
                }
            }
            self.sender.send_replace(None);
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection, from SYN to its end: how long there was a session, and how that ended.
    async fn once(&self, patience: Duration, wake: &Wake) -> io::Result<(Duration, Result<(), Problem>)> {
        let (sender, driver) = connect(&self.socket, patience).await?;
        let (began, driver) = (Instant::now(), tokio::spawn(driver));
        let ended = self.talk(sender, wake).await;
        driver.abort();
        Ok((began.elapsed(), ended))
    }

    async fn talk(&self, sender: Sender, wake: &Wake) -> Result<(), Problem> {
        let config = match std::fs::read(&self.config) {
            Ok(bytes) => bytes,
            Err(e) => return Err(Problem::new(Code::IoError, format!("{}: {e}", self.config.display()))),
        };
        let said = tokio::time::timeout(HELLO, post(sender.clone(), paths::HELLO, config)).await;
        let state = said.map_err(|_| failed("hello took too long"))??;
        let state: State = serde_json::from_slice(&state).map_err(|e| failed(&e.to_string()))?;
        self.greet(&state);
        self.set_late_clock(&sender).await;
        self.news(&state, wake);
        self.sender.send_replace(Some(sender.clone()));
        self.listen(sender, wake).await
    }

    /// Of these volumes that cannot be mounted yet, with where they should be, the first of which that was not
    /// said before.
    pub fn shut_out_anew<'a>(&self, all: &'a [(&RunDisk, String)]) -> Option<(&'a Name, &'a str)> {
        let mut said = self.shut_out.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|volume| all.iter().any(|(disk, _)| disk.volume == *volume));
        let (disk, at) = all.iter().find(|(disk, _)| said.insert(disk.volume))?;
        Some((&disk.name, at))
    }

    /// Logs a hello; for everybody to see only if it is another's than the last.
    fn greet(&self, state: &State) {
        let (agent, boot) = (clean(&state.agent), clean(&state.boot_id));
        let root = state.root_mounted;
        let new = (agent.clone(), boot.clone());
        let known = {
            let mut who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *who, new.clone()) == new
        };
        match known {
            true => tracing::debug!(machine = %self.machine, ?agent, ?boot, root, "hello"),
            false => tracing::info!(machine = %self.machine, ?agent, ?boot, root, "hello"),
        }
    }

    /// Sets the clock of a guest that stood for a daemon which did not live to let it go on.
    async fn set_late_clock(&self, sender: &Sender) {
        if !self.late.exists() {
            return;
        }
        let now = serde_json::to_vec(&proto::Clock::now()).unwrap_or_default();
        let set = tokio::time::timeout(super::ANSWER, post(sender.clone(), paths::CLOCK, now)).await;
        match set.map_err(|_| failed("setting the clock took too long")).and_then(|answer| answer) {
            Ok(_) => {
                tracing::info!(machine = %self.machine, "its clock was late, and is set");
                // Set once more, it does no harm.
                let _ = std::fs::remove_file(&self.late);
            }
            // The next session tries again.
            Err(problem) => tracing::warn!(machine = %self.machine, "its clock: {problem}"),
        }
    }

    /// Takes in what the agent says of itself.
    pub fn news(&self, state: &State, wake: &Wake) {
        let new = observation(state);
        let changed = {
            let mut seen = self.seen();
            let changed = *seen != new;
            *seen = new;
            changed
        };
        if changed {
            wake(Kind::Machine, self.machine.0);
        }
    }

    /// Takes in what the agent says of itself, until the session ends.
    async fn listen(&self, sender: Sender, wake: &Wake) -> Result<(), Problem> {
        let begun =
            async { refused(send(sender, Method::GET, paths::EVENTS, Outgoing::Whole(None)).await?).await };
        let begun = tokio::time::timeout(BEGIN, begun).await;
        let mut body = begun.map_err(|_| failed("no news within the time for it"))??.into_body();
        let mut line = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| failed(&e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            line.extend_from_slice(&data);
            let mut last = None;
            while let Some(end) = memchr::memchr(b'\n', &line) {
                last = Some(line.split_to(end + 1));
            }
            if line.len() > LINE {
                return Err(failed("a line of news is too long"));
            }
            if let Some(last) = last {
                let state = serde_json::from_slice(&last).map_err(|e| failed(&e.to_string()))?;
                self.news(&state, wake);
                tokio::time::sleep(BREATH).await;
            }
        }
        Ok(())
    }
}

/// What is to be said of an agent that is not understood.
pub fn nonsense() -> Problem {
    Problem::new(Code::GuestFailed, "the agent in the guest answers nonsense, or stopped answering")
        .hint(super::ANEW)
}

fn failed(why: &str) -> Problem {
    // It may hold what the guest said.
    tracing::debug!("agent: {}", clean(why));
    nonsense()
}

/// Sends one request.
pub async fn send(
    mut sender: Sender,
    method: Method,
    path: &str,
    body: Outgoing,
) -> Result<Response<Incoming>, Problem> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://agent{path}"))
        .body(body)
        .map_err(|e| failed(&e.to_string()))?;
    sender.ready().await.map_err(|e| failed(&e.to_string()))?;
    sender.send_request(request).await.map_err(|e| failed(&e.to_string()))
}

/// Sends a document; returns the answer, at most [`proto::MAX_JSON`] of it.
pub async fn post(sender: Sender, path: &str, body: Vec<u8>) -> Result<Bytes, Problem> {
    let body = Outgoing::Whole(Some(Bytes::from(body)));
    whole(refused(send(sender, Method::POST, path, body).await?).await?).await
}

/// Asks for a document; at most [`proto::MAX_JSON`] of it.
pub async fn get(sender: Sender, path: &str) -> Result<Bytes, Problem> {
    whole(refused(send(sender, Method::GET, path, Outgoing::Whole(None)).await?).await?).await
}

/// Sends a document; the answer with its status, refusals too.
pub async fn ask(sender: Sender, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), Problem> {
    let answer = send(sender, Method::POST, path, Outgoing::Whole(Some(Bytes::from(body)))).await?;
    Ok((answer.status(), whole(answer).await?))
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, Problem> {
    let body = Limited::new(answer.into_body(), proto::MAX_JSON);
    Ok(body.collect().await.map_err(|e| failed(&e.to_string()))?.to_bytes())
}

/// The answer, unless it is a refusal.
async fn refused(answer: Response<Incoming>) -> Result<Response<Incoming>, Problem> {
    match answer.status() {
        StatusCode::OK | StatusCode::ACCEPTED => Ok(answer),
        _ => Err(refusal(answer).await.0),
    }
}

/// A refusal as a problem, and the exit code it names.
pub async fn refusal(answer: Response<Incoming>) -> (Problem, Option<u8>) {
    let status = answer.status();
    let said = whole(answer).await.ok().and_then(|b| serde_json::from_slice::<Refusal>(&b).ok());
    let said = said.unwrap_or_default();
    let words = super::state::clean(&said.message);
    let message = match words.is_empty() {
        true => format!("the agent in the guest answered {status}"),
        false => format!("the guest refused: {words}"),
    };
    (Problem::new(Code::GuestFailed, message), said.exit)
}

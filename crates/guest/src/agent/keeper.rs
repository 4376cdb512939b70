//! Keeps what the agent knows, and sees to what the host wishes.
//!
//! Invariant: the agent itself does nothing that can take long: configurations are applied and file
//! systems grown by helper processes, one per task at a time.

use super::power;
use super::server::{Agent, Wish};
use crate::exec::Commands;
use crate::fact::{Board, Fact, JOURNAL, Journal, RUN, Volume, covering};
use crate::grow::growing;
use crate::inside::Inside;
use crate::setup::{CHANGE, Change};
use crate::{again, disk, log, mounted};
use proto::{GrowDisk, Grown, GuestConfig, State};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// How long a hello waits for its configuration to be applied.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether all disks are where they shall be: an init mounts over them, and what kept
/// one from being mounted may have passed.
const LOOK: Duration = Duration::from_secs(60);
/// How often a disk that cannot be mounted is tried again by itself; each hello tries again, too.
const TRIES: u32 = 5;
/// What a helper reports at its end.
enum Ended {
    Apply(Option<ExitStatus>),
    Grow {
        serial: String,
        size: u64,
        well: bool,
    },
    /// Which disks are seen where they were mounted, as far as that can be told.
    Look(Vec<(String, bool)>),
}

struct Keeper {
    board: Board,
    journal: Journal,
    facts: File,
    rest: Vec<u8>,
    state: watch::Sender<State>,
    root: watch::Sender<Option<Arc<Inside>>>,
    wanted: Option<Box<GuestConfig>>,
    applying: bool,
    /// Per serial: nothing while a growth runs, else the size that the last one was for.
    grown: BTreeMap<String, Option<u64>>,
    /// How often disks that could not be mounted were tried again.
    tries: u32,
    /// It is being looked whether all disks are where they shall be.
    looking: bool,
    /// Those who wait for a disk to be filled.
    waiting: Vec<(GrowDisk, oneshot::Sender<Grown>)>,
    ended: mpsc::Sender<Ended>,
}

/// Starts keeping.
///
/// # Errors
/// When the guest has no resources for it.
pub fn start() -> io::Result<Arc<Agent>> {
    let journal = Journal::open();
    let edges = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&edges, JOURNAL, WatchFlags::MODIFY)?;
    let edges = crate::watched(edges, Interest::READABLE)?;
    let board = Board::default();
    let (state, see_state) = watch::channel(board.state());
    let (root, see_root) = watch::channel(None);
    let (wish, wishes) = mpsc::channel(16);
    let (ended, ends) = mpsc::channel(16);
    let facts = File::open(JOURNAL)?;
    let mut keeper = Keeper {
        board,
        journal,
        facts,
        rest: Vec::new(),
        state,
        root,
        wanted: None,
        applying: false,
        grown: BTreeMap::new(),
        tries: 0,
        looking: false,
        waiting: Vec::new(),
        ended,
    };
    keeper.news();
    let agent = Agent::new(see_state, see_root, wish);
    tokio::spawn(keeper.run(edges, wishes, ends, agent.commands.clone()));
    Ok(agent)
}

impl Keeper {
    async fn run(
        mut self,
        edges: AsyncFd<OwnedFd>,
        mut wishes: mpsc::Receiver<Wish>,
        mut ends: mpsc::Receiver<Ended>,
        commands: Arc<Commands>,
    ) {
        let mut stopping = None;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                edge = edges.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut [0; 4096])?)) => {
                    if let Err(e) = edge {
                        // The next agent reads the journal from its beginning.
                        log::complain(&format!("the agent's journal cannot be watched: {e}"));
                        std::process::exit(1);
                    }
                    self.news();
                }
                Some(wish) = wishes.recv() => match wish {
                    Wish::Hello(config, answer) => self.hello(config, answer),
                    Wish::Grow(disk, answer) => {
                        self.waiting.push((disk, answer));
                        self.news();
                    }
                    Wish::Shutdown => {
                        log::say("the host asks for a shutdown");
                        let off = || tokio::spawn(power::off(self.root.borrow().clone(), commands.clone()));
                        stopping.get_or_insert_with(off);
                    }
                },
                Some(end) = ends.recv() => self.end(end),
                _ = looks.tick() => self.look(),
                else => return,
            }
        }
    }

    /// Reads what is new in the journal.
    fn news(&mut self) {
        if let Err(e) = self.facts.read_to_end(&mut self.rest) {
            log::complain(&format!("the agent's journal cannot be read: {e}"));
        }
        self.board.read(&mut self.rest);
        self.find_root();
        if self.board.ready {
            self.apply();
        }
        self.grow();
        self.answer();
        let state = self.board.state();
        self.state.send_if_modified(|now| std::mem::replace(now, state.clone()) != state);
    }

    /// Opens the machine's root: before the switch by its place, after it as PID 1 sees it.
    fn find_root(&mut self) {
        if self.root.borrow().is_some() {
            return;
        }
        if self.board.root.is_none() {
            return;
        }
        let right = |path: &str| {
            let inside = Inside::at(path).ok()?;
            crate::init::is_root(&inside).then_some(inside)
        };
        if let Some(inside) = [crate::init::NEW_ROOT, "/proc/1/root"].into_iter().find_map(right) {
            self.root.send_replace(Some(Arc::new(inside)));
        }
    }

    fn hello(&mut self, config: Box<GuestConfig>, answer: oneshot::Sender<State>) {
        // A disk may have grown although the configuration says the same.
        let generation = config.generation;
        self.wanted = Some(config);
        self.news();
        let mut state = self.state.subscribe();
        let applying = self.applying;
        tokio::spawn(async move {
            if applying {
                let _ = timeout(PATIENCE, state.wait_for(|s| s.generation == generation)).await;
            }
            let _ = answer.send(state.borrow().clone());
        });
    }

    /// Looks whether all disks are where they shall be, and whether those can be mounted now that could not.
    fn look(&mut self) {
        if self.board.ready && !self.board.failed.is_empty() && self.tries < TRIES && self.wanted.is_none() {
            self.tries += 1;
            self.wanted = self.board.applied.clone().map(Box::new);
            self.apply();
        }
        let Some(inside) = self.root.borrow().clone().filter(|_| !self.looking) else { return };
        self.looking = true;
        let (volumes, ended) = (self.board.volumes.clone(), self.ended.clone());
        // The way to one may lead through a file system that hangs.
        tokio::task::spawn_blocking(move || {
            let there = |volume: &Volume| is_there(&inside, volume);
            let seen = volumes.into_iter().filter_map(|(serial, v)| Some((serial, there(&v)?))).collect();
            let _ = ended.blocking_send(Ended::Look(seen));
        });
    }

    /// Notes which disks are not seen where they were mounted.
    fn note_covered(&self, seen: &[(String, bool)]) {
        for (serial, there) in seen {
            let (about, Some(volume)) = (covering(serial), self.board.volumes.get(serial)) else { continue };
            if *there != self.board.note(&about).is_some() {
                continue;
            }
            let text = format!(
                "disk {serial} is not what is seen at {}: it was unmounted in the guest, or something is mounted \
                 over it",
                volume.path
            );
            self.journal.post(&Fact::Note { about, text: (!there).then_some(text) });
        }
    }

    /// Begins to apply what is wanted, unless it is there already.
    fn apply(&mut self) {
        let Some(new) = self.wanted.take_if(|_| !self.applying) else { return };
        // One that is older than what was applied comes from a host that has not caught up.
        let missing = new.mounts.iter().any(|m| self.board.failed.contains(&m.serial));
        let done = |now: &GuestConfig| (*now == *new && !missing) || new.generation < now.generation;
        if self.board.applied.as_ref().is_some_and(done) {
            return;
        }
        let Some(root) = self.root.borrow().clone() else { return };
        let released = self.board.released.union(&self.board.failed).cloned().collect();
        let change = Change { new: *new, old: self.board.applied.clone(), released };
        let begun = serde_json::to_vec(&change)
            .map_err(io::Error::from)
            .and_then(|json| std::fs::write(format!("{RUN}/{CHANGE}"), json))
            .and_then(|()| root.fd().try_clone_to_owned())
            .and_then(|root| helper(&["apply"], root));
        match begun {
            Ok(mut child) => {
                self.applying = true;
                let ended = self.ended.clone();
                tokio::spawn(async move {
                    let _ = ended.send(Ended::Apply(child.wait().await.ok())).await;
                });
            }
            Err(e) => log::complain(&format!("the new configuration cannot be applied: {e}")),
        }
    }

    /// Begins to grow every file system whose disk has another size than when it was last grown.
    fn grow(&mut self) {
        let root = self.board.root.iter().map(|(serial, disk)| (serial, disk, "/", None));
        let volumes = self.board.volumes.iter().filter(|(_, v)| !v.read_only);
        let volumes = volumes.map(|(serial, v)| (serial, &v.disk, v.path.as_str(), Some(v)));
        let Some(inside) = self.root.borrow().clone() else { return };
        for (serial, disk, path, volume) in root.chain(volumes) {
            let Ok(size) = disk::size(disk) else { continue };
            if self.grown.get(serial).is_some_and(|done| done.is_none_or(|done| done == size)) {
                continue;
            }
            // What is seen in its place instead is not to be grown.
            if volume.is_some_and(|volume| is_there(&inside, volume) != Some(true)) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let begun =
                inside.open(path, flags, Mode::empty()).and_then(|dir| helper(&["grow", serial, disk], dir));
            match begun {
                Ok(mut child) => {
                    self.grown.insert(serial.clone(), None);
                    let (ended, serial) = (self.ended.clone(), serial.clone());
                    tokio::spawn(async move {
                        let well = child.wait().await.is_ok_and(|status| status.success());
                        let _ = ended.send(Ended::Grow { serial, size, well }).await;
                    });
                }
                Err(e) => log::complain(&format!("growing disk {serial} cannot begin: {e}")),
            }
        }
    }

    /// Answers those whose disk is filled, or is none that could be.
    fn answer(&mut self) {
        for (asked, answer) in std::mem::take(&mut self.waiting) {
            if answer.is_closed() {
                continue;
            }
            let root = self.board.root.as_ref().is_some_and(|(serial, _)| *serial == asked.serial);
            let inside = self.root.borrow().clone();
            let there = |v: &Volume| inside.as_ref().is_some_and(|inside| is_there(inside, v) == Some(true));
            let volume = self.board.volumes.get(&asked.serial).is_some_and(|v| !v.read_only && there(v));
            let note = match self.grown.get(&asked.serial) {
                _ if !root && !volume => Some("it is not mounted for writing in the guest".to_owned()),
                Some(Some(size)) if *size >= asked.bytes => self.board.note(&growing(&asked.serial)),
                _ => {
                    self.waiting.push((asked, answer));
                    continue;
                }
            };
            let _ = answer.send(Grown { growing: false, note });
        }
    }

    fn end(&mut self, end: Ended) {
        match end {
            Ended::Apply(status) => {
                self.applying = false;
                if !status.is_some_and(|s| s.success()) {
                    log::complain("the new configuration was not applied");
                }
            }
            Ended::Look(seen) => {
                self.looking = false;
                self.note_covered(&seen);
            }
            Ended::Grow { serial, size, well } => {
                self.journal.post(&Fact::Grown { serial: serial.clone() });
                if well {
                    self.grown.insert(serial, Some(size));
                } else {
                    self.grown.remove(&serial);
                }
            }
        }
        self.news();
    }
}

/// Whether a volume is what is seen where it was mounted; nothing if that cannot be told.
fn is_there(inside: &Inside, volume: &Volume) -> Option<bool> {
    mounted::is_seen(inside, &volume.path, &volume.disk).ok()
}

fn helper(arguments: &[&str], stdin: OwnedFd) -> io::Result<tokio::process::Child> {
    let mut command = again(arguments[0]);
    command.args(&arguments[1..]);
    command.stdin(Stdio::from(stdin)).stdout(Stdio::null()).stderr(Stdio::null());
    tokio::process::Command::from(command).spawn()
}

//! Scenarios: what a person does, what a second one does at the same time, and what the world does.
//!
//! Invariant: a scenario is a list of commands a person would type, and of things that happen on a
//! host; it knows nothing of how the engine does what it is asked.

use super::{Guests, World};
use crate::Engine;
use types::fs::FileSystem;
use types::label::{Edit, Labels};
use types::machine::{
    AttachVolume, CloneMachine, DeployMachine, DetachVolume, Machine, Phase, RestartPolicy,
};
use types::pool::{CreatePool, MoveVolume, ResizePool};
use types::snapshot::TakeSnapshot;
use types::volume::{
    CloneVolume, Condition, CreateVolume, ImportVolume, ResizeVolume, Restore, Volume, VolumeRole,
};
use types::{Actor, ByteSize, Code, Name, Operation, Problem};

/// One command.
pub type Command = fn(&Engine, &Actor) -> Result<Operation, Problem>;

/// Something that happens.
#[derive(Clone, Copy)]
pub enum Act {
    /// Somebody asks for something.
    Ask(Command),
    /// Something happens behind the daemon's back.
    World(fn(&World)),
    /// Something happens while no daemon is there. Only the first client's script has these.
    Away(fn(&World)),
}

impl Act {
    /// Lets it happen. A refusal is an answer too: after a kill the first try may have gone through.
    /// But it has to say that the thing is missing or in another state, and nothing else.
    pub fn carry_out(self, world: &World, engine: &Engine, who: &Actor) {
        match self {
            Self::World(f) | Self::Away(f) => f(world),
            Self::Ask(command) => {
                let answer = command(engine, who);
                let mut s = world.state();
                if let Some(p) = answer.as_ref().err().filter(|p| !matches!(p.code.exit(), 3 | 4)) {
                    s.violations.push(format!("refused with {}: {p}", p.code));
                }
                s.answers.push((who.0.clone(), answer.map(|_| ()).map_err(|p| p.code)));
            }
        }
    }
}

/// What happens, and how guests behave meanwhile.
#[derive(Clone)]
pub struct Scenario {
    /// What it is called in a trace.
    pub name: &'static str,
    /// What was there before; nobody is killed meanwhile.
    pub setup: Vec<Act>,
    /// What happens, in order.
    pub acts: Vec<Act>,
    /// What a second client does at the same time, or the world.
    pub second: Vec<Act>,
    /// Of what the two ask for in the end, exactly one can be had.
    pub exclusive: bool,
    /// How guests behave.
    pub guests: Guests,
    /// A port call that always fails, and with which code.
    pub fault: Option<(&'static str, Code)>,
    /// Whoever kills the daemon takes the host along, which then boots.
    pub power: bool,
    /// Machines that ran when the host went down run again once it is back.
    pub after_boot: bool,
    /// What else must hold in the end.
    pub holds: Option<fn(&World, &Engine) -> Option<String>>,
}

/// Commands, and nothing else out of the ordinary.
fn plain(name: &'static str, commands: Vec<Command>) -> Scenario {
    Scenario {
        name,
        setup: vec![],
        acts: asks(commands),
        second: vec![],
        exclusive: false,
        guests: Guests::Good,
        fault: None,
        power: false,
        after_boot: true,
        holds: None,
    }
}

fn asks(commands: Vec<Command>) -> Vec<Act> {
    commands.into_iter().map(Act::Ask).collect()
}

fn name(text: &str) -> Option<Name> {
    Name::new(text).ok()
}

fn deploy(engine: &Engine, who: &Actor, machine: &str, attach: &[&str]) -> Result<Operation, Problem> {
    let attach =
        attach.iter().map(|v| AttachVolume { volume: (*v).into(), mount: None, read_only: false }).collect();
    let image = Some("debian".into());
    engine.deploy(who, DeployMachine { image, name: name(machine), attach, ..DeployMachine::default() })
}

fn create(e: &Engine, who: &Actor, volume: &str) -> Result<Operation, Problem> {
    e.create_volume(
        who,
        CreateVolume { name: name(volume), size_bytes: ByteSize::gib(2).bytes(), ..CreateVolume::default() },
    )
}

fn made_with(e: &Engine, who: &Actor, fs: FileSystem) -> Result<Operation, Problem> {
    let (name, size_bytes) = (name("appdata"), ByteSize::gib(2).bytes());
    e.create_volume(who, CreateVolume { name, size_bytes, fs, ..CreateVolume::default() })
}

fn clone(e: &Engine, who: &Actor, volume: &str, copy: &str) -> Result<Operation, Problem> {
    e.clone_volume(who, volume, CloneVolume { name: name(copy), ..CloneVolume::default() })
}

/// Reads a volume to its end.
fn export(e: &Engine, who: &Actor, volume: &str) -> Result<Operation, Problem> {
    let read = e.export_volume(who, volume)?;
    e.end_export(&read, None)?;
    Ok(read.operation)
}

fn resize(e: &Engine, who: &Actor, volume: &str, gib: u64) -> Result<Operation, Problem> {
    e.resize_volume(who, volume, ResizeVolume { size_bytes: ByteSize::gib(gib).bytes() })
}

fn attach(e: &Engine, who: &Actor, machine: &str, volume: &str) -> Result<Operation, Problem> {
    e.attach_volume(who, machine, AttachVolume { volume: volume.into(), mount: None, read_only: false })
}

fn detach(e: &Engine, who: &Actor, machine: &str, volume: &str) -> Result<Operation, Problem> {
    e.detach_volume(who, machine, DetachVolume { volume: volume.into(), force: false })
}

fn move_to(e: &Engine, who: &Actor, volume: &str, pool: &str) -> Result<Operation, Problem> {
    e.move_volume(who, volume, &MoveVolume { pool: pool.into() })
}

const TOUGH: Command = |e, a| {
    let (image, restart) = (Some("debian".into()), Some(RestartPolicy::OnFailure));
    e.deploy(a, DeployMachine { image, name: name("web"), restart, ..DeployMachine::default() })
};
const WEB: Command = |e, a| deploy(e, a, "web", &[]);
const API: Command = |e, a| deploy(e, a, "api", &[]);
const APPDATA: Command = |e, a| create(e, a, "appdata");
const STOP: Command = |e, a| e.stop_machine(a, "web");
const STOP_API: Command = |e, a| e.stop_machine(a, "api");
const START: Command = |e, a| e.start_machine(a, "web");
const RESTART: Command = |e, a| e.restart_machine(a, "web");
const WITH_XFS: Command = |e, a| made_with(e, a, FileSystem::Xfs);
const BARE: Command = |e, a| made_with(e, a, FileSystem::None);
const JOIN: Command = |e, a| attach(e, a, "web", "appdata");
const JOIN_API: Command = |e, a| attach(e, a, "api", "appdata");
const PART: Command = |e, a| detach(e, a, "web", "appdata");
const GROW: Command = |e, a| resize(e, a, "web-root", 10);
const GROW_DATA: Command = |e, a| resize(e, a, "appdata", 4);
const PULL: Command =
    |e, a| e.detach_volume(a, "web", DetachVolume { volume: "appdata".into(), force: true });
const TRIM: Command = |e, a| e.trim_volume(a, "web-root");
const DELETE: Command = |e, a| e.delete_machine(a, "web", false, false);
const DELETE_DATA: Command = |e, a| e.delete_volume(a, "appdata", false);
const PRESERVE: Command = |e, a| e.delete_machine(a, "web", true, false);
const BACK: Command = |e, a| e.restore_machine(a, "web", &Restore::default());
const BACK_DATA: Command = |e, a| e.restore_volume(a, "appdata", &Restore::default());
const BACK_RENAMED: Command = |e, a| e.restore_machine(a, "web", &Restore { name: name("web2") });
/// For good, whatever was deleted last.
const GONE: Command = |e, a| match e.deleted_machines()?.first() {
    Some(m) => e.delete_machine(a, &m.id.to_string(), false, true),
    None => e.delete_machine(a, "web", false, true),
};
const GONE_DATA: Command = |e, a| match e.deleted_volumes()?.first() {
    Some(v) => e.delete_volume(a, &v.id.to_string(), true),
    None => e.delete_volume(a, "appdata", true),
};
const RENAME: Command = |e, a| e.edit_machine(a, "web", &Edit { name: name("site"), ..Edit::default() });
const RENAME_DATA: Command =
    |e, a| e.edit_volume(a, "appdata", &Edit { name: name("logs"), ..Edit::default() });
const PROTECT_DATA: Command =
    |e, a| e.edit_volume(a, "appdata", &Edit { protected: Some(true), ..Edit::default() });
const FREE_DATA: Command =
    |e, a| e.edit_volume(a, "appdata", &Edit { protected: Some(false), ..Edit::default() });
const COPY: Command = |e, a| clone(e, a, "appdata", "copy");
const COPY_AWAY: Command = |e, a| e.delete_volume(a, "copy", false);
const COPY_ROOT: Command = |e, a| clone(e, a, "web-root", "copy");
const READ: Command = |e, a| export(e, a, "appdata");
const READ_ROOT: Command = |e, a| export(e, a, "web-root");
const SENT: Command = |e, a| {
    let req = ImportVolume {
        name: name("sent"),
        pool: None,
        role: VolumeRole::Data,
        size_bytes: None,
        labels: Labels::default(),
    };
    let expected = e.expect_import(&req, None)?;
    e.import_volume(a, (expected.id, ByteSize::mib(64).bytes()), &req)
};
const AWAY: Command = |e, a| e.delete_volume(a, "sent", false);
const TWIN: Command = |e, a| {
    let Some(name) = name("twin") else { return e.delete_volume(a, "twin", false) };
    e.clone_machine(a, "web", CloneMachine { name })
};
const TWIN_AWAY: Command = |e, a| e.delete_machine(a, "twin", false, false);
const SNAP: Command = |e, a| e.snapshot_volume(a, "appdata", &TakeSnapshot { name: name("snap") });
const SNAP_ROOT: Command = |e, a| e.snapshot_volume(a, "web-root", &TakeSnapshot { name: name("snap") });
const SNAP_ALL: Command = |e, a| e.snapshot_machine(a, "web", &TakeSnapshot { name: name("snap") });
const SHARES: Act = Act::World(|w| w.state().shares = true);
const SNAP_AWAY: Command = |e, a| e.delete_snapshot(a, "snap", false);
const SNAP_GONE: Command = |e, a| e.delete_snapshot(a, "snap", true);
const SNAP_WANTED: Command = |e, a| e.undelete_snapshot(a, "snap", &Restore::default());
const SNAP_BACK: Command = |e, a| e.restore_snapshot(a, "snap", false);
const ALL_BACK: Command = |e, a| e.restore_snapshot(a, "snap", true);
const SNAP_COPY: Command = |e, a| clone(e, a, "snap", "copy");
const VIEW: Command = |e, a| {
    e.clone_volume(a, "snap", CloneVolume { name: name("copy"), read_only: true, ..CloneVolume::default() })
};
const JOIN_VIEW: Command = |e, a| attach(e, a, "web", "copy");
const BOOT_SNAP: Command = |e, a| {
    let volume = Some("snap".into());
    e.deploy(a, DeployMachine { volume, name: name("web2"), ..DeployMachine::default() })
};
const POOL: Command = |e, a| {
    let Some(name) = name("fast") else { return e.delete_pool(a, "fast", false) };
    e.create_pool(
        a,
        &CreatePool { name, path: None, size_bytes: Some(ByteSize::gib(20).bytes()), sparse: false },
    )
};
const DISK: Command = |e, a| {
    let Some(name) = name("big") else { return e.delete_pool(a, "big", false) };
    e.create_pool(a, &CreatePool { name, path: Some("/mnt/big".into()), size_bytes: None, sparse: false })
};
const POOL_GROW: Command =
    |e, a| e.resize_pool(a, "fast", &ResizePool { size_bytes: ByteSize::gib(40).bytes() });
const POOL_AWAY: Command = |e, a| e.delete_pool(a, "fast", false);
const DISK_AWAY: Command = |e, a| e.delete_pool(a, "big", false);
const DISK_LOST: Command = |e, a| e.delete_pool(a, "big", true);
const ON_DISK: Command = |e, a| {
    let (name, pool) = (name("old"), Some("big".into()));
    let size_bytes = ByteSize::gib(2).bytes();
    e.create_volume(a, CreateVolume { name, size_bytes, pool, ..CreateVolume::default() })
};
const OLD_AWAY: Command = |e, a| e.delete_volume(a, "old", false);
const FAST: Command = |e, a| {
    let (image, pool) = (Some("debian".into()), Some("fast".into()));
    e.deploy(a, DeployMachine { image, pool, name: name("web"), ..DeployMachine::default() })
};
const FAST_DATA: Command = |e, a| {
    let size_bytes = ByteSize::gib(2).bytes();
    let (name, pool) = (name("appdata"), Some("fast".into()));
    e.create_volume(a, CreateVolume { name, size_bytes, pool, ..CreateVolume::default() })
};
const MOVE: Command = |e, a| move_to(e, a, "appdata", "fast");
const MOVE_ROOT: Command = |e, a| move_to(e, a, "web-root", "fast");
const MOVE_BACK: Command = |e, a| move_to(e, a, "appdata", "default");
const DISK_MOVE: Command = |e, a| move_to(e, a, "appdata", "big");
const DISK_BACK: Command = |e, a| move_to(e, a, "appdata", "default");
const COPY_ACROSS: Command = |e, a| {
    e.clone_volume(
        a,
        "appdata",
        CloneVolume { name: name("copy"), pool: Some("fast".into()), ..CloneVolume::default() },
    )
};
const HALT: Command = |e, a| e.shut_down_host(a);
const RESUME: Command = |e, a| e.resume_host(a);
const REUSE: Command = |e, a| {
    let volume = Some("web-root".into());
    e.deploy(a, DeployMachine { volume, name: name("web2"), ..DeployMachine::default() })
};

/// More of [`pairs`], for those who have the time.
pub fn more_pairs() -> Vec<Scenario> {
    let pair = |name, setup, first, second| Scenario {
        setup: asks(setup),
        second: asks(second),
        ..plain(name, first)
    };
    vec![
        pair("live clone and grow", vec![WEB, APPDATA, JOIN], vec![COPY], vec![GROW_DATA]),
        pair("start and live clone", vec![WEB, APPDATA, JOIN, STOP], vec![START], vec![COPY]),
        pair("live clone of a machine and stop", vec![WEB, APPDATA, JOIN], vec![TWIN], vec![STOP, START]),
        pair("live clone and snapshots", vec![WEB, APPDATA, JOIN], vec![COPY], vec![SNAP_ALL]),
    ]
}

/// Two clients on the same resources: what the second asks for comes at every point of what the
/// first does.
pub fn pairs() -> Vec<Scenario> {
    let pair = |name, setup, first, second| Scenario {
        setup: asks(setup),
        second: asks(second),
        ..plain(name, first)
    };
    let one = |scenario| Scenario { exclusive: true, ..scenario };
    let both = vec![WEB, API, STOP, STOP_API, APPDATA];
    let stopped = vec![WEB, STOP, APPDATA];
    vec![
        one(pair("same name", vec![], vec![APPDATA], vec![APPDATA])),
        one(pair("same machine", vec![], vec![WEB], vec![WEB])),
        one(pair("one volume, two machines", both, vec![JOIN], vec![JOIN_API])),
        pair("delete and start", stopped.clone(), vec![DELETE], vec![START]),
        pair("start and delete", stopped.clone(), vec![START], vec![DELETE]),
        pair("resize and attach", stopped.clone(), vec![GROW_DATA], vec![JOIN]),
        pair("attach, start and resize", stopped.clone(), vec![JOIN, START], vec![GROW_DATA, GROW]),
        pair("delete and resize", stopped.clone(), vec![DELETE_DATA], vec![GROW_DATA]),
        one(pair("rename and create", vec![APPDATA], vec![RENAME_DATA], vec![|e, a| create(e, a, "logs")])),
        pair("rename and start", stopped.clone(), vec![RENAME], vec![START]),
        pair("rename and delete", vec![APPDATA], vec![RENAME_DATA], vec![DELETE_DATA]),
        one(pair("protect and delete", vec![APPDATA], vec![PROTECT_DATA], vec![DELETE_DATA])),
        pair("take back and take back", vec![APPDATA, DELETE_DATA], vec![BACK_DATA], vec![BACK_DATA]),
        pair("take back, for good", vec![APPDATA, DELETE_DATA], vec![BACK_DATA], vec![GONE_DATA]),
        pair("take back, same name", vec![APPDATA, DELETE_DATA], vec![BACK_DATA], vec![APPDATA]),
        pair("delete and take back", vec![APPDATA], vec![DELETE_DATA, APPDATA], vec![BACK_DATA]),
        pair("machine back, for good", vec![WEB, DELETE], vec![BACK, START], vec![GONE]),
        pair("machine back, same name", vec![WEB, DELETE], vec![BACK], vec![WEB]),
        pair("delete machine, take back", vec![WEB], vec![DELETE], vec![BACK, START]),
        pair("machine back, root taken", vec![WEB, PRESERVE], vec![BACK], vec![REUSE]),
        pair("delete a volume, attach it", stopped.clone(), vec![DELETE_DATA], vec![JOIN]),
        pair("start, stop and restart", stopped.clone(), vec![START, STOP], vec![RESTART]),
        pair("stop and delete", vec![WEB], vec![STOP], vec![PRESERVE]),
        pair("deploy and delete", vec![], vec![WEB], vec![DELETE]),
        pair("deploy, boot its root", vec![], vec![WEB, PRESERVE], vec![REUSE, REUSE]),
        pair("clone and delete", stopped.clone(), vec![COPY], vec![DELETE_DATA]),
        pair("clone and grow", stopped.clone(), vec![COPY], vec![GROW_DATA]),
        pair("clone and start", stopped.clone(), vec![COPY_ROOT], vec![START]),
        pair("start and clone", stopped.clone(), vec![START], vec![COPY_ROOT]),
        pair("clone, delete the machine", stopped.clone(), vec![COPY_ROOT], vec![DELETE]),
        pair("export and start", stopped.clone(), vec![READ_ROOT], vec![START]),
        pair("export and delete", stopped.clone(), vec![READ], vec![DELETE_DATA]),
        pair("export and grow", stopped.clone(), vec![READ], vec![GROW_DATA]),
        pair("import and delete", vec![], vec![SENT], vec![AWAY, SENT]),
        pair("clone, join and start", stopped.clone(), vec![COPY], vec![JOIN, START]),
        pair("create and clone", vec![], vec![APPDATA], vec![COPY]),
        pair("clone a machine, start it", stopped.clone(), vec![JOIN, TWIN], vec![START]),
        pair("clone a machine, delete it", stopped.clone(), vec![TWIN], vec![DELETE, TWIN_AWAY]),
        pair("two clones", stopped.clone(), vec![COPY], vec![|e, a| clone(e, a, "appdata", "copy2")]),
        pair("snapshot and delete", stopped.clone(), vec![SNAP], vec![DELETE_DATA]),
        pair("snapshot and grow", stopped.clone(), vec![SNAP], vec![GROW_DATA]),
        pair("snapshot and start", stopped.clone(), vec![SNAP_ROOT], vec![START]),
        pair("start and snapshot", stopped.clone(), vec![START], vec![SNAP_ROOT]),
        pair("live snapshots and stop", vec![WEB, APPDATA, JOIN], vec![SNAP_ALL], vec![STOP, START]),
        pair("live snapshots and detach", vec![WEB, APPDATA, JOIN], vec![SNAP_ALL], vec![PART]),
        pair("live snapshots and delete", vec![WEB, APPDATA, JOIN], vec![SNAP_ALL], vec![DELETE]),
        pair("live snapshot and grow", vec![WEB], vec![SNAP_ROOT], vec![GROW]),
        pair("live clone and stop", vec![WEB, APPDATA, JOIN], vec![COPY], vec![STOP, START]),
        pair("live clone and detach", vec![WEB, APPDATA, JOIN], vec![COPY], vec![PART]),
        pair("live clone, delete both", vec![WEB, APPDATA, JOIN], vec![COPY], vec![COPY_AWAY, DELETE]),
        pair(
            "live clone of a machine, delete it",
            vec![WEB, APPDATA, JOIN],
            vec![TWIN],
            vec![DELETE, TWIN_AWAY],
        ),
        pair("snapshot, delete it", stopped.clone(), vec![SNAP], vec![SNAP_AWAY]),
        pair("snapshots, delete the machine", stopped.clone(), vec![JOIN, SNAP_ALL], vec![DELETE]),
        pair(
            "snapshot, taken back",
            [stopped.clone(), vec![SNAP, SNAP_AWAY]].concat(),
            vec![SNAP_WANTED],
            vec![SNAP_AWAY, SNAP],
        ),
        pair("snapshot and clone", stopped.clone(), vec![SNAP, SNAP_COPY], vec![COPY, SNAP_AWAY]),
        one(pair("snapshots of one name", stopped.clone(), vec![SNAP], vec![SNAP_ROOT])),
        pair("reset and start", [stopped.clone(), vec![SNAP_ROOT]].concat(), vec![SNAP_BACK], vec![START]),
        pair("reset and delete", [stopped.clone(), vec![SNAP]].concat(), vec![SNAP_BACK], vec![DELETE_DATA]),
        pair(
            "reset, delete its machine",
            [stopped.clone(), vec![SNAP_ROOT]].concat(),
            vec![SNAP_BACK],
            vec![DELETE],
        ),
        pair(
            "reset, delete the snapshot",
            [stopped.clone(), vec![SNAP]].concat(),
            vec![SNAP_BACK],
            vec![SNAP_AWAY],
        ),
        pair(
            "reset of all disks, delete the machine",
            vec![WEB, APPDATA, JOIN, STOP, SNAP_ALL],
            vec![ALL_BACK],
            vec![DELETE],
        ),
        pair("reset and reset", [stopped.clone(), vec![SNAP]].concat(), vec![SNAP_BACK], vec![SNAP_BACK]),
        pair("reset and attach", [stopped.clone(), vec![SNAP]].concat(), vec![SNAP_BACK], vec![JOIN, START]),
        pair("reset and grow", [stopped.clone(), vec![SNAP]].concat(), vec![SNAP_BACK], vec![GROW_DATA]),
        pair(
            "reset and clone",
            [stopped.clone(), vec![SNAP]].concat(),
            vec![SNAP_BACK],
            vec![COPY, SNAP_COPY],
        ),
        pair("halt and deploy", vec![], vec![WEB, HALT], vec![APPDATA, API]),
        pair("deploy and halt", vec![], vec![WEB], vec![HALT]),
        pair("halt and start", stopped.clone(), vec![HALT], vec![START]),
        pair("start and halt", stopped.clone(), vec![START], vec![HALT, RESUME]),
        pair("halt and restart", vec![WEB], vec![HALT, RESUME], vec![RESTART]),
        pair("halt and stop", vec![WEB], vec![HALT, RESUME], vec![STOP]),
        pair("halt and delete", vec![WEB], vec![HALT], vec![DELETE]),
        pair("halt, halt and resume", vec![TOUGH], vec![HALT, RESUME], vec![HALT, RESUME]),
        pair("attach and stop", vec![WEB, APPDATA], vec![JOIN], vec![STOP]),
        pair("attach and restart", vec![WEB, APPDATA], vec![JOIN], vec![RESTART]),
        pair("attach and detach", vec![WEB, APPDATA], vec![JOIN], vec![PART, PULL]),
        pair("detach and stop", vec![WEB, APPDATA, JOIN], vec![PART], vec![STOP]),
        pair("detach and delete", vec![WEB, APPDATA, JOIN], vec![PART], vec![DELETE]),
        pair("detach, attach elsewhere", vec![WEB, API, APPDATA, JOIN], vec![PART], vec![JOIN_API, JOIN_API]),
        pair("grow and restart", vec![WEB], vec![GROW], vec![RESTART]),
        pair("grow and detach", vec![WEB, APPDATA, JOIN], vec![GROW_DATA], vec![PART]),
        pair("attach and grow", vec![WEB, APPDATA], vec![JOIN], vec![GROW_DATA]),
        pair("trim and stop", vec![WEB], vec![TRIM], vec![STOP]),
        one(pair("one volume, two running machines", vec![WEB, API, APPDATA], vec![JOIN], vec![JOIN_API])),
        one(pair("same pool", vec![], vec![POOL], vec![POOL])),
        pair("pool: delete and fill", vec![POOL], vec![POOL_AWAY], vec![FAST_DATA]),
        pair("pool: fill and delete", vec![POOL], vec![FAST_DATA], vec![POOL_AWAY]),
        pair("pool: delete and grow", vec![POOL], vec![POOL_AWAY], vec![POOL_GROW]),
        pair("pool: move and delete it", vec![POOL, APPDATA], vec![MOVE], vec![POOL_AWAY]),
        pair(
            "pool: move away and delete it",
            vec![POOL, FAST_DATA],
            vec![MOVE_BACK],
            vec![POOL_AWAY, POOL_AWAY],
        ),
        pair("pool: move and attach", vec![POOL, WEB, APPDATA], vec![MOVE], vec![JOIN]),
        pair("pool: move and start", vec![POOL, WEB, STOP], vec![MOVE_ROOT], vec![START]),
        pair("pool: start and move", vec![POOL, WEB, STOP], vec![START], vec![MOVE_ROOT]),
        pair("pool: move and grow", vec![POOL, APPDATA], vec![MOVE], vec![GROW_DATA]),
        pair("pool: move and clone", vec![POOL, APPDATA], vec![MOVE], vec![COPY]),
        pair("pool: clone and move", vec![POOL, APPDATA], vec![COPY], vec![MOVE]),
        pair("pool: move and delete", vec![POOL, APPDATA], vec![MOVE], vec![DELETE_DATA, GONE_DATA]),
        pair("pool: move, delete the machine", vec![POOL, WEB, STOP], vec![MOVE_ROOT], vec![DELETE, BACK]),
        pair("pool: move there and back", vec![POOL, APPDATA], vec![MOVE], vec![MOVE_BACK, MOVE]),
        pair("pool: move and rename", vec![POOL, APPDATA], vec![MOVE], vec![RENAME_DATA]),
        pair(
            "whole lives",
            vec![],
            vec![WEB, STOP, JOIN, START, DELETE],
            vec![APPDATA, GROW_DATA, STOP, GROW, START, PART],
        ),
    ]
}

/// What must be so in the end, about the first machine and the first volume there are.
fn expect(e: &Engine, what: &str, holds: impl Fn(&[Machine], &[Volume]) -> bool) -> Option<String> {
    match (e.machines(), e.volumes()) {
        (Ok(machines), Ok(volumes)) if holds(&machines, &volumes) => None,
        (Ok(machines), Ok(volumes)) => Some(format!("not so: {what}: {machines:?} {volumes:?}")),
        (Err(p), _) | (_, Err(p)) => Some(format!("a list cannot be read: {p}")),
    }
}

/// The root volume is what it was in the snapshot, which is still there, and so is what it was later.
fn was_reset(world: &World, e: &Engine) -> Option<String> {
    let (s, volume) = (world.state(), e.0.db.find::<types::volume::VolumeSpec>("web-root").ok()?);
    let snap = e.0.db.find::<types::snapshot::SnapshotSpec>("snap").ok()?;
    let now = s.files.get(&(volume.spec.pool.clone(), volume.spec.id)).map(|f| &f.marks);
    let then = s.snapshots.get(&snap.spec.id).map(|f| &f.marks);
    let later = s.snapshots.values().any(|f| then.is_some_and(|t| f.marks.len() > t.len()));
    (now != then || !later).then(|| format!("not so: it was reset: {now:?} to {then:?}, later: {later}"))
}

/// All disks are what they were in the snapshots.
fn all_reset(world: &World, e: &Engine) -> Option<String> {
    let s = world.state();
    for (volume, snap) in [("web-root", "snap"), ("appdata", "snap-appdata")] {
        let volume = e.0.db.find::<types::volume::VolumeSpec>(volume).ok()?;
        let snap = e.0.db.find::<types::snapshot::SnapshotSpec>(snap).ok()?;
        let now = s.files.get(&(volume.spec.pool.clone(), volume.spec.id))?;
        let then = s.snapshots.get(&snap.spec.id)?;
        if !now.marks.starts_with(&then.marks) {
            return Some(format!("not so: it was reset: {:?} to {:?}", now.marks, then.marks));
        }
    }
    None
}

/// The copy of what a machine runs with begins as that was at one moment, and no snapshot is left of it.
fn copied_live(world: &World, e: &Engine) -> Option<String> {
    let marks = |name| {
        let volume = e.0.db.find::<types::volume::VolumeSpec>(name).ok()?.spec.value;
        world.state().files.get(&(volume.pool, volume.id)).map(|f| f.marks.clone())
    };
    let (now, then) = (marks("appdata"), marks("copy"));
    let of_it = now.as_ref().zip(then.as_ref()).is_some_and(|(now, then)| now.starts_with(then));
    let left = world.state().snapshots.len();
    (!of_it || left > 0).then(|| format!("not so: it was copied: {then:?} of {now:?}, snapshots: {left}"))
}

fn ended(m: &Machine, phase: Phase, how: &str) -> bool {
    m.phase == phase && m.last_exit.as_ref().is_some_and(|e| e.how == how)
}

fn goes(m: &[Machine], v: &[Volume]) -> bool {
    m[0].phase == Phase::Running && m[0].notes.is_empty() && v[0].condition.is_none()
}

fn stands_for(why: Condition, m: &[Machine], v: &[Volume]) -> bool {
    let root = v[0].condition == Some(why) && v[0].fault.as_ref().is_some_and(|f| f.hint.is_some());
    m[0].phase == Phase::Running && m[0].notes.len() == 1 && root
}

fn lost(v: &[Volume]) -> bool {
    v[0].condition == Some(Condition::Lost) && v[0].fault.is_some()
}

/// What happens behind the daemon's back, while it is there and while it is not.
pub fn surprises() -> Vec<Scenario> {
    type Holds = fn(&World, &Engine) -> Option<String>;
    let of = |name, setup: Vec<Command>, acts, holds: Holds| Scenario {
        setup: asks(setup),
        acts,
        holds: Some(holds),
        ..plain(name, vec![])
    };
    let lose: fn(&World) = |w| w.state().files.clear();
    let cut: fn(&World) = |w| w.set_sizes(ByteSize::gib(1));
    let enlarge: fn(&World) = |w| w.set_sizes(ByteSize::gib(7));
    let unplug: fn(&World) = |w| {
        w.state().bridges.clear();
        w.state().taps.clear();
    };
    let died: Holds = |_, e| expect(e, "it stays dead", |m, _| ended(&m[0], Phase::Stopped, "died"));
    let came_back: Holds = |_, e| {
        expect(e, "it runs again, and says so", |m, _| {
            ended(&m[0], Phase::Running, "died") && m[0].notes.len() == 1
        })
    };
    let off: Holds = |_, e| expect(e, "it stays off", |m, _| ended(&m[0], Phase::Stopped, "ended"));
    let gave_up: Holds = |_, e| {
        expect(e, "it is given up", |m, _| {
            m[0].phase == Phase::Failed && m[0].fault.as_ref().is_some_and(|f| f.code == Code::KeepsDying)
        })
    };
    let is_lost: Holds = |_, e| expect(e, "it is lost", |_, v| lost(v));
    let away: Holds = |_, e| {
        expect(e, "its pool is away", |_, v| {
            let as_it_was = v[0].size_bytes == ByteSize::gib(2).bytes();
            v[0].condition == Some(Condition::PoolOffline) && v[0].fault.is_some() && as_it_was
        })
    };
    let forgotten: Holds = |w, e| {
        let kept = w.state().files.keys().any(|(pool, _)| pool == "big");
        let gone = e.pools().is_ok_and(|pools| pools.len() == 1) && e.snapshots().is_ok_and(|s| s.is_empty());
        let trash = e.deleted_volumes().is_ok_and(|v| v.is_empty());
        expect(e, "it is forgotten, and its disk untouched", |_, v| {
            kept && gone && trash && v.len() == 1 && v[0].pool == "default"
        })
    };
    let whole: Holds = |_, e| expect(e, "it is whole again", |_, v| v[0].fault.is_none());
    let running: Holds = |_, e| expect(e, "it runs", |m, _| m[0].phase == Phase::Running);
    let adopted: Holds = |_, e| {
        expect(e, "its size is adopted", |_, v| v[0].size_bytes == ByteSize::gib(7).bytes() && !lost(v))
    };
    let full: fn(&World) = |w| w.fill(true);
    let room: fn(&World) = |w| w.fill(false);
    let bad: fn(&World) = |w| w.break_disk(true);
    let mended: fn(&World) = |w| w.break_disk(false);
    let goes: Holds = |_, e| expect(e, "it goes, and all is well", goes);
    let no_room: Holds = |_, e| expect(e, "it stands", |m, v| stands_for(Condition::PoolFull, m, v));
    let failing: Holds = |_, e| expect(e, "it stands", |m, v| stands_for(Condition::IoError, m, v));
    let pulled: Holds = |_, e| expect(e, "it was stopped", |m, _| ended(&m[0], Phase::Stopped, "killed"));
    let kill: fn(&World) = World::kill_hypervisors;
    let off_now: fn(&World) = World::power_off;
    vec![
        of("killed by hand", vec![WEB], vec![Act::World(kill)], died),
        of("killed while away", vec![WEB], vec![Act::Away(kill)], died),
        of("killed and comes back", vec![TOUGH], vec![Act::World(kill)], came_back),
        of("killed while away and comes back", vec![TOUGH], vec![Act::Away(kill)], came_back),
        of("powers off", vec![TOUGH], vec![Act::World(off_now)], off),
        of("killed again and again", vec![TOUGH], vec![Act::World(kill); 6], gave_up),
        of(
            "killed again and again, then started",
            vec![TOUGH],
            [vec![Act::World(kill); 6], vec![Act::Ask(START), Act::World(kill)]].concat(),
            came_back,
        ),
        of("file deleted", vec![APPDATA], vec![Act::World(lose), Act::Ask(GROW_DATA)], is_lost),
        of("root deleted", vec![WEB, STOP], vec![Act::Away(lose), Act::Ask(START)], is_lost),
        of("file cut", vec![APPDATA], vec![Act::World(cut), Act::Ask(GROW_DATA)], is_lost),
        of("file cut while away", vec![APPDATA, GROW_DATA], vec![Act::Away(cut)], is_lost),
        of(
            "file cut and put back",
            vec![APPDATA],
            vec![Act::World(cut), Act::World(|w| w.set_sizes(ByteSize::gib(2))), Act::Ask(GROW_DATA)],
            whole,
        ),
        of(
            "disk of a pool gone",
            vec![DISK, APPDATA, DISK_MOVE],
            vec![Act::Away(|w| w.unplug_pools(true)), Act::Ask(GROW_DATA), Act::Ask(FREE_DATA)],
            away,
        ),
        of(
            "disk of a pool gone and back",
            vec![DISK, WEB, APPDATA, DISK_MOVE, STOP, JOIN],
            vec![
                Act::World(|w| w.unplug_pools(true)),
                Act::Ask(START),
                Act::World(|w| w.unplug_pools(false)),
                Act::Ask(START),
            ],
            running,
        ),
        of(
            "pool on a disk that is lost",
            vec![DISK, ON_DISK, OLD_AWAY, APPDATA, DISK_MOVE, SNAP, SNAP_AWAY, SNAP],
            vec![Act::World(|w| w.unplug_pools(true)), Act::Ask(DISK_LOST), Act::Ask(APPDATA)],
            forgotten,
        ),
        of("file grown by hand", vec![APPDATA], vec![Act::World(enlarge)], adopted),
        of("bridge removed", vec![WEB], vec![Act::World(unplug)], running),
        of("bridge removed while away", vec![WEB], vec![Act::Away(unplug)], running),
        of("pool fills and has room", vec![WEB], vec![Act::World(full), Act::World(room)], goes),
        of("pool fills, room while away", vec![WEB], vec![Act::World(full), Act::Away(room)], goes),
        of("pool fills while away", vec![WEB], vec![Act::Away(full), Act::World(room)], goes),
        of("pool fills and is full", vec![WEB], vec![Act::World(full), Act::Ask(START)], no_room),
        of("pool is full, machine stopped", vec![WEB], vec![Act::World(full), Act::Ask(STOP)], pulled),
        of(
            "pool fills twice",
            vec![WEB],
            [Act::World(full), Act::World(room), Act::World(full), Act::Away(room)].into(),
            goes,
        ),
        of("write error", vec![WEB], vec![Act::World(bad), Act::Ask(START)], failing),
        of("write error, mended", vec![WEB], vec![Act::World(bad), Act::Away(mended)], failing),
        of(
            "write error, mended, started",
            vec![WEB],
            vec![Act::World(bad), Act::World(mended), Act::Ask(START)],
            goes,
        ),
    ]
}

/// The end of the host and its next boot, in order or by a loss of power at any point.
pub fn host_ends() -> Vec<Scenario> {
    type Holds = fn(&World, &Engine) -> Option<String>;
    let of = |name, setup: Vec<Command>, acts, holds: Holds| Scenario {
        setup: asks(setup),
        acts,
        holds: Some(holds),
        ..plain(name, vec![])
    };
    let boot = Act::Away(World::reboot_host);
    let (halt, resume) = (Act::Ask(HALT), Act::Ask(RESUME));
    let down: Holds = |_, e| expect(e, "it is down", |m, _| ended(&m[0], Phase::Stopped, "host"));
    let pulled: Holds =
        |_, e| expect(e, "its plug was pulled", |m, _| ended(&m[0], Phase::Stopped, "killed"));
    let back: Holds = |_, e| expect(e, "it runs again", |m, _| ended(&m[0], Phase::Running, "host"));
    let off: Holds = |_, e| expect(e, "it stays off", |m, _| ended(&m[0], Phase::Stopped, "host"));
    let on: Holds = |_, e| expect(e, "it runs", |m, _| m[0].phase == Phase::Running);
    let each: Holds = |_, e| {
        expect(e, "one runs again and one stays off", |m, _| {
            ended(&m[0], Phase::Stopped, "shutdown") && ended(&m[1], Phase::Running, "host")
        })
    };
    let power = |scenario| Scenario { power: true, ..scenario };
    let told = |scenario| Scenario { after_boot: false, ..scenario };
    let stubborn = |scenario| Scenario { guests: Guests::Stubborn, ..scenario };
    let silent = |scenario| Scenario { guests: Guests::Silent, ..scenario };
    let two = vec![WEB, API, STOP_API];
    vec![
        of("halt", vec![WEB], vec![halt], down),
        of("halt twice", vec![WEB], vec![halt, halt], down),
        of("halt and boot", two.clone(), vec![halt, boot], each),
        of("halt and resume", vec![WEB], vec![halt, resume], back),
        of("halt, boot and resume", two.clone(), vec![halt, boot, resume], each),
        of("halt while away", vec![WEB], vec![halt, Act::Away(|_| {}), boot], back),
        of("halt and start", vec![WEB], vec![halt, Act::Ask(START), boot], back),
        of("halt, stop and boot", vec![WEB], vec![halt, Act::Ask(STOP), boot], off),
        of("halt and boot a tough one", vec![TOUGH], vec![halt, boot], back),
        stubborn(of("halt with stubborn guests", vec![WEB], vec![halt], pulled)),
        stubborn(of("halt and boot with stubborn guests", vec![WEB], vec![halt, boot], on)),
        silent(of("halt with silent guests", vec![], vec![Act::Ask(APPDATA), halt, boot], |_, _| None)),
        told(of("halt and boot, told otherwise", vec![WEB], vec![halt, boot], off)),
        told(of("halt and resume, told otherwise", vec![WEB], vec![halt, resume], back)),
        told(of("boot, told otherwise", vec![WEB], vec![boot], off)),
        told(of("halt, boot and start", vec![WEB], vec![halt, boot, Act::Ask(START)], back)),
        power(of("power lost while it halts", two.clone(), vec![halt, boot], each)),
        power(of("power lost in a deploy", vec![], asks(vec![WEB]), on)),
        power(of("power lost in a start", vec![WEB, STOP], asks(vec![START]), on)),
        power(plain(
            "power lost with a pool",
            vec![POOL, FAST_DATA, WEB, STOP, JOIN, START, MOVE_BACK, POOL_GROW],
        )),
        of("boot with a pool", vec![POOL, FAST], vec![boot], on),
        power(plain("power lost in a life", vec![WEB, APPDATA, STOP, JOIN, GROW, START, DELETE])),
        power(told(of("power lost, told otherwise", vec![WEB], vec![halt, boot], off))),
    ]
}

/// What happens behind the daemon's back while it does something: at every point of it.
pub fn surprised() -> Vec<Scenario> {
    let of = |name, setup, first, second: fn(&World)| Scenario {
        setup: asks(setup),
        second: vec![Act::World(second)],
        ..plain(name, first)
    };
    // The pool fills up, and some time later there is room again.
    let filled = |name, setup, first| Scenario {
        second: vec![Act::World(|w| w.fill(true)), Act::World(|w| w.fill(false))],
        ..of(name, setup, first, |_| ())
    };
    let hour = |w: &World| w.set_clock(3_600_000);
    let time = |w: &World| w.pass(3_700_000);
    let back = |w: &World| w.set_clock(-3_600_000);
    vec![
        of("time passes during a taking back", vec![APPDATA, DELETE_DATA], vec![BACK_DATA], time),
        of("time passes while a machine comes back", vec![WEB, DELETE], vec![BACK, START], time),
        of("time passes during a delete", vec![WEB, STOP, APPDATA], vec![DELETE, DELETE_DATA], time),
        of("clock forward after a delete", vec![APPDATA], vec![DELETE_DATA, BACK_DATA], hour),
        filled("full during a taking back", vec![WEB, APPDATA, DELETE, DELETE_DATA], vec![BACK, BACK_DATA]),
        of(
            "time passes after a snapshot is deleted",
            vec![APPDATA, SNAP, SNAP_AWAY],
            vec![SNAP_WANTED],
            time,
        ),
        of("clock forward during a stop", vec![WEB], vec![STOP], hour),
        of("clock forward during a start", vec![WEB, STOP], vec![START], hour),
        of("clock back during a stop", vec![WEB], vec![STOP], back),
        Scenario {
            guests: Guests::Stubborn,
            ..of("clock back while a guest does not stop", vec![WEB], vec![STOP], back)
        },
        of("killed during a deploy", vec![], vec![WEB], World::kill_hypervisors),
        of("killed during a deploy, comes back", vec![], vec![TOUGH], World::kill_hypervisors),
        of("killed during a restart", vec![WEB], vec![RESTART], World::kill_hypervisors),
        of("killed during a stop", vec![TOUGH], vec![STOP], World::kill_hypervisors),
        of("killed during snapshots", vec![WEB, APPDATA, JOIN], vec![SNAP_ALL], World::kill_hypervisors),
        of("killed during snapshots, comes back", vec![TOUGH], vec![SNAP_ROOT], World::kill_hypervisors),
        of("killed during a live clone", vec![WEB, APPDATA, JOIN], vec![COPY], World::kill_hypervisors),
        of("powers off during a live clone", vec![TOUGH], vec![TWIN], World::power_off),
        filled("full during a live clone", vec![WEB, APPDATA, JOIN], vec![COPY]),
        of("powers off during snapshots", vec![TOUGH], vec![SNAP_ROOT], World::power_off),
        filled("full during snapshots", vec![WEB, APPDATA, JOIN], vec![SNAP_ALL]),
        filled("full during a reset", vec![APPDATA, SNAP], vec![SNAP_BACK]),
        of("powers off during a restart", vec![TOUGH], vec![RESTART], World::power_off),
        of("unplugged during a deploy", vec![], vec![WEB], |w| {
            w.state().bridges.clear();
            w.state().taps.clear();
        }),
        of("killed during an attach", vec![WEB, APPDATA], vec![JOIN], World::kill_hypervisors),
        of("killed during an attach, comes back", vec![TOUGH, APPDATA], vec![JOIN], World::kill_hypervisors),
        of("killed during a detach", vec![WEB, APPDATA, JOIN], vec![PART], World::kill_hypervisors),
        of("killed during a live resize", vec![TOUGH], vec![GROW], World::kill_hypervisors),
        of("powers off during a detach", vec![WEB, APPDATA, JOIN], vec![PART], World::power_off),
        of("lost during an attach", vec![WEB, APPDATA], vec![JOIN], |w| {
            w.state().files.retain(|_, f| f.marks.iter().all(|m| m != "ext4"));
        }),
        filled("full during an attach", vec![WEB, APPDATA], vec![JOIN]),
        filled("full during a detach", vec![WEB, APPDATA, JOIN], vec![PART]),
        filled("full during a live resize", vec![WEB], vec![GROW]),
        filled("full during a deploy", vec![], vec![WEB]),
        filled("full during a start", vec![WEB, STOP], vec![START]),
        filled("full during a stop", vec![WEB], vec![STOP]),
        of("unplugged during a move", vec![DISK, APPDATA], vec![DISK_MOVE], |w| w.unplug_pools(true)),
        Scenario {
            second: vec![Act::World(|w| w.unplug_pools(true)), Act::World(|w| w.unplug_pools(false))],
            ..of(
                "unplugged for a while during a move",
                vec![DISK, APPDATA],
                vec![DISK_MOVE, DISK_BACK],
                |_| (),
            )
        },
        filled("full during a move", vec![POOL, APPDATA], vec![MOVE]),
        filled("full while a pool is made", vec![], vec![POOL, FAST_DATA]),
        filled("full while a pool is grown", vec![POOL], vec![POOL_GROW]),
        of("cut during a resize", vec![APPDATA], vec![GROW_DATA], |w| w.set_sizes(ByteSize::gib(1))),
    ]
}

/// Every verb there is, in the orders that people use them.
pub fn all() -> Vec<Scenario> {
    let (web, appdata, stop, start): (Command, Command, Command, Command) = (WEB, APPDATA, STOP, START);
    let (join, part, grow): (Command, Command, Command) = (JOIN, PART, GROW);
    let (delete, preserve, reuse): (Command, Command, Command) = (DELETE, PRESERVE, REUSE);
    vec![
        plain("announcement", vec![web, appdata, stop, join, start, stop, grow, start, preserve]),
        plain("boot again", vec![web, preserve, reuse, |e, a| e.delete_machine(a, "web2", false, false)]),
        plain(
            "move",
            vec![
                web,
                appdata,
                stop,
                join,
                start,
                stop,
                part,
                |e, a| deploy(e, a, "api", &["appdata"]),
                delete,
            ],
        ),
        plain("live", vec![web, appdata, join, GROW_DATA, grow, TRIM, part, stop, start, join, delete]),
        plain("live, pulled out", vec![web, appdata, join, PULL, DELETE_DATA]),
        Scenario {
            guests: Guests::Busy,
            holds: Some(|_, e| expect(e, "it is still attached", |_, v| v[0].attached_to.is_some())),
            ..plain("live, busy", vec![web, appdata, join, part])
        },
        Scenario {
            guests: Guests::Busy,
            holds: Some(|_, e| expect(e, "it is detached", |_, v| v[0].attached_to.is_none())),
            ..plain("live, busy, pulled out", vec![web, appdata, join, PULL])
        },
        Scenario {
            guests: Guests::Clinging,
            holds: Some(|_, e| expect(e, "it is still attached", |_, v| v[0].attached_to.is_some())),
            ..plain("live, clinging", vec![web, appdata, join, part, PULL])
        },
        Scenario {
            guests: Guests::Deaf,
            holds: Some(|_, e| expect(e, "it is attached", |_, v| v[0].attached_to.is_some())),
            ..plain("live, deaf", vec![web, appdata, join, grow, GROW_DATA, TRIM, part])
        },
        Scenario {
            fault: Some(("plug", Code::NoFreeSlot)),
            holds: Some(|_, e| expect(e, "it is detached", |_, v| v[0].attached_to.is_none())),
            ..plain("no free port", vec![web, appdata, join, join])
        },
        Scenario {
            fault: Some(("stretch", Code::GuestFailed)),
            ..plain("live, not stretched", vec![web, grow, RESTART])
        },
        plain("volume life", vec![appdata, GROW_DATA, DELETE_DATA]),
        plain("volume with XFS", vec![WITH_XFS, web, join, GROW_DATA, stop, COPY]),
        plain("bare volume", vec![BARE, web, join, GROW_DATA, part, DELETE_DATA]),
        Scenario {
            fault: Some(("can_make", Code::ToolMissing)),
            ..plain("no mkfs", vec![WITH_XFS, appdata])
        },
        plain("pool life", vec![POOL, FAST_DATA, POOL_GROW, POOL_AWAY, GONE_DATA, POOL_AWAY]),
        plain("pool on a disk", vec![DISK, appdata, DISK_MOVE, DISK_AWAY, DISK_BACK, DISK_AWAY]),
        plain("pool: machine", vec![POOL, FAST, stop, start, appdata, COPY_ACROSS, delete]),
        Scenario {
            holds: Some(|w, e| {
                let twice = w.state().files.len() != 2;
                expect(e, "each lives where it shall, and only there", |_, v| {
                    v[0].pool == "default" && v[1].pool == "fast" && !twice
                })
            }),
            ..plain(
                "pool: moved",
                vec![POOL, web, appdata, join, stop, MOVE, MOVE_ROOT, start, stop, MOVE_BACK],
            )
        },
        Scenario {
            fault: Some(("create_copy", Code::PoolFull)),
            holds: Some(|w, e| {
                let left = w.state().files.keys().any(|(pool, _)| pool == "fast");
                expect(e, "it stays", |_, v| v[0].pool == "default" && v[0].condition.is_none() && !left)
            }),
            ..plain("pool: no room to move", vec![POOL, appdata, MOVE, GROW_DATA])
        },
        Scenario {
            fault: Some(("make pool", Code::PoolFull)),
            holds: Some(|w, _| w.state().pools.first_key_value().map(|(p, _)| format!("{p} is left"))),
            ..plain("no room for a pool", vec![POOL, POOL])
        },
        Scenario {
            fault: Some(("grow pool", Code::PoolFull)),
            ..plain("no room to grow a pool", vec![POOL, POOL_GROW, FAST_DATA])
        },
        Scenario {
            fault: Some(("remove pool", Code::PoolOffline)),
            holds: Some(|_, e| expect(e, "it stays, and is of use", |_, v| v[0].pool == "fast")),
            ..plain("pool that cannot be looked into", vec![POOL, POOL_AWAY, FAST_DATA])
        },
        plain("restart", vec![web, RESTART, delete]),
        plain("renamed", vec![web, appdata, RENAME_DATA, appdata, RENAME, web]),
        plain("protected", vec![appdata, PROTECT_DATA, DELETE_DATA]),
        plain("clone", vec![appdata, COPY, DELETE_DATA, COPY_AWAY]),
        plain("clone a machine", vec![web, appdata, stop, join, TWIN, start, TWIN_AWAY]),
        Scenario {
            fault: Some(("create_copy", Code::PoolFull)),
            setup: asks(vec![web, appdata, stop, join]),
            ..plain("no room to clone", vec![TWIN, COPY_ROOT, start])
        },
        plain("snapshot", vec![appdata, SNAP, DELETE_DATA, SNAP_COPY, SNAP_AWAY]),
        plain(
            "snapshot, deleted and wanted",
            vec![appdata, SNAP, SNAP_AWAY, SNAP_WANTED, SNAP_BACK, SNAP_GONE],
        ),
        plain(
            "snapshot of a deleted volume",
            vec![appdata, SNAP, DELETE_DATA, SNAP_BACK, BACK_DATA, SNAP_BACK],
        ),
        plain("snapshot, only read", vec![web, appdata, SNAP, VIEW, JOIN_VIEW, SNAP_AWAY, RESTART]),
        plain("snapshot, booted", vec![web, stop, SNAP_ROOT, BOOT_SNAP, SNAP_AWAY]),
        plain("snapshots of a machine", vec![web, appdata, stop, join, SNAP_ALL, start, SNAP_AWAY]),
        Scenario {
            holds: Some(was_reset),
            ..plain("reset to a snapshot", vec![web, stop, SNAP_ROOT, start, stop, SNAP_BACK])
        },
        Scenario {
            fault: Some(("take_snapshot", Code::PoolFull)),
            setup: asks(vec![web, appdata, stop, join]),
            ..plain("no room for a snapshot", vec![SNAP, SNAP_ALL, start])
        },
        Scenario {
            fault: Some(("reset", Code::PoolFull)),
            setup: asks(vec![web, appdata, stop, SNAP]),
            ..plain("no room to reset", vec![SNAP_BACK, GROW_DATA, DELETE_DATA])
        },
        Scenario {
            holds: Some(all_reset),
            ..plain(
                "reset all disks of a machine",
                vec![web, appdata, join, stop, SNAP_ALL, start, stop, ALL_BACK, start],
            )
        },
        Scenario {
            fault: Some(("reset", Code::PoolFull)),
            setup: asks(vec![web, appdata, join, stop, SNAP_ALL]),
            ..plain("no room to reset all disks", vec![ALL_BACK, start, stop, SNAP_AWAY, delete])
        },
        Scenario {
            fault: Some(("take_snapshot", Code::PoolFull)),
            setup: asks(vec![appdata, SNAP]),
            ..plain("no room to keep what is reset", vec![SNAP_BACK, GROW_DATA, DELETE_DATA])
        },
        plain("live snapshots", vec![web, appdata, join, SNAP_ALL, stop, SNAP_BACK, start]),
        Scenario {
            setup: vec![Act::Ask(web), Act::Ask(appdata), Act::Ask(join), SHARES],
            ..plain("live snapshots, shared", vec![SNAP_ALL, RESTART])
        },
        Scenario {
            guests: Guests::Deaf,
            ..plain("live snapshots, deaf", vec![web, appdata, join, SNAP_ALL, SNAP])
        },
        Scenario {
            fault: Some(("backup", Code::PoolFull)),
            ..plain("no room for live snapshots", vec![web, appdata, join, SNAP_ALL, part])
        },
        Scenario {
            holds: Some(copied_live),
            ..plain("live clone", vec![web, appdata, join, COPY, TWIN, TWIN_AWAY])
        },
        Scenario {
            setup: vec![Act::Ask(web), Act::Ask(appdata), Act::Ask(join), SHARES],
            holds: Some(copied_live),
            ..plain("live clone, shared", vec![TWIN, COPY])
        },
        Scenario { guests: Guests::Deaf, ..plain("live clone, deaf", vec![web, appdata, join, COPY]) },
        Scenario {
            fault: Some(("backup", Code::PoolFull)),
            ..plain("no room for a live clone", vec![web, appdata, join, COPY, TWIN, part])
        },
        plain("live clone into another pool", vec![POOL, web, appdata, join, COPY_ACROSS]),
        plain("volume taken back", vec![appdata, DELETE_DATA, BACK_DATA, GROW_DATA, DELETE_DATA, GONE_DATA]),
        plain("machine taken back", vec![web, appdata, stop, join, delete, BACK, start, delete, GONE]),
        plain("machine taken back under another name", vec![web, delete, web, BACK_RENAMED]),
        plain("machine taken back with its root", vec![web, preserve, BACK, start]),
        plain(
            "for good",
            vec![web, appdata, |e, a| e.delete_machine(a, "web", false, true), |e, a| {
                e.delete_volume(a, "appdata", true)
            }],
        ),
        {
            let mut all = plain("expires", vec![web, appdata, delete, DELETE_DATA]);
            all.acts.push(Act::World(|w| w.pass(3_700_000)));
            all.acts.push(Act::Ask(BACK_DATA));
            all.holds = Some(|w, e| match (e.deleted_volumes(), e.deleted_machines()) {
                (Ok(v), Ok(m)) if v.is_empty() && m.is_empty() && w.state().trash.is_empty() => None,
                left => Some(format!("something is left: {left:?}")),
            });
            all
        },
        plain(
            "images",
            vec![
                |e, a| e.pull_image(a, types::image::PullImage { image: "debian".into() }),
                web,
                |e, a| e.delete_image(a, "debian"),
                delete,
            ],
        ),
        Scenario { guests: Guests::Stubborn, ..plain("plug pulled", vec![web, stop, start, delete]) },
        Scenario { guests: Guests::Silent, ..plain("no hello", vec![web, delete]) },
        {
            let mut all = plain("host restarts", vec![web, appdata, stop, join, start]);
            all.acts.push(Act::Away(World::reboot_host));
            all
        },
        Scenario { fault: Some(("start", Code::BootFailed)), ..plain("no start", vec![web, web]) },
        Scenario { fault: Some(("build", Code::ImageFailed)), ..plain("no image", vec![web, web]) },
        Scenario {
            fault: Some(("create_from_image", Code::PoolFull)),
            ..plain("no room", vec![web, appdata])
        },
        Scenario {
            fault: Some(("create_blank", Code::PoolFull)),
            ..plain("no room for data", vec![appdata, appdata])
        },
        Scenario { fault: Some(("ensure_nic", Code::NetworkFailed)), ..plain("no network", vec![web]) },
        Scenario {
            fault: Some(("ensure_kernel", Code::KernelFailed)),
            ..plain("no kernel", vec![appdata, web])
        },
        Scenario {
            fault: Some(("grow", Code::PoolFull)),
            ..plain("no room to grow", vec![appdata, GROW_DATA])
        },
    ]
}

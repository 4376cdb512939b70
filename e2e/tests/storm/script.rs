//! What is asked for, and what comes of it.
//!
//! Invariant: what is chosen is possible in the world it is chosen for, and what is asked for at the
//! same time touches nothing in common, so that what comes of it is known.

use crate::world::{Machine, Volume, World};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// The most that the script keeps of each.
const VOLUMES: usize = 6;
const SNAPSHOTS: usize = 3;
const IMAGES: usize = 4;
const MACHINES: usize = 2;
/// The pools that volumes live in: of one the file system cannot share blocks, of the other it can.
const HOMES: [&str; 2] = ["default", "fast"];
/// How many pools there are beside the default one at most.
const POOLS: usize = 2;
/// What every machine is deployed with.
const ROOT: u64 = 2 << 30;

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    Create { name: String, mib: u64, pool: &'static str },
    Resize { name: String, mib: u64 },
    DeleteVolume { name: String },
    Move { name: String, pool: &'static str },
    Clone { from: String, name: String, pool: Option<&'static str> },
    Snapshot { volume: String, name: String },
    DropSnapshot { name: String },
    Attach { machine: String, volume: String },
    Detach { machine: String, volume: String },
    Pull { file: PathBuf },
    DeleteImage { name: String },
    Deploy { name: String, attach: Option<String>, pool: &'static str },
    Boot { name: String, root: String },
    Start { name: String },
    Stop { name: String },
    Restart { name: String },
    Delete { name: String, keep: bool },
    MakePool { name: String, mib: u64 },
    DropPool { name: String },
}

impl Ask {
    /// The command line.
    pub fn line(&self) -> String {
        match self {
            Self::Create { name, mib, pool } => format!("volume create {mib}M --name {name} --pool {pool}"),
            Self::Resize { name, mib } => format!("volume resize {name} {mib}M"),
            Self::DeleteVolume { name } => format!("volume delete {name} -y"),
            Self::Move { name, pool } => format!("volume move {name} --pool {pool}"),
            Self::Clone { from, name, pool } => {
                let pool = pool.map(|p| format!(" --pool {p}")).unwrap_or_default();
                format!("volume clone {from} --name {name}{pool}")
            }
            Self::Snapshot { volume, name } => format!("volume snapshot {volume} --name {name}"),
            Self::DropSnapshot { name } => format!("snapshot delete {name} --now -y"),
            Self::Attach { machine, volume } => format!("machine volume attach {machine} {volume}"),
            Self::Detach { machine, volume } => format!("machine volume detach {machine} {volume}"),
            Self::Pull { file } => format!("image pull {}", file.display()),
            Self::DeleteImage { name } => format!("image delete {name} -y"),
            Self::Deploy { name, attach, pool } => {
                let attach = attach.iter().map(|v| format!(" --attach {v}")).collect::<String>();
                format!("machine deploy debian --name {name} --memory 256M --pool {pool}{attach}")
            }
            Self::Boot { name, root } => {
                format!("machine deploy --volume {root} --name {name} --memory 256M")
            }
            Self::Start { name } => format!("machine start {name}"),
            Self::Stop { name } => format!("machine stop {name}"),
            Self::Restart { name } => format!("machine restart {name}"),
            Self::Delete { name, keep: false } => format!("machine delete {name} -y"),
            Self::Delete { name, keep: true } => format!("machine delete {name} -y --preserve-storage"),
            Self::MakePool { name, mib } => format!("pool create {name} --size {mib}M"),
            Self::DropPool { name } => format!("pool delete {name} -y"),
        }
    }

    /// As the history has it: the action and the name of what it is about.
    pub fn recorded(&self) -> (&'static str, String) {
        match self {
            Self::Create { name, .. } => ("volume.create", name.clone()),
            Self::Resize { name, .. } => ("volume.resize", name.clone()),
            Self::DeleteVolume { name } => ("volume.delete", name.clone()),
            Self::Move { name, .. } => ("volume.move", name.clone()),
            Self::Clone { name, .. } => ("volume.clone", name.clone()),
            Self::Snapshot { name, .. } => ("volume.snapshot", name.clone()),
            Self::DropSnapshot { name } => ("snapshot.delete", name.clone()),
            Self::Attach { machine, .. } => ("machine.volume.attach", machine.clone()),
            Self::Detach { machine, .. } => ("machine.volume.detach", machine.clone()),
            Self::Pull { file } => ("image.pull", stem(file)),
            Self::DeleteImage { name } => ("image.delete", name.clone()),
            Self::Deploy { name, .. } | Self::Boot { name, .. } => ("machine.deploy", name.clone()),
            Self::Start { name } => ("machine.start", name.clone()),
            Self::Stop { name } => ("machine.stop", name.clone()),
            Self::Restart { name } => ("machine.restart", name.clone()),
            Self::Delete { name, .. } => ("machine.delete", name.clone()),
            Self::MakePool { name, .. } => ("pool.create", name.clone()),
            Self::DropPool { name } => ("pool.delete", name.clone()),
        }
    }

    /// Everything that it touches.
    fn touches(&self, world: &World) -> Vec<String> {
        let disks = |m: &str| world.machines.get(m).map(|m| m.disks.clone()).unwrap_or_default();
        let holder = |v: &str| -> Vec<String> {
            world.volumes.get(v).and_then(|v| v.holder.clone()).into_iter().collect()
        };
        match self {
            Self::Create { name, .. } | Self::Resize { name, .. } | Self::DeleteVolume { name } => {
                vec![name.clone()]
            }
            Self::DropSnapshot { name } | Self::MakePool { name, .. } | Self::DropPool { name } => {
                vec![name.clone()]
            }
            // What is copied has to stay as it is, and so has whoever holds it.
            Self::Clone { from, name, .. } | Self::Snapshot { volume: from, name } => {
                [vec![from.clone(), name.clone()], holder(from)].concat()
            }
            Self::Move { name, .. } => [vec![name.clone()], holder(name)].concat(),
            Self::Attach { machine, volume } => {
                [vec![machine.clone(), volume.clone()], disks(machine)].concat()
            }
            Self::Detach { machine, .. } => [vec![machine.clone()], disks(machine)].concat(),
            Self::Pull { .. } | Self::DeleteImage { .. } => vec!["images".into()],
            Self::Deploy { name, attach, .. } => {
                [vec![name.clone(), format!("{name}-root")], attach.iter().cloned().collect()].concat()
            }
            Self::Boot { name, root } => vec![name.clone(), root.clone()],
            Self::Start { name }
            | Self::Stop { name }
            | Self::Restart { name }
            | Self::Delete { name, .. } => [vec![name.clone()], disks(name)].concat(),
        }
    }

    /// Makes the world what it is once this has succeeded.
    pub fn happen(&self, world: &mut World) {
        let hold = |world: &mut World, volume: &str, by: Option<&str>| {
            world.volumes.get_mut(volume).expect("it was chosen from those").holder = by.map(str::to_owned);
        };
        match self {
            Self::Create { name, mib, pool } => {
                let (size, pool) = (mib * MIB, (*pool).to_owned());
                let volume = Volume { size, holder: None, owner: None, root: false, pool };
                world.volumes.insert(name.clone(), volume);
            }
            Self::Resize { name, mib } => {
                world.volumes.get_mut(name).expect("it was chosen from those").size = mib * MIB;
            }
            Self::DeleteVolume { name } => drop(world.volumes.remove(name)),
            Self::Move { name, pool } => {
                world.volumes.get_mut(name).expect("it was chosen from those").pool = (*pool).to_owned();
            }
            Self::Clone { from, name, pool } => {
                let from = world.volumes.get(from).or_else(|| world.snapshots.get(from));
                let from = from.expect("it was chosen from those").clone();
                let pool = pool.map_or(from.pool.clone(), str::to_owned);
                world.volumes.insert(name.clone(), Volume { holder: None, owner: None, pool, ..from });
            }
            Self::Snapshot { volume, name } => {
                let kept = Volume { holder: None, owner: None, ..world.volumes[volume].clone() };
                world.snapshots.insert(name.clone(), kept);
            }
            Self::DropSnapshot { name } => drop(world.snapshots.remove(name)),
            Self::Attach { machine, volume } => {
                hold(world, volume, Some(machine));
                let disks = &mut machine_of(world, machine).disks;
                disks.push(volume.clone());
                disks[1..].sort();
            }
            Self::Detach { machine, volume } => {
                hold(world, volume, None);
                machine_of(world, machine).disks.retain(|d| d != volume);
            }
            Self::Pull { file } => drop(world.images.insert(stem(file))),
            Self::DeleteImage { name } => drop(world.images.remove(name)),
            Self::Deploy { name, attach, pool } => {
                let root = format!("{name}-root");
                let (holder, owner) = (Some(name.clone()), Some(name.clone()));
                let volume = Volume { size: ROOT, holder, owner, root: true, pool: (*pool).to_owned() };
                world.volumes.insert(root.clone(), volume);
                attach.iter().for_each(|v| hold(world, v, Some(name)));
                let disks = [vec![root], attach.iter().cloned().collect()].concat();
                world.machines.insert(name.clone(), Machine { running: true, disks });
            }
            Self::MakePool { name, .. } => drop(world.pools.insert(name.clone())),
            Self::DropPool { name } => drop(world.pools.remove(name)),
            Self::Boot { name, root } => {
                hold(world, root, Some(name));
                let machine = Machine { running: true, disks: vec![root.clone()] };
                world.machines.insert(name.clone(), machine);
            }
            Self::Start { name } | Self::Restart { name } => machine_of(world, name).running = true,
            Self::Stop { name } => machine_of(world, name).running = false,
            Self::Delete { name, keep } => {
                let gone = world.machines.remove(name).expect("it was chosen from those");
                for disk in gone.disks {
                    hold(world, &disk, None);
                    let volume = world.volumes.get_mut(&disk).expect("it is held");
                    if volume.owner.as_ref() == Some(name) {
                        volume.owner = None;
                        if !keep {
                            world.volumes.remove(&disk);
                        }
                    }
                }
            }
        }
    }
}

fn machine_of<'a>(world: &'a mut World, name: &str) -> &'a mut Machine {
    world.machines.get_mut(name).expect("it was chosen from those")
}

fn stem(file: &Path) -> String {
    file.file_stem().expect("a file has a name").to_string_lossy().into_owned()
}

/// A pool for what is made.
fn home(rng: &mut StdRng) -> &'static str {
    HOMES.choose(rng).expect("there are some")
}

/// Makes up requests.
pub struct Script {
    next: u64,
    /// Where files are that can become images.
    files: PathBuf,
}

impl Script {
    /// `files` is a directory for what images are pulled from.
    pub fn new(files: PathBuf) -> Self {
        Self { next: 0, files }
    }

    fn name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{}", self.next)
    }

    /// What is asked for at the same time: something of a machine or not, and sometimes something
    /// of storage beside it.
    pub fn choose(&mut self, world: &World, machine: bool, rng: &mut StdRng) -> Vec<Ask> {
        let first = if machine { self.machines(world, rng) } else { self.storage(world, rng) };
        let first = first.choose(rng).expect("something is always possible").clone();
        let mut asked = vec![first];
        if rng.random_bool(0.5) {
            let taken = asked[0].touches(world);
            let free = |ask: &Ask| ask.touches(world).iter().all(|t| !taken.contains(t));
            let beside: Vec<Ask> = self.storage(world, rng).into_iter().filter(free).collect();
            asked.extend(beside.choose(rng).cloned());
        }
        asked
    }

    fn machines(&mut self, world: &World, rng: &mut StdRng) -> Vec<Ask> {
        let free =
            |root: bool| world.volumes.iter().filter(move |(_, v)| v.root == root && v.holder.is_none());
        let mut can = Vec::new();
        if world.machines.len() < MACHINES {
            let data: Vec<&String> = free(false).map(|(name, _)| name).collect();
            let attach = if rng.random_bool(0.5) { data.choose(rng).map(|v| (*v).clone()) } else { None };
            let deploy = Ask::Deploy { name: self.name("m"), attach, pool: home(rng) };
            can.extend([deploy.clone(), deploy]);
            can.extend(free(true).map(|(root, _)| Ask::Boot { name: self.name("m"), root: root.clone() }));
        }
        for (name, machine) in &world.machines {
            let name = name.clone();
            can.push(Ask::Delete { name: name.clone(), keep: rng.random_bool(0.5) });
            if machine.running {
                can.extend([Ask::Stop { name: name.clone() }, Ask::Restart { name }]);
            } else {
                can.extend([Ask::Start { name: name.clone() }, Ask::Start { name }]);
            }
        }
        can
    }

    fn storage(&mut self, world: &World, rng: &mut StdRng) -> Vec<Ask> {
        let mut can = Vec::new();
        if world.volumes.len() < VOLUMES {
            // From 256 MiB on the profile has a journal of 64 MiB: a create that takes a while.
            let mib = if rng.random_bool(0.4) { 256 } else { rng.random_range(8..64) };
            let create = Ask::Create { name: self.name("v"), mib, pool: home(rng) };
            can.extend([create.clone(), create]);
        }
        for (name, volume) in &world.volumes {
            // In a machine that runs, too.
            let mib = volume.size / MIB + rng.random_range(1..64);
            can.push(Ask::Resize { name: name.clone(), mib });
            // Of what a machine runs with, too.
            if world.volumes.len() < VOLUMES {
                let pool = if rng.random_bool(0.5) { Some(home(rng)) } else { None };
                can.push(Ask::Clone { from: name.clone(), name: self.name("c"), pool });
            }
            if !world.in_use(name) {
                let away = HOMES.into_iter().filter(|pool| *pool != volume.pool);
                can.extend(away.map(|pool| Ask::Move { name: name.clone(), pool }).cycle().take(2));
            }
            if world.snapshots.len() < SNAPSHOTS {
                can.push(Ask::Snapshot { volume: name.clone(), name: self.name("s") });
            }
            match &volume.holder {
                None => can.push(Ask::DeleteVolume { name: name.clone() }),
                Some(m) if !volume.root => {
                    can.push(Ask::Detach { machine: m.clone(), volume: name.clone() });
                }
                Some(_) => {}
            }
        }
        for name in world.snapshots.keys() {
            can.push(Ask::DropSnapshot { name: name.clone() });
            if world.volumes.len() < VOLUMES {
                can.push(Ask::Clone { from: name.clone(), name: self.name("c"), pool: Some(home(rng)) });
            }
        }
        let free = world.volumes.iter().filter(|(_, v)| !v.root && v.holder.is_none());
        let free: Vec<&String> = free.map(|(name, _)| name).collect();
        for machine in world.machines.keys() {
            let attach = |v: &&String| Ask::Attach { machine: machine.clone(), volume: (*v).clone() };
            can.extend(free.choose(rng).map(attach));
        }
        if world.images.len() < IMAGES {
            let name = self.name("i");
            let file = self.files.join(name + ".raw");
            can.extend([Ask::Pull { file: file.clone() }, Ask::Pull { file }]);
        }
        let made = world.images.iter().filter(|name| *name != "debian");
        can.extend(made.map(|name| Ask::DeleteImage { name: name.clone() }));
        if world.pools.len() < POOLS {
            can.push(Ask::MakePool { name: self.name("p"), mib: 320 });
        }
        // Nothing lives in the others.
        let others = world.pools.iter().filter(|name| !HOMES.contains(&name.as_str()));
        can.extend(others.map(|name| Ask::DropPool { name: name.clone() }));
        can
    }
}

//! Whether anything is left in the host or the data directory that belongs to nothing listed.
//!
//! Invariant: other daemons of this host have theirs; only what is ours is judged.

use crate::claims::Listed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const RUN: &str = "/run/sistemo";

/// The tail of an id, from which short names are made.
fn short(id: &str) -> &str {
    &id[id.len() - 12..]
}

/// Names in a directory; none if it is not there.
pub fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Taps in this network namespace.
pub fn taps() -> BTreeSet<String> {
    let links = std::fs::read_to_string("/proc/net/dev").expect("/proc is there");
    let names = links.lines().filter_map(|l| l.trim().split_once(':')).map(|(name, _)| name.to_owned());
    names.filter(|name| name.starts_with("st") && name.len() == 14).collect()
}

/// The processes of each of these machines.
pub fn processes(machines: &BTreeSet<String>) -> BTreeMap<String, Vec<u32>> {
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.split('\0').next().is_some_and(|program| program.contains("qemu-system")) {
            if let Some(id) = machines.iter().find(|id| line.contains(id.as_str())) {
                found.entry(id.clone()).or_default().push(pid);
            }
        }
    }
    found
}

fn same(what: &str, found: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!(
            "{what}: left over {:?}, missing {:?}",
            found.difference(wanted).collect::<Vec<_>>(),
            wanted.difference(found).collect::<Vec<_>>()
        )),
    }
}

/// What is to be in one pool.
#[derive(Default)]
pub struct Home {
    /// Ids of the volumes.
    pub volumes: BTreeSet<String>,
    /// Ids of the snapshots.
    pub snapshots: BTreeSet<String>,
}

/// What the host has of the machines that this daemon ever had, and what is in the data directory.
pub struct Place<'a> {
    pub data: &'a Path,
    pub listed: &'a Listed,
    /// All pools, by name.
    pub homes: &'a BTreeMap<String, Home>,
    /// Those of the listed machines that run.
    pub running: &'a BTreeSet<String>,
    /// Ids of all machines that there ever were.
    pub ever: &'a BTreeSet<String>,
    /// Taps that were here before.
    pub foreign_taps: &'a BTreeSet<String>,
    /// Digests of the images.
    pub digests: &'a BTreeSet<String>,
}

/// Whether a machine's sidecar says that it was deleted and can be taken back.
fn kept(sidecar: &Path) -> bool {
    let text = std::fs::read(sidecar).unwrap_or_default();
    let spec: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    spec["deleting"]["keep_until"].is_string()
}

impl Place<'_> {
    /// Says what is left, or missing.
    pub fn check(&self) -> Result<(), String> {
        self.host()?;
        self.pools()?;
        self.homes.iter().try_for_each(|(name, home)| self.pool(name, home))?;
        self.machines()?;
        self.others()
    }

    fn host(&self) -> Result<(), String> {
        let taps: BTreeSet<String> = taps().difference(self.foreign_taps).cloned().collect();
        same("taps", &taps, &self.running.iter().map(|id| format!("st{}", short(id))).collect())?;
        for (id, pids) in processes(self.ever) {
            if !self.running.contains(&id) || pids.len() != 1 {
                return Err(format!("machine {id} has the processes {pids:?}"));
            }
        }
        let cgroups = cgroups();
        let mut runs = BTreeSet::new();
        for id in self.ever {
            let mine = names(&Path::new(RUN).join(short(id)));
            let wanted = usize::from(self.running.contains(id));
            if mine.len() != wanted {
                return Err(format!("machine {id} has the runs {mine:?}"));
            }
            runs.extend(mine);
        }
        if let Some(run) = runs.iter().find(|run| !cgroups.contains(*run)) {
            return Err(format!("run {run} has no cgroup"));
        }
        // A cgroup is made after its run's directory and goes before it, whoever's it is.
        let all: BTreeSet<String> =
            names(Path::new(RUN)).iter().flat_map(|machine| names(&Path::new(RUN).join(machine))).collect();
        match cgroups.difference(&all).next() {
            Some(left) => Err(format!("cgroup {left} belongs to no run")),
            None => Ok(()),
        }
    }

    /// The files of all pools but the default one, and one loop device for each.
    fn pools(&self) -> Result<(), String> {
        let pools = self.data.join("pools");
        let others = || self.homes.keys().filter(|name| *name != "default");
        let files = others().flat_map(|name| [name.clone(), format!("{name}.img"), format!("{name}.json")]);
        same("pools", &names(&pools), &files.chain(["default".to_owned()]).collect())?;
        let table = Command::new("losetup").args(["--noheadings", "--output", "BACK-FILE"]).output();
        let table = String::from_utf8_lossy(&table.map_err(|e| format!("losetup: {e}"))?.stdout).into_owned();
        let ours = |line: &&str| line.starts_with(&*pools.to_string_lossy());
        let mut devices: Vec<&str> = table.lines().map(str::trim).filter(ours).collect();
        devices.sort_unstable();
        let wanted: Vec<String> = others().map(|name| format!("{}/{name}.img", pools.display())).collect();
        match devices == wanted {
            true => Ok(()),
            false => Err(format!("the loop devices are of {devices:?}, and not of {wanted:?}")),
        }
    }

    fn pool(&self, name: &str, home: &Home) -> Result<(), String> {
        let pool = self.data.join("pools").join(name);
        let both = |id: &String| [format!("{id}.raw"), format!("{id}.json")];
        let wanted = home.volumes.iter().flat_map(both).collect();
        same(&format!("volumes in {name}"), &names(&pool.join("volumes")), &wanted)?;
        let wanted = home.snapshots.iter().flat_map(both).collect();
        same(&format!("snapshots in {name}"), &names(&pool.join("snapshots")), &wanted)?;
        let kept = |name: &str| {
            let parts: Vec<&str> = name.split('.').collect();
            matches!(parts[..], [until, id, "raw" | "json"]
                if until.parse::<i64>().is_ok() && !self.listed.volumes.contains(id))
        };
        match names(&pool.join("trash")).iter().find(|name| !kept(name)) {
            Some(odd) => Err(format!("{odd} is in the trash of {name}")),
            None => Ok(()),
        }
    }

    fn machines(&self) -> Result<(), String> {
        let dir = self.data.join("machines");
        let mut found = names(&dir);
        // What was deleted and can be taken back keeps its record.
        found.retain(|id| self.listed.machines.contains(id) || !kept(&dir.join(id).join("machine.json")));
        same("the machines' directories", &found, &self.listed.machines)?;
        for id in &self.listed.machines {
            let mut files = names(&dir.join(id));
            files.remove("console.log");
            files.remove("console.log.1");
            same("a machine's directory", &files, &BTreeSet::from(["machine.json".to_owned()]))?;
        }
        Ok(())
    }

    fn others(&self) -> Result<(), String> {
        let records = self.listed.images.iter().map(|id| format!("{id}.json"));
        let contents = self.digests.iter().map(|digest| format!("{digest}.raw"));
        same("images", &names(&self.data.join("images")), &records.chain(contents).collect())?;
        let odd = |name: &&String| !name.starts_with(|c: char| c.is_ascii_digit());
        if let Some(left) = names(&self.data.join("kernels")).iter().find(odd) {
            return Err(format!("{left} is among the kernels"));
        }
        let hidden = |dir: &Path| names(dir).into_iter().find(|name| name.starts_with('.'));
        match [self.data.to_owned(), self.data.join("ssh")].iter().find_map(|dir| hidden(dir)) {
            Some(left) => Err(format!("{left} is in the data directory")),
            None => Ok(()),
        }
    }
}

/// Every run's cgroup on this host.
fn cgroups() -> BTreeSet<String> {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let root = roots.iter().find(|r| r.join("cgroup.controllers").exists()).expect("a cgroup hierarchy");
    let all = names(&root.join("sistemo"));
    all.into_iter().filter(|name| root.join("sistemo").join(name).is_dir()).collect()
}

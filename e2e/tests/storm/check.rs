//! Whether everything that must hold after a kill holds.
//!
//! Invariant: nothing here asks for a change: what is not well has to become so by itself.

use crate::claims::{self, Listed};
use crate::content::Contents;
use crate::left::{self, Home, Place};
use crate::script::Ask;
use crate::world::{World, list, text};
use e2e::{Host, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// How long everything that was under way may take to end, on a busy host without KVM.
const SETTLING: Duration = Duration::from_secs(600);
/// How long what is no operation may take: a deleted root volume on its way to the trash.
const TIDYING: Duration = Duration::from_secs(60);

/// What was known before the kill.
pub struct Known {
    /// Operations that were seen to have ended.
    operations: BTreeSet<String>,
    /// Every machine there ever was.
    machines: BTreeSet<String>,
    /// The processes of those that run.
    processes: BTreeMap<String, Vec<u32>>,
    /// By name.
    ids: BTreeMap<String, String>,
    foreign_taps: BTreeSet<String>,
    /// Of what nothing writes to.
    contents: Contents,
}

/// What was found to be as expected.
struct Found {
    /// Machines by name.
    machines: BTreeMap<String, String>,
    /// Ids of those that run.
    running: BTreeSet<String>,
    /// Of volumes and snapshots, by name.
    files: BTreeMap<String, PathBuf>,
}

/// How a request ended.
pub type End = Option<Value>;

impl Known {
    /// Before the first request.
    pub fn new() -> Self {
        Self {
            operations: BTreeSet::new(),
            machines: BTreeSet::new(),
            processes: BTreeMap::new(),
            ids: BTreeMap::new(),
            foreign_taps: left::taps(),
            contents: Contents::default(),
        }
    }

    /// Waits until nothing is under way; tells how each of `asked` ended, if it was accepted.
    pub fn settle(&mut self, host: &Host, asked: &[Ask]) -> Vec<End> {
        let history = until("every operation has ended", SETTLING, || {
            let history = history(host);
            history.iter().all(|entry| entry["outcome"] != "running").then_some(history)
        });
        let mut ends = vec![None; asked.len()];
        for entry in history {
            let Some(operation) = entry["operation"].as_str() else { continue };
            if entry["target"]["kind"] == "machine" {
                self.machines.extend(entry["target"]["id"].as_str().map(str::to_owned));
            }
            if !self.operations.insert(operation.to_owned()) {
                continue;
            }
            assert!(entry["outcome"] != "failed" || !entry["problem"].is_null(), "without a reason: {entry}");
            let of = |ask: &Ask| {
                let (action, name) = ask.recorded();
                entry["action"] == action && entry["target"]["name"] == *name
            };
            let n = asked.iter().position(of).unwrap_or_else(|| panic!("nobody asked for {entry}"));
            assert!(ends[n].is_none(), "accepted twice: {entry}");
            ends[n] = Some(entry);
        }
        ends
    }

    /// The lists are as expected, and so is everything behind them.
    pub fn holds(&mut self, host: &Host, expected: &World, touched: &BTreeSet<String>) {
        let mut why = String::new();
        let look = |why: &mut String| match self.once(host, expected) {
            Ok(found) => Some(found),
            Err(now) => {
                *why = now;
                None
            }
        };
        let end = std::time::Instant::now() + TIDYING;
        let found = loop {
            if let Some(found) = look(&mut why) {
                break found;
            }
            assert!(std::time::Instant::now() < end, "{why}\n{}", host.log_tail());
            std::thread::park_timeout(Duration::from_millis(200));
        };
        let processes = left::processes(&found.running);
        for (name, id) in &found.machines {
            let same = self.ids.get(name) == Some(id) && !touched.contains(name);
            if let (true, Some(before)) = (same, self.processes.get(id)) {
                assert_eq!(Some(before), processes.get(id), "machine {name} did not run on");
            }
        }
        (self.ids, self.processes) = (found.machines, processes);
        let at_rest = found.files.iter().filter(|(name, _)| !expected.in_use(name));
        if let Err(why) = self.contents.look(at_rest) {
            panic!("{why}\n{}", host.log_tail());
        }
    }

    /// What was copied from what is at rest is what that is.
    pub fn copied(&self, copy: &str, of: &str) {
        assert!(self.contents.same(copy, of), "{copy} is not what {of} is");
    }

    fn once(&self, host: &Host, expected: &World) -> Result<Found, String> {
        let seen = World::seen(host)?;
        if seen != *expected {
            return Err(format!("there is {seen:#?}\nexpected was {expected:#?}"));
        }
        let ids = |kind: &str| -> BTreeMap<String, String> {
            list(host, kind).iter().map(|i| (text(i, "name"), text(i, "id"))).collect()
        };
        let (machines, volumes, images) = (ids("machine"), ids("volume"), ids("image"));
        let snapshots = ids("snapshot");
        let pools = list(host, "pool").iter().filter_map(|i| i["id"].as_str().map(str::to_owned)).collect();
        let all = seen.pools.iter().map(String::as_str).chain(["default"]);
        let mut homes: BTreeMap<String, Home> = all.map(|pool| (pool.to_owned(), Home::default())).collect();
        let mut files = BTreeMap::new();
        for (kind, name, volume) in seen.kept() {
            let id = if kind == "volumes" { &volumes[name] } else { &snapshots[name] };
            let home = homes.get_mut(&volume.pool).ok_or(format!("{name} is in no pool that is listed"))?;
            let ours = if kind == "volumes" { &mut home.volumes } else { &mut home.snapshots };
            ours.insert(id.clone());
            let file = host.data().join(format!("pools/{}/{kind}/{id}.raw", volume.pool));
            let length = file.metadata().map_err(|e| format!("{name} has no file: {e}"))?.len();
            if length != volume.size {
                return Err(format!("{name}: the list says {}, the file {length}", volume.size));
            }
            let sidecar = std::fs::read(file.with_extension("json")).map_err(|e| format!("{name}: {e}"))?;
            let sidecar: Value = serde_json::from_slice(&sidecar).map_err(|e| format!("{name}: {e}"))?;
            let is = |key: &str, value: &str| sidecar[key] == *value;
            if kind == "volumes"
                && !(sidecar["size"] == volume.size && is("name", name) && is("pool", &volume.pool))
            {
                return Err(format!("{name}: its sidecar is {sidecar}"));
            }
            files.insert(name.clone(), file);
        }
        let running: BTreeSet<String> = machines
            .iter()
            .filter(|(name, _)| seen.machines[*name].running)
            .map(|(_, id)| id.clone())
            .collect();
        let listed = Listed {
            machines: machines.values().cloned().collect(),
            volumes: volumes.values().cloned().collect(),
            snapshots: snapshots.values().cloned().collect(),
            attached: seen.volumes.values().filter(|v| v.holder.is_some()).count(),
            images: images.values().cloned().collect(),
            pools,
        };
        let digest = |item: &Value| text(item, "digest").trim_start_matches("sha256:").to_owned();
        let digests = list(host, "image").iter().map(digest).collect();
        let place = Place {
            data: host.data(),
            listed: &listed,
            homes: &homes,
            running: &running,
            ever: &self.machines,
            foreign_taps: &self.foreign_taps,
            digests: &digests,
        };
        place.check()?;
        claims::check(host.data(), &listed)?;
        Ok(Found { machines, running, files })
    }
}

/// Guests that run answer.
pub fn guests_answer(host: &Host, world: &World) {
    for (name, _) in world.machines.iter().filter(|(_, m)| m.running) {
        // The session with its agent is being made anew.
        until("the guest answers", Duration::from_secs(180), || {
            let ran = host.run(&format!("machine exec {name} -- cat /proc/sys/kernel/hostname"));
            (ran.code == 0 && ran.out == format!("{name}\n")).then_some(())
        });
    }
}

fn history(host: &Host) -> Vec<Value> {
    let ran = host.run("history -n 100 -o json");
    assert_eq!(ran.code, 0, "{ran:?}\n{}", host.log_tail());
    let history: Value = serde_json::from_str(&ran.out).expect("it prints JSON");
    history["items"].as_array().expect("a list has items").clone()
}

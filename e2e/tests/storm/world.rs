//! What there is: as the script expects it, and as the lists tell it.

use e2e::Host;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// In bytes.
    pub size: u64,
    /// The machine that holds it.
    pub holder: Option<String>,
    /// The machine that it goes with.
    pub owner: Option<String>,
    /// A machine boots from it.
    pub root: bool,
    /// Where it lives.
    pub pool: String,
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Its phase is `running`; else it is `stopped`.
    pub running: bool,
    /// The volumes that it boots from and holds, the root first, the others by name: a slot that became
    /// free is taken again, so their order tells nothing.
    pub disks: Vec<String>,
}

/// Everything, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct World {
    /// Volumes.
    pub volumes: BTreeMap<String, Volume>,
    /// Snapshots, as volumes that nobody holds.
    pub snapshots: BTreeMap<String, Volume>,
    /// Machines.
    pub machines: BTreeMap<String, Machine>,
    /// Images.
    pub images: BTreeSet<String>,
    /// Pools beside the default one.
    pub pools: BTreeSet<String>,
}

/// The items of a list.
pub fn list(host: &Host, kind: &str) -> Vec<Value> {
    let ran = host.run(&format!("{kind} list -o json"));
    assert_eq!(ran.code, 0, "{kind} list: {ran:?}\n{}", host.log_tail());
    let list: Value = serde_json::from_str(&ran.out).expect("it prints JSON");
    list["items"].as_array().expect("a list has items").clone()
}

/// A text of an item.
pub fn text(item: &Value, key: &str) -> String {
    item[key].as_str().unwrap_or_else(|| panic!("no {key} in {item}")).to_owned()
}

impl World {
    /// Every volume and every snapshot, with the directory of a pool that these are in.
    pub fn kept(&self) -> impl Iterator<Item = (&'static str, &String, &Volume)> {
        let volumes = self.volumes.iter().map(|(name, v)| ("volumes", name, v));
        volumes.chain(self.snapshots.iter().map(|(name, v)| ("snapshots", name, v)))
    }

    /// Whether a machine that runs has this, and may write to it.
    pub fn in_use(&self, volume: &str) -> bool {
        let holder = self.volumes.get(volume).and_then(|v| v.holder.as_ref());
        holder.is_some_and(|m| self.machines.get(m).is_some_and(|m| m.running))
    }

    /// As the lists tell it. A name that is there twice, or a volume that two machines name, is a
    /// violation.
    pub fn seen(host: &Host) -> Result<Self, String> {
        let mut world = Self::default();
        for item in list(host, "volume") {
            let volume = Volume {
                size: item["size_bytes"].as_u64().ok_or("a volume without a size")?,
                holder: item["attached_to"].as_str().map(str::to_owned),
                owner: item["owner"].as_str().map(str::to_owned),
                root: item["role"] == "root",
                pool: text(&item, "pool"),
            };
            if !item["fault"].is_null() || !item["condition"].is_null() {
                return Err(format!("not settled: {item}"));
            }
            if world.volumes.insert(text(&item, "name"), volume).is_some() {
                return Err(format!("twice in the list: {item}"));
            }
        }
        for item in list(host, "snapshot") {
            if item["status"] != "ready" || !item["fault"].is_null() {
                return Err(format!("not ready: {item}"));
            }
            let size = item["size_bytes"].as_u64().ok_or("a snapshot without a size")?;
            let (root, pool) = (item["role"] == "root", text(&item, "pool"));
            let kept = Volume { size, holder: None, owner: None, root, pool };
            if world.snapshots.insert(text(&item, "name"), kept).is_some() {
                return Err(format!("twice in the list: {item}"));
            }
        }
        for item in list(host, "machine") {
            let running = match item["phase"].as_str() {
                Some("running") => true,
                Some("stopped") => false,
                _ => return Err(format!("not settled: {item}")),
            };
            if !item["fault"].is_null() {
                return Err(format!("not well: {item}"));
            }
            let disks = item["volumes"].as_array().ok_or("a machine without volumes")?;
            let mut disks: Vec<String> = disks.iter().map(|d| text(d, "name")).collect();
            disks.get_mut(1..).ok_or("a machine without a root")?.sort();
            let name = text(&item, "name");
            for disk in &disks {
                let holder = world.volumes.get(disk).and_then(|v| v.holder.as_deref());
                if holder != Some(name.as_str()) {
                    return Err(format!("{name} names {disk}, which {holder:?} holds"));
                }
            }
            if world.machines.insert(name, Machine { running, disks }).is_some() {
                return Err(format!("twice in the list: {item}"));
            }
        }
        for item in list(host, "image") {
            if item["status"] != "ready" || !world.images.insert(text(&item, "name")) {
                return Err(format!("not ready, or twice: {item}"));
            }
        }
        for item in list(host, "pool") {
            if item["status"] != "online" || !item["fault"].is_null() {
                return Err(format!("not online: {item}"));
            }
            // The default one is always there, and has no id.
            if !item["id"].is_null() {
                world.pools.insert(text(&item, "name"));
            }
        }
        Ok(world)
    }
}

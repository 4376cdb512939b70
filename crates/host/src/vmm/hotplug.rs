//! Disks that come to and leave a running QEMU.
//!
//! A disk there is a set of descriptors (whose label is the serial), a block node on it, and a device
//! on that. Any daemon finds all three by the serial, however far another has come with them.
//!
//! Invariant: every step looks first and does what is missing; our own descriptor of the file is
//! closed once QEMU has it; a file counts as open as long as any of the three is there.

use super::qmp::{Failed, Qmp};
use super::{ANSWER, backup, block, disk, unreachable};
use crate::Layout;
use engine::port::{DiskObs, Fault, RunDisk};
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use types::{ByteSize, Code};

/// How long QEMU may take to answer a look: a worker waits for it.
const SOON: Duration = Duration::from_secs(2);
/// How long a guest may take to let go of a disk. Linux takes about two seconds.
const LETTING_GO: Duration = Duration::from_secs(20);
/// After so long a guest is asked again: one that boots has not heard it.
const ASK_AGAIN: Duration = Duration::from_secs(4);
/// Between two looks for a disk that leaves.
const PAUSE: Duration = Duration::from_millis(40);
/// A volume in QEMU, as far as it has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    serial: String,
    /// The device's id.
    device: Option<String>,
    node: Option<String>,
    /// The set of descriptors.
    set: Option<u64>,
    size: ByteSize,
}

impl From<&Seen> for DiskObs {
    fn from(seen: &Seen) -> Self {
        Self { serial: seen.serial.clone(), ready: seen.device.is_some(), size: seen.size }
    }
}

/// All volumes that QEMU has open.
pub fn look(qmp: &Qmp) -> Result<Vec<Seen>, Failed> {
    let nodes = qmp.execute("query-named-block-nodes", json!({"flat": true}), SOON)?;
    let devices = qmp.execute("query-block", Value::Null, SOON)?;
    let sets = qmp.execute("query-fdsets", Value::Null, SOON)?;
    Ok(judge(&nodes, &devices, &sets))
}

fn judge(nodes: &Value, devices: &Value, sets: &Value) -> Vec<Seen> {
    let items = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let mut seen: Vec<Seen> = Vec::new();
    for at in items(nodes) {
        let Some(name) = at["node-name"].as_str() else { continue };
        let Some(serial) = name.strip_prefix(block::NODE) else { continue };
        let file = at["file"].as_str().unwrap_or_default();
        let device = items(devices).iter().find(|d| d["inserted"]["node-name"] == name).and_then(device);
        seen.push(Seen {
            serial: serial.to_owned(),
            device,
            node: Some(name.to_owned()),
            set: file.strip_prefix("/dev/fdset/").and_then(|n| n.parse().ok()),
            size: ByteSize(at["image"]["virtual-size"].as_u64().unwrap_or_default()),
        });
    }
    for set in items(sets) {
        let labels = items(&set["fds"]);
        let label = labels
            .iter()
            .find_map(|fd| fd["opaque"].as_str())
            .filter(|l| !l.is_empty() && !l.starts_with(backup::NAME));
        let (Some(serial), Some(id)) = (label, set["fdset-id"].as_u64()) else { continue };
        if seen.iter().all(|s| s.set != Some(id)) {
            seen.push(Seen { serial: serial.to_owned(), set: Some(id), ..Seen::default() });
        }
    }
    seen
}

/// The id in a device's path, such as `/machine/peripheral/slot3/virtio-backend`.
fn device(of: &Value) -> Option<String> {
    let path = of["qdev"].as_str()?;
    Some(path.strip_prefix("/machine/peripheral/")?.split('/').next()?.to_owned())
}

fn find(qmp: &Qmp, serial: &str) -> Result<Option<Seen>, Fault> {
    let mut all = look(qmp).map_err(unreachable)?;
    // One that has come further counts more than what was left of an earlier try.
    all.sort_by_key(|s| s.node.is_none());
    Ok(all.into_iter().find(|s| s.serial == serial))
}

/// Gives the guest a disk.
pub fn plug(qmp: &Qmp, layout: &Layout, what: &RunDisk) -> Result<(), Fault> {
    let seen = find(qmp, &what.serial)?.unwrap_or_default();
    if seen.device.is_some() {
        return Ok(());
    }
    if seen.node.is_none() {
        if seen.set.is_some() {
            forget(qmp, &seen)?;
        }
        open(qmp, layout, what)?;
    }
    let place = block::Place::Slot(what.slot, has_thread(qmp, what.slot)?);
    let device = block::device(&block::name(&what.serial), &what.serial, &place);
    match qmp.execute("device_add", device, ANSWER) {
        Ok(_) => Ok(()),
        Err(Failed::Silent) => Err(unreachable(Failed::Silent)),
        Err(Failed::Refused(why)) => {
            tracing::warn!(volume = %what.name, %why, "the hypervisor takes no disk");
            if let Some(left) = find(qmp, &what.serial)?.filter(|s| s.device.is_none()) {
                forget(qmp, &left)?;
            }
            Err(no_device(what, &why))
        }
    }
}

/// Whether a slot has its thread.
fn has_thread(qmp: &Qmp, slot: u8) -> Result<bool, Fault> {
    let all = qmp.execute("query-iothreads", Value::Null, ANSWER).map_err(unreachable)?;
    Ok(all.as_array().into_iter().flatten().any(|t| t["id"] == block::thread(slot)))
}

/// Opens the file, passes it on, and makes a node of it.
fn open(qmp: &Qmp, layout: &Layout, what: &RunDisk) -> Result<(), Fault> {
    let place = crate::pools::place::layout(layout, &what.pool)?;
    let open = disk::open(&place.volume(what.volume), what)?;
    let fd = OwnedFd::from(open.file);
    let label = json!({ "opaque": what.serial });
    let added = qmp.execute_with("add-fd", label, Some(fd), ANSWER).map_err(unreachable)?;
    let set = added["fdset-id"].as_u64().ok_or_else(|| unreachable(Failed::Silent))?;
    let file = block::node(&block::name(&what.serial), set, what.read_only, open.direct);
    match qmp.execute("blockdev-add", file, ANSWER) {
        Ok(_) => Ok(()),
        Err(Failed::Silent) => Err(unreachable(Failed::Silent)),
        Err(Failed::Refused(why)) => {
            forget(qmp, &Seen { set: Some(set), ..Seen::default() })?;
            Err(refused(what, &why))
        }
    }
}

fn refused(what: &RunDisk, why: &str) -> Fault {
    tracing::error!(volume = %what.name, %why, "the hypervisor does not open a volume");
    if why.contains("lock") {
        return disk::in_use(what.name.as_str());
    }
    let text = format!("the machine's hypervisor does not take volume \"{}\"", what.name);
    Fault::lasting(Code::IoError, text).hint("the daemon's log says more")
}

fn no_device(what: &RunDisk, why: &str) -> Fault {
    if why.contains("lock") {
        return disk::in_use(what.name.as_str());
    }
    if why.contains("not found") {
        return Fault::lasting(
            Code::NoFreeSlot,
            format!("the machine has no free place for volume \"{}\" as it runs now", what.name),
        )
        .hint("restart the machine: it then gets places for more disks");
    }
    if why.contains("Duplicate") || why.contains("already") || why.contains("in use") {
        return Fault::passing(Code::Busy, format!("the place for volume \"{}\" is not free yet", what.name))
            .hint("try again once the disk that is leaving it has gone");
    }
    refused(what, why)
}

/// Takes away what is not a device: the node, then its descriptors.
fn forget(qmp: &Qmp, seen: &Seen) -> Result<(), Fault> {
    if let Some(node) = &seen.node {
        quietly(qmp.execute("blockdev-del", json!({ "node-name": node }), ANSWER))?;
    }
    if let Some(set) = seen.set {
        quietly(qmp.execute("remove-fd", json!({ "fdset-id": set }), ANSWER))?;
    }
    Ok(())
}

/// What is refused is seen at the next look.
fn quietly(answer: Result<Value, Failed>) -> Result<(), Fault> {
    match answer {
        Err(Failed::Silent) => Err(unreachable(Failed::Silent)),
        Err(Failed::Refused(why)) => {
            tracing::debug!(%why, "the hypervisor refused");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Takes a disk from the guest, which has a part in it.
pub fn unplug(qmp: &Qmp, serial: &str) -> Result<(), Fault> {
    let end = Instant::now() + LETTING_GO;
    let mut asked: Option<Instant> = None;
    loop {
        let Some(seen) = find(qmp, serial)? else { return Ok(()) };
        match &seen.device {
            None => forget(qmp, &seen)?,
            Some(device) if asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN) => {
                quietly(qmp.execute("device_del", json!({ "id": device }), ANSWER))?;
                asked = Some(Instant::now());
            }
            Some(_) => {}
        }
        if Instant::now() >= end {
            let why =
                format!("the guest did not let go of its disk {serial} within {} s", LETTING_GO.as_secs());
            return Err(Fault::lasting(Code::GuestFailed, why)
                .hint("it is still attached; stop the machine, and detach it then"));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Tells the guest how large a disk is.
pub fn stretch(qmp: &Qmp, serial: &str, to: ByteSize) -> Result<(), Fault> {
    let seen = find(qmp, serial)?;
    let Some(node) = seen.and_then(|s| s.node) else {
        return Err(Fault::passing(Code::GuestUnreachable, format!("the machine has no disk {serial}")));
    };
    match qmp.execute("block_resize", json!({ "node-name": node, "size": to.bytes() }), ANSWER) {
        Ok(_) => Ok(()),
        Err(Failed::Silent) => Err(unreachable(Failed::Silent)),
        Err(Failed::Refused(why)) => {
            tracing::error!(%serial, %why, "the hypervisor does not change a disk's size");
            Err(Fault::lasting(Code::GuestFailed, "the machine's hypervisor does not take the new size")
                .hint("restart the machine: it then has it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_seen_however_far_it_has_come() {
        let nodes = json!([
            {"node-name": "vol-aa", "file": "/dev/fdset/0", "image": {"virtual-size": 1024}},
            {"node-name": "vol-bb", "file": "/dev/fdset/7", "image": {"virtual-size": 2048}},
            {"node-name": "modules", "file": "/dev/fdset/1"},
            {"file": 7},
        ]);
        let devices = json!([
            {"qdev": "/machine/peripheral/slot0/virtio-backend", "inserted": {"node-name": "vol-aa"}},
            {"qdev": "/machine/peripheral/modules/virtio-backend", "inserted": {"node-name": "modules"}},
        ]);
        let sets = json!([
            {"fdset-id": 0, "fds": [{"fd": 9, "opaque": "aa"}]},
            {"fdset-id": 1, "fds": [{"fd": 10}]},
            {"fdset-id": 8, "fds": [{"fd": 11, "opaque": "cc"}]},
        ]);
        let seen = judge(&nodes, &devices, &sets);
        let told: Vec<_> =
            seen.iter().map(DiskObs::from).map(|d| (d.serial, d.ready, d.size.bytes())).collect();
        assert_eq!(told, [("aa".into(), true, 1024), ("bb".into(), false, 2048), ("cc".into(), false, 0)]);
        assert_eq!((seen[0].device.as_deref(), seen[1].set, seen[2].set), (Some("slot0"), Some(7), Some(8)));
        for odd in [json!(null), json!({}), json!([[], 7, {"fds": "x", "fdset-id": -1}])] {
            assert!(judge(&odd, &odd, &odd).is_empty());
        }
    }
}

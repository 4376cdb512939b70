//! How a disk is given to QEMU, at its start and later: a block node on a descriptor, and a device on that.
//!
//! Invariant: a guest's flush reaches the disk and its discards reach the file; a write that fails stops
//! the machine; a hypervisor that has ended writes nothing more. Which settings do that best is measured by
//! `scripts/bench blocks`: `docs/benchmarks.md`.

use serde_json::{Value, json};

/// What the names of our nodes begin with; the serial follows.
pub const NODE: &str = "vol-";

/// The name of a volume's block node.
pub fn name(serial: &str) -> String {
    format!("{NODE}{serial}")
}

/// The name of the thread that does a slot's I/O, so that no disk waits for another, or for the rest of QEMU.
/// It is made with the slot's root port, and as long there.
pub fn thread(slot: u8) -> String {
    format!("io{slot}")
}

/// A node on the descriptors of a set. `direct` says that they pass the page cache by.
pub fn node(name: &str, set: u64, read_only: bool, direct: bool) -> Value {
    json!({
        "driver": "file", "node-name": name, "filename": format!("/dev/fdset/{set}"), "locking": "on",
        "aio": "threads", "read-only": read_only, "auto-read-only": false,
        "cache": { "direct": direct, "no-flush": false }, "discard": "unmap", "detect-zeroes": "off",
    })
}

/// Where on the bus a device is.
pub enum Place {
    /// In the root port of a slot, whose thread serves it if there is one: a QEMU that an earlier version
    /// started has none.
    Slot(u8, bool),
    /// With those that never come or go.
    Fixed(&'static str),
}

/// A device on a node; the guest sees the serial.
pub fn device(node: &str, serial: &str, place: &Place) -> Value {
    // A write that fails stops the machine, so that the guest never sees it; a read that fails is told to
    // the guest, as a disk would: it has lost nothing, and goes on with the rest.
    let mut device = json!({
        "driver": "virtio-blk-pci", "drive": node, "serial": serial, "werror": "stop", "rerror": "report",
    });
    let (id, bus) = match place {
        Place::Slot(slot, own) => {
            if *own {
                device["iothread"] = json!(thread(*slot));
            }
            (format!("slot{slot}"), format!("port{slot}"))
        }
        Place::Fixed(at) => {
            device["addr"] = json!(at);
            (node.to_owned(), "pcie.0".to_owned())
        }
    };
    (device["id"], device["bus"]) = (json!(id), json!(bus));
    device
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_keep_what_is_promised() {
        let node = node("vol-0123456789ab", 3, false, true);
        let expected = json!({
            "driver": "file", "node-name": "vol-0123456789ab", "filename": "/dev/fdset/3", "locking": "on",
            "read-only": false, "auto-read-only": false,
            "aio": "threads", "cache": { "direct": true, "no-flush": false },
            "discard": "unmap", "detect-zeroes": "off",
        });
        assert_eq!(node, expected);
        let slot = device("vol-0123456789ab", "0123456789ab", &Place::Slot(7, true));
        let expected = json!({
            "driver": "virtio-blk-pci", "id": "slot7", "bus": "port7", "drive": "vol-0123456789ab",
            "serial": "0123456789ab", "werror": "stop", "rerror": "report", "iothread": "io7",
        });
        assert_eq!(slot, expected);
        assert_eq!(device("x", "y", &Place::Slot(7, false))["iothread"], Value::Null);
        let fixed = device("modules", "sistemo-modules", &Place::Fixed("0xa"));
        assert_eq!(
            (&fixed["id"], &fixed["bus"], &fixed["addr"]),
            (&json!("modules"), &json!("pcie.0"), &json!("0xa"))
        );
    }
}

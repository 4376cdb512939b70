//! Which modules the initramfs needs, and in which order.
//!
//! Invariant: a module stands behind everything that it depends on; what is built into the kernel is
//! not asked for.

use std::collections::{HashMap, HashSet};

/// What a guest needs to find its disks and to talk to its host, in the order of loading. A kernel
/// without the first of them boots nothing; the others are taken where there are any.
const NEEDED: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];
const WANTED: [&str; 20] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_mmio",
    "failover",
    "net_failover",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    // Randomness for a guest's first keys.
    "virtio_rng",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    // What ext4 asks for by name, which modules.dep does not tell.
    "crc32c_generic",
    "crc32c_intel",
    "libcrc32c",
    "crc16",
    "ext4",
];

/// The name of the module in a path: without directory and endings, `-` as `_`.
fn name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, _) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// The paths of what to load, given `modules.dep` and `modules.builtin`; a missing module that
/// nothing boots without is the error.
pub fn order(dep: &str, builtin: &str) -> Result<Vec<String>, String> {
    let built_in: HashSet<String> = builtin.lines().filter_map(name).collect();
    let mut known = HashMap::new();
    for line in dep.lines() {
        let Some((path, needs)) = line.split_once(':') else { continue };
        if let Some(name) = name(path) {
            known.insert(name, (path, needs.split_whitespace().collect::<Vec<_>>()));
        }
    }
    if let Some(missing) = NEEDED.iter().find(|m| !built_in.contains(**m) && !known.contains_key(**m)) {
        return Err((*missing).to_owned());
    }
    let mut order = Vec::new();
    let mut taken = HashSet::new();
    for module in WANTED {
        let Some((path, needs)) = known.get(module) else { continue };
        // modules.dep lists all that a module needs, also indirectly, the first to load last.
        for path in needs.iter().rev().chain([path]) {
            if taken.insert(*path) {
                order.push((*path).to_owned());
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/virtio/virtio.ko:\n\
        kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n\
        kernel/arch/x86/crypto/crc32c-intel.ko:\n\
        kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = order(DEP, "kernel/fs/ext4/ext4.ko\n").unwrap();
        assert_eq!(
            order,
            [
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/virtio/virtio_pci.ko.xz",
                "kernel/drivers/block/virtio_blk.ko",
                "kernel/arch/x86/crypto/crc32c-intel.ko",
            ]
        );
    }

    #[test]
    fn a_kernel_that_cannot_boot_is_told() {
        assert_eq!(order(DEP, "").unwrap_err(), "ext4");
        let all = "kernel/virtio_blk.ko\nkernel/virtio_pci.ko\nkernel/ext4.ko\n";
        assert!(order("", all).unwrap().is_empty());
    }
}

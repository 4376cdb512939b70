//! What executes the guest's instructions: the processor (KVM) or QEMU (TCG).
//!
//! Invariant: KVM is chosen only where the unprivileged user of a hypervisor can really use it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use types::{Code, Problem};

/// What the administrator wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Setting {
    /// KVM where it works, TCG elsewhere.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// TCG, which works everywhere.
    Tcg,
}

/// What a machine is run with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// The processor, through `/dev/kvm`.
    Kvm {
        /// The group that the process needs to keep to open the device.
        group: Option<u32>,
    },
    /// QEMU translates.
    Tcg,
}

const DEVICE: &str = "/dev/kvm";

/// Chooses, by looking at this host.
///
/// # Errors
/// `no-hypervisor` if KVM is asked for and cannot be.
pub fn choose(setting: Setting) -> Result<Accel, Problem> {
    match (setting, setting != Setting::Tcg) {
        (Setting::Tcg, _) | (_, false) => Ok(Accel::Tcg),
        (_, true) => match look() {
            Ok(group) => Ok(Accel::Kvm { group }),
            Err(_) if setting == Setting::Auto => Ok(Accel::Tcg),
            Err(why) => Err(Problem::new(Code::NoHypervisor, format!("KVM cannot be used: {why}"))
                .hint("set `hypervisor.accel` to auto: machines then run by emulation, slower")),
        },
    }
}

/// The group to keep for KVM, or why it cannot be used.
fn look() -> Result<Option<u32>, String> {
    fs::File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|e| format!("{DEVICE} does not open ({})", crate::fault::said(&e)))?;
    // Some hosts have the device and a processor (or an outer hypervisor) that cannot.
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !can_virtualise(&cpuinfo) {
        return Err("the processor shows neither vmx nor svm".into());
    }
    let seen = fs::metadata(DEVICE).map_err(|e| format!("{DEVICE}: {}", crate::fault::said(&e)))?;
    access(seen.mode(), seen.gid()).ok_or_else(|| format!("{DEVICE} is open to root only"))
}

fn can_virtualise(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags.flat_map(str::split_whitespace).any(|flag| flag == "vmx" || flag == "svm")
}

/// How a user without rights opens a device of this mode: not at all, freely, or by its group.
fn access(mode: u32, group: u32) -> Option<Option<u32>> {
    match (mode & 0o006 == 0o006, mode & 0o060 == 0o060 && group != 0) {
        (true, _) => Some(None),
        (false, true) => Some(Some(group)),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_alone_is_not_enough() {
        assert!(can_virtualise("processor\t: 0\nflags\t\t: fpu svm sse\n"));
        assert!(can_virtualise("flags : vmx"));
        assert!(!can_virtualise("model name : vmx\nflags\t\t: fpu vmx_flags\nvmx flags : vnmi\n"));
        assert_eq!(access(0o20666, 0), Some(None));
        assert_eq!(access(0o20660, 104), Some(Some(104)));
        assert_eq!(access(0o20660, 0), None, "root's group is no group for a guest");
        assert_eq!(access(0o20600, 104), None);
    }

    #[test]
    fn emulation_is_always_there() {
        assert_eq!(choose(Setting::Tcg), Ok(Accel::Tcg));
        assert!(choose(Setting::Auto).is_ok());
    }
}

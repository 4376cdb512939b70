//! What executes the guest's instructions: the processor (KVM) or QEMU (TCG).
//!
//! Invariant: KVM is chosen only where the unprivileged user of a hypervisor can really use it.

use super::process;
use crate::child::{self, Version};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
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
    Tcg {
        /// Each virtual processor has a thread of its own.
        parallel: bool,
    },
}

const DEVICE: &str = "/dev/kvm";

/// Chooses, by looking at this host.
///
/// # Errors
/// `no-hypervisor` if KVM is asked for and cannot be.
pub fn choose(setting: Setting) -> Result<Accel, Problem> {
    match (setting, setting != Setting::Tcg) {
        (Setting::Tcg, _) | (_, false) => Ok(tcg()),
        (_, true) => match look() {
            Ok(group) => Ok(Accel::Kvm { group }),
            Err(_) if setting == Setting::Auto => Ok(tcg()),
            Err(why) => Err(Problem::new(Code::NoHypervisor, format!("KVM cannot be used: {why}"))
                .hint("set `hypervisor.accel` to auto: machines then run by emulation, slower")),
        },
    }
}

/// Before QEMU 8.1 one thread could translate a page while another wrote to it, and go on with what had stood
/// there: a guest's kernel, which patches itself as it boots, then hung at an instruction that was long gone,
/// about once in 300 boots with two processors on a busy host. Mended by QEMU's commit "accel/tcg: Always lock
/// pages before translation". With one thread for all of them there is nobody who writes meanwhile.
fn tcg() -> Accel {
    static KNOWN: OnceLock<Version> = OnceLock::new();
    let tool = (process::PROGRAM, process::PACKAGE);
    let version = child::version(tool, "--version", "QEMU emulator version ", Code::NoHypervisor, &KNOWN);
    // Who cannot be asked is held for an old one; launching it will tell what it lacks.
    Accel::Tcg { parallel: version.is_ok_and(|version| version >= (8, 1)) }
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
        assert!(matches!(choose(Setting::Tcg), Ok(Accel::Tcg { .. })));
        assert!(choose(Setting::Auto).is_ok());
    }
}

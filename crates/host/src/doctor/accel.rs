//! What runs guests: the processor, or an emulation of one.

use super::{Finding, Subject};
use std::fs::File;
use std::io::ErrorKind;

const CHECK: &str = "accelerator";

pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let opened = File::options().read(true).write(true).open("/dev/kvm").map(drop).map_err(|e| e.kind());
    vec![judge(&subject.accel, opened, &flags)]
}

fn judge(wanted: &str, opened: Result<(), ErrorKind>, cpuinfo: &str) -> Finding {
    if wanted == "tcg" {
        return Finding::ok(CHECK, "guests are emulated (TCG), as hypervisor.accel says");
    }
    let virtual_flags = |line: &str| line.split([' ', '\t']).any(|flag| flag == "vmx" || flag == "svm");
    let flags = cpuinfo.lines().any(|l| l.starts_with("flags") && virtual_flags(l));
    let (why, fix) = match opened {
        Ok(()) if flags => return Finding::ok(CHECK, "guests run on the processor (KVM)"),
        Ok(()) => (
            "/dev/kvm opens, but the processor shows neither vmx nor svm",
            "turn on virtualisation in the firmware or, on a virtual host, nested virtualisation",
        ),
        Err(ErrorKind::NotFound) if flags => {
            ("there is no /dev/kvm", "modprobe kvm_intel || modprobe kvm_amd")
        }
        Err(ErrorKind::NotFound) => (
            "there is no /dev/kvm, and the processor shows neither vmx nor svm",
            "turn on virtualisation in the firmware or, on a virtual host, nested virtualisation",
        ),
        Err(ErrorKind::PermissionDenied) => {
            ("/dev/kvm may not be opened", "run as root, or join the group kvm")
        }
        Err(_) => ("/dev/kvm does not open", "the kernel's log (dmesg) says why"),
    };
    match wanted {
        "kvm" => Finding::fail(CHECK, format!("hypervisor.accel is kvm, but {why}"), fix),
        _ => Finding::warn(CHECK, format!("guests are emulated (TCG), which is slow: {why}"), fix),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn both_device_and_flags_are_needed() {
        let (with, without) =
            ("processor: 0\nflags\t\t: fpu svm sse\n", "flags\t\t: fpu vmxoff\nbugs: svm\n");
        let denied = Err(ErrorKind::PermissionDenied);
        for (wanted, opened, flags, state, text) in [
            ("auto", Ok(()), with, State::Ok, "KVM"),
            ("auto", Ok(()), without, State::Warn, "neither vmx nor svm"),
            ("auto", Err(ErrorKind::NotFound), with, State::Warn, "no /dev/kvm"),
            ("auto", denied, with, State::Warn, "may not be opened"),
            ("kvm", denied, with, State::Fail, "may not be opened"),
            ("kvm", Ok(()), without, State::Fail, "neither"),
            ("tcg", Ok(()), with, State::Ok, "TCG"),
        ] {
            let found = judge(wanted, opened, flags);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.finding.contains(text), "{found:?}");
        }
    }
}

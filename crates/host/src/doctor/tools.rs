//! Programs of the distribution that are run.

use super::{Finding, Subject};
use Without::{Fail, Tell, Warn};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const CHECK: &str = "tools";

/// How much a program is missed.
#[derive(Clone, Copy)]
enum Without {
    /// Little works.
    Fail,
    /// Less works than one would expect.
    Warn,
    /// What needs it is refused, and nobody else minds.
    Tell,
}

/// A program, the Debian package that has it, what it is for, and what is without it.
const TOOLS: &[(&str, &str, &str, Without)] = &[
    ("qemu-system-x86_64", "qemu-system-x86", "running machines", Fail),
    ("mkfs.ext4", "e2fsprogs", "making volumes", Fail),
    ("nft", "nftables", "networks", Fail),
    ("ip", "iproute2", "networks", Fail),
    ("depmod", "kmod", "kernels of guests", Fail),
    ("apt-get", "apt", "fetching kernels", Warn),
    ("dpkg-deb", "dpkg", "unpacking kernels", Warn),
    ("xz", "xz-utils", "kernels whose modules are packed with it", Warn),
    ("zstd", "zstd", "kernels whose modules are packed with it", Warn),
    ("mmdebstrap", "mmdebstrap", "building images", Warn),
    ("mkfs.xfs", "xfsprogs", "volumes with XFS, pools in a file", Tell),
    ("mkfs.btrfs", "btrfs-progs", "volumes with Btrfs", Tell),
    ("curl", "curl", "imports from a URL", Tell),
    ("ssh", "openssh-client", "`machine ssh`", Warn),
    ("ssh-keygen", "openssh-client", "`machine ssh`", Warn),
];

pub(super) fn check(_: &Subject) -> Vec<Finding> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An ordinary user's path often lacks where the daemon's tools are.
    let dirs: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .collect();
    let there = |tool: &str| dirs.iter().any(|dir| is_program(&dir.join(tool)));
    judge(&there)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0)
}

fn judge(there: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let missing: Vec<Finding> = TOOLS
        .iter()
        .filter(|(tool, ..)| !there(tool))
        .map(|(tool, package, purpose, without)| {
            let (text, fix) =
                (format!("{tool} is not installed ({purpose})"), format!("apt install {package}"));
            match without {
                Fail => Finding::fail(CHECK, text, fix),
                Warn => Finding::warn(CHECK, text, fix),
                Tell => Finding::ok(CHECK, format!("{text}; {fix}")),
            }
        })
        .collect();
    if missing.is_empty() { vec![Finding::ok(CHECK, "all are installed")] } else { missing }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn each_missing_tool_is_named_with_its_package() {
        let found = judge(&|tool| !["nft", "mmdebstrap", "mkfs.btrfs", "xz", "curl"].contains(&tool));
        assert_eq!(found.len(), 5);
        assert_eq!((found[0].state, found[0].fix.as_deref()), (State::Fail, Some("apt install nftables")));
        assert_eq!((found[1].state, found[1].fix.as_deref()), (State::Warn, Some("apt install xz-utils")));
        assert_eq!((found[2].state, found[2].fix.as_deref()), (State::Warn, Some("apt install mmdebstrap")));
        assert_eq!((found[3].state, found[3].fix.as_deref()), (State::Ok, None));
        assert!(found[3].finding.ends_with("apt install btrfs-progs"));
        assert!(found[4].finding.ends_with("apt install curl"));
        assert_eq!(judge(&|_| true)[0].state, State::Ok);
        assert!(is_program(Path::new("/bin/sh")) && !is_program(Path::new("/etc/passwd")));
    }
}

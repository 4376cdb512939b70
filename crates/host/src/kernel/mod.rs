//! Kernels: what guests are booted with. It is pinned by each machine and part of no volume.

use std::path::PathBuf;

/// What a machine is booted with. All of it outlives the boot. `vmlinuz` and `initramfs` can be
/// read by every user, since an unprivileged hypervisor opens them by path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootFiles {
    /// The kernel.
    pub vmlinuz: PathBuf,
    /// The agent and the modules it begins with; the boot's own archive is appended to it.
    pub initramfs: PathBuf,
    /// An ext4 file system with `<version>/…` for `/lib/modules`; `None`: everything is built in.
    pub modules: Option<PathBuf>,
}

//! Tests that boot real guests; run by `scripts/test` in a network namespace.

mod announcement;
mod clones;
mod daemon;
mod exec;
mod file_systems;
mod full;
mod held;
mod live;
mod network;
mod pools;
mod refusals;
mod shutdown;
mod snapshots;
mod space;
mod storage;
mod transfer;
mod upgrade;

/// The size of a guest's root file system: every block it has, with those for its own use.
const ROOT_FS: &str = "dumpe2fs -h $(findmnt -no SOURCE /) 2>/dev/null | \
     awk -F: '/^Block count/ {n=$2} /^Block size/ {s=$2} END {printf \"%.0f\", n*s}'";
/// The size of a guest's root disk.
const ROOT_DISK: &str = "blockdev --getsize64 $(findmnt -no SOURCE /)";

const GIB: u64 = 1 << 30;

/// Whether the superblock in a stopped root volume says that its file system was unmounted in order.
fn is_clean(file: &std::path::Path) -> bool {
    let output = std::process::Command::new("dumpe2fs").arg("-h").arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let state = text.lines().find(|l| l.starts_with("Filesystem state:")).unwrap_or("");
    let features = text.lines().find(|l| l.starts_with("Filesystem features:")).unwrap_or("");
    state.ends_with("clean") && !state.contains("not clean") && !features.contains("needs_recovery")
}

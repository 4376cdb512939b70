//! Which processes have volumes open, and of which runs they are.
//!
//! Invariant: the file itself tells (device and inode of every open descriptor), whatever name or
//! mount a process opened it by; a run's cgroup then tells which run it is.

use crate::Layout;
use crate::pools::place;
use engine::recover::{Found, FoundVolume, Holder};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use types::{RunId, VolumeId};
use uuid::Uuid;

/// Everybody but this process who has a volume of `found` open. Processes that may not be looked at
/// are left out: whoever owns the data directory may look at its hypervisors.
pub fn find(layout: &Layout, found: &Found) -> Vec<Holder> {
    let key = |v: &FoundVolume| {
        let seen = place::layout(layout, &v.pool).ok()?.volume(v.id).metadata().ok()?;
        Some(((seen.dev(), seen.ino()), v.id))
    };
    let files: HashMap<(u64, u64), VolumeId> =
        found.volumes.iter().filter(|v| v.file.is_some()).filter_map(key).collect();
    if files.is_empty() {
        return vec![];
    }
    let runs = runs(layout.run());
    let Ok(processes) = fs::read_dir("/proc") else { return vec![] };
    let pid = |e: fs::DirEntry| e.file_name().to_str()?.parse::<u32>().ok();
    processes
        .filter_map(|e| pid(e.ok()?))
        .filter(|pid| *pid != std::process::id())
        .filter_map(|pid| {
            let volumes = open_by(pid, &files);
            let cgroups = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            (!volumes.is_empty()).then(|| Holder { pid, volumes, run: run_of(&cgroups(), &runs) })
        })
        .collect()
}

fn open_by(pid: u32, files: &HashMap<(u64, u64), VolumeId>) -> Vec<VolumeId> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return vec![] };
    let mut volumes: Vec<VolumeId> = open
        .filter_map(|e| fs::metadata(e.ok()?.path()).ok())
        .filter_map(|m| files.get(&(m.dev(), m.ino())).copied())
        .collect();
    volumes.sort();
    volumes.dedup();
    volumes
}

/// The runs that have a directory: the random tails of machine and run.
fn runs(dir: &Path) -> Vec<(String, String)> {
    let names = |dir: &Path| -> Vec<String> {
        let Ok(read) = fs::read_dir(dir) else { return vec![] };
        read.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| is_tail(n)).collect()
    };
    let runs =
        |machine: String| names(&dir.join(&machine)).into_iter().map(move |run| (machine.clone(), run));
    names(dir).into_iter().flat_map(runs).collect()
}

/// Whether it is the random tail of an id.
fn is_tail(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The run that a process is of: the one whose tail is in the name of its cgroup. Of an id that is
/// known by its tail alone, the tail is all that anything is named from.
fn run_of(cgroups: &str, runs: &[(String, String)]) -> Option<(String, RunId)> {
    let names = || cgroups.lines().flat_map(|l| l.split('/')).flat_map(|part| part.split(['.', ':']));
    let (machine, run) = runs.iter().find(|(_, run)| names().any(|n| n.ends_with(run.as_str())))?;
    let whole = names().find_map(|n| n.parse::<Uuid>().ok().map(RunId).filter(|id| id.short() == *run));
    let tail = || u128::from_str_radix(run, 16).ok().map(|n| RunId(Uuid::from_u128(n)));
    Some((machine.clone(), whole.or_else(tail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_its_cgroup() {
        let runs =
            [("aaaaaaaaaaaa".into(), "0123456789ab".into()), ("bbbbbbbbbbbb".into(), "cccccccccccc".into())];
        let of = |text: &str| run_of(text, &runs).map(|(m, r)| (m, r.to_string()));
        let tail = Some(("aaaaaaaaaaaa".to_owned(), "00000000-0000-0000-0000-0123456789ab".to_owned()));
        assert_eq!(of("1:name=systemd:/\n0::/sistemo/aaaaaaaaaaaa/0123456789ab\n"), tail);
        assert_eq!(of("0::/sistemo.slice/st-0123456789ab.scope\n"), tail);
        let whole = "0192f0c1-2345-7abc-8def-0123456789ab";
        assert_eq!(of(&format!("0::/sistemo/{whole}\n")).unwrap().1, whole);
        assert_eq!(of("0::/user.slice/session-1.scope\n"), None);
        assert_eq!(of(""), None);
    }
}

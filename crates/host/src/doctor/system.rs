//! Control groups and memory.

use super::{Finding, Subject};
use std::fs;
use std::path::Path;
use types::ByteSize;

/// The least memory that should be left for guests.
const ENOUGH: ByteSize = ByteSize::mib(512);
/// The first kernel with `cgroup.kill` (5.14).
const KERNEL: (u32, u32) = (5, 14);

pub(super) fn cgroup(_: &Subject) -> Vec<Finding> {
    let there = |path: &str| Path::new(path).exists();
    let pure = there("/sys/fs/cgroup/cgroup.controllers");
    let hybrid = there("/sys/fs/cgroup/unified/cgroup.procs");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    vec![judge_cgroup(pure, hybrid, &release)]
}

fn judge_cgroup(pure: bool, hybrid: bool, release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if !pure && !hybrid {
        let fix = "mount it (systemd does), or boot with systemd.unified_cgroup_hierarchy=1";
        return Finding::fail("cgroup", "there is no cgroup v2, by which machines are held together", fix);
    }
    if version < KERNEL {
        let text = format!("the kernel ({release}) cannot end a whole cgroup");
        return Finding::fail("cgroup", text, "boot a kernel of version 5.14 or later");
    }
    let place = if pure { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified, beside version 1" };
    Finding::ok("cgroup", format!("version 2 is at {place}"))
}

pub(super) fn memory(_: &Subject) -> Vec<Finding> {
    match fs::read_to_string("/proc/meminfo") {
        Ok(text) => vec![judge_memory(&text)],
        Err(e) => vec![Finding::unseen("memory", e)],
    }
}

fn judge_memory(meminfo: &str) -> Finding {
    let kib = |key: &str| {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (Some(total), Some(free)) = (kib("MemTotal"), kib("MemAvailable")) else {
        return Finding::unseen("memory", "/proc/meminfo is not understood");
    };
    let (total, free) = (ByteSize(total.saturating_mul(1024)), ByteSize(free.saturating_mul(1024)));
    let text = format!("{free} of {total} is available");
    if free < ENOUGH {
        return Finding::warn("memory", text, "stop machines or other programs, or give them less memory");
    }
    Finding::ok("memory", text)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn hosts_differ() {
        assert_eq!(judge_cgroup(true, false, "6.1.0-32-amd64").state, State::Ok);
        assert!(judge_cgroup(false, true, "6.1.0").finding.contains("unified"));
        assert_eq!(judge_cgroup(false, false, "6.1.0").state, State::Fail);
        assert_eq!(judge_cgroup(true, false, "5.10.0-9").state, State::Fail);
        let text =
            |available: u64| format!("MemTotal:  4096000 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n");
        assert_eq!(judge_memory(&text(2_000_000)).state, State::Ok);
        assert_eq!(judge_memory(&text(2_000)).state, State::Warn);
        assert_eq!(judge_memory("x").state, State::Warn);
    }
}

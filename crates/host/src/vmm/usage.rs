//! What a run has used of this host, as the kernel counts it.
//!
//! Invariant: a few small files of `/proc` and `/sys` are read, whatever the guest does; neither
//! hypervisor nor guest is asked, so neither can hold up who asks.

use super::Qemu;
use std::fs;
use std::path::Path;
use types::{MachineId, RunId};

/// What the processes of one run have used since they began.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Memory of the host that is in use now.
    pub memory_bytes: u64,
    /// Read from disks.
    pub read_bytes: u64,
    /// Written to disks.
    pub written_bytes: u64,
    /// What the guest has received.
    pub received_bytes: u64,
    /// What the guest has sent.
    pub sent_bytes: u64,
}

impl Qemu {
    /// What a run has used; `None` if it has no process. `tap` is its interface on the host.
    pub fn usage(&self, machine: MachineId, run: RunId, tap: &str) -> Option<Usage> {
        let cgroup = self.run(machine, run).ok()?.cgroup;
        let mut usage = Usage::default();
        let pids = cgroup.pids().ok()?;
        for pid in &pids {
            add(&mut usage, &Path::new("/proc").join(pid.to_string()));
        }
        if pids.is_empty() {
            return None;
        }
        // What the host receives there, the guest has sent.
        let counted =
            |what: &str| number(&Path::new("/sys/class/net").join(tap).join("statistics").join(what));
        usage.sent_bytes = counted("rx_bytes");
        usage.received_bytes = counted("tx_bytes");
        Some(usage)
    }
}

fn number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Adds a process, as far as it is still there.
fn add(usage: &mut Usage, proc: &Path) {
    let read = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
    let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64);
    usage.cpu_seconds += cpu(&read("stat")) as f64 / ticks.max(1) as f64;
    let resident: Option<u64> = read("statm").split(' ').nth(1).and_then(|n| n.parse().ok());
    usage.memory_bytes += resident.unwrap_or(0) * page;
    let io = read("io");
    usage.read_bytes += field(&io, "read_bytes");
    usage.written_bytes += field(&io, "write_bytes");
}

/// User and system time in ticks, of the text of `/proc/PID/stat` (proc(5)). The name in it may hold
/// spaces and parentheses.
fn cpu(stat: &str) -> u64 {
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}

fn field(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    found.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 0 0";
        assert_eq!(cpu(stat), 200);
        assert_eq!(cpu(""), 0);
        let io = "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n";
        assert_eq!((field(io, "read_bytes"), field(io, "write_bytes"), field(io, "x")), (4096, 8192, 0));
    }

    #[test]
    fn this_process_has_used_something() {
        let mut usage = Usage::default();
        add(&mut usage, Path::new("/proc/self"));
        assert!(usage.memory_bytes > 0);
        add(&mut usage, Path::new("/proc/nobody"));
    }
}

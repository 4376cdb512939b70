//! What the daemon takes.

use e2e::Host;
use std::time::{Duration, Instant};

/// Memory and processor time of the daemon from a moment on.
pub struct Meter {
    pid: i32,
    began: Instant,
    ticks: u64,
    /// In KiB.
    resident: u64,
}

/// What was taken.
pub struct Taken {
    /// By how many KiB the daemon's resident memory grew at most.
    pub grown: u64,
    /// Processor time for each second that passed.
    pub load: f64,
}

fn status(pid: i32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon is there");
    let line = text.lines().find_map(|l| l.strip_prefix(key)).expect("proc(5) has it");
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
}

fn ticks(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the daemon is there");
    let after = text.rsplit(')').next().expect("proc(5) has it");
    // utime and stime are fields 14 and 15; the state after the name is field 3.
    after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum()
}

impl Meter {
    /// From now on.
    pub fn new(host: &Host) -> Self {
        let pid = host.pid().as_raw_nonzero().get();
        // Sets the peak to what is resident now (proc(5)).
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak can be reset");
        Self { pid, began: Instant::now(), ticks: ticks(pid), resident: status(pid, "VmRSS:") }
    }

    /// Until now.
    pub fn read(&self) -> Taken {
        // A tick is a hundredth of a second (USER_HZ) on every architecture that we have.
        let used = Duration::from_millis((ticks(self.pid) - self.ticks) * 10);
        Taken {
            grown: status(self.pid, "VmHWM:").saturating_sub(self.resident),
            load: used.as_secs_f64() / self.began.elapsed().as_secs_f64(),
        }
    }
}

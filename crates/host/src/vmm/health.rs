//! Whether the guest runs or stands, and why.
//!
//! QEMU stops a machine whose write failed (`werror=stop`) with the state `io-error`, and keeps with
//! each disk how its last request ended until `cont`: so the reason is found by any daemon, however
//! late it comes.
//!
//! Invariant: QEMU is asked only after something has happened; what it says of a guest is believed
//! for nothing but its own machine.

use super::hotplug::{self, Seen};
use super::qmp::{Failed, Qmp};
use super::{ANSWER, status};
use engine::port::Health;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use types::machine::{DISK_SLOTS, StallReason};

/// How long QEMU may take to answer: a worker waits for it.
const SOON: Duration = Duration::from_secs(2);

/// What is known of a guest.
pub struct Known {
    /// Something has happened since it was last asked.
    stale: AtomicBool,
    last: Mutex<Health>,
    /// Its disks, unless something has happened since they were looked at.
    disks: Mutex<Option<Vec<Seen>>>,
    /// How often something has happened.
    events: AtomicU64,
    /// This daemon has stopped it for a moment.
    paused: AtomicBool,
}

impl Default for Known {
    /// A daemon that has just come knows nothing.
    fn default() -> Self {
        let (last, disks) = (Mutex::default(), Mutex::default());
        let paused = AtomicBool::new(false);
        Self { stale: AtomicBool::new(true), last, disks, events: AtomicU64::default(), paused }
    }
}

impl Known {
    /// Something has happened.
    pub fn forget(&self) {
        self.stale.store(true, Ordering::SeqCst);
        let mut disks = super::lock(&self.disks);
        self.events.fetch_add(1, Ordering::SeqCst);
        *disks = None;
    }

    /// What the process has open; asks if something has happened.
    pub fn disks(&self, qmp: &Qmp) -> Result<Vec<Seen>, Failed> {
        if let Some(known) = &*super::lock(&self.disks) {
            return Ok(known.clone());
        }
        let events = self.events.load(Ordering::SeqCst);
        let seen = hotplug::look(qmp)?;
        let mut disks = super::lock(&self.disks);
        // What happened meanwhile may not be in it.
        if self.events.load(Ordering::SeqCst) == events {
            *disks = Some(seen.clone());
        }
        Ok(seen)
    }

    /// What the guest does; asks if something has happened. Without an answer, what was so before. For
    /// `late` see [`crate::Layout::late_clock`].
    pub fn look(&self, qmp: &Qmp, late: &Path) -> Health {
        // Before the question: what happens meanwhile is asked about again.
        if !self.paused.load(Ordering::SeqCst) && self.stale.swap(false, Ordering::SeqCst) {
            match ask(qmp, late) {
                Ok(health) => *super::lock(&self.last) = health,
                Err(e) => {
                    tracing::debug!(?e, "whether the guest stands is not known");
                    self.forget();
                }
            }
        }
        *super::lock(&self.last)
    }

    /// Does `then` while the guest is stopped, which it is only once what it asked of its disks is done.
    pub fn while_paused(&self, qmp: &Qmp, then: &dyn Fn()) -> Result<(), Failed> {
        self.paused.store(true, Ordering::SeqCst);
        let stopped = qmp.execute("stop", Value::Null, ANSWER);
        if stopped.is_ok() {
            then();
        }
        // Also when nothing answered: it may have heard all the same.
        let on = qmp.execute("cont", Value::Null, ANSWER);
        self.paused.store(false, Ordering::SeqCst);
        self.forget();
        stopped.and(on).map(drop)
    }

    /// Lets the guest go on.
    pub fn resume(&self, qmp: &Qmp) -> Result<(), Failed> {
        let done = qmp.execute("cont", Value::Null, ANSWER).map(drop);
        self.forget();
        done
    }
}

fn ask(qmp: &Qmp, late: &Path) -> Result<Health, Failed> {
    match status(qmp, SOON)?.as_str() {
        "io-error" => Ok(judge(&qmp.execute("query-block", Value::Null, SOON)?)),
        // A daemon stopped it for a moment, and did not live to let it go on.
        "paused" => {
            tracing::warn!("a guest stands that nobody has a use for standing: it goes on");
            // Before it does: its agent answers only then, and whoever hears that looks for the mark.
            if let Err(e) = File::create(late) {
                tracing::error!(error = %e, "it cannot be noted that the guest's clock is late");
            }
            qmp.execute("cont", Value::Null, SOON).map(|_| Health::Running)
        }
        _ => Ok(Health::Running),
    }
}

/// The first disk that could not be written; a failure that waits for a person counts more.
fn judge(disks: &Value) -> Health {
    let of = |word: &str, why| {
        let all = disks.as_array()?;
        let disk = all.iter().find(|d| d["io-status"] == word)?;
        Some(Health::Stands { slot: disk["qdev"].as_str().and_then(slot), why })
    };
    let failed = of("failed", StallReason::IoError);
    failed
        .or_else(|| of("nospace", StallReason::PoolFull))
        .unwrap_or(Health::Stands { slot: None, why: StallReason::IoError })
}

/// The slot in a device's path, such as `/machine/peripheral/slot3/virtio-backend`.
fn slot(path: &str) -> Option<u8> {
    let slot = path.split('/').find_map(|part| part.strip_prefix("slot")?.parse::<u8>().ok())?;
    (slot < DISK_SLOTS).then_some(slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reason_is_read_from_the_disks() {
        let disk = |n: u8, status: &str| json!({"qdev": format!("/machine/peripheral/slot{n}/virtio-backend"), "io-status": status});
        let full = |slot| Health::Stands { slot, why: StallReason::PoolFull };
        let bad = |slot| Health::Stands { slot, why: StallReason::IoError };
        assert_eq!(judge(&json!([disk(0, "ok"), disk(3, "nospace")])), full(Some(3)));
        // One that waits for a person must not be tried because another disk has found room.
        assert_eq!(judge(&json!([disk(0, "nospace"), disk(3, "failed")])), bad(Some(3)));
        for odd in [json!(null), json!([]), json!([{"io-status": 7}]), json!({"a": "nospace"})] {
            assert_eq!(judge(&odd), bad(None), "{odd}");
        }
        let odd = json!([{"io-status": "nospace", "qdev": "/machine/peripheral/slot99/x"}]);
        assert_eq!(judge(&odd), full(None));
    }
}

//! What guests use and volumes occupy, for `/metrics`.
//!
//! Invariant: no guest and no hypervisor is asked, so that none of them can hold up a look.

use super::Guests;
use super::metrics::{about, put};
use engine::Engine;
use host::vmm::Usage;
use types::{ByteSize, Name, Problem};

/// What was seen at one time.
pub(super) struct Seen {
    machines: Vec<(Name, Usage)>,
    volumes: Vec<(Name, ByteSize)>,
}

/// Name, kind and meaning of a number, and which it is.
type Told = (&'static str, &'static str, &'static str, fn(&Usage) -> String);

const TOLD: [Told; 6] = [
    ("sistemo_machine_cpu_seconds_total", "counter", "Processor time of the host that a run has used", |u| {
        u.cpu_seconds.to_string()
    }),
    ("sistemo_machine_memory_bytes", "gauge", "Memory of the host that is in use", |u| {
        u.memory_bytes.to_string()
    }),
    ("sistemo_machine_disk_read_bytes_total", "counter", "Read from the host's disks", |u| {
        u.read_bytes.to_string()
    }),
    ("sistemo_machine_disk_written_bytes_total", "counter", "Written to the host's disks", |u| {
        u.written_bytes.to_string()
    }),
    ("sistemo_machine_network_received_bytes_total", "counter", "What the guest has received", |u| {
        u.received_bytes.to_string()
    }),
    ("sistemo_machine_network_sent_bytes_total", "counter", "What the guest has sent", |u| {
        u.sent_bytes.to_string()
    }),
];

impl Seen {
    /// Looks at everything.
    pub fn look(engine: &Engine, guests: &dyn Guests) -> Result<Self, Problem> {
        let runs = engine.runs()?.into_iter();
        let machines = runs.filter_map(|(id, run, name, tap)| Some((name, guests.usage(id, run, &tap)?)));
        Ok(Self { machines: machines.collect(), volumes: engine.volumes_allocated()? })
    }

    /// Writes the lines.
    pub fn write(&self, out: &mut String) {
        about(out, "sistemo_volume_allocated_bytes", "gauge", "What each volume occupies in its pool");
        for (name, allocated) in &self.volumes {
            put(out, &format!("sistemo_volume_allocated_bytes{{volume=\"{name}\"}} {}", allocated.bytes()));
        }
        for (metric, kind, help, value) in TOLD {
            about(out, metric, kind, help);
            for (name, usage) in &self.machines {
                put(out, &format!("{metric}{{machine=\"{name}\"}} {}", value(usage)));
            }
        }
    }
}

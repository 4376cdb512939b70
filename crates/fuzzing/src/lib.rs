//! What is fuzzed: everything that parses bytes from a guest, a hypervisor, a file or a person.
//!
//! One function for each target, which takes any bytes. `fuzz/` runs them with bytes that it makes up,
//! `tests/corpus.rs` with the kept corpus, on every toolchain.
//!
//! Invariant: a target panics only where what it tests is wrong. Beyond "nothing panics", each states
//! what has to hold: bounds are kept, and what was read is written and read again as the same.

mod channel;
mod disk;
mod recovery;
mod words;

pub use channel::{exec_head, frame, preamble, qmp, state};
pub use disk::{identity, pool_name, superblock};
pub use recovery::sidecar;
pub use words::{config, word};

/// A target: any bytes go in.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("exec_head", exec_head),
    ("frame", frame),
    ("identity", identity),
    ("pool_name", pool_name),
    ("preamble", preamble),
    ("qmp", qmp),
    ("sidecar", sidecar),
    ("state", state),
    ("superblock", superblock),
    ("word", word),
];

/// The first byte says how the rest is cut into pieces, as a stream may be.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (size, rest) =
        data.split_first().map_or((1, data), |(first, rest)| (usize::from(*first).max(1), rest));
    rest.chunks(size)
}

//! How far something is received into a pool before anybody decided that it stays.

use super::MAKE_ROOM;
use types::{ByteSize, Code, Problem};

/// What must not be passed while something is received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// What stays free in the pool's file system: more than that with which the trash goes.
    pub keep: ByteSize,
    /// The largest volume.
    pub most: ByteSize,
}

/// The refusal of what is larger than a volume may be.
pub fn beyond(size: ByteSize, most: ByteSize) -> Problem {
    let text = format!("what is sent has {size} at least, and limits.max_storage allows {most}");
    Problem::new(Code::LimitExceeded, text).hint("import less, or raise limits.max_storage")
}

/// The refusal of what there is no room for.
pub fn no_room_to_receive(free: ByteSize, keep: ByteSize) -> Problem {
    let text = format!("no room to receive a volume: {free} are free, and {keep} of that stay so");
    Problem::new(Code::PoolFull, text).hint(format!("{MAKE_ROOM}; or set a smaller pool.reserve"))
}

//! Settings that bound what can be asked for.
//!
//! Invariant: a limit is never looser than what Sistemo itself can do.

use super::Setting;
use super::parse::{bad, percent};
use engine::Reserve;
use types::machine::MAX_VCPUS;
use types::{ByteSize, Problem};

/// What stays free: a size, `0`, or a part of a hundred.
pub(super) fn reserve(setting: &Setting) -> Result<Reserve, Problem> {
    match setting.value.as_str() {
        "0" | "0%" => Ok(Reserve::Bytes(ByteSize(0))),
        text if text.ends_with('%') => percent(setting).map(Reserve::Percent),
        text => text.parse().map(Reserve::Bytes).map_err(|_| {
            bad(setting, "is neither a size nor a part of a hundred").hint("write it like 10G or 5%")
        }),
    }
}

/// `1.5`, `150%` or `off`, in percent.
pub(super) fn ratio(setting: &Setting) -> Result<Option<u32>, Problem> {
    let text = setting.value.as_str();
    if text == "off" {
        return Ok(None);
    }
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>(),
        None => text.parse::<f64>().map(|n| n * 100.0),
    };
    match number {
        // Within these bounds the cast is exact but for what is behind the point.
        Ok(n) if (1.0..=100_000.0).contains(&n) => Ok(Some(n.round() as u32)),
        _ => Err(bad(setting, "is no multiple from 0.01 to 1000").hint("write it like 1.5 or 150%, or off")),
    }
}

/// A number of processors.
pub(super) fn vcpus(setting: &Setting) -> Result<u32, Problem> {
    match setting.value.parse() {
        Ok(n) if (1..=MAX_VCPUS).contains(&n) => Ok(n),
        _ => Err(bad(setting, &format!("is not a number from 1 to {MAX_VCPUS}"))),
    }
}

/// A size that is not larger than `most`.
pub(super) fn at_most(setting: &Setting, most: ByteSize) -> Result<ByteSize, Problem> {
    let size: ByteSize =
        setting.value.parse().map_err(|p: Problem| bad(setting, &format!("is no size: {}", p.message)))?;
    if size > most {
        return Err(bad(setting, &format!("is more than {most}, which is the most there can be")));
    }
    Ok(size)
}

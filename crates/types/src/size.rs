//! Sizes in bytes, binary units.
//!
//! Invariant: a [`ByteSize`] of user input is a positive whole number of MiB and at most
//! [`ByteSize::MAX`]; parsing never overflows and never rounds down.

use crate::code::{Code, Problem};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// A number of bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64, example = 5368709120u64)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// 1024².
    pub const MIB: u64 = 1 << 20;
    /// 1024³.
    pub const GIB: u64 = 1 << 30;
    /// The largest size that can be asked for: 16 TiB, the largest file that ext4 with 4 KiB
    /// blocks holds (Linux, `Documentation/filesystems/ext4/overview.rst`).
    pub const MAX: ByteSize = ByteSize((16 << 40) - 4096 * 256);

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n * Self::MIB)
    }

    /// `n` GiB.
    pub const fn gib(n: u64) -> Self {
        Self(n * Self::GIB)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Rounds up to a whole MiB.
    pub const fn round_up_mib(self) -> Self {
        Self(self.0.div_ceil(Self::MIB) * Self::MIB)
    }
}

impl fmt::Display for ByteSize {
    /// One decimal in the largest binary unit that leaves at least 1, such as `5.0GB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
        if self.0 < 1024 {
            return f.pad(&format!("{}B", self.0));
        }
        let mut unit = 0;
        let mut div: u64 = 1024;
        while unit + 1 < UNITS.len() && self.0 / div >= 1024 {
            div *= 1024;
            unit += 1;
        }
        // Tenths in integers: a float would print 1024.0MB for one byte under a GiB.
        let tenths = (u128::from(self.0) * 10) / u128::from(div);
        f.pad(&format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]))
    }
}

impl FromStr for ByteSize {
    type Err = Problem;

    /// Parses `5GB`, `5G`, `5GiB`, `1.5G`, `512M`, `512` (MiB); rounds up to a whole MiB.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::new(Code::InvalidSize, format!("\"{}\" is not a size: {why}", text.escape_debug()))
                .hint("write a number and a unit, such as 512M, 5GB or 1.5T; a bare number means MiB")
        };
        let t = text.trim();
        let split = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
        let (number, unit) = t.split_at(split);
        if t.starts_with('-') {
            return Err(bad("it is negative"));
        }
        let unit: u128 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "m" | "mb" | "mib" => 1 << 20,
            "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            "p" | "pb" | "pib" => 1 << 50,
            _ => return Err(bad("the unit is unknown")),
        };
        let (whole, frac) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || frac.contains('.') || number.ends_with('.') {
            return Err(bad("a number is expected first"));
        }
        if frac.len() > 9 {
            return Err(bad("it has too many decimals"));
        }
        let too_large = || {
            Problem::new(Code::InvalidSize, format!("\"{t}\" is too large: the most is {}", Self::MAX))
                .hint("a file of ext4 holds no more; several volumes can be attached to one machine")
        };
        if whole.len() > 20 {
            return Err(too_large());
        }
        let whole: u128 = whole.parse().map_err(|_| bad("a number is expected first"))?;
        let scale = 10u128.pow(frac.len() as u32);
        let frac: u128 =
            if frac.is_empty() { 0 } else { frac.parse().map_err(|_| bad("a number is expected first"))? };
        let bytes = (whole * unit).checked_add((frac * unit).div_ceil(scale)).ok_or_else(too_large)?;
        if bytes == 0 {
            return Err(bad("it must be more than zero"));
        }
        let bytes = u64::try_from(bytes).map_err(|_| too_large())?;
        if bytes > Self::MAX.0 {
            return Err(too_large());
        }
        Ok(Self(bytes).round_up_mib())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_shows() {
        for (text, bytes, shown) in [
            ("5GB", 5 << 30, "5.0GB"),
            ("5G", 5 << 30, "5.0GB"),
            ("5GiB", 5 << 30, "5.0GB"),
            ("1.5G", 3 << 29, "1.5GB"),
            ("512", 512 << 20, "512.0MB"),
            ("1b", 1 << 20, "1.0MB"),
            ("0.1G", 103 << 20, "103.0MB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_size() {
        for bad in [
            "",
            "0",
            "-1",
            "1X",
            "1..5G",
            ".5G",
            "5.G",
            "G",
            "99999999T",
            "18014398509481985G",
            "17T",
            "1e3",
            "0x10",
            "٣G",
            "999999999999999999999999999999999999999999G",
        ] {
            assert_eq!(bad.parse::<ByteSize>().unwrap_err().code, Code::InvalidSize, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(s in any::<String>()) {
            let _ = s.parse::<ByteSize>();
        }

        #[test]
        fn whole_mib_and_never_down(n in 1u64..16_000_000) {
            let size: ByteSize = format!("{n}M").parse().unwrap();
            prop_assert_eq!(size.0, n << 20);
        }

        #[test]
        fn shows_anything(n in any::<u64>()) {
            prop_assert!(!ByteSize(n).to_string().is_empty());
        }
    }
}

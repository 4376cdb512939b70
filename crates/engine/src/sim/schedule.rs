//! What happens to a run of a scenario, as a line of text that repeats it.
//!
//! Invariant: scenario and schedule together decide everything; the same two give the same run.

use std::fmt;
use std::str::FromStr;

/// Kills, and what happens at the same time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schedule {
    /// Kills at these ticks; the second counts from the first.
    pub kills: Vec<u64>,
    /// 0: one worker. Else a second worker does steps in between; this decides where, and how far
    /// apart the commands of the second client are.
    pub seed: u64,
    /// At which point of the run the second client's first command comes.
    pub point: Option<u64>,
}

impl fmt::Display for Schedule {
    /// `3,17:seed`, and `@point` where a second client takes part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kills: Vec<_> = self.kills.iter().map(u64::to_string).collect();
        write!(f, "{}:{}", kills.join(","), self.seed)?;
        self.point.map_or(Ok(()), |p| write!(f, "@{p}"))
    }
}

impl FromStr for Schedule {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kills, rest) = text.split_once(':').unwrap_or((text, ""));
        let (seed, point) = match rest.split_once('@') {
            Some((seed, point)) => (seed, Some(point.trim().parse()?)),
            None => (rest, None),
        };
        Ok(Self {
            kills: kills
                .split(',')
                .map(str::trim)
                .filter(|k| !k.is_empty())
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            seed: if seed.trim().is_empty() { 0 } else { seed.trim().parse()? },
            point,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_it_all() {
        for text in [":0", "3:0", "3,17:5", "3,17:5@9", ":0@1"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        assert_eq!("3, 17".parse::<Schedule>().unwrap().kills, [3, 17]);
        assert!("x:1".parse::<Schedule>().is_err());
    }
}

//! How long things take, so that kills fall on every part of them.

use crate::script::Ask;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a kind of request takes, as far as it is known.
#[derive(Default)]
pub struct Pace(BTreeMap<&'static str, Duration>);

impl Pace {
    fn length(&self, ask: &Ask) -> Duration {
        let guess = match ask {
            Ask::Deploy { .. } | Ask::Boot { .. } | Ask::Start { .. } => 6000,
            Ask::Restart { .. } => 10_000,
            Ask::Stop { .. } | Ask::Delete { .. } => 3000,
            Ask::Pull { .. } | Ask::Move { .. } | Ask::MakePool { .. } => 600,
            // In a machine that runs.
            Ask::Attach { .. } | Ask::Detach { .. } | Ask::Clone { .. } | Ask::Snapshot { .. } => 1500,
            _ => 200,
        };
        self.0.get(ask.recorded().0).copied().unwrap_or(Duration::from_millis(guess))
    }

    /// A moment between the beginning of what is asked and a little after its end.
    pub fn moment(&self, asked: &[Ask], rng: &mut StdRng) -> Duration {
        let longest = asked.iter().map(|a| self.length(a)).max().unwrap_or_default();
        longest.mul_f64(rng.random_range(0.0..1.05))
    }

    /// It had ended after this long.
    pub fn ended(&mut self, ask: &Ask, after: Duration) {
        self.0.insert(ask.recorded().0, after);
    }

    /// It was killed after this long and had not ended.
    pub fn had_not_ended(&mut self, ask: &Ask, after: Duration) {
        let known = self.length(ask);
        if after > known.mul_f64(0.9) {
            self.0.insert(ask.recorded().0, known.mul_f64(1.2));
        }
    }
}

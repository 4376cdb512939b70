//! How far an operation is, on standard error: what, how far, how long.
//!
//! Invariant: a bar on a terminal, otherwise few plain lines; never on standard output.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use types::operation::Progress;
use types::{ByteSize, Operation, OperationState};

/// Without a terminal, the same step is told again after this long.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows one operation.
pub struct Shown {
    bar: Option<ProgressBar>,
    began: Instant,
    last_what: String,
    last_told: Instant,
    sized: Option<bool>,
    quiet: bool,
}

impl Shown {
    /// Shows nothing until there is something to show.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            bar: (!quiet && std::io::stderr().is_terminal()).then(ProgressBar::new_spinner),
            began: now,
            last_what: String::new(),
            last_told: now,
            sized: None,
            quiet,
        }
    }

    /// Takes a change.
    pub fn update(&mut self, operation: &Operation) {
        if self.quiet {
            return;
        }
        if operation.state != OperationState::Running {
            return self.clear();
        }
        match (&operation.progress, &self.bar) {
            (Some(progress), _) => self.step(progress),
            (None, Some(bar)) if self.last_what.is_empty() => {
                bar.set_message(format!("{} {}", operation.verb, operation.target.name));
            }
            (None, _) => {}
        }
    }

    /// Takes how far something is that this command does by itself.
    pub fn step(&mut self, progress: &Progress) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => {
                let bar = bar.clone();
                self.draw(&bar, progress);
            }
            None => self.tell(progress),
        }
    }

    /// Moves the spinner and the clock.
    pub fn tick(&self) {
        if let Some(bar) = &self.bar {
            bar.tick();
        }
    }

    /// Leaves the line as it was.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, bar: &ProgressBar, progress: &Progress) {
        let sized = progress.total.is_some_and(|t| t > 0);
        if self.sized != Some(sized) {
            self.sized = Some(sized);
            let template = if sized {
                "{spinner} {msg} [{bar:24}] {percent}% {elapsed}"
            } else {
                "{spinner} {msg} {elapsed}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
            bar.set_position(progress.done.min(total));
        }
        self.last_what.clone_from(&progress.what);
        bar.set_message(if sized { progress.what.clone() } else { line(progress) });
    }

    fn tell(&mut self, progress: &Progress) {
        if self.last_what == progress.what && self.last_told.elapsed() < PLAIN_EVERY {
            return;
        }
        self.last_what.clone_from(&progress.what);
        self.last_told = Instant::now();
        eprintln!("{} ({}s)", line(progress), self.began.elapsed().as_secs());
    }
}

/// `what: 12.0MB of 1.0GB`, `what: 40%`, `what: 3 of 7 packages`.
fn line(progress: &Progress) -> String {
    let Progress { what, done, total, unit } = progress;
    match (unit.as_str(), total) {
        (_, Some(0)) => what.clone(),
        ("bytes", Some(total)) => format!("{what}: {} of {}", ByteSize(*done), ByteSize(*total)),
        ("bytes", None) if *done > 0 => format!("{what}: {}", ByteSize(*done)),
        ("percent", _) => format!("{what}: {done}%"),
        (_, Some(total)) => format!("{what}: {done} of {total} {unit}"),
        (_, None) if *done > 0 => format!("{what}: {done} {unit}"),
        _ => what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_and_how_far() {
        let progress =
            |done, total, unit: &str| Progress { what: "copying".into(), done, total, unit: unit.into() };
        assert_eq!(line(&progress(1 << 20, Some(1 << 30), "bytes")), "copying: 1.0MB of 1.0GB");
        assert_eq!(line(&progress(1 << 20, None, "bytes")), "copying: 1.0MB");
        assert_eq!(line(&progress(40, Some(100), "percent")), "copying: 40%");
        assert_eq!(line(&progress(3, Some(7), "packages")), "copying: 3 of 7 packages");
        assert_eq!(line(&progress(0, None, "packages")), "copying");
    }
}

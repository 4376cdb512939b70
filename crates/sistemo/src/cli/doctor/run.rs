//! Checks side by side, each within a limit.

use super::silent;
use host::doctor::Finding;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a check may take.
pub const LIMIT: Duration = Duration::from_secs(3);

/// A check to be run.
pub struct Job {
    name: &'static str,
    work: Box<dyn FnOnce() -> Vec<Finding> + Send>,
}

impl Job {
    /// A check of this name.
    pub fn new(name: &'static str, work: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Self {
        Self { name, work: Box::new(work) }
    }
}

/// Runs all at once and returns what they found, in their order. A thread that hangs is left
/// behind: it ends with the process.
pub fn all(jobs: Vec<Job>, limit: Duration) -> Vec<Finding> {
    let deadline = Instant::now() + limit;
    let waiting: Vec<_> = jobs
        .into_iter()
        .map(|Job { name, work }| {
            let (tell, told) = mpsc::channel();
            let thread = std::thread::Builder::new().name(name.to_owned());
            let spawned = thread.spawn(move || {
                // Nobody waits any more for one that is late.
                let _ = tell.send(work());
            });
            (name, spawned.is_ok(), told)
        })
        .collect();
    let mut found = vec![];
    for (name, spawned, told) in waiting {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(findings) => found.extend(findings),
            Err(RecvTimeoutError::Timeout) => {
                found.push(silent(name, &format!("no answer within {} s", limit.as_secs())));
            }
            Err(RecvTimeoutError::Disconnected) if spawned => found.push(silent(name, "the check broke off")),
            Err(RecvTimeoutError::Disconnected) => {
                found.push(silent(name, "the host starts no more threads"))
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::doctor::State;

    #[test]
    fn one_that_hangs_holds_up_no_other() {
        let (never, forever) = mpsc::channel::<()>();
        let begun = Instant::now();
        let found = all(
            vec![
                Job::new("hangs", move || {
                    let _ = forever.recv();
                    vec![]
                }),
                Job::new("well", || vec![Finding::ok("well", "it is")]),
                Job::new("breaks", || std::panic::resume_unwind(Box::new(()))),
            ],
            Duration::from_millis(300),
        );
        drop(never);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let seen: Vec<_> = found.iter().map(|f| (f.check, f.state)).collect();
        assert_eq!(seen, [("hangs", State::Warn), ("well", State::Ok), ("breaks", State::Warn)]);
    }
}

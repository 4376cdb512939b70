//! What an agent said, cut to size.
//!
//! Invariant: nothing here grows with what a guest says, and no control character of a guest reaches
//! a terminal.

use engine::port::GuestObs;
use proto::State;
use types::ByteSize;

/// The most notes that are kept of one guest.
const NOTES: usize = 32;
/// The most characters of one of them.
const LENGTH: usize = 300;

/// One line of a guest's words.
pub fn clean(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| !c.is_control()).take(LENGTH).collect();
    if text.chars().count() > LENGTH {
        out.push('…');
    }
    out
}

/// The guest as the engine sees it.
pub fn observation(state: &State) -> GuestObs {
    let growing = state.growing.iter().map(|g| {
        let serial = clean(&g.serial);
        format!("disk {serial} is growing: {} of {}", ByteSize(g.done), ByteSize(g.total))
    });
    GuestObs {
        hello: true,
        // Its volumes come after its root: who waits for a machine wants both. Before the agent has
        // applied its first configuration, it names none.
        root_mounted: state.root_mounted && state.generation > 0,
        error: state.error.as_deref().map(clean),
        generation: state.generation,
        growing: state.growing.iter().map(|g| clean(&g.serial)).take(NOTES).collect(),
        notes: state.notes.iter().map(|n| clean(n)).chain(growing).take(NOTES).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_words_are_bounded_and_harmless() {
        let state = State {
            error: Some("\x1b[2Jgone".into()),
            notes: vec!["x".repeat(10_000); 1000],
            ..State::default()
        };
        let seen = observation(&state);
        assert_eq!(seen.error.as_deref(), Some("[2Jgone"));
        assert_eq!(seen.notes.len(), NOTES);
        assert!(seen.notes[0].chars().count() <= LENGTH + 1);
    }
}

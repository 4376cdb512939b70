//! Commands that the host runs in the machine.
//!
//! Invariant: the argument vector reaches the command exactly; its output is held back, not held,
//! when the host is slow; a command whose host is gone does not live on; the last frame says how it
//! ended.

mod child;
mod commands;
mod fds;
mod input;
mod output;
mod serve;

pub use child::refusal;
pub use commands::Commands;
pub use serve::{answer, refuse};

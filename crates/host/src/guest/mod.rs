//! The agents in the guests.

mod config;

pub use config::{Extras, describe, nameservers};

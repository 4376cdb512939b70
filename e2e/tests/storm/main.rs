//! The real daemon, with real guests, killed at any moment of anything it does.
//! `SISTEMO_KILLS` is the number of kills (30), `SISTEMO_STORM_SEED` where their choices begin.

mod chaos;
mod check;
mod claims;
mod content;
mod left;
mod pace;
mod script;
mod world;

//! Sistemo: self-hosted virtual machines, storage first. The one binary that users install.
//!
//! Invariant: the command line uses nothing but the API; the API decides nothing by itself; only
//! [`daemon`] knows both the engine and the host.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
mod fingerprint;
mod sockpath;
mod sparse;

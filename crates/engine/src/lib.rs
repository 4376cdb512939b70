//! The mind of Sistemo: store, admission, planners, reconciler, history; it declares the ports.
//!
//! Invariant: nothing here touches Linux. Every effect on the world goes through [`port`], every
//! change of what is wanted or known goes through one [`store`] transaction, so all behaviour can
//! be tested by killing it between any two of those.

pub mod port;
pub mod store;

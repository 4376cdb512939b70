//! What is left when the power goes: first the device that loses it, then the daemon on it; and a disk that is full.
//! `SISTEMO_CUTS` is the number of cuts of the daemon (10), `SISTEMO_CUT_SEED` where their choices begin.

mod check;
mod daemon;
mod device;
mod full;
mod guest;
mod model;
mod pool;
mod pressure;

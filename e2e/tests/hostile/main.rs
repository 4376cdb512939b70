//! Guests that are no good cost their own machine only: its agent lies, floods, stalls or never says
//! hello, its console prints without end, and everybody else goes on.

mod agent;
mod console;
mod daemon;
mod mute;

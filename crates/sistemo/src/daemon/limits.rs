//! What the process may use: little memory while idle, as many descriptors as the host allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sets both. Called before any other thread exists.
pub fn set() {
    arenas();
    descriptors();
}

/// Keeps the allocator from making an arena per thread (up to eight per processor, mallopt(3)),
/// each of which keeps what it once grew to. Two are enough for two workers.
#[cfg(target_env = "gnu")]
fn arenas() {
    // SAFETY: mallopt has no preconditions; no other thread allocates yet.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
    debug_assert_eq!(set, 1);
}

/// Other allocators have nothing to set.
#[cfg(not(target_env = "gnu"))]
fn arenas() {}

/// Every running machine costs a few descriptors, and the soft limit is often 1024.
fn descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // With the lower limit, fewer machines run; that is told when it happens.
    let _ = setrlimit(Resource::Nofile, raised);
}

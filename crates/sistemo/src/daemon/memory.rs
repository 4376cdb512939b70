//! Using little memory while idle.

/// Keeps the allocator from making an arena per thread (up to eight per processor, mallopt(3)),
/// each of which keeps what it once grew to. Two are enough for two workers.
#[cfg(target_env = "gnu")]
pub fn frugal() {
    // SAFETY: mallopt has no preconditions; it is called before any other thread exists.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
    debug_assert_eq!(set, 1);
}

/// Other allocators have nothing to set.
#[cfg(not(target_env = "gnu"))]
pub fn frugal() {}

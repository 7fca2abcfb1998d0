//! What the process holds of the machine's memory.

/// Has all threads allocate from two arenas (mallopt(3), `M_ARENA_MAX`): threads that come and go would
/// each leave one behind. For the start of a program, before it has threads. Does nothing where the C
/// library has no such call.
pub fn use_few_arenas() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt(3) takes two numbers.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
    }
}

/// Gives the kernel back what was freed and is kept for the next allocation (malloc_trim(3)): after a
/// crowd that will not come again soon. Takes milliseconds, in which other threads may wait for memory.
/// Does nothing where the C library has no such call.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim(3) may be called at any time, from any thread.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

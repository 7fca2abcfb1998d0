//! What the process holds of the machine's memory.

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

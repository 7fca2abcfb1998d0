//! Time that goes on while the machine sleeps.

/// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`, `clock_gettime(2)`).
///
/// Never runs backwards and is not moved by setting the wall clock: a laptop that slept through
/// its lease sees that the lease is over.
#[must_use]
pub fn boottime() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes one timespec. It fails only for a clock the kernel lacks;
    // this one exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_agrees_with_proc_uptime() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((boottime() as f64 / 1e9 - seconds).abs() < 1.0);
    }

    #[test]
    fn boottime_never_runs_backwards() {
        let first = boottime();
        assert!(boottime() >= first);
    }
}

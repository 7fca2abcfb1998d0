//! The two clocks: boot time, by which engines live, and wall time, which people and files use.

use std::time::{Duration, SystemTime};

use engine::Instant;

/// By how much times that are shown may be off.
const TOLERANCE: Duration = Duration::from_millis(100);

/// One reading of both clocks, to convert between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Boot time then.
    pub boot: Instant,
    /// Wall time then.
    pub wall: SystemTime,
}

impl Clock {
    /// Reads both clocks.
    pub(crate) fn read() -> Self {
        Self { boot: now(), wall: SystemTime::now() }
    }

    /// This reading for as long as it is right, within a tenth of a second; else a new one. Two
    /// readings differ by the time they take, and with them every time that is shown.
    pub(crate) fn kept(self) -> Self {
        let fresh = Self::read();
        let expected = self.wall(fresh.boot);
        let off = match fresh.wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        if off < TOLERANCE { self } else { fresh }
    }

    /// The wall time of `instant`, as the wall clock stands now.
    pub(crate) fn wall(&self, instant: Instant) -> SystemTime {
        let shifted = if instant >= self.boot {
            self.wall.checked_add(instant - self.boot)
        } else {
            self.wall.checked_sub(self.boot - instant)
        };
        shifted.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The boot time of `wall`. Times before boot are the moment of boot.
    pub(crate) fn boot(&self, wall: SystemTime) -> Instant {
        match wall.duration_since(self.wall) {
            Ok(ahead) => self.boot + ahead,
            Err(behind) => self.boot - behind.duration(),
        }
    }
}

/// Boot time now.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(sys::clock::boottime())
}

/// Identifies this boot of the machine (`/proc/sys/kernel/random/boot_id`); empty where it cannot
/// be read.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Whole seconds from `now` to `at`, rounded down but at least one: the kernel refuses a lifetime
/// of zero.
pub(crate) fn whole_seconds(now: Instant, at: Instant) -> u32 {
    let left: Duration = at - now;
    // All ones mean "for ever" to the kernel.
    u32::try_from(left.as_secs()).unwrap_or(u32::MAX - 1).clamp(1, u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_kept_until_the_wall_clock_is_set() {
        let read = Clock::read();
        assert_eq!(read.kept().wall, read.wall);
        let set = Clock { wall: read.wall + Duration::from_secs(1), ..read };
        assert!(set.kept().wall < set.wall);
        let set = Clock { wall: read.wall - Duration::from_secs(1), ..read };
        assert!(set.kept().wall > set.wall);
    }

    fn clock() -> Clock {
        Clock {
            boot: Instant::from_secs(1_000),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        }
    }

    #[test]
    fn the_clocks_convert_both_ways() {
        for seconds in [0, 999, 1_000, 1_001, 1_000_000] {
            let instant = Instant::from_secs(seconds);
            assert_eq!(clock().boot(clock().wall(instant)), instant);
        }
    }

    #[test]
    fn times_before_boot_are_the_moment_of_boot() {
        assert_eq!(clock().boot(SystemTime::UNIX_EPOCH), Instant::ZERO);
    }

    #[test]
    fn seconds_for_the_kernel_are_neither_zero_nor_infinity() {
        let at = Instant::from_secs(10);
        assert_eq!(whole_seconds(at, at + Duration::from_millis(2_900)), 2);
        assert_eq!(whole_seconds(at, at), 1);
        assert_eq!(whole_seconds(at, Instant::ZERO), 1);
        assert_eq!(whole_seconds(Instant::ZERO, Instant::from_nanos(u64::MAX)), u32::MAX - 1);
    }
}

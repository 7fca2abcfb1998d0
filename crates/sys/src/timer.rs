//! A timer on the clock that counts suspended time.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd, OwnedFd};

use crate::socket::check;

/// A `timerfd` on `CLOCK_BOOTTIME`: readable from its deadline on, also when the machine slept
/// through it (`timerfd_create(2)`).
#[derive(Debug)]
pub struct BootTimer {
    fd: OwnedFd,
}

impl BootTimer {
    /// Creates a timer that is not armed.
    pub fn new() -> io::Result<Self> {
        // SAFETY: timerfd_create(2) takes no pointers.
        let fd = check(unsafe {
            libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK)
        })?;
        // SAFETY: timerfd_create(2) returned a new descriptor, which nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Makes the timer readable at `deadline_at`, in nanoseconds of [`boottime`], or never.
    ///
    /// A deadline in the past makes it readable at once. Replaces the deadline set before, and an
    /// expiry not yet acknowledged.
    ///
    /// [`boottime`]: crate::clock::boottime
    pub fn arm(&self, deadline_at: Option<u64>) -> io::Result<()> {
        // An all-zero value would disarm the timer: the earliest deadline is one nanosecond.
        let nanos = deadline_at.map_or(0, |at| at.max(1));
        let spec = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: (nanos / 1_000_000_000) as libc::time_t,
                tv_nsec: (nanos % 1_000_000_000) as _,
            },
        };
        // SAFETY: timerfd_settime(2) reads one itimerspec; the old value is not asked for.
        check(unsafe {
            libc::timerfd_settime(
                self.fd.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        })?;
        Ok(())
    }

    /// Takes note of an expiry: returns whether the deadline has passed since the timer was armed
    /// or last acknowledged, and makes the timer unreadable.
    pub fn acknowledge(&self) -> io::Result<bool> {
        let mut expirations = [0_u8; 8];
        // SAFETY: read(2) writes at most 8 bytes into the array.
        let length = unsafe {
            libc::read(self.fd.as_raw_fd(), expirations.as_mut_ptr().cast(), expirations.len())
        };
        if length >= 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            error => Err(error),
        }
    }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::boottime;
    use crate::socket::wait;

    fn readable(timer: &BootTimer, within: Duration) -> bool {
        wait(timer.as_fd(), libc::POLLIN, Some(within)).unwrap()
    }

    #[test]
    fn fires_at_its_deadline_and_not_before() {
        let timer = BootTimer::new().unwrap();
        let deadline_at = boottime() + 20_000_000;
        timer.arm(Some(deadline_at)).unwrap();
        assert!(!timer.acknowledge().unwrap() || boottime() >= deadline_at);
        assert!(readable(&timer, Duration::from_secs(5)));
        assert!(boottime() >= deadline_at);
        assert!(timer.acknowledge().unwrap());
        assert!(!timer.acknowledge().unwrap());
        assert!(!readable(&timer, Duration::ZERO));
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once() {
        let timer = BootTimer::new().unwrap();
        for past in [0, 1, boottime()] {
            timer.arm(Some(past)).unwrap();
            assert!(readable(&timer, Duration::from_secs(5)), "{past}");
            assert!(timer.acknowledge().unwrap());
        }
    }

    #[test]
    fn disarming_takes_the_expiry_away() {
        let timer = BootTimer::new().unwrap();
        timer.arm(Some(1)).unwrap();
        timer.arm(None).unwrap();
        assert!(!readable(&timer, Duration::from_millis(1)));
        timer.arm(Some(u64::MAX)).unwrap();
        assert!(!readable(&timer, Duration::from_millis(1)));
    }
}

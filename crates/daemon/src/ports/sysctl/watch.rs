use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::inotify::{Inotify, WatchFlags};

/// Notices writes to the list, after they were made.
///
/// It sees those through the same mount of `/proc`, which is all there are on most hosts. A
/// container with a `/proc` of its own in the host's network namespace writes unseen.
#[derive(Debug)]
pub(crate) struct ListWatch {
    inotify: Inotify,
}

impl ListWatch {
    /// Watches the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Self::at(Path::new(super::FILE))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::new()?;
        inotify.watch(path, WatchFlags::MODIFY)?;
        Ok(Self { inotify })
    }

    /// Takes all notices that there are, and returns whether there was a write. Our own are among them.
    pub(crate) fn drain(&self) -> bool {
        self.inotify.drain()
    }
}

impl AsFd for ListWatch {
    /// Readable when there was a write.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// When to look at the list after a notice that comes *before* the write it tells of: the writer
/// may be delayed at will, but hardly ever is.
#[derive(Debug, Default)]
pub(crate) struct Rechecks {
    noticed_at: Option<Instant>,
    /// How many looks are done.
    done: usize,
}

impl Rechecks {
    /// How long after a notice.
    const AFTER: [Duration; 5] = [
        Duration::ZERO,
        Duration::from_micros(500),
        Duration::from_millis(2),
        Duration::from_millis(20),
        Duration::from_millis(200),
    ];

    /// Somebody is about to write.
    pub(crate) fn notice(&mut self, now: Instant) {
        *self = Self { noticed_at: Some(now), done: 0 };
    }

    /// When to look next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let after = Self::AFTER.get(self.done)?;
        self.noticed_at.map(|noticed_at| noticed_at + *after)
    }

    /// Whether to look now. Looks that are overdue are one.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        let mut due = false;
        while self.next_at().is_some_and(|at| at <= now) {
            self.done += 1;
            due = true;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_five_times_after_the_last_notice() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut rechecks = Rechecks::default();
        assert_eq!(rechecks.next_at(), None);
        assert!(!rechecks.take_due(start));
        rechecks.notice(start);
        assert!(rechecks.take_due(start) && !rechecks.take_due(start));
        assert_eq!(rechecks.next_at(), Some(at(500)));
        rechecks.notice(at(300));
        assert_eq!(rechecks.next_at(), Some(at(300)));
        assert!(rechecks.take_due(at(1_000)), "two looks are one");
        for due in [2_300, 20_300, 200_300] {
            assert_eq!(rechecks.next_at(), Some(at(due)));
            assert!(rechecks.take_due(at(due)));
        }
        assert_eq!(rechecks.next_at(), None);
    }
}

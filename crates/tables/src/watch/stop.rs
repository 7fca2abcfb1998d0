use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What came of waiting for the next item of a stream for a bounded time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The next item.
    Item(T),
    /// None came in time; the stream goes on.
    TimedOut,
    /// There are no more: the stream was stopped, or an error came before.
    Ended,
}

impl<T> Next<T> {
    /// The item, if there was one.
    pub fn item(self) -> Option<T> {
        match self {
            Self::Item(item) => Some(item),
            Self::TimedOut | Self::Ended => None,
        }
    }
}

/// Ends the [`Watch`](super::Watch) it is from: whoever waits for a change has the end.
#[derive(Clone, Debug)]
pub struct WatchStopper {
    stopped: Arc<AtomicBool>,
    /// Shut down to wake whoever waits.
    waker: Arc<UnixStream>,
}

impl WatchStopper {
    /// Ends the watch.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Of a pair that is open as long as this is.
        let _ = self.waker.shutdown(Shutdown::Both);
    }
}

/// A watch's end of its stoppers.
#[derive(Debug)]
pub(super) struct Stop {
    stopper: WatchStopper,
    /// Readable when it is stopped.
    woken: UnixStream,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        let stopper = WatchStopper { stopped: Arc::default(), waker: Arc::new(waker) };
        Ok(Self { stopper, woken })
    }

    pub(super) fn stopper(&self) -> WatchStopper {
        self.stopper.clone()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopper.stopped.load(Ordering::Acquire)
    }
}

/// Waits until something can be read, or the watch is stopped; until `deadline_at`, if there is one.
/// Returns false at that time.
pub(super) fn readable(
    source: BorrowedFd<'_>,
    stop: Option<&Stop>,
    deadline_at: Option<Instant>,
) -> io::Result<bool> {
    let mut fds = vec![PollFd::from_borrowed_fd(source, PollFlags::IN)];
    fds.extend(stop.map(|stop| PollFd::from_borrowed_fd(stop.woken.as_fd(), PollFlags::IN)));
    loop {
        let left = deadline_at.map(|at| at.saturating_duration_since(Instant::now()));
        // A time that no timespec can hold is as good as none.
        let left = left.and_then(|left: Duration| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

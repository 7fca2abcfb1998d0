//! Threads that do I/O until their owner is dropped.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::thread::{self, JoinHandle};

use engine::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The time on the clock every engine goes by.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(sys::clock::boottime())
}

/// A thread that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its end tells the thread to end.
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(
        name: &str,
        run: impl FnOnce(Wakeups) + Send + 'static,
    ) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(|| run(Wakeups(reader)))?;
        Ok(Self { wake: Some(writer), thread: Some(thread) })
    }

    /// Ends the thread's wait, so that it looks at what it shares with others.
    pub(crate) fn wake(&self) {
        if let Some(mut wake) = self.wake.as_ref() {
            let _ = wake.write_all(&[0]);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; a second one here would abort.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
#[derive(Debug)]
pub(crate) struct Wakeups(PipeReader);

impl Wakeups {
    /// Waits until one of the descriptors is readable, the owner calls, or `until` is there.
    /// Returns whether to go on: `false` when the owner is gone.
    pub(crate) fn wait(&mut self, fds: &[BorrowedFd<'_>], until: Option<Instant>) -> bool {
        let timeout = until.map(|until| {
            let left = until.duration_since(now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let own = self.0.as_fd();
        let mut entries: Vec<PollFd<'_>> = std::iter::once(own)
            .chain(fds.iter().copied())
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut entries, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        let called = entries.first().is_some_and(|entry| !entry.revents().is_empty());
        // The pipe's end (no byte) is the owner's.
        !called || matches!(self.0.read(&mut [0; 64]), Ok(1..))
    }
}

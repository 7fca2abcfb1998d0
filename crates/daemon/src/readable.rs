//! Waiting for descriptors on the event loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Something whose descriptor the event loop watches.
#[derive(Debug)]
pub(crate) struct Readable<T> {
    /// A duplicate: it is watched as long as it is there, whatever becomes of the source.
    fd: AsyncFd<OwnedFd>,
    source: T,
}

impl<T: AsFd> Readable<T> {
    pub(crate) fn new(source: T) -> io::Result<Self> {
        let fd = watch(source.as_fd().try_clone_to_owned()?)?;
        Ok(Self { fd, source })
    }

    pub(crate) fn source(&self) -> &T {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut T {
        &mut self.source
    }

    /// Waits until it is readable. Everything that makes it so has to be taken from it before the
    /// next call. Cancel safe.
    pub(crate) async fn readable(&self) {
        // Fails only when the event loop ends.
        if let Ok(mut guard) = self.fd.readable().await {
            guard.clear_ready();
        }
    }
}

/// The face of a descriptor for the runtime.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that lie about their descriptor; OwnedFd does not"
    )]
    AsyncFd::with_interest(fd, Interest::READABLE)
}

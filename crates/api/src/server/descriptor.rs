use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor that a client passed. Dropping it waits for nothing.
///
/// Closing might: a client that passes a connected socket and closes its own makes ours the last
/// descriptor of it, and close(2) of that one takes as long as the client had the socket linger
/// (socket(7)). Inside a tokio runtime it is closed on one of the threads that may wait.
#[derive(Debug)]
pub struct Descriptor {
    /// `None` only while dropping.
    inner: Option<OwnedFd>,
}

impl From<OwnedFd> for Descriptor {
    fn from(descriptor: OwnedFd) -> Self {
        Self { inner: Some(descriptor) }
    }
}

impl AsFd for Descriptor {
    #[expect(clippy::expect_used, reason = "`None` only while dropping, which has the only borrow")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_ref().expect("an open descriptor").as_fd()
    }
}

#[cfg(feature = "tokio")]
impl Drop for Descriptor {
    fn drop(&mut self) {
        let descriptor = self.inner.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(descriptor));
        }
    }
}

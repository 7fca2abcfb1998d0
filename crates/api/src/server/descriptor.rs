use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[cfg(feature = "tokio")]
use super::quota::Share;

/// A descriptor that a client passed. Dropping one that the server loop received waits for nothing.
///
/// Closing might: a client that passes a connected socket and closes its own makes ours the last
/// descriptor of it, and close(2) of that one takes as long as the client had the socket linger
/// (socket(7)); a file of FUSE takes as long as its server wants. So it is closed on a thread of the
/// server's, and counts as the client's until it is.
#[derive(Debug)]
pub struct Descriptor {
    /// `None` only while dropping.
    inner: Option<OwnedFd>,
    #[cfg(feature = "tokio")]
    custody: Option<Custody>,
}

/// Who a descriptor is counted for, and who closes it.
#[cfg(feature = "tokio")]
#[derive(Debug)]
struct Custody {
    share: Share,
    closer: sys::Closer,
}

#[cfg(feature = "tokio")]
impl Descriptor {
    /// One that counts as a user's until `closer` has closed it.
    pub(super) fn received(descriptor: OwnedFd, share: Share, closer: sys::Closer) -> Self {
        Self { inner: Some(descriptor), custody: Some(Custody { share, closer }) }
    }
}

impl From<OwnedFd> for Descriptor {
    /// One that is closed by whoever drops it.
    fn from(descriptor: OwnedFd) -> Self {
        Self {
            inner: Some(descriptor),
            #[cfg(feature = "tokio")]
            custody: None,
        }
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
        if let Some(Custody { share, closer }) = self.custody.take() {
            closer.close((self.inner.take(), share));
        }
    }
}

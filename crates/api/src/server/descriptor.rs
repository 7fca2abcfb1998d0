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

/// A call names a descriptor that did not come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", passed(*count))]
pub struct NotPassed {
    /// How many did.
    pub count: usize,
}

fn passed(count: usize) -> String {
    match count {
        0 => "no descriptor was passed with the call".to_owned(),
        _ => format!("{count} descriptors were passed with the call, counted from 0"),
    }
}

impl Descriptor {
    /// The one that a call names by its index, of those that came with it; the others are closed.
    pub fn pick(passed: Vec<Self>, index: u32) -> Result<Self, NotPassed> {
        let count = passed.len();
        passed.into_iter().nth(index as usize).ok_or(NotPassed { count })
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

//! Bytes with descriptors over a Unix stream socket: unix(7).

#[cfg(feature = "tokio")]
pub(crate) use receiving::receive;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::protocol::{Error, MOST_DESCRIPTORS};

/// Writes some of the bytes, and all of the descriptors with them. A reader that left is an error
/// and no signal.
pub(crate) fn send(
    stream: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, Error::TooManyDescriptors));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(feature = "tokio")]
mod receiving {
    use std::io::IoSliceMut;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;
    use crate::server::Descriptor;

    /// The most that one sendmsg(2) takes: `SCM_MAX_FD` of include/net/scm.h.
    ///
    /// With room for all of them the kernel has none to close for us, which could wait: see
    /// [`Descriptor`].
    const MOST_SENT: usize = 253;

    /// What one read returned.
    #[derive(Debug)]
    pub(crate) struct Received {
        /// Bytes; 0 at the stream's end.
        pub(crate) count: usize,
        /// What came with them.
        pub(crate) descriptors: Vec<Descriptor>,
    }

    /// Reads bytes, and the descriptors that came with them.
    pub(crate) fn receive(stream: impl AsFd, bytes: &mut [u8]) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SENT))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(bytes)];
        let received = recvmsg(stream, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights.map(Descriptor::from));
            }
        }
        Ok(Received { count: received.bytes, descriptors })
    }
}

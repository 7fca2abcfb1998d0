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
    use std::os::fd::OwnedFd;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

    use super::*;

    /// What one read returned.
    #[derive(Debug)]
    pub(crate) struct Received {
        /// Bytes; 0 at the stream's end.
        pub(crate) count: usize,
        /// What came with them; an error when the kernel had to close some for want of room, which
        /// is there for [`MOST_DESCRIPTORS`] and a little more.
        pub(crate) descriptors: Result<Vec<OwnedFd>, Error>,
    }

    /// Reads bytes, and the descriptors that came with them.
    pub(crate) fn receive(stream: impl AsFd, bytes: &mut [u8]) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(bytes)];
        let received = recvmsg(stream, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let descriptors = match received.flags.contains(ReturnFlags::CTRUNC) {
            false => Ok(descriptors),
            true => Err(Error::TooManyDescriptors),
        };
        Ok(Received { count: received.bytes, descriptors })
    }
}

//! Bytes with descriptors over a Unix stream socket: unix(7).

#[cfg(feature = "tokio")]
pub(crate) use receiving::{Received, receive, receive_bytes};

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

    /// The most that one sendmsg(2) takes: `SCM_MAX_FD` of include/net/scm.h.
    ///
    /// With room for all of them the kernel has none to close for us, which could wait: see
    /// [`Descriptor`](crate::server::Descriptor).
    const MOST_SENT: usize = 253;

    /// What one read returned.
    #[derive(Debug)]
    pub(crate) struct Received {
        /// Bytes; 0 at the stream's end.
        pub(crate) count: usize,
        /// What came with them. Closing one may wait.
        pub(crate) descriptors: Vec<OwnedFd>,
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
                descriptors.extend(rights);
            }
        }
        Ok(Received { count: received.bytes, descriptors })
    }

    /// Reads bytes only if no descriptors come with them or follow them; `None` if some do.
    pub(crate) fn receive_bytes(
        stream: impl AsFd,
        bytes: &mut [u8],
    ) -> io::Result<Option<Received>> {
        // A look takes no descriptors, and says whether there was no room for them.
        let mut nothing = RecvAncillaryBuffer::default();
        let mut buffers = [IoSliceMut::new(bytes)];
        let seen = recvmsg(stream.as_fd(), &mut buffers, &mut nothing, RecvFlags::PEEK)?;
        if seen.flags.contains(ReturnFlags::CTRUNC) {
            return Ok(None);
        }
        let seen = bytes.get_mut(..seen.bytes).unwrap_or_default();
        receive(stream, seen).map(Some)
    }

    #[cfg(test)]
    mod tests {
        use std::os::unix::net::UnixStream;

        use super::*;

        #[test]
        fn bytes_are_read_when_no_descriptors_follow() {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut bytes = [0; 100];
            send(&theirs, b"before", &[]).unwrap();
            assert_eq!(receive_bytes(&ours, &mut bytes).unwrap().unwrap().count, 6);
            send(&theirs, b"with", &[theirs.as_fd()]).unwrap();
            for _ in 0..2 {
                assert!(receive_bytes(&ours, &mut bytes).unwrap().is_none(), "they stay there");
            }
            let received = receive(&ours, &mut bytes).unwrap();
            assert_eq!((&bytes[..received.count], received.descriptors.len()), (&b"with"[..], 1));
            send(&theirs, b"after", &[]).unwrap();
            assert_eq!(receive_bytes(&ours, &mut bytes).unwrap().unwrap().count, 5);
        }

        #[test]
        fn the_end_of_the_stream_is_no_bytes() {
            let (ours, _) = UnixStream::pair().unwrap();
            assert_eq!(receive_bytes(&ours, &mut [0; 8]).unwrap().unwrap().count, 0);
        }
    }
}

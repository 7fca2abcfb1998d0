//! Passing file descriptors over unix sockets (`SCM_RIGHTS`, `unix(7)`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::socket::{self, ControlBuffer, ControlMessages};

/// Descriptors that fit into one message here. The kernel's own limit is 253.
pub const MAXIMUM: usize = 32;

/// Sends `data`, at least one byte, and with it copies of `fds`. Returns how many bytes went.
///
/// The descriptors go with the first byte, even if only part of the data is sent.
pub fn send(socket: impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAXIMUM {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut control = Vec::new();
    if !fds.is_empty() {
        let numbers: Vec<u8> = fds.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes()).collect();
        socket::push_control(&mut control, libc::SOL_SOCKET, libc::SCM_RIGHTS, &numbers);
    }
    socket::send(socket.as_fd(), data, &[], &control, 0)
}

/// Receives data into `buffer` and appends the descriptors that came along to `fds`,
/// close-on-exec. Returns how many bytes came; 0 is the end.
///
/// Fails with `InvalidData` if more than [`MAXIMUM`] descriptors came; those received are closed.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut control = ControlBuffer::new();
    let received =
        socket::receive(socket.as_fd(), buffer, &mut [], &mut control.0, libc::MSG_CMSG_CLOEXEC)?;
    // Owned first: on every path below they are closed or handed out.
    let mut came = Vec::new();
    for (level, kind, data) in ControlMessages::new(&control, &received) {
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            for number in data.as_chunks::<4>().0 {
                // SAFETY: recvmsg(2) installed these descriptors for this process just now, and
                // nothing else knows them.
                came.push(unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(*number)) });
            }
        }
    }
    if received.flags & libc::MSG_CTRUNC != 0 || came.len() > MAXIMUM {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    fds.append(&mut came);
    Ok(received.length)
}

/// The first descriptor a service manager hands over (`SD_LISTEN_FDS_START`).
const FIRST_HANDED_OVER: libc::c_int = 3;

/// Copies of the sockets that the service manager handed over, if it did (`sd_listen_fds(3)`).
///
/// The originals stay open, close-on-exec, so that the call may be repeated.
pub fn activation() -> io::Result<Vec<OwnedFd>> {
    let variable = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if variable("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS").unwrap_or(0).min(MAXIMUM as u32) as libc::c_int;
    (FIRST_HANDED_OVER..FIRST_HANDED_OVER + count)
        .map(|number| {
            // SAFETY: fcntl(2) F_SETFD takes a number; on one that is not open it fails.
            socket::check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
            // SAFETY: fcntl(2) F_DUPFD_CLOEXEC takes a number.
            let copy = socket::check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) })?;
            // SAFETY: fcntl(2) made this descriptor just now, and nothing else knows it.
            Ok(unsafe { OwnedFd::from_raw_fd(copy) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_works_at_the_other_end() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut inner, passed) = UnixStream::pair().unwrap();
        assert_eq!(send(&one, b"take", &[passed.as_fd()]).unwrap(), 4);
        drop(passed);
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        assert_eq!(receive(&other, &mut buffer, &mut fds).unwrap(), 4);
        assert_eq!(&buffer[..4], b"take");
        let mut passed = UnixStream::from(fds.pop().unwrap());
        assert!(fds.is_empty());
        passed.write_all(b"hello").unwrap();
        drop(passed);
        let mut text = String::new();
        inner.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn data_without_descriptors() {
        let (one, other) = UnixStream::pair().unwrap();
        send(&one, b"x", &[]).unwrap();
        drop(one);
        let mut fds = Vec::new();
        assert_eq!(receive(&other, &mut [0; 16], &mut fds).unwrap(), 1);
        assert_eq!(receive(&other, &mut [0; 16], &mut fds).unwrap(), 0);
        assert!(fds.is_empty());
    }

    #[test]
    fn too_many_descriptors_are_refused_and_closed() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut inner, passed) = UnixStream::pair().unwrap();
        let many = vec![passed.as_fd(); MAXIMUM + 1];
        assert_eq!(send(&one, b"x", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        // A peer is free to send more than this module does.
        let numbers: Vec<u8> =
            vec![passed.as_raw_fd(); 100].iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        let mut control = Vec::new();
        socket::push_control(&mut control, libc::SOL_SOCKET, libc::SCM_RIGHTS, &numbers);
        socket::send(one.as_fd(), b"x", &[], &control, 0).unwrap();
        let mut fds = Vec::new();
        let error = receive(&other, &mut [0; 16], &mut fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop((one, other, passed));
        assert_eq!(inner.read(&mut [0; 1]).unwrap(), 0, "a copy is still open");
    }
}

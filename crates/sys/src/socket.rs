//! The system calls every socket module shares, over plain byte slices.
//!
//! Socket addresses and control messages are built and parsed as bytes in the kernel's layout, so
//! that the pointers handed to the kernel come from four functions only.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A `cmsghdr` as the kernel lays it out: length (`size_t`), level and type (`int`).
const CONTROL_HEADER: usize = size_of::<usize>() + 8;

/// Space for received control messages, aligned as `cmsg(3)` asks.
#[repr(align(8))]
pub(crate) struct ControlBuffer(pub(crate) [u8; 256]);

impl ControlBuffer {
    pub(crate) const fn new() -> Self {
        Self([0; 256])
    }
}

/// What `recvmsg(2)` said about one datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Bytes of payload; with `MSG_TRUNC` requested, the datagram's whole length.
    pub(crate) length: usize,
    pub(crate) control_length: usize,
    pub(crate) flags: libc::c_int,
}

/// Turns the -1 of a system call into its `errno`.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Opens a close-on-exec, non-blocking socket.
pub(crate) fn open(
    domain: libc::c_int,
    kind: libc::c_int,
    protocol: libc::c_int,
) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd = check(unsafe {
        libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol)
    })?;
    // SAFETY: socket(2) returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds to the address whose kernel representation is `name`.
pub(crate) fn bind(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    // SAFETY: bind(2) reads `name.len()` bytes from a live slice and keeps nothing.
    check(unsafe {
        libc::bind(fd.as_raw_fd(), name.as_ptr().cast(), name.len() as libc::socklen_t)
    })?;
    Ok(())
}

/// Fills `name` with the socket's own address and returns its length.
pub(crate) fn local_name(fd: BorrowedFd<'_>, name: &mut [u8]) -> io::Result<usize> {
    let mut length = name.len() as libc::socklen_t;
    // SAFETY: getsockname(2) writes at most `length` bytes into the slice and sets `length`.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), name.as_mut_ptr().cast(), &mut length) })?;
    Ok((length as usize).min(name.len()))
}

/// Sets a socket option whose value is `value`'s bytes.
pub(crate) fn set_bytes(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    // SAFETY: setsockopt(2) reads `value.len()` bytes from a live slice and keeps nothing. The
    // options used through here hold no pointers.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Sets an integer socket option.
pub(crate) fn set(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: i32,
) -> io::Result<()> {
    set_bytes(fd, level, option, &value.to_ne_bytes())
}

/// Reads a socket option into `value`, whose length it returns. `ERANGE` asks for a longer slice.
pub(crate) fn read_bytes(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `length` bytes into the slice and sets `length`.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, option, value.as_mut_ptr().cast(), &mut length)
    })?;
    Ok(length as usize)
}

/// Takes the error that waits on a socket (`SO_ERROR`, socket(7)).
pub(crate) fn pending_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    let mut error = [0; size_of::<libc::c_int>()];
    read_bytes(fd, libc::SOL_SOCKET, libc::SO_ERROR, &mut error)?;
    let error = libc::c_int::from_ne_bytes(error);
    Ok((error != 0).then(|| io::Error::from_raw_os_error(error)))
}

/// Sends `payload` to the address `name` (empty: the connected peer) with `control` messages.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    payload: &[u8],
    name: &[u8],
    control: &[u8],
    flags: libc::c_int,
) -> io::Result<usize> {
    let mut part =
        libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    // SAFETY: msghdr is plain data for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_ptr().cast_mut().cast();
    message.msg_namelen = name.len() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_ptr().cast_mut().cast();
    message.msg_controllen = control.len() as _;
    // SAFETY: sendmsg(2) only reads through the pointers, all of which come from slices that
    // outlive the call.
    let sent =
        unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Receives one datagram.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    payload: &mut [u8],
    name: &mut [u8],
    control: &mut [u8],
    flags: libc::c_int,
) -> io::Result<Received> {
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: msghdr is plain data for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = name.len() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len() as _;
    // SAFETY: recvmsg(2) writes within the three exclusively borrowed slices, whose lengths the
    // header states, and into the header itself.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Received {
        length: length as usize,
        control_length: (message.msg_controllen as usize).min(control.len()),
        flags: message.msg_flags,
    })
}

/// Waits until `fd` has one of `events` (`POLLIN`, `POLLOUT`) or an error, or `timeout` is over.
///
/// Returns whether it has. `None` waits for ever; an interrupting signal does not end the wait.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    events: libc::c_short,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = match (timeout, until) {
            (Some(_), Some(until)) => {
                let left = until.saturating_duration_since(Instant::now());
                // Rounded up: a wait of 0.4 ms must not become a busy loop.
                i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
            }
            _ => -1,
        };
        let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
        // SAFETY: poll(2) reads and writes the one pollfd it is given.
        match check(unsafe { libc::poll(&raw mut entry, 1, left) }) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Appends one control message in the kernel's layout.
pub(crate) fn push_control(control: &mut Vec<u8>, level: i32, kind: i32, data: &[u8]) {
    control.extend_from_slice(&(CONTROL_HEADER + data.len()).to_ne_bytes());
    control.extend_from_slice(&level.to_ne_bytes());
    control.extend_from_slice(&kind.to_ne_bytes());
    control.extend_from_slice(data);
    control.resize(control.len().next_multiple_of(size_of::<usize>()), 0);
}

/// Control messages as (level, type, data).
#[derive(Debug, Clone)]
pub(crate) struct ControlMessages<'a>(&'a [u8]);

impl<'a> ControlMessages<'a> {
    pub(crate) fn new(control: &'a ControlBuffer, received: &Received) -> Self {
        Self(control.0.get(..received.control_length).unwrap_or(&[]))
    }

    /// The data of the first message of this level and type.
    pub(crate) fn find(mut self, level: i32, kind: i32) -> Option<&'a [u8]> {
        self.find_map(|(l, k, data)| (l == level && k == kind).then_some(data))
    }
}

impl<'a> Iterator for ControlMessages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<{ size_of::<usize>() }>()?;
        let (level, rest) = rest.split_first_chunk::<4>()?;
        let (kind, _) = rest.split_first_chunk::<4>()?;
        let length = usize::from_ne_bytes(*length);
        let data = self.0.get(CONTROL_HEADER..length)?;
        let next = length.next_multiple_of(size_of::<usize>());
        self.0 = self.0.get(next..).unwrap_or(&[]);
        Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_come_back_as_they_were_pushed() {
        let mut bytes = Vec::new();
        push_control(&mut bytes, 1, 2, b"abc");
        push_control(&mut bytes, 3, 4, b"");
        push_control(&mut bytes, 5, 6, b"12345678");
        let all: Vec<_> = ControlMessages(&bytes).collect();
        assert_eq!(all, [(1, 2, &b"abc"[..]), (3, 4, b""), (5, 6, b"12345678")]);
        assert_eq!(ControlMessages(&bytes).find(5, 6), Some(&b"12345678"[..]));
        assert_eq!(ControlMessages(&bytes).find(5, 7), None);
    }

    #[test]
    fn lying_control_lengths_end_the_list() {
        for length in [0_usize, 1, 15, 4096, usize::MAX] {
            let mut bytes = Vec::new();
            push_control(&mut bytes, 1, 2, b"abc");
            bytes[..8].copy_from_slice(&length.to_ne_bytes());
            assert!(ControlMessages(&bytes).count() <= 1);
        }
    }

    #[test]
    fn waiting_ends_at_the_timeout() {
        let socket = open(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        use std::os::fd::AsFd;
        assert!(!wait(socket.as_fd(), libc::POLLIN, Some(Duration::from_millis(1))).unwrap());
    }
}

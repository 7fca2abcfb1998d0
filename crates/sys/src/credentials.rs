//! Who is at the other end of a unix socket, and what users and groups are called.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsFd;

use crate::socket;

/// The process that connected (or listened), as it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process, in this process's PID namespace; 0 if it is not visible here.
    pub pid: u32,
    /// Effective user.
    pub user: u32,
    /// Effective group.
    pub group: u32,
}

/// The peer of a connected unix socket (`SO_PEERCRED`, `unix(7)`).
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    // struct ucred: pid, uid, gid.
    let mut credentials = [0_u8; 12];
    let fd = socket.as_fd();
    socket::read_bytes(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut credentials)?;
    let [p0, p1, p2, p3, u0, u1, u2, u3, g0, g1, g2, g3] = credentials;
    Ok(Peer {
        pid: u32::from_ne_bytes([p0, p1, p2, p3]),
        user: u32::from_ne_bytes([u0, u1, u2, u3]),
        group: u32::from_ne_bytes([g0, g1, g2, g3]),
    })
}

/// The supplementary groups of the peer of a connected unix socket (`SO_PEERGROUPS`).
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0_u8; 64 * 4];
    loop {
        let fd = socket.as_fd();
        match socket::read_bytes(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, &mut bytes) {
            Ok(length) => {
                let groups = bytes.get(..length).unwrap_or(&[]).as_chunks::<4>().0;
                return Ok(groups.iter().map(|group| u32::from_ne_bytes(*group)).collect());
            }
            // The kernel allows 65,536 groups (NGROUPS_MAX).
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && bytes.len() < 1 << 20 => {
                bytes.resize(bytes.len() * 4, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Does something as another user, with no groups but this one: on a thread of its own, of which alone
/// the kernel keeps credentials (`credentials(7)`), and which ends with it. Needs `CAP_SETUID` and
/// `CAP_SETGID`.
pub fn as_user<T: Send>(user: u32, group: u32, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let as_user = move || {
        let none: *const libc::gid_t = std::ptr::null();
        // SAFETY: setgroups(2) reads no groups. As a system call it is for this thread alone.
        syscall_check(unsafe { libc::syscall(libc::SYS_setgroups, 0, none) })?;
        // SAFETY: setresgid(2) takes numbers.
        syscall_check(unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) })?;
        // SAFETY: setresuid(2) takes numbers.
        syscall_check(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) })?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("as-user".into()).spawn_scoped(scope, as_user)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the work panicked")))
    })
}

fn syscall_check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The number of the group of this name, if there is one (`getgrnam_r(3)`).
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    with_buffer(|buffer| {
        // SAFETY: group is plain data (numbers and pointers) for which all zeroes is valid.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: getgrnam_r(3) reads a terminated name, writes one group, the result pointer and
        // at most `buffer.len()` bytes of text.
        let code = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                &raw mut entry,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        (code, (!found.is_null()).then_some(entry.gr_gid))
    })
}

/// The number of the user of this name, if there is one (`getpwnam_r(3)`).
pub fn user_id(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    with_buffer(|buffer| {
        // SAFETY: passwd is plain data (numbers and pointers) for which all zeroes is valid.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: getpwnam_r(3) reads a terminated name, writes one passwd, the result pointer and
        // at most `buffer.len()` bytes of text.
        let code = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                &raw mut entry,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        (code, (!found.is_null()).then_some(entry.pw_uid))
    })
}

/// The name of the user of this number, if there is one (`getpwuid_r(3)`).
pub fn user_name(number: u32) -> io::Result<Option<String>> {
    with_buffer(|buffer| {
        // SAFETY: passwd is plain data (numbers and pointers) for which all zeroes is valid.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: getpwuid_r(3) writes one passwd, the result pointer and at most `buffer.len()`
        // bytes of text.
        let code = unsafe {
            libc::getpwuid_r(
                number,
                &raw mut entry,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        let name = (!found.is_null() && !entry.pw_name.is_null()).then(|| {
            // SAFETY: the call filled the entry in, whose name is terminated text in the buffer.
            let name = unsafe { CStr::from_ptr(entry.pw_name) };
            name.to_string_lossy().into_owned()
        });
        (code, name)
    })
}

/// Repeats a look-up with a larger buffer as long as it answers `ERANGE`.
fn with_buffer<T>(
    mut look_up: impl FnMut(&mut [u8]) -> (libc::c_int, Option<T>),
) -> io::Result<Option<T>> {
    let mut buffer = vec![0_u8; 1024];
    loop {
        match look_up(&mut buffer) {
            (0, found) => return Ok(found),
            // Groups with thousands of members exist; a mebibyte is enough for each of them.
            (libc::ERANGE, _) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            (libc::EINTR, _) => {}
            // POSIX lets "no such name" come as one of these (getgrnam(3), ERRORS).
            (libc::ENOENT | libc::ESRCH, _) => return Ok(None),
            (code, _) => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::process::{effective_group, effective_user};

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let expected =
            Peer { pid: std::process::id(), user: effective_user(), group: effective_group() };
        assert_eq!(peer(&one).unwrap(), expected);
    }

    #[test]
    fn peer_groups_are_those_of_proc() {
        let (one, _other) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut expected: Vec<u32> =
            line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        let mut groups = peer_groups(&one).unwrap();
        expected.sort_unstable();
        groups.sort_unstable();
        assert_eq!(groups, expected);
    }

    #[test]
    fn names_become_numbers() {
        assert_eq!(group_id("root").unwrap(), Some(0));
        assert_eq!(user_id("root").unwrap(), Some(0));
        assert_eq!(group_id("no such group").unwrap(), None);
        assert_eq!(user_id("no such user").unwrap(), None);
        assert!(group_id("a\0b").is_err());
        assert_eq!(user_name(0).unwrap().as_deref(), Some("root"));
        assert_eq!(user_name(u32::MAX - 7).unwrap(), None);
    }

    #[test]
    fn a_socket_without_peer_is_an_error() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(peer_groups(&socket).is_err());
    }
}

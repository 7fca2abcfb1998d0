//! Namespaces (`namespaces(7)`): leaving, entering and naming them.
//!
//! A network namespace belongs to a *thread*: [`unshare`] and [`enter`] move the calling thread
//! alone, and threads it starts later are born where it is. [`in_new_network`] and [`in_network`]
//! wrap that in a thread of their own.

use std::fs::File;
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::mount;
use crate::socket::{self, check};

/// Which kinds of namespace to leave or enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(libc::c_int);

impl Kinds {
    /// Network: interfaces, addresses, routes, ports.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET);
    /// User and group numbers, and capabilities. Only a process of one thread can enter or leave.
    pub const USER: Self = Self(libc::CLONE_NEWUSER);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS);
    /// Process numbers, for children started later.
    pub const PID: Self = Self(libc::CLONE_NEWPID);

    /// Whether all of `other` are among these.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Moves the calling thread into new namespaces of these kinds (`unshare(2)`).
///
/// Needs `CAP_SYS_ADMIN`, unless [`Kinds::USER`] is among them. A new network namespace has a
/// loopback interface that is down, and nothing else.
pub fn unshare(kinds: Kinds) -> io::Result<()> {
    // SAFETY: unshare(2) takes no pointers. It moves the calling thread only; file descriptors
    // stay shared because CLONE_FILES cannot be asked for here.
    check(unsafe { libc::unshare(kinds.0) })?;
    Ok(())
}

/// Moves the calling thread into the namespace that `fd` stands for (`setns(2)`), which must be
/// of one of these kinds.
pub fn enter(fd: BorrowedFd<'_>, kinds: Kinds) -> io::Result<()> {
    // SAFETY: setns(2) takes no pointers.
    check(unsafe { libc::setns(fd.as_raw_fd(), kinds.0) })?;
    Ok(())
}

/// The calling thread's network namespace. The namespace lives at least as long as the descriptor.
pub fn current_network() -> io::Result<OwnedFd> {
    // Not /proc/self: that is the main thread's.
    open("/proc/thread-self/ns/net")
}

/// The calling thread's mount namespace. It and its mounts live at least as long as the descriptor.
pub fn current_mounts() -> io::Result<OwnedFd> {
    open("/proc/thread-self/ns/mnt")
}

/// Opens a namespace by path: `/run/netns/NAME`, `/proc/PID/ns/net`.
pub fn open(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    Ok(File::open(path)?.into())
}

/// A number for the calling thread's network namespace that is never used again while the machine
/// is up (`SO_NETNS_COOKIE`, Linux 5.14).
pub fn network_cookie() -> io::Result<u64> {
    let socket = socket::open(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?;
    let mut cookie = [0_u8; 8];
    socket::read_bytes(socket.as_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// Maps `user` and `group` of the namespace outside to root inside, and nothing else
/// (`user_namespaces(7)`).
///
/// Call it after [`unshare`] with [`Kinds::USER`], with the numbers read before.
pub fn map_root(user: u32, group: u32) -> io::Result<()> {
    RootMap::new(user, group).apply()
}

/// The texts that map one user and group to root, made in advance: a forked child must not
/// allocate.
pub(crate) struct RootMap {
    user: String,
    group: String,
}

impl RootMap {
    pub(crate) fn new(user: u32, group: u32) -> Self {
        Self { user: format!("0 {user} 1"), group: format!("0 {group} 1") }
    }

    pub(crate) fn apply(&self) -> io::Result<()> {
        // An unprivileged process may write gid_map only after giving up setgroups(2).
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", &self.user)?;
        std::fs::write("/proc/self/gid_map", &self.group)
    }
}

/// Runs `work` on a new thread in a new network namespace, and waits for it.
///
/// The namespace ends with the work, unless the work handed out a descriptor of it
/// ([`current_network`]) or left sockets, threads or processes in it. Panics go on in the caller.
pub fn in_new_network<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_thread(|| unshare(Kinds::NETWORK), work)
}

/// Runs `work` on a new thread in the network namespace `fd` stands for, and waits for it.
///
/// Sockets stay in the namespace they were opened in, so the work may return them to a caller
/// elsewhere. Panics go on in the caller.
pub fn in_network<T: Send>(fd: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_thread(|| enter(fd, Kinds::NETWORK), work)
}

/// Runs `work` on a new thread in a new mount namespace, a copy of the present one whose mounts
/// nobody else sees, and waits for it.
///
/// The namespace ends with the work, unless the work handed out a descriptor of it
/// ([`current_mounts`]) or left processes in it. Panics go on in the caller.
pub fn in_new_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_thread(|| unshare(Kinds::MOUNT).and_then(|()| mount::make_all_private()), work)
}

/// Runs `work` on a new thread in the mount namespace `fd` stands for, and waits for it. Its
/// working directory is the root. Panics go on in the caller.
pub fn in_mounts<T: Send>(fd: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    // A thread that shares root and working directory with others cannot enter: setns(2).
    on_thread(|| unshare(Kinds(libc::CLONE_FS)).and_then(|()| enter(fd, Kinds::MOUNT)), work)
}

fn on_thread<T: Send>(
    moving: impl FnOnce() -> io::Result<()> + Send,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, || moving().map(|()| work()))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{CommandExt as _, is_root};

    #[test]
    fn a_new_network_is_another_one() {
        if !is_root() {
            eprintln!("SKIPPED: a_new_network_is_another_one: needs root");
            return;
        }
        let here = network_cookie().unwrap();
        let (there, fd) =
            in_new_network(|| (network_cookie().unwrap(), current_network().unwrap())).unwrap();
        assert_ne!(here, there);
        assert_eq!(network_cookie().unwrap(), here, "the caller stays where it was");
        assert_eq!(in_network(fd.as_fd(), || network_cookie().unwrap()).unwrap(), there);
        let interfaces =
            in_network(fd.as_fd(), || std::fs::read_to_string("/proc/thread-self/net/dev"))
                .unwrap()
                .unwrap();
        assert_eq!(interfaces.lines().count(), 3, "two headings and the loopback: {interfaces}");
    }

    #[test]
    fn mounts_stay_where_they_were_made() {
        if !is_root() {
            eprintln!("SKIPPED: mounts_stay_where_they_were_made: needs root");
            return;
        }
        let directory = std::env::temp_dir().join(format!("iphelper-ns-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let there = in_new_mounts(|| {
            mount::tmpfs(&directory, "size=4096").unwrap();
            std::fs::write(directory.join("file"), "text").unwrap();
            current_mounts().unwrap()
        })
        .unwrap();
        let look = || std::fs::read_to_string(directory.join("file"));
        assert_eq!(in_mounts(there.as_fd(), look).unwrap().unwrap(), "text");
        assert!(look().is_err(), "the tmpfs leaked");
        let mut cat = std::process::Command::new("cat");
        cat.arg(directory.join("file")).in_mounts(there);
        assert_eq!(cat.output().unwrap().stdout, b"text");
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn entering_something_else_fails() {
        if !is_root() {
            eprintln!("SKIPPED: entering_something_else_fails: needs root");
            return;
        }
        let file = open("/proc/self/status").unwrap();
        let error = in_network(file.as_fd(), || ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let uts = open("/proc/thread-self/ns/uts").unwrap();
        assert!(in_network(uts.as_fd(), || ()).is_err(), "a namespace of another kind");
    }

    #[test]
    #[should_panic(expected = "from inside")]
    fn panics_come_out() {
        if !is_root() {
            eprintln!("SKIPPED: panics_come_out: needs root");
            panic!("from inside");
        }
        let _ = in_new_network(|| panic!("from inside"));
    }
}

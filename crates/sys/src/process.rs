//! Children that live in namespaces and never outlive their parent.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::mount;
use crate::namespace::{self, Kinds, RootMap};
use crate::socket::{self, check};

pub use libc::{SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1, SIGUSR2};

/// What a [`Command`] can ask of its child before the program starts. The requests are carried out
/// in the order they were made.
pub trait CommandExt {
    /// Kills the child (`SIGKILL`) when the *thread* that spawns it ends, however it ends
    /// (`PR_SET_PDEATHSIG`). Spawn from a thread that lives as long as the child should.
    fn die_with_parent(&mut self) -> &mut Self;

    /// Starts the child in a network namespace.
    fn in_network(&mut self, namespace: OwnedFd) -> &mut Self;

    /// Starts the child in new namespaces. With [`Kinds::USER`] among them the child is root there,
    /// whoever starts it.
    fn in_new_namespaces(&mut self, kinds: Kinds) -> &mut Self;

    /// Gives the child a mount namespace of its own, with an empty tmpfs on each of these
    /// directories, which must exist.
    ///
    /// Fails with `InvalidInput` if a path holds a zero byte.
    fn private_mounts(&mut self, tmpfs: &[&Path]) -> io::Result<&mut Self>;

    /// Makes the child lead a process group of its own, so that a terminal's Ctrl-C does not reach
    /// it.
    fn own_process_group(&mut self) -> &mut Self;
}

impl CommandExt for Command {
    fn die_with_parent(&mut self) -> &mut Self {
        let parent = std::process::id();
        let request = move || {
            let signal = libc::SIGKILL as libc::c_ulong;
            // SAFETY: prctl(2) PR_SET_PDEATHSIG takes a number.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) })?;
            // The parent may have died before the request, which then never fires. In a new process
            // namespace the parent has no number, and is 0 (pid_namespaces(7)).
            // SAFETY: getppid(2) has no preconditions.
            if ![0, parent].contains(&(unsafe { libc::getppid() } as u32)) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        };
        // SAFETY: the closure runs between fork and exec; it makes system calls only, and
        // allocates nothing.
        unsafe { self.pre_exec(request) }
    }

    fn in_network(&mut self, namespace: OwnedFd) -> &mut Self {
        let request = move || namespace::enter(namespace.as_fd(), Kinds::NETWORK);
        // SAFETY: as above.
        unsafe { self.pre_exec(request) }
    }

    fn in_new_namespaces(&mut self, kinds: Kinds) -> &mut Self {
        let root = RootMap::new(effective_user(), effective_group());
        let request = move || {
            namespace::unshare(kinds)?;
            if kinds.contains(Kinds::USER) { root.apply() } else { Ok(()) }
        };
        // SAFETY: as above; the texts were made before the fork, and opening files by short
        // literal names allocates nothing.
        unsafe { self.pre_exec(request) }
    }

    fn private_mounts(&mut self, tmpfs: &[&Path]) -> io::Result<&mut Self> {
        let targets: Vec<CString> =
            tmpfs.iter().map(|path| mount::path(path)).collect::<io::Result<_>>()?;
        let request = move || {
            namespace::unshare(Kinds::MOUNT)?;
            mount::make_all_private()?;
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            for target in &targets {
                mount::mount(Some(c"tmpfs"), target, Some(c"tmpfs"), flags, Some(c"mode=0755"))?;
            }
            Ok(())
        };
        // SAFETY: as above; the paths were made before the fork.
        Ok(unsafe { self.pre_exec(request) })
    }

    fn own_process_group(&mut self) -> &mut Self {
        self.process_group(0)
    }
}

/// A process that cannot be confused with a later one of the same number (`pidfd_open(2)`).
///
/// Its descriptor becomes readable when the process ends.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
}

impl PidFd {
    /// Refers to a running process, or to a child not yet waited for.
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: pidfd_open(2) takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
        let fd = check(fd as libc::c_int)?;
        // SAFETY: pidfd_open(2) returned a new descriptor, which nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Sends a signal (`pidfd_send_signal(2)`).
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: pidfd_send_signal(2) takes no siginfo when the pointer is null.
        let result = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal, none, 0)
        };
        check(result as libc::c_int)?;
        Ok(())
    }

    /// Waits until the process has ended, and returns whether it has. Does not reap it.
    pub fn wait_ended(&self, timeout: Option<Duration>) -> io::Result<bool> {
        socket::wait(self.as_fd(), libc::POLLIN, timeout)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends a signal to a process (`kill(2)`). Signal 0 only asks whether it could be sent.
pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    // 0 and negative numbers would mean process groups, or everyone.
    let pid = i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: kill(2) takes no pointers.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// The effective user.
#[must_use]
pub fn effective_user() -> u32 {
    // SAFETY: geteuid(2) has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// The effective group.
#[must_use]
pub fn effective_group() -> u32 {
    // SAFETY: getegid(2) has no preconditions and cannot fail.
    unsafe { libc::getegid() }
}

/// Whether the effective user is root, of this user namespace.
#[must_use]
pub fn is_root() -> bool {
    effective_user() == 0
}

/// Sets the permissions that new files do not get, and returns those before (`umask(2)`).
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: umask(2) has no preconditions and cannot fail.
    unsafe { libc::umask(mask) }
}

/// Makes the calling process die (`SIGKILL`) when the thread that started it ends, as
/// [`CommandExt::die_with_parent`] does from the other side.
///
/// `parent` is the process expected to be the parent; another one means that it is gone already,
/// and is an error (`ESRCH`).
pub fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: prctl(2) PR_SET_PDEATHSIG takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) })?;
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

//! Children that live in namespaces and never outlive their parent.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::mount;
use crate::namespace::{self, Kinds, RootMap};
use crate::socket::{self, check};

pub use libc::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2,
    SIGWINCH,
};

/// What a [`Command`] can ask of its child before the program starts. The requests are carried out
/// in the order they were made.
pub trait CommandExt {
    /// Kills the child (`SIGKILL`) when the *thread* that spawns it ends, however it ends
    /// (`PR_SET_PDEATHSIG`). Spawn from a thread that lives as long as the child should.
    fn die_with_parent(&mut self) -> &mut Self;

    /// Starts the child in a network namespace.
    fn in_network(&mut self, namespace: OwnedFd) -> &mut Self;

    /// Starts the child in a mount namespace. Its working directory is the root there.
    fn in_mounts(&mut self, namespace: OwnedFd) -> &mut Self;

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

    /// Gives the child this mask of file modes (`umask(2)`).
    fn with_umask(&mut self, mask: u32) -> &mut Self;

    /// Leaves the child no descriptor but the three standard ones, also of those that this process
    /// itself was left and knows nothing of. Before Linux 5.11 those remain.
    fn inherit_nothing(&mut self) -> &mut Self;

    /// Starts the child in a control group, whose opened `cgroup.procs` this is.
    fn in_control_group(&mut self, processes: OwnedFd) -> &mut Self;
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

    fn in_mounts(&mut self, namespace: OwnedFd) -> &mut Self {
        let request = move || namespace::enter(namespace.as_fd(), Kinds::MOUNT);
        // SAFETY: as above; a forked child shares its root and working directory with nobody.
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

    fn with_umask(&mut self, mask: u32) -> &mut Self {
        let request = move || {
            // SAFETY: umask(2) takes a number and cannot fail.
            unsafe { libc::umask(mask as libc::mode_t) };
            Ok(())
        };
        // SAFETY: as above.
        unsafe { self.pre_exec(request) }
    }

    fn inherit_nothing(&mut self) -> &mut Self {
        let request = || {
            // Closed by the program's start, not now: what tells that this failed is among them.
            // SAFETY: close_range(2) takes numbers; with this flag it closes nothing.
            unsafe {
                libc::syscall(
                    libc::SYS_close_range,
                    3 as libc::c_uint,
                    libc::c_uint::MAX,
                    libc::CLOSE_RANGE_CLOEXEC,
                )
            };
            Ok(())
        };
        // SAFETY: as above.
        unsafe { self.pre_exec(request) }
    }

    fn in_control_group(&mut self, processes: OwnedFd) -> &mut Self {
        let request = move || {
            // 0 is whoever writes (cgroups(7)).
            // SAFETY: write(2) reads one byte from a literal.
            let written = unsafe { libc::write(processes.as_raw_fd(), c"0".as_ptr().cast(), 1) };
            check(written as libc::c_int).map(drop)
        };
        // SAFETY: as above.
        unsafe { self.pre_exec(request) }
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
        Self::open_with(pid, libc::PIDFD_NONBLOCK)
    }

    fn open_with(number: u32, flags: libc::c_uint) -> io::Result<Self> {
        // SAFETY: pidfd_open(2) takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, number, flags) };
        let fd = check(fd as libc::c_int)?;
        // SAFETY: pidfd_open(2) returned a new descriptor, which nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Refers to a thread, or, where the kernel cannot, to the process it belongs to: they share
    /// their descriptors, unless a thread chose otherwise.
    pub fn of_thread(thread: u32) -> io::Result<Self> {
        let flags = libc::PIDFD_NONBLOCK | PIDFD_THREAD;
        Self::open_with(thread, flags).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Self::open(process_of(thread)?),
            _ => Err(error),
        })
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

    /// A copy of a descriptor of the process's, close-on-exec (`pidfd_getfd(2)`).
    ///
    /// Needs the right to trace the process (`ptrace(2)`). `EBADF` if it has none of that number.
    pub fn descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: pidfd_getfd(2) takes no pointers.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, fd, number, 0) };
        let copy = check(copy as libc::c_int)?;
        // SAFETY: pidfd_getfd(2) made this descriptor just now, and nothing else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
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

/// `PIDFD_THREAD`, linux/pidfd.h, since Linux 6.9.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

/// The process that a thread belongs to, from `/proc/THREAD/status`.
fn process_of(thread: u32) -> io::Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status"))?;
    let number = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let number = number.and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Reads another process's memory at `address` into all of `buffer` (`process_vm_readv(2)`).
///
/// Needs the right to trace the process (`ptrace(2)`). `EFAULT` if less is readable.
pub fn read_memory(process: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let fault = || io::Error::from_raw_os_error(libc::EFAULT);
    let length = buffer.len();
    let here = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
    let base = usize::try_from(address).map_err(|_| fault())?;
    let there = libc::iovec { iov_base: std::ptr::without_provenance_mut(base), iov_len: length };
    let pid = process as libc::pid_t;
    // SAFETY: process_vm_readv(2) writes at most `length` bytes into the slice; the other pointer
    // is the other process's, and only compared against its mappings.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    match usize::try_from(read) {
        Ok(read) if read == length => Ok(()),
        Ok(_) => Err(fault()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Makes this process the parent of descendants whose own parents end (`PR_SET_CHILD_SUBREAPER`):
/// it can wait for them, and stays their ancestor in the eyes of `ptrace(2)`'s restrictions.
pub fn adopt_orphans() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// `prctl(2)` for operations that take one number.
pub(crate) fn prctl(operation: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // The kernel looks at all of each argument, and wants those it does not use to be zero.
    let unused: libc::c_ulong = 0;
    // SAFETY: the operations this is used for take a number.
    check(unsafe { libc::prctl(operation, value, unused, unused, unused) })?;
    Ok(())
}

/// What waiting for children came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// This one had ended, and is gone now.
    Child(u32, ExitStatus),
    /// Children are left, all running.
    Running,
    /// No child is left.
    None,
}

/// Waits for any child that has ended, without blocking (`waitpid(2)`).
///
/// Not beside [`std::process::Child::wait`], from which it takes the status.
pub fn reap_any() -> io::Result<Reaped> {
    let mut status = 0;
    // SAFETY: waitpid(2) writes one status.
    match check(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }) {
        Ok(0) => Ok(Reaped::Running),
        Ok(pid) => Ok(Reaped::Child(pid as u32, ExitStatus::from_raw(status))),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Reaped::None),
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_descriptors_of_a_process() {
        let text = *b"remember";
        let mut read = [0; 8];
        let (here, address) = (std::process::id(), text.as_ptr() as u64);
        read_memory(here, address, &mut read).unwrap();
        assert_eq!(read, text);
        let error = read_memory(here, 0, &mut read).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        assert!(read_memory(0, address, &mut read).is_err());

        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let process = PidFd::open(here).unwrap();
        let copy = process.descriptor(one.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), one.as_raw_fd());
        let error = process.descriptor(i32::MAX).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn the_process_of_a_thread() {
        let thread = || {
            // SAFETY: gettid(2) has no preconditions and cannot fail.
            let thread = unsafe { libc::gettid() } as u32;
            (thread, process_of(thread).unwrap(), PidFd::of_thread(thread).is_ok())
        };
        let (thread, process, found) = std::thread::spawn(thread).join().unwrap();
        assert_ne!(thread, process);
        assert_eq!((process, found), (std::process::id(), true));
        assert!(PidFd::of_thread(0).is_err());
    }

    #[test]
    fn a_child_has_its_own_mask() {
        let mut command = Command::new("/bin/sh");
        let output = command.args(["-c", "umask"]).with_umask(0o027).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "0027");
    }

    #[test]
    fn a_child_inherits_nothing() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        // SAFETY: fcntl(2) F_SETFD takes a number.
        assert_eq!(unsafe { libc::fcntl(one.as_raw_fd(), libc::F_SETFD, 0) }, 0);
        let mut command = Command::new("/bin/ls");
        let output = command.arg("/proc/self/fd").inherit_nothing().output().unwrap();
        let open = String::from_utf8(output.stdout).unwrap();
        // The fourth is the folder that it reads.
        assert_eq!(open.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    }

    #[test]
    fn a_child_starts_in_its_control_group() {
        let at = crate::cgroup::mount().unwrap().map(|mount| mount.point);
        let name = format!("iphelper-sys-test-{}", std::process::id());
        let directory = at.unwrap_or("/nowhere".into()).join(&name);
        if let Err(error) = std::fs::create_dir(&directory) {
            eprintln!("SKIPPED: a_child_starts_in_its_control_group: none can be made ({error})");
            return;
        }
        let processes =
            std::fs::OpenOptions::new().write(true).open(directory.join("cgroup.procs"));
        let mut command = Command::new("cat");
        command.arg("/proc/self/cgroup").in_control_group(processes.unwrap().into());
        let output = command.output();
        std::fs::remove_dir(&directory).unwrap();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(
            text.lines().any(|line| line.starts_with("0::") && line.ends_with(&name)),
            "{text}"
        );
    }
}

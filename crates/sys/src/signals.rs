//! Signals that are read from a descriptor (`signalfd(2)`).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::socket::check;

/// Receives signals instead of having them interrupt the process.
///
/// Its descriptor becomes readable when one came. The signals stay blocked when this is dropped, and
/// in children, unless they are [restored](Self::restore_in) there.
pub struct Signals {
    fd: OwnedFd,
    /// Those that were blocked before.
    before: libc::sigset_t,
}

/// A signal that came. Several of the same number may have become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Which.
    pub number: i32,
    /// The kernel sent it, a terminal for one, which sends it to the whole group of processes; else
    /// a process sent it to this one.
    pub by_kernel: bool,
}

impl Signals {
    /// Takes these signals from now on. For a process of one thread: others would go on being
    /// interrupted.
    pub fn take(numbers: &[i32]) -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset(3) initialises the set.
        check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
        // SAFETY: initialised the line before.
        let mut set = unsafe { set.assume_init() };
        for number in numbers {
            // SAFETY: sigaddset(3) changes an initialised set.
            check(unsafe { libc::sigaddset(&raw mut set, *number) })?;
        }
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigprocmask(2) reads an initialised set and fills the other in.
        check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) })?;
        // SAFETY: the call succeeded.
        let before = unsafe { before.assume_init() };
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: signalfd(2) reads an initialised set.
        let fd = check(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
        // SAFETY: signalfd(2) returned a new descriptor, which nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, before })
    }

    /// Has the child that the command starts get signals as this process did before.
    pub fn restore_in(&self, command: &mut Command) {
        let before = self.before;
        let request = move || {
            // SAFETY: sigprocmask(2) reads an initialised set, and nothing is asked back.
            check(unsafe {
                libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut())
            })
            .map(drop)
        };
        // SAFETY: the closure runs between fork and exec; it makes a system call only, and
        // allocates nothing.
        unsafe { command.pre_exec(request) };
    }

    /// The next signal that came, if one did.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let mut came = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: read(2) writes at most one signalfd_siginfo.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), came.as_mut_ptr().cast(), size) };
        match check(read as libc::c_int) {
            Ok(length) if length as usize == size => {
                // SAFETY: the kernel wrote all of it, and it is plain numbers.
                let came = unsafe { came.assume_init() };
                let by_kernel = came.ssi_code == SI_KERNEL;
                Ok(Some(Signal { number: came.ssi_signo as i32, by_kernel }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `SI_KERNEL`, asm-generic/siginfo.h.
const SI_KERNEL: i32 = 0x80;

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Duration;

    use super::*;
    use crate::process::SIGUSR2;
    use crate::socket;

    #[test]
    fn a_signal_is_read_and_who_sent_it_known() {
        let signals = Signals::take(&[SIGUSR2]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // SAFETY: raise(3) takes a number; it goes to this thread, which has it blocked.
        assert_eq!(unsafe { libc::raise(SIGUSR2) }, 0);
        let patience = Some(Duration::from_secs(10));
        assert!(socket::wait(signals.as_fd(), libc::POLLIN, patience).unwrap());
        let expected = Signal { number: SIGUSR2, by_kernel: false };
        assert_eq!(signals.next().unwrap(), Some(expected));
        assert_eq!(signals.next().unwrap(), None);

        let mut command = Command::new("/bin/sh");
        command.args(["-c", "kill -USR2 $$; exit 0"]);
        assert!(command.status().unwrap().success(), "blocked in children");
        signals.restore_in(&mut command);
        assert_eq!(command.status().unwrap().signal(), Some(SIGUSR2));
    }
}

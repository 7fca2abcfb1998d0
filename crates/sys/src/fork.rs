//! A copy of this process that does one thing (`fork(2)`).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;

use crate::process::prctl;
use crate::socket::check;

/// Exit status of a child whose work panicked, or that could not begin it.
const FAILED: u8 = 101;

/// A child that was not waited for yet. Dropping this leaves it running.
#[derive(Debug)]
pub struct Forked {
    pid: libc::pid_t,
}

/// Starts a child that shares no memory with this process, but has a copy of all of it, and that costs
/// no more than the pages it touches: no program is loaded.
///
/// The child is called `name` in lists of processes, leads a process group of its own, so that a
/// terminal's Ctrl-C does not reach it, and is killed (`SIGKILL`) when the calling *thread* ends. Of the
/// descriptors it has `input` alone, as its standard input; the other two standard ones lead nowhere. It
/// runs `work` and ends with the status that returns. What the parent would do at its end (buffers that
/// are written, destructors) it does not do.
///
/// Fails with `Unsupported` if this process has another thread: what that holds at this moment, a lock
/// of the allocator for one, would stay locked in the child for ever.
pub fn fork(name: &CStr, input: OwnedFd, work: fn() -> u8) -> io::Result<Forked> {
    if threads()? != 1 {
        let text = "only a process with a single thread can fork";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let nowhere = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
    // SAFETY: getpid(2) has no preconditions and cannot fail.
    let parent = unsafe { libc::getpid() };
    // SAFETY: there is no other thread, so that nothing is half done in the child's copy of memory. The
    // child never returns from here.
    match check(unsafe { libc::fork() })? {
        0 => {
            let work = || match begin(name, parent, &input, &nowhere) {
                Ok(()) => work(),
                Err(_) => FAILED,
            };
            // The frames above belong to the parent: nothing may unwind into them.
            let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(FAILED);
            // SAFETY: _exit(2) takes a number and does not return.
            unsafe { libc::_exit(status.into()) }
        }
        pid => Ok(Forked { pid }),
    }
}

impl Forked {
    /// Waits for its end (`waitpid(2)`).
    pub fn wait(self) -> io::Result<ExitStatus> {
        let mut status = 0;
        loop {
            // SAFETY: waitpid(2) writes one status.
            match check(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }) {
                Ok(_) => return Ok(ExitStatus::from_raw(status)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What the child does first.
fn begin(name: &CStr, parent: libc::pid_t, input: &OwnedFd, nowhere: &OwnedFd) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    // The parent may have died before the request, which then never fires.
    // SAFETY: getppid(2) has no preconditions.
    if unsafe { libc::getppid() } != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: setpgid(2) takes numbers.
    check(unsafe { libc::setpgid(0, 0) })?;
    // SAFETY: prctl(2) PR_SET_NAME reads a text that ends in zero.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })?;
    for (from, to) in [(input, 0), (nowhere, 1), (nowhere, 2)] {
        // SAFETY: dup2(2) takes numbers. Nothing in this process owns the standard descriptors.
        check(unsafe { libc::dup2(from.as_raw_fd(), to) })?;
    }
    close_all_but_standard()
}

/// Closes what the parent has open. Its owners are in the copy of its memory, where nothing runs that
/// uses or drops them.
fn close_all_but_standard() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: close_range(2) takes numbers; see above for the owners.
    match check(unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) as libc::c_int
    }) {
        Ok(_) => return Ok(()),
        // Before Linux 5.9.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        Err(error) => return Err(error),
    }
    let open = std::fs::read_dir("/proc/self/fd")?.flatten();
    let open: Vec<_> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in open.into_iter().filter(|number: &libc::c_int| *number >= FIRST as libc::c_int) {
        // SAFETY: as above. The folder's own descriptor is closed already, which is an error without
        // effect.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// How many threads this process has.
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        let input = OwnedFd::from(File::open("/dev/null").unwrap());
        // The test has one of its own.
        let refused = fork(c"child", input, || 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    }
}

//! Files and folders that are watched (`inotify(7)`).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify;
pub(crate) use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;

/// Readable when something happened that is watched for. What it was is for its owner to find out.
#[derive(Debug)]
pub(crate) struct Inotify(OwnedFd);

impl Inotify {
    /// Watches nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self(inotify::init(flags)?))
    }

    /// Watches a path for that, in place of what it was watched for.
    pub(crate) fn watch(&self, path: impl AsRef<Path>, flags: WatchFlags) -> io::Result<()> {
        match inotify::add_watch(&self.0, path.as_ref(), flags) {
            // No disk is: `inotify_add_watch(2)`.
            Err(Errno::NOSPC) => Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the daemon's user has as many watches as fs.inotify.max_user_watches allows",
            )),
            result => Ok(result.map(drop)?),
        }
    }

    /// Takes note of all there was, and returns whether there was anything.
    pub(crate) fn drain(&self) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4_096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut any = false;
        // Ends with `EAGAIN`, when there are no more.
        while events.next().is_ok() {
            any = true;
        }
        any
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify;

/// Readable when somebody may have removed what is pinned, which takes the programs off.
#[derive(Debug)]
pub struct Losses(OwnedFd);

impl Losses {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags)?;
        let flags = inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, folder, flags)?;
        Ok(Self(inotify))
    }

    /// Takes note of all there was.
    pub fn drain(&self) {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4_096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        // Ends with `EAGAIN`, when there are no more.
        while events.next().is_ok() {}
    }
}

impl AsFd for Losses {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

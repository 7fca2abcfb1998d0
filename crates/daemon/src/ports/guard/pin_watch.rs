use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::inotify::{Inotify, WatchFlags};

/// Readable when somebody may have removed what is pinned, which takes the programs off.
#[derive(Debug)]
pub struct PinWatch(Inotify);

impl PinWatch {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::new()?;
        let flags = WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify.watch(folder, flags)?;
        Ok(Self(inotify))
    }

    /// Takes all notices that there are.
    pub fn drain(&self) {
        self.0.drain();
    }
}

impl AsFd for PinWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

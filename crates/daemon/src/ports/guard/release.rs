use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ports::guard::Hook;
use sys::ebpf::Program;

use super::load;

/// Attaches the program that frees what closed sockets had, before the first socket has something.
#[derive(Debug)]
pub(super) struct Release {
    /// `None` once it is attached.
    waiting: Mutex<Option<Program>>,
    cgroup: OwnedFd,
    pin: PathBuf,
}

impl Release {
    /// `waiting` is the program, unless it is attached already.
    pub(super) fn new(waiting: Option<Program>, cgroup: OwnedFd, pin: PathBuf) -> Self {
        Self { waiting: Mutex::new(waiting), cgroup, pin }
    }

    /// Whether it is pinned, or not attached yet.
    pub(super) fn is_whole(&self) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.is_some() || self.pin.exists()
    }

    /// Sees to it that it is attached.
    pub(super) fn attach(&self) -> io::Result<()> {
        // Taken out only when it is no more needed: nothing is half done after a panic.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = &*waiting {
            load::attach(self.cgroup.as_fd(), Hook::Release, program, &self.pin)?;
            *waiting = None;
        }
        Ok(())
    }
}

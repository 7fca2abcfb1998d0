use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Closes descriptors on a thread of its own.
///
/// Closing a packet socket waits in the kernel for an RCU grace period (`synchronize_net`), which
/// takes 10 ms and more; a loop that serves a thousand interfaces cannot afford that. Dropping the
/// reaper waits until everything handed to it is closed.
#[derive(Debug)]
pub struct Reaper {
    /// `None` only while dropping: hanging up ends the thread.
    queue: Option<Sender<OwnedFd>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (queue, closing) = channel::<OwnedFd>();
        let thread = std::thread::Builder::new().name("reaper".into()).spawn(move || {
            for fd in closing {
                drop(fd);
            }
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Closes `fd` soon, without making the caller wait.
    ///
    /// Until then a socket goes on receiving into its queue; nobody reads it.
    pub fn close(&self, fd: impl Into<OwnedFd>) {
        if let Some(queue) = &self.queue {
            // The thread ends only after the queue, so the send succeeds; if it did not, dropping
            // the error would close the descriptor here.
            let _ = queue.send(fd.into());
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_handed_over_gets_closed() {
        let reaper = Reaper::start().unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        reaper.close(theirs);
        // End of file only comes when the other end is closed.
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn dropping_the_reaper_waits_for_the_rest() {
        let pairs: Vec<_> = (0..50).map(|_| UnixStream::pair().unwrap()).collect();
        let reaper = Reaper::start().unwrap();
        let mut ours = Vec::new();
        for (mine, theirs) in pairs {
            reaper.close(theirs);
            ours.push(mine);
        }
        drop(reaper);
        for mut mine in ours {
            mine.set_nonblocking(true).unwrap();
            assert_eq!(mine.read(&mut [0; 8]).unwrap(), 0);
        }
    }
}

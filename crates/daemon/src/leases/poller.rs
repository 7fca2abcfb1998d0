use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use tokio::io::unix::AsyncFd;

/// Waits on thousands of descriptors that come and go, as one descriptor of the runtime: nothing is
/// allocated for each, and the order of events is ours.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
}

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// The tenant's alarm.
    Alarm,
    /// The kernel's notifications.
    Notices,
    /// The packet socket for DHCP of the interface with that index.
    Packet(u32),
    /// The UDP socket.
    Udp(u32),
    /// The packet socket for ARP.
    Arp(u32),
    /// The socket of a RELEASE: the kernel reports what became of it.
    Release(u32),
}

impl Ready {
    fn token(self) -> u64 {
        match self {
            Self::Alarm => 0,
            Self::Notices => 1,
            Self::Packet(index) => u64::from(index) << 3 | 2,
            Self::Udp(index) => u64::from(index) << 3 | 3,
            Self::Arp(index) => u64::from(index) << 3 | 4,
            Self::Release(index) => u64::from(index) << 3 | 5,
        }
    }

    fn new(token: u64) -> Self {
        let index = (token >> 3) as u32;
        match token & 7 {
            0 => Self::Alarm,
            1 => Self::Notices,
            2 => Self::Packet(index),
            3 => Self::Udp(index),
            4 => Self::Arp(index),
            _ => Self::Release(index),
        }
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Reports `source` as `ready` while it is readable, until it is closed everywhere or
    /// [`remove`](Self::remove)d.
    pub(super) fn add(&self, source: impl AsFd, ready: Ready) -> io::Result<()> {
        self.add_for(source, ready, epoll::EventFlags::IN)
    }

    /// Reports `source` as `ready` while the kernel has a report of what was sent, or an error,
    /// whatever there is to read.
    pub(super) fn add_reports(&self, source: impl AsFd, ready: Ready) -> io::Result<()> {
        // These are reported always.
        self.add_for(source, ready, epoll::EventFlags::empty())
    }

    fn add_for(
        &self,
        source: impl AsFd,
        ready: Ready,
        events: epoll::EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(ready.token());
        Ok(epoll::add(&self.epoll, source, data, events)?)
    }

    /// Must come before the descriptor goes to another thread to be closed: it would be reported
    /// until then.
    pub(super) fn remove(&self, source: impl AsFd) {
        // Fails only if it is not there, which is what is wanted.
        let _ = epoll::delete(&self.epoll, source);
    }

    /// Hands out what is ready now, up to 256 at a time.
    pub(super) fn ready(&self) -> io::Result<Vec<Ready>> {
        let mut events = Vec::with_capacity(256);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
            Ok(_) => Ok(events.iter().map(|event| Ready::new(event.data.u64())).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// The face for the runtime: readable when something is.
    pub(super) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        crate::readable::watch(self.epoll.try_clone()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn tokens_go_both_ways() {
        let of_interfaces =
            [Ready::Packet(u32::MAX), Ready::Udp(1), Ready::Arp(7), Ready::Release(2)];
        for ready in [Ready::Alarm, Ready::Notices].into_iter().chain(of_interfaces) {
            assert_eq!(Ready::new(ready.token()), ready);
        }
    }

    #[test]
    fn what_is_readable_is_reported_until_removed() {
        let poller = Poller::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        poller.add(&ours, Ready::Udp(3)).unwrap();
        assert_eq!(poller.ready().unwrap(), []);
        theirs.write_all(b"x").unwrap();
        assert_eq!(poller.ready().unwrap(), [Ready::Udp(3)]);
        poller.remove(&ours);
        assert_eq!(poller.ready().unwrap(), []);
    }
}

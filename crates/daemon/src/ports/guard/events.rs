use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ports::guard::{Event, Map as Name};
use sys::ebpf::{Map, RingBuffer};

/// What the programs saw. Readable while there is something; what was seen while no daemon ran comes
/// first, as far as there was room.
#[derive(Debug)]
pub struct Events(RingBuffer);

/// What the kernel puts before each: `BPF_RINGBUF_HDR_SZ`.
const HEADER: usize = 8;

impl Events {
    /// With so many at once there may have been others that found no room.
    pub const FULL: usize = Name::Events.spec().entries as usize / (Event::LENGTH + HEADER) / 2;

    pub(super) fn new(map: Map) -> io::Result<Self> {
        Ok(Self(RingBuffer::new(map)?))
    }

    /// All there are, oldest first.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.0.drain(|record| events.extend(Event::from_bytes(record)));
        events
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

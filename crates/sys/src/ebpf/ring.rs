use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::Map;
use super::table::Memory;

/// The reading end of a ring buffer that programs write records to
/// (`Documentation/bpf/ringbuf.rst`). Readable while there are any.
///
/// One reader at a time: two would take each other's records.
#[derive(Debug)]
pub struct RingBuffer {
    map: Map,
    /// How far was read; in a page that we write.
    consumer: Memory,
    /// A page with how far was written, and the records, twice: one that goes past the end goes on
    /// in the second copy.
    producer: Memory,
    page: usize,
}

/// A record starts with its length (u32) and the kernel's own (u32).
const HEADER_LENGTH: u64 = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

impl RingBuffer {
    /// Maps a ring buffer; fails with `InvalidInput` for other maps.
    pub fn new(map: Map) -> io::Result<Self> {
        if !map.info().is_ring_buffer() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: sysconf(3) takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(|_| io::Error::last_os_error())?;
        let length = map.info().entries as usize;
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let consumer = Memory::new(map.as_fd(), page, 0, both)?;
        let producer = Memory::new(map.as_fd(), page + 2 * length, page, libc::PROT_READ)?;
        Ok(Self { map, consumer, producer, page })
    }

    /// Hands every record there is to `take`, oldest first, and makes room for others.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        while self.next(&mut take).is_some() {}
    }

    /// Hands one record on; `None` when there is none, or the next one is still being written.
    fn next(&mut self, take: &mut impl FnMut(&[u8])) -> Option<()> {
        let read = self.consumer.number(0)?;
        let from = read.load(Ordering::Relaxed);
        if from == self.producer.number(0)?.load(Ordering::Acquire) {
            return None;
        }
        let length = self.map.info().entries as usize;
        let start = self.page + (from % length as u64) as usize;
        // Length and the kernel's half at once; the length is the first four bytes of them.
        let header = self.producer.number(start)?.load(Ordering::Acquire).to_ne_bytes();
        let header = header.first_chunk().map(|half| u32::from_ne_bytes(*half))?;
        if header & BUSY != 0 {
            return None;
        }
        let size = u64::from(header & !DISCARDED);
        if header & DISCARDED == 0 {
            let start = start + HEADER_LENGTH as usize;
            // SAFETY: the record is committed, so the kernel has finished writing it; it writes
            // there again only after `read` has been moved past it, below.
            take(unsafe { self.producer.bytes(start, size as usize) }?);
        }
        let next = from + (HEADER_LENGTH + size).next_multiple_of(8);
        read.store(next, Ordering::Release);
        Some(())
    }
}

impl AsFd for RingBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

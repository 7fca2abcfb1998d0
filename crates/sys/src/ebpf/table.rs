use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Map;

/// A map that is an array of 64-bit numbers, as memory of this process: reading and writing cost no
/// system call. Programs see each number change as a whole.
#[derive(Debug)]
pub struct Table {
    map: Map,
    memory: Memory,
}

impl Table {
    /// Maps an array whose values have 8 bytes and which was made with `BPF_F_MMAPABLE`; fails with
    /// `InvalidInput` for others.
    pub fn new(map: Map) -> io::Result<Self> {
        if !map.info().is_mappable_array() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let length = map.info().entries as usize * size_of::<u64>();
        let memory = Memory::new(map.as_fd(), length, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        Ok(Self { map, memory })
    }

    /// How many numbers there are.
    #[must_use]
    pub fn length(&self) -> usize {
        self.map.info().entries as usize
    }

    /// One of the numbers; `None` past the end.
    #[must_use]
    pub fn load(&self, index: usize) -> Option<u64> {
        Some(self.number(index)?.load(Ordering::Acquire))
    }

    /// Changes one of the numbers; past the end, nothing. Programs that see it see everything
    /// written to other maps before.
    pub fn store(&self, index: usize, number: u64) {
        if let Some(place) = self.number(index) {
            place.store(number, Ordering::Release);
        }
    }

    fn number(&self, index: usize) -> Option<&AtomicU64> {
        self.memory.number(index * size_of::<u64>())
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Memory shared with the kernel, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: the memory belongs to no thread, and is read and written as atomic numbers only, or as
// bytes that the kernel has finished writing (see `bytes`).
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        length: usize,
        offset: usize,
        protection: libc::c_int,
    ) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        // SAFETY: mmap(2) at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Ok(Self { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The number at an offset that is a multiple of 8; `None` past the end.
    pub(super) fn number(&self, offset: usize) -> Option<&AtomicU64> {
        let inside = offset.is_multiple_of(8) && offset.checked_add(8)? <= self.length;
        inside.then(|| {
            // SAFETY: the offset is inside the mapping.
            let place = unsafe { self.start.byte_add(offset) };
            // SAFETY: the place is aligned, as pages are; it stays mapped as long as `self` is
            // borrowed, and every access on this side is atomic. Nobody writes through a reference
            // into read-only pages.
            unsafe { AtomicU64::from_ptr(place.as_ptr().cast()) }
        })
    }

    /// Bytes that nobody writes as long as they are borrowed; `None` past the end.
    ///
    /// # Safety
    ///
    /// The kernel must have finished writing them and must not write them again meanwhile.
    pub(super) unsafe fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let inside = offset.checked_add(length)? <= self.length;
        inside.then(|| {
            // SAFETY: the offset is inside the mapping.
            let place = unsafe { self.start.byte_add(offset) };
            // SAFETY: inside the mapping, which stays as long as `self` is borrowed; that nobody
            // writes is the caller's word.
            unsafe { std::slice::from_raw_parts(place.as_ptr().cast(), length) }
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: munmap(2) of exactly what was mapped; nothing borrows it any more.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

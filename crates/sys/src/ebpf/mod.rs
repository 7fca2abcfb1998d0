//! Extended BPF: maps, programs, links and pins (`bpf(2)`).
//!
//! For programs of control groups. What a program may do is decided by the kernel's verifier; what
//! is checked here is that the kernel reads and writes no more memory than it was given. Everything
//! needs `CAP_BPF`, programs and links `CAP_NET_ADMIN` as well.
//!
//! A map, program or link lives as long as a descriptor of it, or a *pin*: a name in a file system
//! of type `bpf`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Attributes end with their last member. Bytes behind it, which nobody sets, the kernel takes for
/// members that it knows, or refuses with `EINVAL` if they are not zero.
macro_rules! without_padding {
    ($attributes:ty, $last:ident: $kind:ty) => {
        const _: () = {
            let end = std::mem::offset_of!($attributes, $last) + size_of::<$kind>();
            assert!(size_of::<$attributes>() == end, "padding behind the last member");
        };
    };
}

mod map;
mod ring;
mod table;

pub use map::{Map, MapSpec, Types};
pub use ring::RingBuffer;
pub use table::Table;

/// Commands of `bpf(2)` (`enum bpf_cmd`).
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgramLoad = 5,
    Pin = 6,
    Open = 7,
    Info = 15,
    TypesLoad = 18,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// Names of programs and maps are cut to this in the kernel (`BPF_OBJ_NAME_LEN`), a zero byte
/// included.
const NAME_LENGTH: usize = 16;

/// A program that the kernel has accepted.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// A program's place in a control group; the program runs while the link lives.
#[derive(Debug)]
pub struct Link(OwnedFd);

/// What the kernel wants to know about a program.
#[derive(Debug, Clone, Copy)]
pub struct ProgramSpec<'a> {
    /// Type, by the numbers of `enum bpf_prog_type`.
    pub kind: u32,
    /// By the numbers of `enum bpf_attach_type`.
    pub attach: u32,
    /// Name to find it by; letters, digits, `_` and `.`.
    pub name: &'a str,
    /// Licence, as in `GPL`.
    pub license: &'a str,
    /// Instructions (`struct bpf_insn`). Those that name maps hold descriptors of this process.
    pub code: &'a [[u8; 8]],
}

/// `union bpf_attr`, `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgramAttributes {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_length: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_LENGTH],
    interface: u32,
    attach: u32,
}

/// `union bpf_attr`, `BPF_LINK_CREATE` and `BPF_LINK_UPDATE`, whose first members coincide.
#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    program_or_link: u32,
    target_or_program: u32,
    attach_or_flags: u32,
    flags_or_old_program: u32,
}

/// `union bpf_attr`, `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct PinAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

without_padding!(ProgramAttributes, attach: u32);
without_padding!(LinkAttributes, flags_or_old_program: u32);
without_padding!(PinAttributes, flags: u32);

impl Program {
    /// Has a program checked and compiled by the kernel.
    ///
    /// Fails with `EACCES` or `EINVAL` for a program this kernel refuses, with `EPERM` without the
    /// capabilities. `log` gets the verifier's reasons then; an empty one asks for none.
    pub fn load(spec: &ProgramSpec<'_>, log: &mut [u8]) -> io::Result<Self> {
        let license = CString::new(spec.license)?;
        let count = u32::try_from(spec.code.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut attributes = ProgramAttributes {
            kind: spec.kind,
            instructions: count,
            code: spec.code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            name: object_name(spec.name),
            attach: spec.attach,
            ..ProgramAttributes::default()
        };
        if !log.is_empty() {
            attributes.log_level = 1;
            attributes.log_length = u32::try_from(log.len()).unwrap_or(u32::MAX);
            attributes.log = log.as_mut_ptr() as u64;
        }
        // SAFETY: BPF_PROG_LOAD reads `instructions` times 8 bytes of code and a terminated licence,
        // and writes at most `log_length` bytes to the log; all outlive the call.
        let fd = unsafe { create(Command::ProgramLoad, &mut attributes) }?;
        Ok(Self(fd))
    }
}

impl Link {
    /// Attaches a program to a control group of version 2, after those that are there.
    ///
    /// Fails with `EPERM` if another program was attached there to be the only one.
    pub fn attach(program: &Program, cgroup: BorrowedFd<'_>, attach: u32) -> io::Result<Self> {
        let mut attributes = LinkAttributes {
            program_or_link: program.0.as_raw_fd() as u32,
            target_or_program: cgroup.as_raw_fd() as u32,
            attach_or_flags: attach,
            flags_or_old_program: 0,
        };
        // SAFETY: BPF_LINK_CREATE for control groups takes no pointers.
        let fd = unsafe { create(Command::LinkCreate, &mut attributes) }?;
        Ok(Self(fd))
    }

    /// Replaces the program, at once and without a moment in which none runs.
    pub fn update(&self, program: &Program) -> io::Result<()> {
        let mut attributes = LinkAttributes {
            program_or_link: self.0.as_raw_fd() as u32,
            target_or_program: program.0.as_raw_fd() as u32,
            ..LinkAttributes::default()
        };
        // SAFETY: BPF_LINK_UPDATE takes no pointers.
        unsafe { call(Command::LinkUpdate, &mut attributes) }?;
        Ok(())
    }

    /// Takes the program off, whoever else has the link or a pin of it (Linux 5.9).
    pub fn detach(&self) -> io::Result<()> {
        let mut attributes = self.0.as_raw_fd() as u32;
        // SAFETY: BPF_LINK_DETACH takes one descriptor.
        unsafe { call(Command::LinkDetach, &mut attributes) }?;
        Ok(())
    }

    /// Opens a pinned link. Whether it is one is told when it is used.
    pub fn open(path: &Path) -> io::Result<Self> {
        open(path).map(Self)
    }
}

/// Gives a map, program or link a name in a file system of type `bpf`: it lives as long as that.
///
/// Fails with `EEXIST` if there is one, and with `EPERM` on other file systems.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = crate::mount::path(path)?;
    let mut attributes = PinAttributes {
        path: path.as_ptr() as u64,
        fd: object.as_fd().as_raw_fd() as u32,
        flags: 0,
    };
    // SAFETY: BPF_OBJ_PIN reads one terminated string, which outlives the call.
    match unsafe { call(Command::Pin, &mut attributes) } {
        // The file system is in memory, and this is how it says that there is none for an inode
        // (`bpf_get_inode` of the kernel's `kernel/bpf/inode.c`).
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            Err(io::Error::from_raw_os_error(libc::ENOMEM))
        }
        result => result.map(drop),
    }
}

/// Opens what is pinned.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = crate::mount::path(path)?;
    let mut attributes = PinAttributes { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: BPF_OBJ_GET reads one terminated string, which outlives the call.
    unsafe { create(Command::Open, &mut attributes) }
}

/// A name as the kernel stores it: cut, and ended by zero bytes.
fn object_name(name: &str) -> [u8; NAME_LENGTH] {
    let mut padded = [0; NAME_LENGTH];
    let shown = padded.iter_mut().take(NAME_LENGTH - 1);
    shown.zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    padded
}

/// `bpf(2)`.
///
/// # Safety
///
/// Pointers in the attributes must be valid for what the command reads and writes through them.
unsafe fn call<T>(command: Command, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: bpf(2) reads, and for some commands writes, no more than the size it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            (&raw mut *attributes).cast::<libc::c_void>(),
            size_of::<T>() as libc::c_uint,
        )
    };
    crate::socket::check(result as libc::c_int)
}

/// [`call`] for commands that return a new descriptor, which is close-on-exec.
///
/// # Safety
///
/// As there; and the command must be such a one.
unsafe fn create<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: passed on to the caller.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: the kernel made this descriptor just now, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: u32 = 1;
    const ARRAY: u32 = 2;
    const PER_PROCESSOR_ARRAY: u32 = 6;
    const RING_BUFFER: u32 = 27;
    const MAPPABLE: u32 = 1 << 10;

    fn spec(kind: u32, key: u32, value: u32, entries: u32, flags: u32) -> MapSpec<'static> {
        MapSpec { kind, key, value, entries, flags, name: "a_name_that_is_cut", types: None }
    }

    /// `None`, and a line that says so, without the privilege.
    fn map(test: &str, spec: &MapSpec<'_>) -> Option<Map> {
        match Map::create(spec) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                eprintln!("SKIPPED: {test}: needs CAP_BPF");
                None
            }
            result => Some(result.unwrap()),
        }
    }

    #[test]
    fn a_map_keeps_what_it_is_given() {
        let spec = spec(HASH, 4, 8, 4, 0);
        let Some(map) = map("a_map_keeps_what_it_is_given", &spec) else { return };
        assert!(map.is_like(&spec));
        assert!(!map.is_like(&MapSpec { entries: 5, ..spec }));
        let mut value = [0; 8];
        assert!(!map.lookup(&[1; 4], &mut value).unwrap());
        for key in 1..=4 {
            map.update(&[key; 4], &[10 * key; 8]).unwrap();
        }
        let full = map.update(&[5; 4], &[0; 8]).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::E2BIG));
        map.update(&[2; 4], &[99; 8]).unwrap();
        assert!(map.lookup(&[2; 4], &mut value).unwrap());
        assert_eq!(value, [99; 8]);
        let mut keys = map.keys().unwrap();
        keys.sort();
        assert_eq!(keys, [[1; 4], [2; 4], [3; 4], [4; 4]]);
        assert!(map.delete(&[2; 4]).unwrap());
        assert!(!map.delete(&[2; 4]).unwrap());
        // Lengths that are not the map's never reach the kernel.
        for error in [
            map.lookup(&[1; 3], &mut value).unwrap_err(),
            map.lookup(&[1; 4], &mut value[..7]).unwrap_err(),
            map.update(&[1; 4], &[0; 9]).unwrap_err(),
            map.delete(&[]).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_table_is_the_map_s_memory() {
        let spec = spec(ARRAY, 4, 8, 1000, MAPPABLE);
        let Some(map) = map("a_table_is_the_map_s_memory", &spec) else { return };
        map.update(&7_u32.to_ne_bytes(), &70_u64.to_ne_bytes()).unwrap();
        let table = Table::new(map).unwrap();
        assert_eq!((table.length(), table.load(7), table.load(8)), (1000, Some(70), Some(0)));
        table.store(999, 5);
        table.store(1000, 6);
        assert_eq!((table.load(999), table.load(1000)), (Some(5), None));
    }

    #[test]
    fn maps_of_other_shapes_are_refused() {
        let test = "maps_of_other_shapes_are_refused";
        let Some(array) = map(test, &spec(ARRAY, 4, 8, 8, 0)) else { return };
        let invalid = io::ErrorKind::InvalidInput;
        assert_eq!(Table::new(array).unwrap_err().kind(), invalid, "not mappable");
        let narrow = map(test, &spec(ARRAY, 4, 4, 8, MAPPABLE)).unwrap();
        assert_eq!(Table::new(narrow).unwrap_err().kind(), invalid, "of 32 bits");
        let hash = map(test, &spec(HASH, 4, 8, 8, 0)).unwrap();
        assert_eq!(RingBuffer::new(hash).unwrap_err().kind(), invalid);
        // The kernel would copy a value for every processor.
        let other = Map::create(&spec(PER_PROCESSOR_ARRAY, 4, 8, 8, 0)).unwrap_err();
        assert_eq!(other.kind(), invalid);
    }

    #[test]
    fn an_empty_ring_buffer_has_nothing_to_read() {
        let spec = spec(RING_BUFFER, 0, 0, 1 << 16, 0);
        let Some(map) = map("an_empty_ring_buffer_has_nothing_to_read", &spec) else { return };
        RingBuffer::new(map).unwrap().drain(|record| panic!("{record:?}"));
    }

    #[test]
    fn the_verifier_says_why_it_refuses() {
        // exit, with nothing in register 0.
        let code = [[0x95, 0, 0, 0, 0, 0, 0, 0]];
        let spec = ProgramSpec { kind: 9, attach: 2, name: "test", license: "MIT", code: &code };
        let mut log = [0; 4096];
        let error = Program::load(&spec, &mut log).unwrap_err();
        if error.raw_os_error() == Some(libc::EPERM) {
            eprintln!("SKIPPED: the_verifier_says_why_it_refuses: needs CAP_BPF");
            return;
        }
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        assert!(String::from_utf8_lossy(&log).contains("R0 !read_ok"));
        // r0 = 1; exit.
        let code = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        Program::load(&ProgramSpec { code: &code, ..spec }, &mut []).unwrap();
    }
}

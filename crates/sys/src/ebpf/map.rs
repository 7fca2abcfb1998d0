use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::{Command, NAME_LENGTH, call, create, object_name, open};

/// A map of plain keys and values: a hash, an array, or the storage of sockets.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: Info,
}

/// What a map is to be.
#[derive(Debug, Clone, Copy)]
pub struct MapSpec<'a> {
    /// Type, by the numbers of `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// How many it holds; of a ring buffer, its bytes.
    pub entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Name to find it by; letters, digits, `_` and `.`.
    pub name: &'a str,
    /// Types of key and value, by their numbers among some that were loaded.
    pub types: Option<(&'a Types, u32, u32)>,
}

/// Types of keys and values, known to the kernel (BTF).
#[derive(Debug)]
pub struct Types(OwnedFd);

/// Kinds of map whose keys and values the kernel copies as they are, with the sizes it was told.
/// Those with a value for every processor copy more.
const PLAIN: [u32; 4] = [HASH, ARRAY, SOCKET_STORAGE, RING_BUFFER];
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const SOCKET_STORAGE: u32 = 24;
const RING_BUFFER: u32 = 27;

/// `union bpf_attr`, `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct MapAttributes {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; NAME_LENGTH],
    interface: u32,
    types: u32,
    key_type: u32,
    value_type: u32,
}

/// `union bpf_attr`, commands on an element.
#[repr(C)]
#[derive(Default)]
struct ElementAttributes {
    map: u32,
    padding: u32,
    key: u64,
    value_or_next: u64,
    flags: u64,
}

/// `union bpf_attr`, `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttributes {
    fd: u32,
    length: u32,
    info: u64,
}

/// `union bpf_attr`, `BPF_BTF_LOAD`.
#[repr(C)]
#[derive(Default)]
struct TypesAttributes {
    types: u64,
    log: u64,
    length: u32,
    log_length: u32,
    log_level: u32,
    /// Written since Linux 6.4. Before, it has to be zero, and so must not be left to chance.
    log_true_length: u32,
}

/// The first members of `struct bpf_map_info`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Info {
    kind: u32,
    id: u32,
    key: u32,
    value: u32,
    pub(super) entries: u32,
    flags: u32,
}

without_padding!(MapAttributes, value_type: u32);
without_padding!(ElementAttributes, flags: u64);
without_padding!(InfoAttributes, info: u64);
without_padding!(TypesAttributes, log_true_length: u32);

impl Types {
    /// Tells the kernel about types, in its own format (`linux/btf.h`).
    pub fn load(types: &[u8]) -> io::Result<Self> {
        let length =
            u32::try_from(types.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut attributes =
            TypesAttributes { types: types.as_ptr() as u64, length, ..TypesAttributes::default() };
        // SAFETY: BPF_BTF_LOAD reads `length` bytes from a live slice.
        Ok(Self(unsafe { create(Command::TypesLoad, &mut attributes) }?))
    }
}

impl Map {
    /// Makes an empty map. Fails with `InvalidInput` for kinds that hold other than plain values.
    pub fn create(spec: &MapSpec<'_>) -> io::Result<Self> {
        let mut attributes = MapAttributes {
            kind: spec.kind,
            key: spec.key,
            value: spec.value,
            entries: spec.entries,
            flags: spec.flags,
            name: object_name(spec.name),
            ..MapAttributes::default()
        };
        if let Some((types, key, value)) = spec.types {
            attributes.types = types.0.as_raw_fd() as u32;
            attributes.key_type = key;
            attributes.value_type = value;
        }
        // SAFETY: BPF_MAP_CREATE takes no pointers.
        Self::new(unsafe { create(Command::MapCreate, &mut attributes) }?)
    }

    /// Opens a pinned map. Fails with `InvalidInput` if the pin is of something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::adopt(open(path)?)
    }

    /// Takes a descriptor that somebody else made. Fails with `InvalidInput` if it is none of such a
    /// map.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        // Others describe themselves in other words, also longer ones.
        const NAME: &[u8] = b"anon_inode:bpf-map";
        let path = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        let mut target = [0_u8; NAME.len() + 1];
        // readlink(2) is another system call, which a filter may not let through.
        // SAFETY: readlinkat(2) reads a terminated path and writes at most the buffer's length.
        let length = unsafe {
            libc::readlinkat(
                libc::AT_FDCWD,
                path.as_ptr(),
                target.as_mut_ptr().cast(),
                target.len(),
            )
        };
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        if usize::try_from(length).ok().and_then(|length| target.get(..length)) != Some(NAME) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Self::new(fd)
    }

    fn new(fd: OwnedFd) -> io::Result<Self> {
        let mut info = Info::default();
        let mut attributes = InfoAttributes {
            fd: fd.as_raw_fd() as u32,
            length: size_of::<Info>() as u32,
            info: (&raw mut info) as u64,
        };
        // SAFETY: BPF_OBJ_GET_INFO_BY_FD writes at most `length` bytes of what it knows.
        unsafe { call(Command::Info, &mut attributes) }?;
        if !PLAIN.contains(&info.kind) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Ok(Self { fd, info })
    }

    /// Another descriptor of it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, info: self.info })
    }

    /// Whether it was made with these sizes, kind and flags.
    #[must_use]
    pub fn is_like(&self, spec: &MapSpec<'_>) -> bool {
        let Info { kind, id: _, key, value, entries, flags } = self.info;
        (kind, key, value, entries, flags)
            == (spec.kind, spec.key, spec.value, spec.entries, spec.flags)
    }

    /// Whether it is the storage of sockets, whose keys are their descriptors.
    #[must_use]
    pub fn is_of_sockets(&self) -> bool {
        (self.info.kind, self.info.key) == (SOCKET_STORAGE, 4)
    }

    /// Bytes of a value.
    #[must_use]
    pub fn value_length(&self) -> usize {
        self.info.value as usize
    }

    /// Copies the value of a key; false when there is none.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        check(value, self.info.value)?;
        self.element(Command::MapLookup, Some(key), value.as_mut_ptr() as u64)
    }

    /// Sets the value of a key, whether it had one or not.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        check(value, self.info.value)?;
        if self.element(Command::MapUpdate, Some(key), value.as_ptr() as u64)? {
            return Ok(());
        }
        // Only elements past the end of an array, or without their socket, are not found here.
        Err(io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Deletes a key; false when it was not there.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.element(Command::MapDelete, Some(key), 0)
    }

    /// All keys, in no order. One that is added or deleted meanwhile may be missed, or, if a hash,
    /// make others come again.
    pub fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut next = vec![0; self.info.key as usize];
        // A hash whose current key was deleted starts over: bounded, so that it ends.
        while keys.len() < 2 * self.info.entries as usize {
            let pointer = next.as_mut_ptr() as u64;
            if !self.element(Command::MapNextKey, keys.last().map(Vec::as_slice), pointer)? {
                break;
            }
            keys.push(next.clone());
        }
        Ok(keys)
    }

    pub(super) fn info(&self) -> Info {
        self.info
    }

    /// A command on one element; false for `ENOENT`. `pointer` is to as many bytes as the map's
    /// values, or keys for the next key, have; or 0 if the command takes none.
    fn element(&self, command: Command, key: Option<&[u8]>, pointer: u64) -> io::Result<bool> {
        if let Some(key) = key {
            check(key, self.info.key)?;
        }
        let mut attributes = ElementAttributes {
            map: self.fd.as_raw_fd() as u32,
            key: key.map_or(0, |key| key.as_ptr() as u64),
            value_or_next: pointer,
            ..ElementAttributes::default()
        };
        // SAFETY: the kernel reads a key, and reads or writes a value or writes a key, of the
        // lengths that it told us itself for this map; the slices were checked to have them.
        match unsafe { call(command, &mut attributes) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Info {
    pub(super) fn is_mappable_array(self) -> bool {
        const MAPPABLE: u32 = 1 << 10;
        self.kind == ARRAY && self.flags & MAPPABLE != 0 && self.value == 8
    }

    pub(super) fn is_ring_buffer(self) -> bool {
        self.kind == RING_BUFFER
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(bytes: &[u8], length: u32) -> io::Result<()> {
    if bytes.len() == length as usize {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidInput))
    }
}

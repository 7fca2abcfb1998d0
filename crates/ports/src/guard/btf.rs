//! The types of a socket's state, in the kernel's format for them (`linux/btf.h`,
//! `Documentation/bpf/btf.rst`): a map that lives in sockets is not made without.

/// Type of the key: a socket's descriptor.
pub(super) const KEY: u32 = 1;
/// Type of the value: [`Socket`](super::Socket).
pub(super) const SOCKET: u32 = 4;

const U64: u32 = 2;
const U32: u32 = 3;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_LENGTH: u32 = 24;
const KIND_INTEGER: u32 = 1;
const KIND_STRUCT: u32 = 4;
const SIGNED: u32 = 1 << 24;

/// The types, as `BPF_BTF_LOAD` takes them.
pub fn types() -> Vec<u8> {
    let mut strings = vec![0];
    let mut types = Vec::new();
    let mut push = |words: &[u32]| {
        types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    };
    let integers = [("int", 4_u32, SIGNED | 32), ("unsigned long", 8, 64), ("unsigned int", 4, 32)];
    for (text, size, encoding) in integers {
        push(&[name(&mut strings, text), KIND_INTEGER << 24, size, encoding]);
    }
    let members = super::Socket::MEMBERS;
    let length = super::layout::SOCKET_LENGTH as u32;
    push(&[name(&mut strings, "socket"), KIND_STRUCT << 24 | members.len() as u32, length]);
    for (text, offset, size) in members {
        let kind = if size == 8 { U64 } else { U32 };
        push(&[name(&mut strings, text), kind, offset as u32 * 8]);
    }

    let (types_length, strings_length) = (types.len() as u32, strings.len() as u32);
    let mut blob = MAGIC.to_ne_bytes().to_vec();
    blob.extend([VERSION, 0]);
    let header = [HEADER_LENGTH, 0, types_length, types_length, strings_length];
    blob.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
    blob.extend(types);
    blob.extend(strings);
    blob
}

/// Appends a name and returns where it is.
fn name(strings: &mut Vec<u8>, text: &str) -> u32 {
    let offset = strings.len() as u32;
    strings.extend(text.bytes());
    strings.push(0);
    offset
}

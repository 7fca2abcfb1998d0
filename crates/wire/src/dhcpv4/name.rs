//! Host and domain names: text that is safe to hand on, and the wire form of RFC 1035.

use super::Reason;
use crate::{Error, Layer};

/// The longest name as text without its trailing dot (RFC 1035 2.3.4 less the length bytes).
const MAX_NAME: usize = 253;
/// The longest label.
const MAX_LABEL: usize = 63;
/// The most names in one list, so that two-byte pointers cannot blow up a message.
const MAX_NAMES: usize = 256;

/// Checks a host or domain name: labels of letters, digits, `-` and `_`, none of them empty or
/// starting or ending with `-`. Hands it back without a trailing dot.
pub(super) fn valid(text: &str) -> Result<&str, Reason> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= MAX_NAME && name.split('.').all(label_ok) {
        Ok(name)
    } else {
        Err(Reason::Name)
    }
}

/// Reads a list of names with compression (RFC 3397 2, RFC 1035 4.1.4). Root names, which some
/// servers append, are skipped.
pub(super) fn list(data: &[u8]) -> Result<Vec<String>, Reason> {
    let mut names = Vec::new();
    let mut offset = 0;
    for _ in 0..MAX_NAMES {
        if offset >= data.len() {
            break;
        }
        let (name, next) = decompress(data, offset)?;
        if !name.is_empty() {
            names.push(valid(&name)?.to_owned());
        }
        offset = next;
    }
    if names.is_empty() || offset < data.len() { Err(Reason::Length) } else { Ok(names) }
}

/// Reads one name of wire form without compression that takes up all of `data`.
///
/// The name ends with a dot if it is complete; a client may leave out the root (RFC 4702 2.3).
pub(super) fn single(data: &[u8]) -> Result<String, Reason> {
    let mut name = String::new();
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        if length == 0 {
            // Anything after the root is padding.
            name.push('.');
            break;
        }
        let (label, after) = label(length, after)?;
        append(&mut name, label)?;
        rest = after;
    }
    if matches!(name.as_str(), "" | ".") {
        return Ok(String::new());
    }
    valid(&name)?;
    Ok(name)
}

/// Appends a name in wire form; with a root label if `complete`.
pub(super) fn emit(name: &str, complete: bool, bytes: &mut Vec<u8>) -> crate::Result<()> {
    let unencodable = Error::Unencodable { layer: Layer::Dhcpv4, what: "domain name" };
    for label in valid(name).map_err(|_| unencodable)?.split('.') {
        // At most 63: it is valid.
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    if complete {
        bytes.push(0);
    }
    Ok(())
}

/// Reads the name at `start`; returns it, without a trailing dot, and the offset of what follows.
///
/// A pointer must point before the place where the piece of the name that holds it began, so each
/// jump goes strictly backwards and the walk ends.
fn decompress(data: &[u8], start: usize) -> Result<(String, usize), Reason> {
    let mut name = String::new();
    let mut piece_start = start;
    let mut offset = start;
    let mut after_first_piece = None;
    loop {
        let &[length, ref rest @ ..] = data.get(offset..).unwrap_or_default() else {
            return Err(Reason::Length);
        };
        if length == 0 {
            return Ok((name, after_first_piece.unwrap_or(offset + 1)));
        }
        if length & 0xc0 == 0xc0 {
            let low = *rest.first().ok_or(Reason::Length)?;
            let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
            after_first_piece.get_or_insert(offset + 2);
            if target >= piece_start {
                return Err(Reason::Pointer);
            }
            (piece_start, offset) = (target, target);
            continue;
        }
        let (label, _) = label(length, rest)?;
        append(&mut name, label)?;
        offset += 1 + label.len();
    }
}

fn label(length: u8, after: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    if usize::from(length) > MAX_LABEL {
        return Err(Reason::Name);
    }
    after.split_at_checked(length.into()).ok_or(Reason::Length)
}

/// Appends a label; a dot in it would make it two.
fn append(name: &mut String, label: &[u8]) -> Result<(), Reason> {
    let label = core::str::from_utf8(label).map_err(|_| Reason::Name)?;
    if label.contains('.') || name.len() + label.len() >= MAX_NAME + usize::from(name.is_empty()) {
        return Err(Reason::Name);
    }
    if !name.is_empty() {
        name.push('.');
    }
    name.push_str(label);
    Ok(())
}

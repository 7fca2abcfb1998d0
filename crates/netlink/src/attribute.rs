//! Attributes: the typed, possibly nested values after a message's fixed part.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

use wire::HardwareAddress;

use crate::kernel::{NLA_F_NESTED, NLA_F_NET_BYTEORDER};

/// Bytes of an attribute header (`struct nlattr`).
pub(crate) const HEADER: usize = 4;

/// One attribute: a number that its surroundings give meaning to, and bytes.
///
/// The readers return `None` when there are too few bytes; more than needed are fine, since the
/// kernel extends structures at their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The attribute's number, without its flags.
    pub kind: u16,
    /// Its value, without padding.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// One byte.
    #[must_use]
    pub fn u8(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// Two bytes in the host's order.
    #[must_use]
    pub fn u16(&self) -> Option<u16> {
        self.payload.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
    }

    /// Four bytes in the host's order.
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        self.payload.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    /// Four bytes in the host's order, signed.
    #[must_use]
    pub fn i32(&self) -> Option<i32> {
        self.payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
    }

    /// Eight bytes in the host's order.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        self.payload.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// Text, up to its terminator. The kernel does not promise UTF-8.
    #[must_use]
    pub fn text(&self) -> &'a OsStr {
        let end = self.payload.iter().position(|byte| *byte == 0);
        OsStr::from_bytes(self.payload.get(..end.unwrap_or(self.payload.len())).unwrap_or_default())
    }

    /// An IPv4 or IPv6 address, told apart by its length, which must be exact.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        ip(self.payload)
    }

    /// A link address of up to 32 bytes.
    #[must_use]
    pub fn hardware_address(&self) -> Option<HardwareAddress> {
        HardwareAddress::new(self.payload)
    }

    /// The attributes inside this one.
    #[must_use]
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.payload)
    }
}

/// The attributes in a run of bytes, in order.
///
/// Ends at the first one whose stated length is impossible; see
/// [`is_damaged`](Self::is_damaged). Each step consumes at least four bytes, so it always ends.
#[derive(Debug, Clone, Default)]
pub struct Attributes<'a> {
    rest: &'a [u8],
    damaged: bool,
}

impl<'a> Attributes<'a> {
    /// Reads attributes from `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, damaged: false }
    }

    /// The first attribute of this number.
    #[must_use]
    pub fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        self.clone().find(|attribute| attribute.kind == kind)
    }

    /// Whether iteration stopped at bytes that are no attribute.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let rest = std::mem::take(&mut self.rest);
        let &[l0, l1, k0, k1, ..] = rest else {
            // Fewer than four bytes left: padding if they are zero.
            self.damaged |= rest.iter().any(|byte| *byte != 0);
            return None;
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(payload) = rest.get(HEADER..length) else {
            self.damaged = true;
            return None;
        };
        self.rest = rest.get(align(length)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([k0, k1]) & !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);
        Some(Attribute { kind, payload })
    }
}

/// Rounds up to the four bytes that messages and attributes are aligned to.
pub(crate) const fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn walks_nested_attributes_and_strips_flags() {
        let bytes = [12, 0, 7, 0x80, 6, 0, 1, 0, 0xaa, 0xbb, 0, 0, 5, 0, 2, 0, 9, 0, 0, 0];
        let all: Vec<_> = Attributes::new(&bytes).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[1].kind), (7, 2));
        assert_eq!(all[0].nested().get(1).unwrap().payload, [0xaa, 0xbb]);
        assert_eq!(all[1].u8(), Some(9));
        assert_eq!((all[1].u16(), all[1].u32(), all[1].u64()), (None, None, None));
    }

    #[test]
    fn the_last_padding_may_be_missing() {
        let all: Vec<_> = Attributes::new(&[5, 0, 1, 0, 9]).collect();
        assert_eq!(all, [Attribute { kind: 1, payload: &[9] }]);
    }

    #[test]
    fn impossible_lengths_end_the_run_and_say_so() {
        for length in [0, 1, 3, 9, 255] {
            let bytes = [4, 0, 1, 0, length, 0, 2, 0, 0, 0, 0, 0];
            let mut attributes = Attributes::new(&bytes);
            assert_eq!(attributes.by_ref().count(), 1, "{length}");
            assert!(attributes.is_damaged());
        }
        let mut clean = Attributes::new(&[4, 0, 1, 0]);
        assert_eq!(clean.by_ref().count(), 1);
        assert!(!clean.is_damaged());
    }

    #[test]
    fn text_ends_at_its_terminator_and_may_be_anything() {
        let text = |payload| Attribute { kind: 1, payload }.text();
        assert_eq!(text(b"eth0\0"), "eth0");
        assert_eq!(text(b"eth0"), "eth0");
        assert_eq!(text(b""), "");
        assert_eq!(text(b"\xff\xfe\0x").as_bytes(), b"\xff\xfe");
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Attributes::new(&bytes).count() <= bytes.len() / HEADER);
        }
    }
}

//! What rtnetlink does not know of devices: speeds, offloads, wake-up. The generic netlink family `ethtool`
//! (`Documentation/networking/ethtool-netlink.rst`), over a socket of `NETLINK_GENERIC`.

use std::ffi::OsStr;

use crate::{Attribute, Attributes, Error, Message, Request, Row};

/// The controller of generic netlink (`linux/genetlink.h`).
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `linux/ethtool_netlink.h`. The reply has the number of the request.
const LINK_MODES: u8 = 4;
const WAKE_ON_LAN: u8 = 9;
const FEATURES: u8 = 11;
const HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;
const HEADER_FLAGS: u16 = 3;
const SPEED: u16 = 5;
const COMPACT_BITSETS: u32 = 1;
const WAKE_ON_LAN_MODES: u16 = 2;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;

/// The number of a generic netlink family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyId(pub u16);

impl Row for FamilyId {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        if message.kind != CONTROLLER {
            return None;
        }
        // A `struct genlmsghdr`: command, version, padding.
        match message.body::<4>() {
            Ok((_, attributes)) => Some(Ok(Self(attributes.get(FAMILY_ID)?.u16()?))),
            Err(error) => Some(Err(error)),
        }
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

/// The speed of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkSpeed {
    /// The interface.
    pub interface: u32,
    /// Megabits per second; `None` if the driver does not know.
    pub megabits: Option<u32>,
}

impl Row for LinkSpeed {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        let (interface, attributes) = match answer(message, LINK_MODES)? {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        let speed = attributes.get(SPEED).and_then(|speed| speed.u32());
        let megabits = speed.filter(|speed| *speed != 0 && *speed != u32::MAX);
        Some(Ok(Self { interface, megabits }))
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

/// What a device does for the network stack, as far as it is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The interface.
    pub interface: u32,
    /// Makes the checksums of TCP and UDP in what is sent by IPv4.
    pub checksums_ipv4: bool,
    /// Makes the checksums of TCP and UDP in what is sent by IPv6.
    pub checksums_ipv6: bool,
    /// Checks the checksums of TCP and UDP in what is received.
    pub checks_received: bool,
    /// Cuts what TCP sends by IPv4 into segments.
    pub segments_ipv4: bool,
    /// Cuts what TCP sends by IPv6 into segments.
    pub segments_ipv6: bool,
}

impl Row for Features {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        let (interface, attributes) = match answer(message, FEATURES)? {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        let mut features = Self {
            interface,
            checksums_ipv4: false,
            checksums_ipv6: false,
            checks_received: false,
            segments_ipv4: false,
            segments_ipv6: false,
        };
        for name in names(attributes.get(FEATURES_ACTIVE)?) {
            // The names of the string set `netdev-features` (`net/ethtool/common.c`).
            match name.as_encoded_bytes() {
                b"tx-checksum-ip-generic" => {
                    (features.checksums_ipv4, features.checksums_ipv6) = (true, true);
                }
                b"tx-checksum-ipv4" => features.checksums_ipv4 = true,
                b"tx-checksum-ipv6" => features.checksums_ipv6 = true,
                b"rx-checksum" => features.checks_received = true,
                b"tx-tcp-segmentation" => features.segments_ipv4 = true,
                b"tx-tcp6-segmentation" => features.segments_ipv6 = true,
                _ => {}
            }
        }
        Some(Ok(features))
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

/// What of a packet can wake the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WakeUp {
    /// The interface.
    pub interface: u32,
    /// More than magic packets and the link: addresses, ARP, or filters.
    pub patterns: bool,
}

impl Row for WakeUp {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        let (interface, attributes) = match answer(message, WAKE_ON_LAN)? {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        // All that are listed are supported; a flag in each says whether it is switched on.
        let patterns = ["ucast", "mcast", "bcast", "arp", "filter"];
        let mut modes = attributes.get(WAKE_ON_LAN_MODES).into_iter().flat_map(names);
        let patterns = modes.any(|mode| patterns.iter().any(|pattern| mode == *pattern));
        Some(Ok(Self { interface, patterns }))
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

/// The interface and the attributes of an answer to a command.
fn answer<'a>(message: &Message<'a>, command: u8) -> Option<Result<(u32, Attributes<'a>), Error>> {
    if message.kind <= CONTROLLER {
        return None;
    }
    let (&[answered, _, _, _], attributes) = match message.body::<4>() {
        Ok(body) => body,
        Err(error) => return Some(Err(error)),
    };
    let header = attributes.get(HEADER).filter(|_| answered == command)?;
    Some(Ok((header.nested().get(HEADER_INDEX)?.u32()?, attributes)))
}

/// The names of the bits of a set, which must not be a compact one.
fn names(set: Attribute<'_>) -> impl Iterator<Item = &OsStr> {
    let bits = set.nested().get(BITSET_BITS).into_iter().flat_map(|bits| bits.nested());
    bits.filter_map(|bit| Some(bit.nested().get(BIT_NAME)?.text()))
}

/// Asks for the family's number. Kernels without it refuse (`ENOENT`).
#[must_use]
pub fn family() -> Request {
    let mut request = Request::new(CONTROLLER, 0, &[GET_FAMILY, 1, 0, 0]);
    request.text(FAMILY_NAME, OsStr::new("ethtool"));
    request
}

/// Asks for the speeds of all interfaces; those whose drivers have none are left out.
#[must_use]
pub fn dump_speeds(family: FamilyId) -> Request {
    speeds(family, crate::kernel::NLM_F_DUMP, None)
}

/// Asks for the speed of one interface. Drivers that have none refuse (`EOPNOTSUPP`).
#[must_use]
pub fn speed(family: FamilyId, interface: u32) -> Request {
    speeds(family, 0, Some(interface))
}

fn speeds(family: FamilyId, flags: u16, interface: Option<u32>) -> Request {
    question(family, LINK_MODES, flags, interface, COMPACT_BITSETS)
}

/// Asks what the device of an interface does for the network stack.
#[must_use]
pub fn features(family: FamilyId, interface: u32) -> Request {
    question(family, FEATURES, 0, Some(interface), 0)
}

/// Asks what can wake the machine by an interface. Needs `CAP_NET_ADMIN`; drivers that know of no
/// such thing refuse (`EOPNOTSUPP`).
#[must_use]
pub fn wake_up(family: FamilyId, interface: u32) -> Request {
    question(family, WAKE_ON_LAN, 0, Some(interface), 0)
}

fn question(
    family: FamilyId,
    command: u8,
    flags: u16,
    interface: Option<u32>,
    header_flags: u32,
) -> Request {
    let mut request = Request::new(family.0, flags, &[command, 1, 0, 0]);
    request.nest(HEADER, |header| {
        if let Some(interface) = interface {
            header.u32(HEADER_INDEX, interface);
        }
        header.u32(HEADER_FLAGS, header_flags);
    });
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Messages;

    /// An answer with a set of names.
    fn answered<R: for<'a> Row<View<'a> = R>>(command: u8, set: u16, bits: &[&str]) -> Option<R> {
        let mut answer = Request::new(20, 0, &[command, 1, 0, 0]);
        answer.nest(HEADER, |header| _ = header.u32(HEADER_INDEX, 3));
        answer.nest(set, |set| {
            set.nest(BITSET_BITS, |list| {
                for bit in bits {
                    list.nest(1, |one| _ = one.text(BIT_NAME, OsStr::new(bit)));
                }
            });
        });
        let mut datagram = Vec::new();
        answer.encode(1, 0, &mut datagram);
        let message = Messages::new(&datagram).next().unwrap().unwrap();
        R::view(&message).map(Result::unwrap)
    }

    #[test]
    fn features_are_known_by_name() {
        let of = |bits: &[&str]| answered::<Features>(FEATURES, FEATURES_ACTIVE, bits).unwrap();
        let nothing = of(&["rx-gro", "something-new"]);
        assert!(!nothing.checksums_ipv4 && !nothing.checks_received && !nothing.segments_ipv6);
        let all = of(&["tx-checksum-ip-generic", "tx-tcp6-segmentation", "rx-checksum"]);
        assert!(all.checksums_ipv4 && all.checksums_ipv6 && all.checks_received);
        assert_eq!((all.segments_ipv4, all.segments_ipv6, all.interface), (false, true, 3));
        assert!(!of(&["tx-checksum-ipv4"]).checksums_ipv6);
        assert_eq!(answered::<Features>(LINK_MODES, FEATURES_ACTIVE, &[]), None);
    }

    #[test]
    fn magic_packets_are_no_patterns() {
        let of = |bits: &[&str]| answered::<WakeUp>(WAKE_ON_LAN, WAKE_ON_LAN_MODES, bits).unwrap();
        assert!(!of(&["phy", "magic", "magicsecure"]).patterns);
        assert!(of(&["magic", "filter"]).patterns && of(&["arp"]).patterns);
    }
}

use std::fmt;

use netlink::link::LinkView;
use serde::{Deserialize, Serialize};

/// The kind of an interface, as IANA numbers them (`ifType`, RFC 2863; the registry "ifType
/// definitions").
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct InterfaceType(pub u16);

impl InterfaceType {
    /// None of the others.
    pub const OTHER: Self = Self(1);
    /// Ethernet, and what looks like it: veth, bridges, VLANs, macvlan, vxlan.
    pub const ETHERNET: Self = Self(6);
    /// Token ring.
    pub const TOKEN_RING: Self = Self(9);
    /// PPP.
    pub const PPP: Self = Self(23);
    /// A loopback.
    pub const LOOPBACK: Self = Self(24);
    /// ATM.
    pub const ATM: Self = Self(37);
    /// Wi-Fi, where the kernel shows its frames. A station looks like [`ETHERNET`](Self::ETHERNET)
    /// to rtnetlink, and is numbered so: nl80211 knows better, but would have to be asked apart, so
    /// that a notification and a list would not agree on the type, nor then on the [`Luid`].
    pub const WIFI: Self = Self(71);
    /// A tunnel that carries IP packets.
    pub const TUNNEL: Self = Self(131);
    /// FireWire.
    pub const IEEE_1394: Self = Self(144);
    /// InfiniBand.
    pub const INFINIBAND: Self = Self(199);

    /// The type of an interface with this ARP hardware type (`ARPHRD_*`, `linux/if_arp.h`) and
    /// this kind (`IFLA_INFO_KIND`).
    #[must_use]
    pub fn of(hardware_type: u16, kind: Option<&[u8]>) -> Self {
        match hardware_type {
            1 => Self::ETHERNET,
            19 => Self::ATM,
            24 => Self::IEEE_1394,
            32 => Self::INFINIBAND,
            512 => Self::PPP,
            // IPv4 and IPv6 in IP, SIT, GRE, GRE over IPv6.
            768 | 769 | 776 | 778 | 823 => Self::TUNNEL,
            772 => Self::LOOPBACK,
            800 => Self::TOKEN_RING,
            // IEEE 802.11 frames, also with a monitor's headers.
            801..=803 => Self::WIFI,
            // No link header at all: whoever made it is who knows.
            65534 => match kind {
                Some(
                    b"tun" | b"wireguard" | b"ipip" | b"ip6tnl" | b"sit" | b"gre" | b"ip6gre"
                    | b"vti" | b"vti6" | b"xfrm" | b"gtp" | b"ovpn" | b"bareudp",
                ) => Self::TUNNEL,
                _ => Self::OTHER,
            },
            _ => Self::OTHER,
        }
    }

    /// The word that names of this type begin with in the grammar of
    /// `ConvertInterfaceLuidToName`, such as `ethernet` in `ethernet_32769`; `None` for types
    /// that are written `iftypeN`.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::OTHER => "other",
            Self::ETHERNET => "ethernet",
            Self::TOKEN_RING => "tokenring",
            Self::PPP => "ppp",
            Self::LOOPBACK => "loopback",
            Self::ATM => "atm",
            Self::WIFI => "wireless",
            Self::TUNNEL => "tunnel",
            Self::IEEE_1394 => "ieee1394",
            _ => return None,
        })
    }
}

/// A locally unique identifier of an interface (`NET_LUID`).
///
/// From the least significant bit: 24 bits reserved, 24 bits of index, 16 bits of
/// [`InterfaceType`]. It is computed from the type and the interface index, so that it needs no
/// state, survives a new name, and ends with the interface. Indices of more than 24 bits continue
/// in the reserved bits. 0 stands for none.
///
/// In JSON it is a number, which a double-precision reader keeps whole for every index below 2^24.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Luid(pub u64);

impl Luid {
    /// The identifier of the interface of this type and index.
    #[must_use]
    pub fn new(interface_type: InterfaceType, ifindex: u32) -> Self {
        let (high, low) = (u64::from(ifindex >> 24), u64::from(ifindex & 0xff_ffff));
        Self(u64::from(interface_type.0) << 48 | low << 24 | high)
    }

    pub(crate) fn of(view: &LinkView<'_>) -> Self {
        let kind = view.kind.map(std::ffi::OsStr::as_encoded_bytes);
        Self::new(InterfaceType::of(view.hardware_type, kind), view.index)
    }

    /// The interface's index.
    #[must_use]
    pub fn ifindex(self) -> u32 {
        ((self.0 >> 24 & 0xff_ffff) | (self.0 & 0xff) << 24) as u32
    }

    /// The interface's type.
    #[must_use]
    pub fn interface_type(self) -> InterfaceType {
        InterfaceType((self.0 >> 48) as u16)
    }

    /// Whether it stands for an interface at all.
    #[must_use]
    pub fn is_unspecified(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Luid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Debug for Luid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Luid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_net_luid() {
        let luid = Luid::new(InterfaceType::ETHERNET, 0x8001);
        assert_eq!(luid.0, 0x0006_0080_0100_0000);
        assert_eq!(luid.to_string(), "0x0006008001000000");
        assert_eq!((luid.ifindex(), luid.interface_type().0), (0x8001, 6));
    }

    #[test]
    fn every_index_comes_back_and_stays_distinct() {
        for ifindex in [1, 0xff_ffff, 0x100_0000, 0x7fff_ffff, u32::MAX] {
            let luid = Luid::new(InterfaceType::TUNNEL, ifindex);
            assert_eq!((luid.ifindex(), luid.interface_type()), (ifindex, InterfaceType::TUNNEL));
        }
        assert_ne!(
            Luid::new(InterfaceType::ETHERNET, 1),
            Luid::new(InterfaceType::ETHERNET, 0x100_0001)
        );
    }

    #[test]
    fn usual_identifiers_survive_a_double() {
        let luid = Luid::new(InterfaceType::INFINIBAND, 0xff_ffff);
        assert_eq!(luid.0 as f64 as u64, luid.0);
    }

    #[test]
    fn types_follow_the_hardware_and_the_kind() {
        for (hardware, kind, expected) in [
            (1, None, 6),
            (1, Some(&b"vxlan"[..]), 6),
            (772, None, 24),
            (512, Some(b"ppp"), 23),
            (65534, Some(b"wireguard"), 131),
            (65534, Some(b"unheard-of"), 1),
            (32, None, 199),
            (280, Some(b"vcan"), 1),
        ] {
            assert_eq!(InterfaceType::of(hardware, kind).0, expected, "{hardware} {kind:?}");
        }
    }
}

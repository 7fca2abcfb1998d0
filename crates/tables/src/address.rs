use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink::address::Address;
use netlink::kernel::*;
use netlink::{Family, Name};
use serde::{Deserialize, Serialize};

use crate::Luid;
use crate::directory::Entry;
use crate::row::{Row, Weight, difference};

/// An address of an interface, as `MIB_UNICASTIPADDRESS_ROW`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnicastAddress {
    /// The interface's name.
    pub interface: Name,
    /// The interface's index.
    pub ifindex: u32,
    /// The interface's LUID.
    pub luid: Luid,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The address. On point-to-point links this host's own.
    pub address: IpAddr,
    /// How many of its bits name the network: of `peer`, where there is one.
    pub prefix_length: u8,
    /// The other end's address, where it differs from this host's.
    pub peer: Option<IpAddr>,
    /// The address that reaches everyone.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is meaningful.
    pub scope: Scope,
    /// The zone an address of link scope belongs to: the interface's index. 0 for wider scopes.
    pub scope_id: u32,
    /// Whether it can be used. The kernel detects duplicates of IPv6 addresses only.
    pub dad_state: DadState,
    /// Where its prefix comes from. Linux knows it from 5.18 on (`IFA_PROTO`), and for addresses
    /// that make themselves; otherwise a lifetime tells DHCP from a person.
    pub prefix_origin: PrefixOrigin,
    /// Where its interface identifier comes from.
    pub suffix_origin: SuffixOrigin,
    /// Seconds it remains valid; `None` for ever.
    pub valid_lifetime: Option<u32>,
    /// Seconds it remains preferred; `None` for ever.
    pub preferred_lifetime: Option<u32>,
    /// Not used as source of new connections, unless asked for: it is deprecated.
    pub skip_as_source: bool,
    /// Its interface identifier changes with time (RFC 8981).
    pub temporary: bool,
    /// The kernel adds no route to its network.
    pub without_prefix_route: bool,
    /// A name, where it is not the interface's. IPv4 only.
    pub label: Option<Name>,
    /// Metric of the route to its network; 0 is the kernel's default (0 for IPv4, 256 for IPv6).
    pub metric: u32,
    /// Who made it (`IFAPROT_*`), 0 if nobody said.
    pub protocol: u8,
    /// All of `IFA_F_*`.
    pub flags: u32,
    /// When it was made, in hundredths of a second on the kernel's clock that stops in suspend.
    pub created_at: Option<u32>,
    /// When it, or its lifetimes, were last changed, on the same clock.
    pub updated_at: Option<u32>,
}

/// A group that an interface has joined, as `MIB_MULTICASTIPADDRESS_ROW`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MulticastAddress {
    /// The interface's name.
    pub interface: Name,
    /// The interface's index.
    pub ifindex: u32,
    /// The interface's LUID.
    pub luid: Luid,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The multicast group that the interface has joined.
    pub address: IpAddr,
    /// The zone, as for [`UnicastAddress::scope_id`].
    pub scope_id: u32,
}

/// An address that belongs to the nearest of several hosts, as `MIB_ANYCASTIPADDRESS_ROW`.
///
/// IPv6 only: Linux does not tell IPv4 anycast addresses from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnycastAddress {
    /// The interface's name.
    pub interface: Name,
    /// The interface's index.
    pub ifindex: u32,
    /// The interface's LUID.
    pub luid: Luid,
    /// IPv6.
    pub family: Family,
    /// The anycast address that the interface answers for.
    pub address: IpAddr,
    /// The zone, as for [`UnicastAddress::scope_id`].
    pub scope_id: u32,
}

/// Whether an address can be used (`NL_DAD_STATE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DadState {
    /// Not yet known to be unique.
    Tentative,
    /// Somebody else has it.
    Duplicate,
    /// Valid, but not for new connections.
    Deprecated,
    /// In use.
    Preferred,
}

/// Where an address' prefix comes from (`NL_PREFIX_ORIGIN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixOrigin {
    /// A person or a program.
    Manual,
    /// A standard: loopback, link-local.
    WellKnown,
    /// DHCP.
    Dhcp,
    /// A router advertisement.
    RouterAdvertisement,
}

/// Where an address' interface identifier comes from (`NL_SUFFIX_ORIGIN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuffixOrigin {
    /// A person or a program.
    Manual,
    /// A standard: loopback.
    WellKnown,
    /// DHCP.
    Dhcp,
    /// The interface's link address (modified EUI-64).
    LinkLayerAddress,
    /// Chance, or a secret (RFC 7217, RFC 8981).
    Random,
}

/// How far something is meaningful (`RT_SCOPE_*`).
///
/// As text, also with serde, `global`, `site`, `link`, `host`, `nowhere` or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub u8);

crate::number::text_of_number! {
    Scope, "scope",
    "global" => RT_SCOPE_UNIVERSE,
    "site" => RT_SCOPE_SITE,
    "link" => RT_SCOPE_LINK,
    "host" => RT_SCOPE_HOST,
    "nowhere" => RT_SCOPE_NOWHERE,
}

/// Address protocols (`IFAPROT_*`, `linux/if_addr.h`).
const KERNEL_LOOPBACK: u8 = 1;
const KERNEL_ROUTER_ADVERTISEMENT: u8 = 2;
const KERNEL_LINK_LOCAL: u8 = 3;
/// What iphelperd writes on the addresses it leased.
const IPHELPERD: u8 = 0x69;

impl UnicastAddress {
    pub(crate) fn new(address: &Address, entry: &Entry) -> Self {
        let (prefix_origin, suffix_origin) = origins(address);
        Self {
            interface: entry.name,
            ifindex: address.interface,
            luid: entry.luid,
            family: Family::of(address.address),
            address: address.address,
            prefix_length: address.prefix_length,
            peer: address.peer,
            broadcast: address.broadcast,
            scope: Scope(address.scope),
            scope_id: scope_id(address.address, address.interface),
            dad_state: dad_state(address),
            prefix_origin,
            suffix_origin,
            valid_lifetime: address.valid_seconds,
            preferred_lifetime: address.preferred_seconds,
            skip_as_source: address.flags.is_deprecated(),
            temporary: address.address.is_ipv6() && address.flags.is_secondary(),
            without_prefix_route: address.flags.is_without_prefix_route(),
            label: address.label.filter(|label| *label != entry.name),
            metric: address.metric,
            protocol: address.protocol.unwrap_or_default(),
            flags: address.flags.0,
            created_at: address.created_at,
            updated_at: address.updated_at,
        }
    }
}

impl Row for UnicastAddress {
    /// One address may be there with several prefix lengths and peers (IPv4).
    type Key = (u32, IpAddr, u8, Option<IpAddr>);

    fn key(&self) -> Self::Key {
        (self.ifindex, self.address, self.prefix_length, self.peer)
    }

    difference!(
        interface,
        ifindex,
        luid,
        family,
        address,
        prefix_length,
        peer,
        broadcast,
        scope,
        scope_id,
        dad_state,
        prefix_origin,
        suffix_origin,
        valid_lifetime,
        preferred_lifetime,
        skip_as_source,
        temporary,
        without_prefix_route,
        label,
        metric,
        protocol,
        flags,
        created_at,
        updated_at,
    );

    fn weight(&self, _: &Self, member: &str) -> Weight {
        match member {
            // Time passes; a refresh shows in `updated_at`.
            "valid_lifetime" | "preferred_lifetime" => Weight::Running,
            "updated_at" => Weight::Lifetime,
            _ => Weight::State,
        }
    }
}

macro_rules! group_row {
    ($row:ident) => {
        impl $row {
            pub(crate) fn new(address: &Address, entry: &Entry) -> Self {
                Self {
                    interface: entry.name,
                    ifindex: address.interface,
                    luid: entry.luid,
                    family: Family::of(address.address),
                    address: address.address,
                    scope_id: scope_id(address.address, address.interface),
                }
            }
        }

        impl Row for $row {
            type Key = (u32, IpAddr);

            fn key(&self) -> Self::Key {
                (self.ifindex, self.address)
            }

            difference!(interface, ifindex, luid, family, address, scope_id);
        }
    };
}

impl MulticastAddress {
    /// A group that the kernel told by other means than netlink.
    pub(crate) fn ipv4(ifindex: u32, entry: &Entry, group: Ipv4Addr) -> Option<Self> {
        group.is_multicast().then_some(Self {
            interface: entry.name,
            ifindex,
            luid: entry.luid,
            family: Family::Ipv4,
            address: group.into(),
            scope_id: 0,
        })
    }
}

group_row!(MulticastAddress);
group_row!(AnycastAddress);

fn dad_state(address: &Address) -> DadState {
    let flags = address.flags;
    if flags.is_duplicate() {
        DadState::Duplicate
    } else if flags.is_tentative() && flags.0 & IFA_F_OPTIMISTIC == 0 {
        DadState::Tentative
    } else if flags.is_deprecated() {
        DadState::Deprecated
    } else {
        DadState::Preferred
    }
}

fn origins(address: &Address) -> (PrefixOrigin, SuffixOrigin) {
    let generated = || match address.address {
        IpAddr::V6(ipv6) => identifier_origin(ipv6, address.flags.0),
        IpAddr::V4(_) => SuffixOrigin::Random,
    };
    match (address.address, address.protocol) {
        (ip, _) if ip.is_loopback() => (PrefixOrigin::WellKnown, SuffixOrigin::WellKnown),
        (_, Some(KERNEL_LOOPBACK)) => (PrefixOrigin::WellKnown, SuffixOrigin::WellKnown),
        (_, Some(KERNEL_ROUTER_ADVERTISEMENT)) => (PrefixOrigin::RouterAdvertisement, generated()),
        (_, Some(KERNEL_LINK_LOCAL)) => (PrefixOrigin::WellKnown, generated()),
        (_, Some(RTPROT_DHCP)) => (PrefixOrigin::Dhcp, SuffixOrigin::Dhcp),
        (IpAddr::V6(ipv6), _) if ipv6.is_unicast_link_local() => {
            (PrefixOrigin::WellKnown, generated())
        }
        (IpAddr::V4(ipv4), _) if ipv4.is_link_local() => (PrefixOrigin::WellKnown, generated()),
        (_, Some(IPHELPERD)) => (PrefixOrigin::Dhcp, SuffixOrigin::Dhcp),
        (IpAddr::V6(_), _)
            if address.flags.0 & (IFA_F_MANAGETEMPADDR | IFA_F_STABLE_PRIVACY) != 0 =>
        {
            (PrefixOrigin::RouterAdvertisement, generated())
        }
        (_, _) if !address.flags.is_permanent() => (PrefixOrigin::Dhcp, SuffixOrigin::Dhcp),
        _ => (PrefixOrigin::Manual, SuffixOrigin::Manual),
    }
}

fn identifier_origin(address: Ipv6Addr, flags: u32) -> SuffixOrigin {
    let [.., third, fourth, _, _, _] = address.octets();
    if flags & (IFA_F_STABLE_PRIVACY | IFA_F_SECONDARY) == 0 && [third, fourth] == [0xff, 0xfe] {
        SuffixOrigin::LinkLayerAddress
    } else {
        SuffixOrigin::Random
    }
}

/// The zone of an address (RFC 4007): Linux numbers the zones of links by interface.
fn scope_id(address: IpAddr, ifindex: u32) -> u32 {
    let IpAddr::V6(address) = address else { return 0 };
    let multicast_scope = address.segments()[0] & 0xf;
    let is_local = address.is_unicast_link_local()
        || address.is_multicast() && matches!(multicast_scope, 1 | 2);
    if is_local { ifindex } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_text() {
        for (scope, text) in [(0, "global"), (253, "link"), (254, "host"), (7, "7")] {
            assert_eq!(Scope(scope).to_string(), text);
            assert_eq!(text.parse(), Ok(Scope(scope)));
        }
        assert!("256".parse::<Scope>().is_err());
        assert!("elsewhere".parse::<Scope>().is_err());
    }

    #[test]
    fn zones_are_those_of_links() {
        for (address, zone) in [
            ("fe80::1", 3),
            ("ff02::1", 3),
            ("ff01::1", 3),
            ("ff12::1", 3),
            ("ff05::1", 0),
            ("2001:db8::1", 0),
            ("169.254.0.1", 0),
        ] {
            assert_eq!(scope_id(address.parse().unwrap(), 3), zone, "{address}");
        }
    }

    #[test]
    fn interface_identifiers_tell_where_they_come_from() {
        let eui64 = "fe80::5054:ff:fe12:3456".parse().unwrap();
        assert_eq!(identifier_origin(eui64, 0), SuffixOrigin::LinkLayerAddress);
        assert_eq!(identifier_origin(eui64, IFA_F_STABLE_PRIVACY), SuffixOrigin::Random);
        assert_eq!(identifier_origin("fe80::1".parse().unwrap(), 0), SuffixOrigin::Random);
    }
}

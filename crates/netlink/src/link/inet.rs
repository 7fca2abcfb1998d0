use std::fmt;
use std::net::Ipv6Addr;

use crate::attribute::Attributes;
use crate::kernel::*;

/// IPv4 on an interface: the values of `/proc/sys/net/ipv4/conf/INTERFACE`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ipv4Settings {
    values: Values<33>,
}

impl Ipv4Settings {
    pub(super) fn parse(family: Attributes<'_>) -> Option<Self> {
        Some(Self { values: Values::parse(family.get(IFLA_INET_CONF)?.payload) })
    }

    /// The value of this number (`IPV4_DEVCONF_*`, from 1 on, `linux/ip.h`).
    #[must_use]
    pub fn value(&self, number: usize) -> Option<i32> {
        self.values.at(number.checked_sub(1)?)
    }

    /// Passes packets on (`forwarding`).
    #[must_use]
    pub fn forwarding(&self) -> Option<bool> {
        self.value(1).map(|value| value != 0)
    }

    /// Passes multicast packets on; set by the kernel (`mc_forwarding`).
    #[must_use]
    pub fn multicast_forwarding(&self) -> Option<bool> {
        self.value(2).map(|value| value != 0)
    }

    /// Answers ARP for addresses reached elsewhere (`proxy_arp`).
    #[must_use]
    pub fn proxy_arp(&self) -> Option<bool> {
        self.value(3).map(|value| value != 0)
    }

    /// Reverse path check: 0 none, 1 strict, 2 loose (`rp_filter`).
    #[must_use]
    pub fn reverse_path_filter(&self) -> Option<i32> {
        self.value(8)
    }

    /// Which local addresses ARP requests may name (`arp_announce`).
    #[must_use]
    pub fn arp_announce(&self) -> Option<i32> {
        self.value(18)
    }

    /// Which ARP requests are answered (`arp_ignore`).
    #[must_use]
    pub fn arp_ignore(&self) -> Option<i32> {
        self.value(19)
    }

    /// Accepts packets with a local source address (`accept_local`).
    #[must_use]
    pub fn accept_local(&self) -> Option<bool> {
        self.value(23).map(|value| value != 0)
    }
}

impl fmt::Debug for Ipv4Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ipv4Settings").field("values", &self.values.as_slice()).finish()
    }
}

/// IPv6 on an interface: the values of `/proc/sys/net/ipv6/conf/INTERFACE`, and what routers said.
#[derive(Clone, PartialEq, Eq)]
pub struct Ipv6Settings {
    /// `IF_READY`, `IF_RA_RCVD`, ... (`net/if_inet6.h`).
    pub flags: u32,
    /// The largest packet that is put together again, in bytes.
    pub maximum_reassembly: Option<u32>,
    /// How long a neighbour stays reachable at present, in milliseconds.
    pub reachable_milliseconds: Option<u32>,
    /// Time between neighbour solicitations, in milliseconds.
    pub retransmit_milliseconds: Option<u32>,
    /// The interface identifier set by hand for autoconfigured addresses.
    pub token: Option<Ipv6Addr>,
    /// How addresses are generated: 0 EUI-64, 1 not at all, 2 stable-privacy, 3 random.
    pub address_generation: Option<u8>,
    /// The MTU the last router advertisement named.
    pub advertised_mtu: Option<u32>,
    values: Values<64>,
}

/// A router advertisement has been received (`IF_RA_RCVD`).
const IF_RA_RCVD: u32 = 0x20;
/// Routers say: other configuration by DHCPv6 (`IF_RA_OTHERCONF`).
const IF_RA_OTHERCONF: u32 = 0x40;
/// Routers say: addresses by DHCPv6 (`IF_RA_MANAGED`).
const IF_RA_MANAGED: u32 = 0x80;

impl Ipv6Settings {
    pub(super) fn parse(family: Attributes<'_>) -> Option<Self> {
        let mut settings = Self {
            flags: family.get(IFLA_INET6_FLAGS)?.u32()?,
            maximum_reassembly: None,
            reachable_milliseconds: None,
            retransmit_milliseconds: None,
            token: None,
            address_generation: None,
            advertised_mtu: None,
            values: Values::parse(&[]),
        };
        for attribute in family {
            match attribute.kind {
                IFLA_INET6_CONF => settings.values = Values::parse(attribute.payload),
                IFLA_INET6_CACHEINFO => {
                    // struct ifla_cacheinfo: largest reassembly, time stamp, reachable, retransmit.
                    let mut words = attribute.payload.as_chunks::<4>().0.iter();
                    let mut next = || words.next().map(|word| u32::from_ne_bytes(*word));
                    settings.maximum_reassembly = next();
                    let _time_stamp = next();
                    settings.reachable_milliseconds = next();
                    settings.retransmit_milliseconds = next();
                }
                IFLA_INET6_TOKEN => {
                    settings.token = <[u8; 16]>::try_from(attribute.payload)
                        .ok()
                        .map(Ipv6Addr::from)
                        .filter(|token| !token.is_unspecified());
                }
                IFLA_INET6_ADDR_GEN_MODE => settings.address_generation = attribute.u8(),
                IFLA_INET6_RA_MTU => {
                    settings.advertised_mtu = attribute.u32().filter(|mtu| *mtu != 0);
                }
                _ => {}
            }
        }
        Some(settings)
    }

    /// The value of this number (`DEVCONF_*`, from 0 on, `linux/ipv6.h`).
    #[must_use]
    pub fn value(&self, number: usize) -> Option<i32> {
        self.values.at(number)
    }

    /// Passes packets on (`forwarding`).
    #[must_use]
    pub fn forwarding(&self) -> Option<bool> {
        self.value(0).map(|value| value != 0)
    }

    /// Hop limit of what is sent (`hop_limit`).
    #[must_use]
    pub fn hop_limit(&self) -> Option<i32> {
        self.value(1)
    }

    /// The MTU of IPv6 alone (`mtu`).
    #[must_use]
    pub fn mtu(&self) -> Option<i32> {
        self.value(2)
    }

    /// Listens to routers: 0 no, 1 unless it forwards, 2 always (`accept_ra`).
    #[must_use]
    pub fn accept_router_advertisements(&self) -> Option<i32> {
        self.value(3)
    }

    /// Makes addresses from advertised prefixes (`autoconf`).
    #[must_use]
    pub fn autoconfiguration(&self) -> Option<bool> {
        self.value(5).map(|value| value != 0)
    }

    /// Solicitations sent to detect a duplicate address (`dad_transmits`).
    #[must_use]
    pub fn duplicate_detection_transmits(&self) -> Option<i32> {
        self.value(6)
    }

    /// Router solicitations sent, -1 without end (`router_solicitations`).
    #[must_use]
    pub fn router_solicitations(&self) -> Option<i32> {
        self.value(7)
    }

    /// IPv6 is turned off (`disable_ipv6`).
    #[must_use]
    pub fn is_disabled(&self) -> Option<bool> {
        self.value(26).map(|value| value != 0)
    }

    /// A router has been heard.
    #[must_use]
    pub fn has_router_advertisement(&self) -> bool {
        self.flags & IF_RA_RCVD != 0
    }

    /// Routers say that addresses come by DHCPv6.
    #[must_use]
    pub fn managed_address_configuration(&self) -> bool {
        self.flags & IF_RA_MANAGED != 0
    }

    /// Routers say that other configuration comes by DHCPv6.
    #[must_use]
    pub fn other_stateful_configuration(&self) -> bool {
        self.flags & IF_RA_OTHERCONF != 0
    }
}

impl fmt::Debug for Ipv6Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ipv6Settings")
            .field("flags", &self.flags)
            .field("maximum_reassembly", &self.maximum_reassembly)
            .field("reachable_milliseconds", &self.reachable_milliseconds)
            .field("retransmit_milliseconds", &self.retransmit_milliseconds)
            .field("token", &self.token)
            .field("address_generation", &self.address_generation)
            .field("advertised_mtu", &self.advertised_mtu)
            .field("values", &self.values.as_slice())
            .finish()
    }
}

/// The kernel's array of settings: it grows from release to release, so both sides may be longer.
#[derive(Clone, PartialEq, Eq)]
struct Values<const N: usize> {
    values: [i32; N],
    count: usize,
}

impl<const N: usize> Values<N> {
    fn parse(bytes: &[u8]) -> Self {
        let words = bytes.as_chunks::<4>().0;
        let mut values = [0; N];
        for (value, word) in values.iter_mut().zip(words) {
            *value = i32::from_ne_bytes(*word);
        }
        Self { values, count: words.len().min(N) }
    }

    fn as_slice(&self) -> &[i32] {
        self.values.get(..self.count).unwrap_or_default()
    }

    fn at(&self, index: usize) -> Option<i32> {
        self.as_slice().get(index).copied()
    }
}

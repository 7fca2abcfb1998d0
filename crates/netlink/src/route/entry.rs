use std::net::IpAddr;

use super::Prefix;
use crate::attribute::align;
use crate::kernel::*;
use crate::{Family, Request};

/// A route to be made, or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where packets are going.
    pub destination: Prefix,
    /// The interface they leave by.
    pub interface: Option<u32>,
    /// The router they go to; `None` when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Several ways instead of the one above.
    pub next_hops: Vec<NextHopEntry>,
    /// The source address for packets of this host.
    pub preferred_source: Option<IpAddr>,
    /// The table it goes to: 254 main.
    pub table: u32,
    /// Who makes it (`RTPROT_*`): 4 static, 16 DHCP.
    pub protocol: u8,
    /// How far the destination is; `None` lets the kind and gateway decide.
    pub scope: Option<u8>,
    /// What happens to packets (`RTN_*`).
    pub kind: u8,
    /// Routes with smaller numbers win. 0 is the highest for IPv4; the kernel makes it 1024 for
    /// IPv6.
    pub priority: u32,
    /// Largest packet on this path, in bytes.
    pub mtu: Option<u32>,
    /// Maximum segment size told to TCP peers, in bytes.
    pub advertised_mss: Option<u32>,
    /// Takes the gateway to be on the link even if no address says so.
    pub on_link: bool,
    /// Seconds until the kernel removes it. IPv6 only.
    pub expires_seconds: Option<u32>,
}

/// One way of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHopEntry {
    /// The interface packets leave by.
    pub interface: u32,
    /// The router they go to.
    pub gateway: Option<IpAddr>,
    /// Share of the packets, 1 to 256.
    pub weight: u16,
    /// Takes the gateway to be on the link even if no address says so.
    pub on_link: bool,
}

impl Entry {
    /// A static unicast route of the main table that leads nowhere yet.
    #[must_use]
    pub fn new(destination: Prefix) -> Self {
        Self {
            destination,
            interface: None,
            gateway: None,
            next_hops: Vec::new(),
            preferred_source: None,
            table: RT_TABLE_MAIN,
            protocol: RTPROT_STATIC,
            scope: None,
            kind: RTN_UNICAST,
            priority: 0,
            mtu: None,
            advertised_mss: None,
            on_link: false,
            expires_seconds: None,
        }
    }

    /// Asks to add it. One of the same destination, table, priority and type of service is an
    /// error (`EEXIST`).
    #[must_use]
    pub fn add(&self) -> Request {
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Asks to add it in place of the first one of the same destination, table, priority and type
    /// of service, if there is one.
    #[must_use]
    pub fn replace(&self) -> Request {
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Asks to add it beside those of the same destination, table, priority and type of service:
    /// only one that agrees in everything is an error (`EEXIST`).
    #[must_use]
    pub fn append(&self) -> Request {
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND)
    }

    /// Asks to remove the first route that agrees in everything said here. None is an error
    /// (`ESRCH`).
    #[must_use]
    pub fn delete(&self) -> Request {
        self.request(RTM_DELROUTE, 0)
    }

    fn request(&self, kind: u16, flags: u16) -> Request {
        let deleting = kind == RTM_DELROUTE;
        // What does not fit a byte goes into RTA_TABLE alone.
        let table = u8::try_from(self.table).unwrap_or(RT_TABLE_UNSPEC as u8);
        let scope = self.scope.unwrap_or_else(|| self.default_scope(deleting));
        let on_link = if self.on_link { RTNH_F_ONLINK } else { 0 };
        let fixed = fixed(
            Family::of(self.destination.address),
            [self.destination.length, 0, 0, table, self.protocol, scope, self.kind],
            on_link,
        );
        let mut request = Request::new(kind, flags, &fixed);
        request.u32(RTA_TABLE, self.table);
        if self.destination.length != 0 {
            request.ip(RTA_DST, self.destination.address);
        }
        if let Some(interface) = self.interface {
            request.u32(RTA_OIF, interface);
        }
        if let Some(gateway) = self.gateway {
            self.gateway(&mut request, gateway);
        }
        if let Some(source) = self.preferred_source {
            request.ip(RTA_PREFSRC, source);
        }
        if self.priority != 0 {
            request.u32(RTA_PRIORITY, self.priority);
        }
        if self.mtu.is_some() || self.advertised_mss.is_some() {
            request.nest(RTA_METRICS, |metrics| {
                for (number, value) in [(RTAX_MTU, self.mtu), (RTAX_ADVMSS, self.advertised_mss)] {
                    if let Some(value) = value {
                        metrics.u32(number, value);
                    }
                }
            });
        }
        if let Some(seconds) = self.expires_seconds {
            request.u32(RTA_EXPIRES, seconds);
        }
        if !self.next_hops.is_empty() {
            request.nest(RTA_MULTIPATH, |list| {
                for next_hop in &self.next_hops {
                    self.next_hop(list, next_hop);
                }
            });
        }
        request
    }

    /// As iproute2 does it: what is reached directly has link scope, what is on this host has host
    /// scope, and a deletion does not say.
    fn default_scope(&self, deleting: bool) -> u8 {
        let is_ipv4 = self.destination.address.is_ipv4();
        match self.kind {
            _ if !is_ipv4 => RT_SCOPE_UNIVERSE,
            RTN_LOCAL => RT_SCOPE_HOST,
            _ if deleting => RT_SCOPE_NOWHERE,
            RTN_UNICAST | RTN_BROADCAST | RTN_ANYCAST | RTN_MULTICAST
                if self.gateway.is_none() && self.next_hops.is_empty() =>
            {
                RT_SCOPE_LINK
            }
            _ => RT_SCOPE_UNIVERSE,
        }
    }

    fn gateway(&self, request: &mut Request, gateway: IpAddr) {
        match gateway {
            // RFC 5549: a router of the other family.
            IpAddr::V6(gateway) if self.destination.address.is_ipv4() => {
                let family = u16::from(AF_INET6).to_ne_bytes();
                request.attribute(RTA_VIA, &[&family[..], &gateway.octets()].concat());
            }
            _ => _ = request.ip(RTA_GATEWAY, gateway),
        }
    }

    fn next_hop(&self, list: &mut Request, next_hop: &NextHopEntry) {
        let mut attributes = Request::new(0, 0, &[]);
        if let Some(gateway) = next_hop.gateway {
            self.gateway(&mut attributes, gateway);
        }
        let length = align(8 + attributes.payload().len()) as u16;
        let [l0, l1] = length.to_ne_bytes();
        let flags = if next_hop.on_link { RTNH_F_ONLINK as u8 } else { 0 };
        let hops = u8::try_from(next_hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
        let [i0, i1, i2, i3] = next_hop.interface.to_ne_bytes();
        list.raw(&[l0, l1, flags, hops, i0, i1, i2, i3]);
        list.raw(attributes.payload());
    }
}

/// Asks for the routes of a family: of one table or of all, and of one outgoing interface or of
/// all.
#[must_use]
pub fn dump(family: Family, table: Option<u32>, interface: Option<u32>) -> Request {
    let fixed = fixed(family, [0; 7], 0);
    let mut request = Request::new(RTM_GETROUTE, NLM_F_DUMP, &fixed);
    if let Some(table) = table {
        request.u32(RTA_TABLE, table);
    }
    if let Some(interface) = interface {
        request.u32(RTA_OIF, interface);
    }
    request
}

/// Asks how the kernel would route a packet, from `source` and by `interface` where given.
///
/// The answer is one [`Route`](super::Route), whose destination is the address itself.
#[must_use]
pub fn lookup(destination: IpAddr, source: Option<IpAddr>, interface: Option<u32>) -> Request {
    question(destination, source, interface, 0)
}

/// Asks which route of the tables a packet would take (`RTM_F_FIB_MATCH`; IPv4 since Linux 4.13,
/// IPv6 since 4.15).
#[must_use]
pub fn matching(destination: IpAddr, source: Option<IpAddr>, interface: Option<u32>) -> Request {
    question(destination, source, interface, RTM_F_FIB_MATCH)
}

fn question(
    destination: IpAddr,
    source: Option<IpAddr>,
    interface: Option<u32>,
    flags: u32,
) -> Request {
    let length = Prefix::maximum_length(destination);
    let source_length = source.map_or(0, |_| length);
    // IPv6 always names the table of the route, and refuses the wish.
    let flags = if destination.is_ipv4() { flags | RTM_F_LOOKUP_TABLE } else { flags };
    let fixed = fixed(Family::of(destination), [length, source_length, 0, 0, 0, 0, 0], flags);
    let mut request = Request::new(RTM_GETROUTE, 0, &fixed);
    request.ip(RTA_DST, destination);
    if let Some(source) = source {
        request.ip(RTA_SRC, source);
    }
    if let Some(interface) = interface {
        request.u32(RTA_OIF, interface);
    }
    request
}

/// A `struct rtmsg`: family; destination and source lengths, type of service, table, protocol,
/// scope, type; flags.
fn fixed(family: Family, middle: [u8; 7], flags: u32) -> [u8; 12] {
    let [to, from, tos, table, protocol, scope, kind] = middle;
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    [family.number(), to, from, tos, table, protocol, scope, kind, f0, f1, f2, f3]
}

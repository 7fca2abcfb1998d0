//! Routes.

mod entry;
mod prefix;

use std::net::IpAddr;
use std::time::Duration;

pub use entry::{Entry, NextHopEntry, dump, lookup, matching};
pub use prefix::{Prefix, PrefixTextError};

use crate::attribute::{self, Attributes};
use crate::kernel::*;
use crate::{Error, Message, Row};

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// Where packets it applies to are going; length 0 is the default route.
    pub destination: Prefix,
    /// Where they come from (IPv6 subtrees); length 0 is anywhere.
    pub source: Prefix,
    /// The table it is in: 254 main, 255 local, 253 default.
    pub table: u32,
    /// Who made it (`RTPROT_*`): 2 kernel, 3 boot, 4 static, 9 router advertisement, 16 DHCP.
    pub protocol: u8,
    /// How far its destination is (`RT_SCOPE_*`).
    pub scope: u8,
    /// What happens to packets (`RTN_*`): 1 unicast, 2 local, 3 broadcast, 6 blackhole, ...
    pub kind: u8,
    /// Type of service it applies to, 0 for any. IPv4 only.
    pub type_of_service: u8,
    /// `RTNH_F_*` and `RTM_F_*`.
    pub flags: u32,
    /// Routes with smaller numbers win.
    pub priority: u32,
    /// The ways packets can go: none for blackholes, several for multipath routes.
    pub next_hops: Vec<NextHop>,
    /// The next-hop object the route refers to, if any.
    pub next_hop_id: Option<u32>,
    /// The source address for packets of this host.
    pub preferred_source: Option<IpAddr>,
    /// Router preference of RFC 4191: 0 medium, 1 high, 3 low. IPv6 only.
    pub preference: Option<u8>,
    /// What is known about the path.
    pub metrics: Metrics,
    /// Time left until it goes away, as of the message.
    pub expires: Option<Duration>,
}

/// A route as it stands in a datagram. Members as in [`Route`]; next hops and metrics are parsed on
/// demand.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the members are those of Route and NextHop")]
#[non_exhaustive]
pub struct RouteView<'a> {
    pub destination: Prefix,
    pub source: Prefix,
    pub table: u32,
    pub protocol: u8,
    pub scope: u8,
    pub kind: u8,
    pub type_of_service: u8,
    pub flags: u32,
    pub priority: u32,
    /// Outgoing interface of a route with one next hop; in the answer to a look-up, the way.
    pub interface: Option<u32>,
    /// Gateway of a route with one next hop.
    pub gateway: Option<IpAddr>,
    pub next_hop_id: Option<u32>,
    pub preferred_source: Option<IpAddr>,
    pub preference: Option<u8>,
    pub expires: Option<Duration>,
    metrics: &'a [u8],
    multipath: &'a [u8],
}

/// One way a packet can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NextHop {
    /// The interface it leaves by.
    pub interface: Option<u32>,
    /// The router it goes to; `None` when the destination is on the link. May be IPv6 for an IPv4
    /// route (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// Share of the packets, 1 to 256.
    pub weight: u16,
    /// `RTNH_F_*`: 1 dead, 4 on-link, 16 link down.
    pub flags: u8,
}

/// What a route knows about its path (`RTAX_*`). Zero is never said: `None` stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Whether the MTU is not changed by path MTU discovery.
    pub mtu_locked: bool,
    /// Maximum segment size told to TCP peers, in bytes.
    pub advertised_mss: Option<u32>,
    /// Largest window told to TCP peers, in bytes.
    pub window: Option<u32>,
    /// Round trip time, in eighths of a millisecond.
    pub round_trip_time: Option<u32>,
    /// Hop limit of packets sent.
    pub hop_limit: Option<u32>,
    /// Initial congestion window, in segments.
    pub initial_congestion_window: Option<u32>,
    /// Initial receive window, in segments.
    pub initial_receive_window: Option<u32>,
}

impl Row for Route {
    type View<'a> = RouteView<'a>;

    fn view<'a>(message: &Message<'a>) -> Option<Result<RouteView<'a>, Error>> {
        matches!(message.kind, RTM_NEWROUTE | RTM_DELROUTE)
            .then(|| RouteView::parse(message))
            .and_then(Result::transpose)
    }

    fn from_view(view: &RouteView<'_>) -> Self {
        Self {
            destination: view.destination,
            source: view.source,
            table: view.table,
            protocol: view.protocol,
            scope: view.scope,
            kind: view.kind,
            type_of_service: view.type_of_service,
            flags: view.flags,
            priority: view.priority,
            next_hops: view.next_hops().collect(),
            next_hop_id: view.next_hop_id,
            preferred_source: view.preferred_source,
            preference: view.preference,
            metrics: view.metrics(),
            expires: view.expires,
        }
    }
}

impl<'a> RouteView<'a> {
    /// `None` for families other than IPv4 and IPv6, such as multicast forwarding entries.
    fn parse(message: &Message<'a>) -> Result<Option<Self>, Error> {
        let (fixed, attributes) = message.body::<12>()?;
        let &[family, to_length, from_length, tos, table, protocol, scope, kind, f0, f1, f2, f3] =
            fixed;
        let all = match family {
            AF_INET => Prefix::ALL_IPV4,
            AF_INET6 => Prefix::ALL_IPV6,
            _ => return Ok(None),
        };
        let mut view = Self {
            destination: Prefix { length: to_length, ..all },
            source: Prefix { length: from_length, ..all },
            table: table.into(),
            protocol,
            scope,
            kind,
            type_of_service: tos,
            flags: u32::from_ne_bytes([f0, f1, f2, f3]),
            priority: 0,
            interface: None,
            gateway: None,
            next_hop_id: None,
            preferred_source: None,
            preference: None,
            expires: None,
            metrics: &[],
            multipath: &[],
        };
        for attribute in attributes {
            let ip = || attribute.ip().filter(|ip| ip.is_ipv4() == all.address.is_ipv4());
            match attribute.kind {
                RTA_DST => view.destination.address = ip().unwrap_or(all.address),
                RTA_SRC => view.source.address = ip().unwrap_or(all.address),
                RTA_TABLE => view.table = attribute.u32().unwrap_or(view.table),
                RTA_PRIORITY => view.priority = attribute.u32().unwrap_or_default(),
                RTA_OIF => view.interface = attribute.u32().filter(|index| *index != 0),
                RTA_GATEWAY => view.gateway = ip(),
                RTA_VIA => view.gateway = via(attribute.payload),
                RTA_NH_ID => view.next_hop_id = attribute.u32(),
                RTA_PREFSRC => view.preferred_source = ip(),
                RTA_PREF => view.preference = attribute.u8(),
                RTA_METRICS => view.metrics = attribute.payload,
                RTA_MULTIPATH => view.multipath = attribute.payload,
                RTA_CACHEINFO => view.expires = expires(attribute.payload),
                _ => {}
            }
        }
        Ok(Some(view))
    }

    /// The ways packets can go.
    #[must_use]
    pub fn next_hops(&self) -> NextHops<'a> {
        let single = (self.interface.is_some() || self.gateway.is_some()).then_some(NextHop {
            interface: self.interface,
            gateway: self.gateway,
            weight: 1,
            flags: self.flags as u8,
        });
        // A multipath route names its ways in the list alone.
        NextHops { single: single.filter(|_| self.multipath.is_empty()), rest: self.multipath }
    }

    /// What is known about the path.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        for attribute in Attributes::new(self.metrics) {
            let value = attribute.u32().filter(|value| *value != 0);
            match attribute.kind {
                RTAX_LOCK => {
                    metrics.mtu_locked = value.is_some_and(|locks| locks & 1 << RTAX_MTU != 0);
                }
                RTAX_MTU => metrics.mtu = value,
                RTAX_ADVMSS => metrics.advertised_mss = value,
                RTAX_WINDOW => metrics.window = value,
                RTAX_RTT => metrics.round_trip_time = value,
                RTAX_HOPLIMIT => metrics.hop_limit = value,
                RTAX_INITCWND => metrics.initial_congestion_window = value,
                RTAX_INITRWND => metrics.initial_receive_window = value,
                _ => {}
            }
        }
        metrics
    }
}

/// The ways packets can go, in the kernel's order.
#[derive(Debug, Clone)]
pub struct NextHops<'a> {
    single: Option<NextHop>,
    /// A run of `struct rtnexthop`, each with attributes.
    rest: &'a [u8],
}

impl Iterator for NextHops<'_> {
    type Item = NextHop;

    fn next(&mut self) -> Option<NextHop> {
        if let Some(single) = self.single.take() {
            return Some(single);
        }
        let rest = std::mem::take(&mut self.rest);
        let (&[l0, l1, flags, hops, i0, i1, i2, i3], _) = rest.split_first_chunk::<8>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let attributes = Attributes::new(rest.get(8..length)?);
        self.rest = rest.get(attribute::align(length)..).unwrap_or_default();
        let mut next_hop = NextHop {
            interface: Some(u32::from_ne_bytes([i0, i1, i2, i3])).filter(|index| *index != 0),
            gateway: None,
            weight: u16::from(hops) + 1,
            flags,
        };
        for attribute in attributes {
            match attribute.kind {
                RTA_GATEWAY => next_hop.gateway = attribute.ip(),
                RTA_VIA => next_hop.gateway = via(attribute.payload),
                _ => {}
            }
        }
        Some(next_hop)
    }
}

/// A `struct rtvia`: family, then an address of that family.
fn via(payload: &[u8]) -> Option<IpAddr> {
    let (family, address) = payload.split_first_chunk::<2>()?;
    let ip = attribute::ip(address)?;
    let expected = if ip.is_ipv4() { AF_INET } else { AF_INET6 };
    (u16::from_ne_bytes(*family) == u16::from(expected)).then_some(ip)
}

/// The third member of `struct rta_cacheinfo`: hundredths of a second, 0 for never.
fn expires(payload: &[u8]) -> Option<Duration> {
    let &[_, _, _, _, _, _, _, _, e0, e1, e2, e3, ..] = payload else { return None };
    match i32::from_ne_bytes([e0, e1, e2, e3]) {
        0 => None,
        // Overdue: the kernel's collector has not come by yet.
        ticks => Some(Duration::from_millis(u64::try_from(ticks).unwrap_or(0) * 10)),
    }
}

//! Sockets of TCP, UDP and MPTCP: who sits on which port (`sock_diag(7)`, the kernel's
//! `net/ipv4/inet_diag.c`), over a socket of `NETLINK_SOCK_DIAG`.
//!
//! The kernel goes through its tables without a lock over all of them: a socket that comes or goes
//! during a dump may be in it or not, and no mark says so.

mod socket;
mod state;

use std::ops::RangeInclusive;

pub use socket::{InetSocket, STORAGE};
pub use state::{State, States};

use crate::kernel::*;
use crate::{Family, Request};

/// A transport with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP; the subflows of MPTCP are among its sockets.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite, whose ports are not those of UDP.
    UdpLite,
    /// MPTCP sockets as their programs know them, listening and connected.
    Mptcp,
}

impl Protocol {
    /// The kernel's number (`IPPROTO_*`).
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Tcp => IPPROTO_TCP,
            Self::Udp => IPPROTO_UDP,
            Self::UdpLite => IPPROTO_UDPLITE,
            Self::Mptcp => IPPROTO_MPTCP,
        }
    }
}

/// Which sockets to list: all of one protocol and family, unless narrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    protocol: Protocol,
    family: Family,
    states: States,
    ports: RangeInclusive<u16>,
    storage: Option<i32>,
}

impl Query {
    /// Sockets of a protocol and of IPv4 or IPv6: the kernel lists one family at a time.
    #[must_use]
    pub fn new(protocol: Protocol, family: Family) -> Self {
        Self { protocol, family, states: States::ALL, ports: 0..=u16::MAX, storage: None }
    }

    /// Only those in these states.
    #[must_use]
    pub fn states(mut self, states: States) -> Self {
        self.states = states;
        self
    }

    /// Only those whose local port is one of these. The kernel does the choosing.
    #[must_use]
    pub fn ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ports = ports;
        self
    }

    /// Adds to each socket what a BPF map of the type `SK_STORAGE` holds for it; see
    /// [`InetSocket::storage`]. The map's descriptor has to be open when the request is sent, and
    /// the sender needs `CAP_BPF`.
    #[must_use]
    pub fn storage(mut self, map: i32) -> Self {
        self.storage = Some(map);
        self
    }

    /// The request that lists them.
    #[must_use]
    pub fn dump(&self) -> Request {
        let fixed = socket::request(self.protocol, self.family, self.states, &[0; socket::ID]);
        let mut request = Request::new(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &fixed);
        if self.ports != (0..=u16::MAX) {
            request.attribute(INET_DIAG_REQ_BYTECODE, &port_filter(&self.ports));
        }
        if let Some(map) = self.storage {
            request.nest(INET_DIAG_REQ_SK_BPF_STORAGES, |storages| {
                storages.attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, &map.to_ne_bytes());
            });
        }
        if self.protocol == Protocol::Mptcp {
            request.u32(INET_DIAG_REQ_PROTOCOL, self.protocol.number());
        }
        request
    }
}

/// The kernel's filter program for a range of local ports: two comparisons, each followed by an
/// operation that only holds the port. An operation is a `struct inet_diag_bc_op`: code, bytes to
/// go on by when it is true (8), and when it is not (16). A program that ends exactly at its end
/// says yes, one that leaves by four bytes more says no.
fn port_filter(ports: &RangeInclusive<u16>) -> [u8; 16] {
    let [s0, s1] = ports.start().to_ne_bytes();
    let [e0, e1] = ports.end().to_ne_bytes();
    let [f0, f1] = 20_u16.to_ne_bytes();
    let [n0, n1] = 12_u16.to_ne_bytes();
    let (least, most) = (INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE);
    [least, 8, f0, f1, 0, 0, s0, s1, most, 8, n0, n1, 0, 0, e0, e1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Messages;

    #[test]
    fn a_request_without_filters_is_its_fixed_part() {
        let mut datagram = Vec::new();
        Query::new(Protocol::Tcp, Family::Ipv6).dump().encode(7, 0, &mut datagram);
        let message = Messages::new(&datagram).next().unwrap().unwrap();
        assert_eq!((message.kind, message.flags), (20, 0x301));
        assert_eq!(message.payload.len(), 56);
        assert_eq!(message.payload[..8], [10, 6, 0, 0, 0xfe, 0x3f, 0, 0], "all states");
        assert!(message.payload[8..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_port_filter_is_the_kernels() {
        let code = port_filter(&(0x1234..=0x5678));
        assert_eq!(
            code,
            [2, 8, 20, 0, 0, 0, 0x34, 0x12, 3, 8, 12, 0, 0, 0, 0x78, 0x56].map(u8::from_le)
        );
    }

    #[test]
    fn mptcp_is_asked_for_by_attribute_alone() {
        let mut datagram = Vec::new();
        Query::new(Protocol::Mptcp, Family::Ipv4).dump().encode(1, 0, &mut datagram);
        let message = Messages::new(&datagram).next().unwrap().unwrap();
        let (fixed, attributes) = message.body::<56>().unwrap();
        // Kernels that do not know the attribute must not list TCP instead.
        assert_eq!(fixed[1], 0);
        assert_eq!(attributes.get(INET_DIAG_REQ_PROTOCOL).unwrap().u32(), Some(262));
    }
}

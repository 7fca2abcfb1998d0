//! The times of neighbour discovery, by interface: ARP's and IPv6's.

use crate::kernel::*;
use crate::{Error, Family, Message, Request, Row};

/// The times of neighbour discovery on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NeighborTiming {
    /// IPv4 (ARP) or IPv6.
    pub family: Family,
    /// The interface; `None` for the values that new interfaces get.
    pub interface: Option<u32>,
    /// Mean time a neighbour stays reachable after a confirmation, in milliseconds.
    pub base_reachable_milliseconds: Option<u64>,
    /// The random time around that mean in use now, in milliseconds.
    pub reachable_milliseconds: Option<u64>,
    /// Time between solicitations, in milliseconds.
    pub retransmit_milliseconds: Option<u64>,
}

impl Row for NeighborTiming {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        (message.kind == RTM_NEWNEIGHTBL).then(|| Self::parse(message)).and_then(Result::transpose)
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

impl NeighborTiming {
    /// `None` for tables of other families.
    fn parse(message: &Message<'_>) -> Result<Option<Self>, Error> {
        let (&[family, _, _, _], attributes) = message.body::<4>()?;
        let family = match family {
            AF_INET => Family::Ipv4,
            AF_INET6 => Family::Ipv6,
            _ => return Ok(None),
        };
        let Some(parameters) = attributes.get(NDTA_PARMS) else { return Ok(None) };
        let mut row = Self {
            family,
            interface: None,
            base_reachable_milliseconds: None,
            reachable_milliseconds: None,
            retransmit_milliseconds: None,
        };
        for attribute in parameters.nested() {
            match attribute.kind {
                NDTPA_IFINDEX => row.interface = attribute.u32().filter(|index| *index != 0),
                NDTPA_BASE_REACHABLE_TIME => row.base_reachable_milliseconds = attribute.u64(),
                NDTPA_REACHABLE_TIME => row.reachable_milliseconds = attribute.u64(),
                NDTPA_RETRANS_TIME => row.retransmit_milliseconds = attribute.u64(),
                _ => {}
            }
        }
        Ok(Some(row))
    }
}

/// Asks for the times on all interfaces, and the defaults.
#[must_use]
pub fn dump(family: Family) -> Request {
    Request::new(RTM_GETNEIGHTBL, NLM_F_DUMP, &[family.number(), 0, 0, 0])
}

/// Asks to change the times on an interface, in milliseconds; what is `None` stays.
#[must_use]
pub fn set(
    family: Family,
    interface: u32,
    base_reachable_milliseconds: Option<u64>,
    retransmit_milliseconds: Option<u64>,
) -> Request {
    let mut request = Request::new(RTM_SETNEIGHTBL, 0, &[family.number(), 0, 0, 0]);
    // The kernel finds the table by this name, not by its family.
    let table = if family == Family::Ipv6 { "ndisc_cache" } else { "arp_cache" };
    request.text(NDTA_NAME, table.as_ref());
    request.nest(NDTA_PARMS, |parameters| {
        parameters.u32(NDTPA_IFINDEX, interface);
        for (number, value) in [
            (NDTPA_BASE_REACHABLE_TIME, base_reachable_milliseconds),
            (NDTPA_RETRANS_TIME, retransmit_milliseconds),
        ] {
            if let Some(value) = value {
                parameters.attribute(number, &value.to_ne_bytes());
            }
        }
    });
    request
}

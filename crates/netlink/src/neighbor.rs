//! Neighbours: which link address answers for which IP address.

use std::net::IpAddr;

use wire::HardwareAddress;

use crate::kernel::*;
use crate::{Error, Family, Message, Request, Row};

/// What is known about a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Neighbor {
    /// The interface it is behind.
    pub interface: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link address, once it is known.
    pub hardware_address: Option<HardwareAddress>,
    /// How far that can be relied on.
    pub state: State,
    /// It is a router (IPv6).
    pub is_router: bool,
    /// Not a neighbour: an address this host answers for on behalf of others.
    pub is_proxy: bool,
    /// `NTF_*`, with the above.
    pub flags: u8,
    /// `RTN_*`: 1 unicast, 3 broadcast, 5 multicast.
    pub kind: u8,
    /// Who made it (`RTPROT_*`), 0 if nobody said.
    pub protocol: u8,
    /// Solicitations sent without an answer.
    pub probes: Option<u32>,
    /// Time since it was last used, in hundredths of a second.
    pub used_ago: Option<u32>,
    /// Time since it was last confirmed, in hundredths of a second.
    pub confirmed_ago: Option<u32>,
    /// Time since it was last changed, in hundredths of a second.
    pub updated_ago: Option<u32>,
}

/// How far a neighbour's link address can be relied on (`NUD_*`, RFC 4861 section 7.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State(pub u16);

impl State {
    /// Being looked for.
    pub const INCOMPLETE: Self = Self(NUD_INCOMPLETE);
    /// Confirmed a short while ago.
    pub const REACHABLE: Self = Self(NUD_REACHABLE);
    /// Not confirmed lately; good until used.
    pub const STALE: Self = Self(NUD_STALE);
    /// Used while stale; about to be asked.
    pub const DELAY: Self = Self(NUD_DELAY);
    /// Being asked.
    pub const PROBE: Self = Self(NUD_PROBE);
    /// Does not answer.
    pub const FAILED: Self = Self(NUD_FAILED);
    /// Needs no resolution: broadcast, multicast, loopback.
    pub const NO_ARP: Self = Self(NUD_NOARP);
    /// Set by hand.
    pub const PERMANENT: Self = Self(NUD_PERMANENT);
    /// Nothing known.
    pub const NONE: Self = Self(NUD_NONE);

    /// Whether the link address may be used (`NUD_VALID`).
    #[must_use]
    pub fn is_usable(self) -> bool {
        let unusable = NUD_INCOMPLETE | NUD_FAILED;
        self.0 != NUD_NONE && self.0 & unusable == 0
    }
}

impl Row for Neighbor {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        matches!(message.kind, RTM_NEWNEIGH | RTM_DELNEIGH)
            .then(|| Self::parse(message))
            .and_then(Result::transpose)
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

impl Neighbor {
    /// `None` for families other than IPv4 and IPv6, such as bridge forwarding entries.
    fn parse(message: &Message<'_>) -> Result<Option<Self>, Error> {
        let (&[family, _, _, _, i0, i1, i2, i3, s0, s1, flags, kind], attributes) =
            message.body::<12>()?;
        let mut row = Self {
            interface: u32::from_ne_bytes([i0, i1, i2, i3]),
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            hardware_address: None,
            state: State(u16::from_ne_bytes([s0, s1])),
            is_router: flags & NTF_ROUTER != 0,
            is_proxy: flags & NTF_PROXY != 0,
            flags,
            kind,
            protocol: 0,
            probes: None,
            used_ago: None,
            confirmed_ago: None,
            updated_ago: None,
        };
        let mut address = None;
        for attribute in attributes {
            match attribute.kind {
                NDA_DST => {
                    address = attribute.ip().filter(|ip| Family::of(*ip).number() == family);
                }
                NDA_LLADDR => row.hardware_address = attribute.hardware_address(),
                NDA_PROBES => row.probes = attribute.u32(),
                NDA_PROTOCOL => row.protocol = attribute.u8().unwrap_or_default(),
                NDA_CACHEINFO => {
                    // struct nda_cacheinfo: confirmed, used, updated, reference count.
                    let mut words = attribute.payload.as_chunks::<4>().0.iter();
                    let mut next = || words.next().map(|word| u32::from_ne_bytes(*word));
                    row.confirmed_ago = next();
                    row.used_ago = next();
                    row.updated_ago = next();
                }
                _ => {}
            }
        }
        Ok(address.map(|address| Self { address, ..row }))
    }
}

/// Asks for the neighbours of a family, of one interface or of all.
#[must_use]
pub fn dump(family: Family, interface: Option<u32>) -> Request {
    let mut request = Request::new(RTM_GETNEIGH, NLM_F_DUMP, &fixed(family, 0, 0, 0));
    if let Some(interface) = interface {
        request.u32(NDA_IFINDEX, interface);
    }
    request
}

/// Asks for the addresses this host answers for on behalf of others.
#[must_use]
pub fn dump_proxies(family: Family) -> Request {
    Request::new(RTM_GETNEIGH, NLM_F_DUMP, &fixed(family, 0, 0, NTF_PROXY))
}

/// A neighbour to be set, or forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The interface it is behind.
    pub interface: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link address.
    pub hardware_address: Option<HardwareAddress>,
    /// How far that can be relied on.
    pub state: State,
    /// `NTF_*`.
    pub flags: u8,
}

impl Entry {
    /// A neighbour that stays as it is.
    #[must_use]
    pub fn permanent(interface: u32, address: IpAddr, hardware: HardwareAddress) -> Self {
        let hardware_address = Some(hardware);
        Self { interface, address, hardware_address, state: State::PERMANENT, flags: 0 }
    }

    /// Just the address: for [`delete`](Self::delete) and [`resolve`](Self::resolve).
    #[must_use]
    pub fn address(interface: u32, address: IpAddr) -> Self {
        Self { interface, address, hardware_address: None, state: State::NONE, flags: 0 }
    }

    /// Asks to add it. If there is an entry already, that is an error (`EEXIST`).
    #[must_use]
    pub fn add(&self) -> Request {
        self.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, self.flags)
    }

    /// Asks to add it or to change the entry that is there.
    #[must_use]
    pub fn replace(&self) -> Request {
        self.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, self.flags)
    }

    /// Asks to forget it. If there is no entry, that is an error (`ENOENT`).
    #[must_use]
    pub fn delete(&self) -> Request {
        self.request(RTM_DELNEIGH, 0, self.flags)
    }

    /// Asks the kernel to find its link address now, as if a packet were to be sent (`NTF_USE`).
    /// The answer comes as a change of the table.
    #[must_use]
    pub fn resolve(&self) -> Request {
        self.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, self.flags | NTF_USE)
    }

    fn request(&self, kind: u16, request_flags: u16, flags: u8) -> Request {
        let fixed = fixed(Family::of(self.address), self.interface, self.state.0, flags);
        let mut request = Request::new(kind, request_flags, &fixed);
        request.ip(NDA_DST, self.address);
        if let Some(hardware) = &self.hardware_address {
            request.attribute(NDA_LLADDR, hardware.as_bytes());
        }
        request
    }
}

/// A `struct ndmsg`: family, padding, index, state, flags, type.
fn fixed(family: Family, interface: u32, state: u16, flags: u8) -> [u8; 12] {
    let [i0, i1, i2, i3] = interface.to_ne_bytes();
    let [s0, s1] = state.to_ne_bytes();
    [family.number(), 0, 0, 0, i0, i1, i2, i3, s0, s1, flags, 0]
}

//! Speeds of interfaces, which rtnetlink does not know: the generic netlink family `ethtool`
//! (`Documentation/networking/ethtool-netlink.rst`), over a socket of `NETLINK_GENERIC`.

use std::ffi::OsStr;

use crate::{Error, Message, Request, Row};

/// The controller of generic netlink (`linux/genetlink.h`).
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `linux/ethtool_netlink.h`. The reply has the number of the request.
const LINK_MODES: u8 = 4;
const HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;
const HEADER_FLAGS: u16 = 3;
const SPEED: u16 = 5;
const COMPACT_BITSETS: u32 = 1;

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
        if message.kind <= CONTROLLER {
            return None;
        }
        let (&[command, _, _, _], attributes) = match message.body::<4>() {
            Ok(body) => body,
            Err(error) => return Some(Err(error)),
        };
        if command != LINK_MODES {
            return None;
        }
        let interface = attributes.get(HEADER)?.nested().get(HEADER_INDEX)?.u32()?;
        let speed = attributes.get(SPEED).and_then(|speed| speed.u32());
        let megabits = speed.filter(|speed| *speed != 0 && *speed != u32::MAX);
        Some(Ok(Self { interface, megabits }))
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
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
    let mut request = Request::new(family.0, flags, &[LINK_MODES, 1, 0, 0]);
    request.nest(HEADER, |header| {
        if let Some(interface) = interface {
            header.u32(HEADER_INDEX, interface);
        }
        header.u32(HEADER_FLAGS, COMPACT_BITSETS);
    });
    request
}

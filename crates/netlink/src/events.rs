use crate::address::Address;
use crate::kernel::*;
use crate::link::{Ipv6Link, Link, LinkView, Netconf};
use crate::message::{Message, Messages};
use crate::neighbor::Neighbor;
use crate::route::{Route, RouteView};
use crate::{Error, Row};

/// Turns notification datagrams into typed changes.
///
/// A table kept by notifications is right only if none is missed: subscribe first, read the table
/// then, and apply the changes received since. Changes that the reading saw already do no harm when
/// applied again. After [`Event::Lost`], read the table again and compare.
#[derive(Debug, Default)]
pub struct Events {
    lost: bool,
}

/// One change the kernel told of.
#[derive(Debug)]
pub enum Event<'a> {
    /// An interface is new or changed, or is gone.
    Link(Change, LinkView<'a>),
    /// An address is new or changed, or is gone.
    Address(Change, Address),
    /// A route is new or changed, or is gone.
    Route(Change, RouteView<'a>),
    /// A neighbour is new or changed, or is gone.
    Neighbor(Change, Neighbor),
    /// IPv6 on an interface is new or changed, or is gone.
    Ipv6(Change, Ipv6Link),
    /// A setting is new or changed, or is gone.
    Netconf(Change, Netconf),
    /// The next-hop object of this number is new or changed, or is gone: the routes that refer to
    /// it go another way, or go.
    NextHop(Change, u32),
    /// A message of another type.
    Other(Message<'a>),
    /// A message that could not be read. What follows in the same datagram is lost too if the
    /// lengths are at fault; [`Event::Lost`] comes after it then.
    Malformed(Error),
    /// Notifications were lost here: read the tables again.
    Lost,
}

/// Whether something is there after the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is: new or changed.
    Present,
    /// It is not.
    Gone,
}

impl Events {
    /// Nothing received yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note that notifications were lost (`ENOBUFS`, a truncated datagram): the next
    /// [`handle`](Self::handle) begins with [`Event::Lost`].
    pub fn lost(&mut self) {
        self.lost = true;
    }

    /// Takes a datagram, which may be empty, and hands out its changes in order.
    pub fn handle<'a>(&mut self, datagram: &'a [u8], mut event: impl FnMut(Event<'a>)) {
        if std::mem::take(&mut self.lost) {
            event(Event::Lost);
        }
        for message in Messages::new(datagram) {
            match message {
                Ok(message) => {
                    if let Some(decoded) = decode(message) {
                        event(decoded);
                    }
                }
                Err(error) => {
                    event(Event::Malformed(error));
                    event(Event::Lost);
                }
            }
        }
    }
}

/// `None` for rows that are no rows of ours: other families.
fn decode(message: Message<'_>) -> Option<Event<'_>> {
    let change = match message.kind {
        RTM_DELLINK | RTM_DELADDR | RTM_DELROUTE | RTM_DELNEIGH | RTM_DELMULTICAST
        | RTM_DELANYCAST | RTM_DELNETCONF | RTM_DELNEXTHOP => Change::Gone,
        _ => Change::Present,
    };
    let event = match message.kind {
        RTM_NEWLINK | RTM_DELLINK => match Link::view(&message) {
            Some(view) => view.map(|view| Event::Link(change, view)),
            None => Ipv6Link::view(&message)?.map(|row| Event::Ipv6(change, row)),
        },
        RTM_NEWNETCONF | RTM_DELNETCONF => {
            Netconf::view(&message)?.map(|row| Event::Netconf(change, row))
        }
        RTM_NEWADDR | RTM_DELADDR | RTM_NEWMULTICAST | RTM_DELMULTICAST | RTM_NEWANYCAST
        | RTM_DELANYCAST => Address::view(&message)?.map(|view| Event::Address(change, view)),
        RTM_NEWROUTE | RTM_DELROUTE => {
            Route::view(&message)?.map(|view| Event::Route(change, view))
        }
        RTM_NEWNEIGH | RTM_DELNEIGH => {
            Neighbor::view(&message)?.map(|view| Event::Neighbor(change, view))
        }
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => match message.body::<8>() {
            Ok((_, attributes)) => Ok(Event::NextHop(change, attributes.get(NHA_ID)?.u32()?)),
            Err(error) => Err(error),
        },
        _ => Ok(Event::Other(message)),
    };
    Some(event.unwrap_or_else(Event::Malformed))
}

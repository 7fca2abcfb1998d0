use crate::error::Error;
use crate::message::Message;

/// A row of one of the kernel's tables.
///
/// There are two levels: a view that borrows from the datagram and costs next to nothing, and the
/// row itself, which owns what it says. Types without anything to borrow are their own view.
pub trait Row: Sized {
    /// The row as it stands in a datagram.
    type View<'a>;

    /// Reads a row from a message, or `None` if the message is about something else.
    ///
    /// Fails only if the fixed part is cut off. Unknown attributes are left out, and so is an
    /// attribute whose value makes no sense: one odd attribute never loses the row.
    fn view<'a>(message: &Message<'a>) -> Option<Result<Self::View<'a>, Error>>;

    /// Takes a copy.
    fn from_view(view: &Self::View<'_>) -> Self;
}

/// IPv4, IPv6 or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Family {
    /// Both.
    #[default]
    Unspecified,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// The kernel's number (`AF_*`).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unspecified => crate::kernel::AF_UNSPEC,
            Self::Ipv4 => crate::kernel::AF_INET,
            Self::Ipv6 => crate::kernel::AF_INET6,
        }
    }
}

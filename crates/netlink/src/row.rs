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
///
/// As text, also with serde, `ipv4`, `ipv6` or `unspecified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
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

    /// Whether rows of the family `other` belong to what this asks for.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::Unspecified || self == other
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Unspecified => "unspecified",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use crate::{Guid, Luid};

/// Which interface is meant.
///
/// Text is a name, an alternative name, or a GUID as [`Guid`] writes it; text of digits alone is a
/// name too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The one of this index.
    Index(u32),
    /// The one of this LUID: its type must be right too.
    Luid(Luid),
    /// The one of this name or alternative name.
    Name(OsString),
    /// The one of this GUID.
    Guid(Guid),
}

impl From<u32> for Selector {
    fn from(ifindex: u32) -> Self {
        Self::Index(ifindex)
    }
}

impl From<Luid> for Selector {
    fn from(luid: Luid) -> Self {
        Self::Luid(luid)
    }
}

impl From<Guid> for Selector {
    fn from(guid: Guid) -> Self {
        Self::Guid(guid)
    }
}

impl From<&str> for Selector {
    fn from(text: &str) -> Self {
        // No interface name looks like a GUID: it would be too long.
        text.parse().map_or_else(|_| Self::Name(text.into()), Self::Guid)
    }
}

impl From<&OsStr> for Selector {
    fn from(name: &OsStr) -> Self {
        name.to_str().map_or_else(|| Self::Name(name.into()), Self::from)
    }
}

impl FromStr for Selector {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(ifindex) => write!(f, "interface {ifindex}"),
            Self::Luid(luid) => write!(f, "interface {luid}"),
            Self::Name(name) => write!(f, "interface {}", name.to_string_lossy()),
            Self::Guid(guid) => write!(f, "interface {guid}"),
        }
    }
}

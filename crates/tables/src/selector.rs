use std::borrow::Cow;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use netlink::Name;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Guid, Luid};

/// Which interface is meant.
///
/// Text, also with serde, is a name, an alternative name, an index in decimal, or a GUID as [`Guid`]
/// takes it. An interface may be called by digits alone: that name counts before the index. A
/// [`Luid`] is serialised as its index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The one of this index.
    Index(u32),
    /// The one of this LUID: its type must be right too.
    Luid(Luid),
    /// The one of this name or alternative name; else, for digits alone, the one of this index.
    Name(OsString),
    /// The one of this GUID.
    Guid(Guid),
}

impl Selector {
    /// The index that a name of digits alone stands for where no interface is called so.
    pub fn index(&self) -> Option<u32> {
        let Self::Name(name) = self else { return None };
        let text = name.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        text.parse().ok().filter(|index| *index != 0)
    }
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

impl From<String> for Selector {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Name> for Selector {
    fn from(name: Name) -> Self {
        name.as_os_str().into()
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
            Self::Index(ifindex) => write!(f, "{ifindex}"),
            Self::Luid(luid) => write!(f, "{luid}"),
            Self::Name(name) => f.write_str(&name.to_string_lossy()),
            Self::Guid(guid) => write!(f, "{guid}"),
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Luid(luid) => serializer.collect_str(&luid.ifindex()),
            selector => serializer.collect_str(selector),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Cow::<str>::deserialize(deserializer)?.as_ref().into())
    }
}

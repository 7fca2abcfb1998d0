use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// The name of an interface, or the label of an address: at most 15 bytes (`IFNAMSIZ`), of which
/// the kernel forbids only `/`, `:` and white space. Shown with replacement characters where it is
/// not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name {
    /// Zero after the name's end, so that derived comparisons are right.
    bytes: [u8; Self::MAX_LENGTH],
    length: u8,
}

impl Name {
    /// The most bytes a name may have.
    pub const MAX_LENGTH: usize = 15;

    /// Copies a name; `None` if it is too long or holds a zero byte.
    #[must_use]
    pub fn new(name: impl AsRef<OsStr>) -> Option<Self> {
        let name = name.as_ref().as_bytes();
        let mut bytes = [0; Self::MAX_LENGTH];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        (!name.contains(&0)).then_some(Self { bytes, length: name.len() as u8 })
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The name as the operating system's text.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(self.as_bytes())
    }

    /// The name, if it is UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl AsRef<OsStr> for Name {
    fn as_ref(&self) -> &OsStr {
        self.as_os_str()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_os_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let problem = || serde::de::Error::custom("a name of more than 15 bytes");
        Self::new(text.as_ref()).ok_or_else(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bytes_of_bounded_length() {
        assert_eq!(Name::new("eth0").unwrap(), "eth0");
        assert_eq!(Name::new("fifteen-bytes-x").unwrap().as_bytes().len(), 15);
        assert_eq!(Name::new("sixteen-bytes-xx"), None);
        assert_eq!(Name::new("a\0b"), None);
        assert!(Name::new("").unwrap().is_empty());
        let odd = Name::new(OsStr::from_bytes(b"\xff0")).unwrap();
        assert_eq!((odd.to_string().as_str(), odd.to_str()), ("\u{fffd}0", None));
        assert_eq!(format!("{:>6}|", Name::new("lo").unwrap()), "    lo|");
    }
}

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: an address and how many of its bits count.
///
/// As text, also with serde, `ADDRESS/LENGTH`; an address alone stands for itself with all bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// How many bits count: at most 32 or 128.
    pub length: u8,
}

impl Prefix {
    /// A network.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        Self { address, length }
    }

    /// A network, if an address of this family has so many bits.
    #[must_use]
    pub fn checked(address: impl Into<IpAddr>, length: u8) -> Option<Self> {
        let address = address.into();
        (length <= Self::maximum_length(address)).then_some(Self { address, length })
    }

    /// The address, and nothing else.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: Self::maximum_length(address) }
    }

    /// How many bits an address of this family has.
    #[must_use]
    pub fn maximum_length(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// All of IPv4.
    pub const ALL_IPV4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    /// All of IPv6.
    pub const ALL_IPV6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixTextError;

    fn from_str(text: &str) -> Result<Self, PrefixTextError> {
        let Some((address, length)) = text.split_once('/') else {
            return Ok(Self::host(text.parse()?));
        };
        let address = address.parse()?;
        // Digits only: the parser of integers takes a sign too.
        let digits = length.bytes().all(|byte| byte.is_ascii_digit());
        match length.parse() {
            Ok(length) if digits && length <= Self::maximum_length(address) => {
                Ok(Self { address, length })
            }
            _ => Err(PrefixTextError::Length),
        }
    }
}

/// Text that is no [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixTextError {
    /// What stands before the slash is no IP address.
    #[error(transparent)]
    Address(#[from] AddrParseError),
    /// What stands after the slash is no number, or more than the address has bits.
    #[error("invalid prefix length")]
    Length,
}

#[cfg(feature = "serde")]
impl serde::Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        for (text, canonical) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), canonical);
        }
        for text in ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "::/+4", "10/8", "::/1/1"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}

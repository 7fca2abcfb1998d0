//! Address prefixes as the interfaces carry them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::as_text::as_text;

/// An address prefix; `192.0.2.0/24` as text.
///
/// The bits after the prefix are kept as given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// The text is no prefix, or its length exceeds the address's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address prefix: {0:?}")]
pub struct InvalidPrefix(String);

impl Prefix {
    /// Returns `None` when `length` exceeds the address's: 32 bits for IPv4, 128 for IPv6.
    pub fn new(address: impl Into<IpAddr>, length: u8) -> Option<Self> {
        let address = address.into();
        let longest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        (length <= longest).then_some(Self { address, length })
    }

    /// The address before the slash.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The number of bits.
    pub fn length(self) -> u8 {
        self.length
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            // `u8::from_str` would take "+8".
            if !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            Self::new(address.parse::<IpAddr>().ok()?, length.parse().ok()?)
        };
        parse().ok_or_else(|| InvalidPrefix(text.to_owned()))
    }
}

as_text!(Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_address_slash_length() {
        for text in ["0.0.0.0/0", "192.0.2.0/24", "203.0.113.9/32", "::/0", "2001:db8::/48"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "192.0.2.0", "192.0.2.0/33", "::/129", "192.0.2.0/+8", "192.0.2.0/", "/8"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}

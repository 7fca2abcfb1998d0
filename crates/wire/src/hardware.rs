use core::fmt;
use core::str::FromStr;

use crate::Error;

/// A link-layer address of 0 to 32 bytes (`MAX_ADDR_LEN` of the kernel's `linux/netdevice.h`).
///
/// As text it is lower-case hexadecimal bytes joined by `:`, for example `02:00:00:00:00:01`; the
/// empty address is the empty text. Parsing also takes upper case and `-`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareAddress {
    // Bytes at and after `length` are always zero, so that the derived comparisons are right.
    bytes: [u8; Self::MAX_LENGTH],
    length: u8,
}

impl HardwareAddress {
    /// The most bytes an address may have.
    pub const MAX_LENGTH: usize = 32;

    /// Copies an address; `None` when it is longer than [`MAX_LENGTH`](Self::MAX_LENGTH).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut address =
            Self { bytes: [0; Self::MAX_LENGTH], length: u8::try_from(bytes.len()).ok()? };
        address.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(address)
    }

    /// An EUI-48, as Ethernet, Wi-Fi and most virtual links have.
    pub const fn ethernet(bytes: [u8; 6]) -> Self {
        let mut address = Self { bytes: [0; Self::MAX_LENGTH], length: 6 };
        if let Some(first) = address.bytes.first_chunk_mut() {
            *first = bytes;
        }
        address
    }

    /// The address as bytes in transmission order.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether the link has no address at all, as a tunnel or a raw IP link.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// An address of the same length with all bytes zero: "not known yet" in ARP.
    pub fn zeroed(&self) -> Self {
        Self { bytes: [0; Self::MAX_LENGTH], length: self.length }
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.as_bytes().iter().enumerate() {
            let separator = if position == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HardwareAddress({self})")
    }
}

impl From<[u8; 6]> for HardwareAddress {
    fn from(bytes: [u8; 6]) -> Self {
        Self::ethernet(bytes)
    }
}

impl FromStr for HardwareAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let bytes: Vec<u8> = text
            .split([':', '-'])
            .map(|digits| {
                let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                two.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
            })
            .collect::<Option<_>>()
            .ok_or(Error::HardwareAddressText)?;
        Self::new(&bytes).ok_or(Error::HardwareAddressText)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for HardwareAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for HardwareAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A hardware type of the IANA "ARP Parameters" registry; the kernel's `ARPHRD_*` below 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareType(pub u16);

impl HardwareType {
    /// Ethernet, and everything that looks like it.
    pub const ETHERNET: Self = Self(1);
    /// IEEE 802 networks, which some Wi-Fi gear writes.
    pub const IEEE_802: Self = Self(6);
    /// IEEE 1394 (RFC 2855 for DHCP).
    pub const IEEE_1394: Self = Self(24);
    /// InfiniBand (RFC 4390 for DHCP).
    pub const INFINIBAND: Self = Self(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        for (text, bytes) in [
            ("", &[][..]),
            ("00", &[0]),
            ("02:00:00:00:00:0a", &[2, 0, 0, 0, 0, 10]),
            ("02-00-5E-10-00-FF", &[2, 0, 0x5e, 0x10, 0, 0xff]),
        ] {
            let address = HardwareAddress::new(bytes).unwrap();
            assert_eq!(text.parse(), Ok(address));
            assert_eq!(address.to_string(), text.replace('-', ":").to_lowercase());
            assert_eq!((address.as_bytes(), address.len()), (bytes, bytes.len()));
        }
        let too_long = ["00"; 33].join(":");
        for text in ["0", "000", ":", "00:", ":00", "0x", "+1", "00:0g", "00 00", "é", &too_long] {
            assert_eq!(text.parse::<HardwareAddress>(), Err(Error::HardwareAddressText), "{text}");
        }
    }

    #[test]
    fn length() {
        assert!(HardwareAddress::new(&[1; 32]).is_some());
        assert!(HardwareAddress::new(&[1; 33]).is_none());
        assert!(HardwareAddress::new(&[1; 256]).is_none());
        assert_eq!(HardwareAddress::default(), HardwareAddress::new(&[]).unwrap());
        // Zeros count.
        assert_ne!(HardwareAddress::default(), HardwareAddress::new(&[0]).unwrap());
        let address = HardwareAddress::ethernet([1; 6]);
        assert_eq!(address.zeroed(), HardwareAddress::ethernet([0; 6]));
        assert_eq!(address, HardwareAddress::new(&[1; 6]).unwrap());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde() {
        let address = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
        let json = serde_json::to_string(&address).unwrap();
        assert_eq!(json, "\"02:00:00:00:00:01\"");
        assert_eq!(serde_json::from_str::<HardwareAddress>(&json).unwrap(), address);
        assert!(serde_json::from_str::<HardwareAddress>("\"02:0\"").is_err());
        assert!(serde_json::from_value::<HardwareAddress>(json_text()).is_ok());
    }

    /// A value that cannot be borrowed from.
    #[cfg(feature = "serde")]
    fn json_text() -> serde_json::Value {
        "02:00".into()
    }
}

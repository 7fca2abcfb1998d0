use core::fmt;

/// What the decoders and encoders of this crate return.
pub type Result<T> = core::result::Result<T, Error>;

/// Why bytes are not a packet, or a value cannot be written as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sender, or something on the path, cut the packet short.
    #[error("{layer}: truncated: {needed} bytes needed at offset {offset}, {available} present")]
    Truncated {
        /// The header that was being read.
        layer: Layer,
        /// Where the missing bytes should start, in bytes from the start of that header.
        offset: usize,
        /// How many bytes should be there.
        needed: usize,
        /// How many bytes are there.
        available: usize,
    },
    /// The sender wrote a value that the protocol forbids or this crate does not support.
    #[error("{layer}: bad {what} at offset {offset}")]
    Invalid {
        /// The header that was being read.
        layer: Layer,
        /// The field, in words.
        what: &'static str,
        /// Where the field starts, in bytes from the start of that header.
        offset: usize,
    },
    /// The packet was damaged on its way.
    #[error("{layer}: bad checksum at offset {offset}")]
    Checksum {
        /// The header whose checksum does not match.
        layer: Layer,
        /// Where the checksum field starts, in bytes from the start of that header.
        offset: usize,
    },
    /// The caller's value has no encoding: a name label of 64 bytes, a message above the limit.
    #[error("{layer}: {what} cannot be encoded")]
    Unencodable {
        /// The protocol that has no room for the value.
        layer: Layer,
        /// The value, in words.
        what: &'static str,
    },
    /// The text is not two-digit hexadecimal bytes joined by `:` or `-`, 32 at most.
    #[error("not a hardware address")]
    HardwareAddressText,
}

/// The protocol an [`Error`] speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Address Resolution Protocol, RFC 826.
    Arp,
    /// Internet Protocol version 4, RFC 791.
    Ipv4,
    /// User Datagram Protocol, RFC 768.
    Udp,
    /// Dynamic Host Configuration Protocol for IPv4, RFC 2131.
    Dhcpv4,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arp => "arp",
            Self::Ipv4 => "ipv4",
            Self::Udp => "udp",
            Self::Dhcpv4 => "dhcpv4",
        })
    }
}

//! Packet codecs without I/O.
//!
//! Every protocol has two levels, as in smoltcp: a **checked view** borrows the bytes and costs no
//! allocation ([`ipv4::Packet`], [`udp::Datagram`], [`dhcpv4::View`]); an **owned value** can be
//! built, kept, compared and written out ([`arp::Packet`], [`dhcpv4::Message`]).
//!
//! What every decoder promises:
//!
//! - No input makes it panic, loop without end or allocate more than a small multiple of the
//!   input's length.
//! - A value it does not know is kept (`Other(..)`, [`dhcpv4::OptionCode`]), not refused.
//! - An error means that the whole packet is of no use. One bad DHCP option never is: it is left
//!   out and listed in [`dhcpv4::Options::malformed`].
//! - Bytes after the length that a header states are link padding and are ignored.
//!
//! All functions work on the network header and above; the link header belongs to the socket.

pub mod arp;
pub mod dhcpv4;
mod error;
mod hardware;
pub mod ipv4;
mod reader;
pub mod udp;

pub use error::{Error, Layer, Result};
pub use hardware::{HardwareAddress, HardwareType};

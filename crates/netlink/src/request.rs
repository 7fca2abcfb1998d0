//! Building requests.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use crate::attribute::{HEADER as ATTRIBUTE_HEADER, align};
use crate::kernel::{NLA_F_NESTED, NLM_F_REQUEST};
use crate::message::HEADER;

/// No attribute sent here is longer; also bounds what a caller's own text can do to a message.
const MAXIMUM_PAYLOAD: usize = 32 * 1024;
/// Longer than any text the kernel accepts (256 bytes for an alias), so that cutting a caller's
/// text here never makes it acceptable.
const MAXIMUM_TEXT: usize = 1024;

/// A request to the kernel: a type, flags, a fixed part and attributes.
///
/// The modules of each table make ready ones; this is the level below, for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    kind: u16,
    flags: u16,
    /// Fixed part and attributes.
    payload: Vec<u8>,
}

impl Request {
    /// A request of a type (`RTM_*`) with `NLM_F_REQUEST` and these flags.
    #[must_use]
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut request =
            Self { kind, flags: flags | NLM_F_REQUEST, payload: Vec::with_capacity(128) };
        request.payload.extend_from_slice(fixed);
        request.pad();
        request
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let payload = payload.get(..MAXIMUM_PAYLOAD).unwrap_or(payload);
        let length = (ATTRIBUTE_HEADER + payload.len()) as u16;
        self.payload.extend_from_slice(&length.to_ne_bytes());
        self.payload.extend_from_slice(&kind.to_ne_bytes());
        self.payload.extend_from_slice(payload);
        self.pad();
        self
    }

    /// Appends an attribute of one byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.attribute(kind, &[value])
    }

    /// Appends an attribute of four bytes in the host's order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends terminated text.
    pub fn text(&mut self, kind: u16, text: &OsStr) -> &mut Self {
        let text = text.as_bytes();
        let text = text.get(..MAXIMUM_TEXT).unwrap_or(text);
        self.attribute(kind, &[text, &[0]].concat())
    }

    /// Appends an address of 4 or 16 bytes.
    pub fn ip(&mut self, kind: u16, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// Appends an attribute made of what `inside` appends.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let mut nested = Self { kind: 0, flags: 0, payload: Vec::new() };
        inside(&mut nested);
        self.attribute(kind | NLA_F_NESTED, &nested.payload)
    }

    /// Appends bytes as they are: a fixed part inside a nest.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.payload.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends the message to a datagram, under a sequence number and with more flags, such as
    /// `NLM_F_ACK`. Several requests may share a datagram.
    pub fn encode(&self, sequence: u32, flags: u16, datagram: &mut Vec<u8>) {
        let length = (HEADER + self.payload.len()) as u32;
        datagram.extend_from_slice(&length.to_ne_bytes());
        datagram.extend_from_slice(&self.kind.to_ne_bytes());
        datagram.extend_from_slice(&(self.flags | flags).to_ne_bytes());
        datagram.extend_from_slice(&sequence.to_ne_bytes());
        datagram.extend_from_slice(&[0; 4]);
        datagram.extend_from_slice(&self.payload);
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn pad(&mut self) {
        self.payload.resize(align(self.payload.len()), 0);
    }
}

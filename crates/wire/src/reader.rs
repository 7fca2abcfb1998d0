use crate::{Error, Layer, Result};

/// Takes fields from the front of a packet and remembers how far it got.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    layer: Layer,
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(layer: Layer, bytes: &'a [u8]) -> Self {
        Self { layer, rest: bytes, offset: 0 }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        self.offset += N;
        Ok(head)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.truncated(length))?;
        self.rest = rest;
        self.offset += length;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.take().map(|&[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.take().copied().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.take().copied().map(u32::from_be_bytes)
    }

    pub(crate) fn address(&mut self) -> Result<std::net::Ipv4Addr> {
        self.take::<4>().copied().map(Into::into)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn truncated(&self, needed: usize) -> Error {
        Error::Truncated {
            layer: self.layer,
            offset: self.offset,
            needed,
            available: self.rest.len(),
        }
    }
}

//! Messages in datagrams.

use crate::attribute::{Attributes, align};
use crate::error::{Error, Refusal};
use crate::kernel::*;

/// Bytes of a message header (`struct nlmsghdr`).
pub(crate) const HEADER: usize = 16;

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is: `RTM_*` or `NLMSG_*`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The number of the request it answers, 0 for notifications.
    pub sequence: u32,
    /// The port of the socket whose request caused it, 0 for the kernel itself.
    pub port: u32,
    /// Everything after the header.
    pub payload: &'a [u8],
    /// Where the message starts in its datagram.
    pub offset: usize,
}

impl<'a> Message<'a> {
    /// The first `N` bytes of the payload, its fixed part, and the attributes after it.
    ///
    /// Every fixed part of rtnetlink is a multiple of four bytes long.
    pub fn body<const N: usize>(&self) -> Result<(&'a [u8; N], Attributes<'a>), Error> {
        match self.payload.split_first_chunk::<N>() {
            Some((fixed, rest)) => Ok((fixed, Attributes::new(rest))),
            None => Err(self.malformed("shorter than its fixed part")),
        }
    }

    /// The outcome an acknowledgement, an error or the end of a dump carries; `None` for any other
    /// message.
    pub fn outcome(&self) -> Option<Result<(), Error>> {
        if !matches!(self.kind, NLMSG_ERROR | NLMSG_DONE) {
            return None;
        }
        let Some((code, rest)) = self.payload.split_first_chunk::<4>() else {
            // Old kernels end dumps without a code.
            return Some(if self.kind == NLMSG_DONE {
                Ok(())
            } else {
                Err(self.malformed("an error without a code"))
            });
        };
        let code = i32::from_ne_bytes(*code);
        if code >= 0 {
            return Some(Ok(()));
        }
        let mut refusal = Refusal { code: code.saturating_neg(), message: None, offset: None };
        if self.flags & NLM_F_ACK_TLVS != 0 {
            for attribute in Attributes::new(self.extended(rest)) {
                match attribute.kind {
                    NLMSGERR_ATTR_MSG => {
                        let text = attribute.text().to_string_lossy();
                        refusal.message = (!text.is_empty()).then(|| text.into_owned());
                    }
                    NLMSGERR_ATTR_OFFS => refusal.offset = attribute.u32(),
                    _ => {}
                }
            }
        }
        Some(Err(Error::Refused(refusal)))
    }

    /// The attributes of an extended acknowledgement, which follow the request it quotes.
    fn extended(&self, after_code: &'a [u8]) -> &'a [u8] {
        if self.kind == NLMSG_DONE {
            return after_code;
        }
        let quoted = match after_code.first_chunk::<4>() {
            Some(length) if self.flags & NLM_F_CAPPED == 0 => u32::from_ne_bytes(*length) as usize,
            _ => HEADER,
        };
        // Saturating: a lying length must not wrap around to a small one.
        let quoted = quoted.min(after_code.len());
        after_code.get(align(quoted)..).unwrap_or_default()
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed { kind: self.kind, offset: self.offset, what }
    }
}

/// The messages of one datagram, in order.
///
/// A length that cannot be right is an error naming the place, and the end: what follows cannot
/// be found.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Messages<'a> {
    /// Reads the messages of `datagram`.
    #[must_use]
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram, offset: 0 }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        let malformed = |kind, what| Some(Err(Error::Malformed { kind, offset, what }));
        let Some(header) = rest.first_chunk::<HEADER>() else {
            return malformed(0, "shorter than a header");
        };
        let &[l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let kind = u16::from_ne_bytes([k0, k1]);
        let Some(payload) = rest.get(HEADER..length) else {
            return malformed(kind, "its length does not fit the datagram");
        };
        self.rest = rest.get(align(length)..).unwrap_or_default();
        self.offset += align(length);
        Some(Ok(Message {
            kind,
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
            payload,
            offset,
        }))
    }
}

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use wire::dhcpv4::{Message, MessageType};

/// How a server departs from what is right. The default does not.
///
/// What no field says, [`rewrite`](Self::rewrite) does.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Messages of these types are not answered, and change nothing.
    pub ignore: Vec<MessageType>,
    /// Answers wait this long.
    pub delay: Duration,
    /// Every REQUEST is refused, with this text (option 56) unless it is empty.
    pub refuse: Option<String>,
    /// Every OFFER, and the ACK that follows, is for this address, whoever has it.
    pub offer: Option<Ipv4Addr>,
    /// The server identifier in what is sent. The server still answers to its own.
    pub identifier: Option<Ipv4Addr>,
    /// A second server identifier option behind the first, with this value.
    pub duplicate_identifier: Option<Ipv4Addr>,
    /// The `siaddr` field; the server's own address if `None`.
    pub siaddr: Option<Ipv4Addr>,
    /// The client identifier in answers (RFC 6842).
    pub echo: Echo,
    /// Options go into the file and sname fields as far as possible (option 52).
    pub overload: bool,
    /// Configured options are sent whether asked for or not.
    pub unsolicited: bool,
    /// Answers are always broadcast, or never; as the client asks if `None`.
    pub broadcast: Option<bool>,
    /// Has the last word on each answer.
    pub rewrite: Option<Rewrite>,
}

/// What an answer says of the client identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Echo {
    /// What the client sent, as RFC 6842 has it.
    #[default]
    Same,
    /// Nothing, as servers did before.
    Nothing,
    /// This.
    Other(Vec<u8>),
}

/// Turns an answer (as a message, and as the bytes of its UDP payload) into the payloads to send
/// in its place: none, several, damaged ones.
#[derive(Clone)]
pub struct Rewrite(Arc<Rewriter>);

type Rewriter = dyn Fn(&Message, Vec<u8>) -> Vec<Vec<u8>> + Send + Sync;

impl Rewrite {
    /// Wraps the function.
    pub fn new(
        rewrite: impl Fn(&Message, Vec<u8>) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(rewrite))
    }

    /// Cuts every answer to its first `length` bytes.
    pub fn truncate(length: usize) -> Self {
        Self::new(move |_, mut bytes| {
            bytes.truncate(length);
            vec![bytes]
        })
    }

    /// Sends these bytes before each answer, with the transaction identifier put in so that only
    /// the rest of them can be what a client objects to.
    pub fn precede_with(junk: impl Into<Vec<u8>>) -> Self {
        let junk = junk.into();
        Self::new(move |answer, bytes| {
            let mut junk = junk.clone();
            if let Some(xid) = junk.get_mut(4..8) {
                xid.copy_from_slice(&answer.xid.to_be_bytes());
            }
            vec![junk, bytes]
        })
    }

    pub(super) fn apply(&self, answer: &Message, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        (self.0)(answer, bytes)
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rewrite")
    }
}

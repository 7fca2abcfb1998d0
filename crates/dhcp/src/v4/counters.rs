use core::fmt;

use wire::dhcpv4::MessageType;

/// What a client has sent, received and not used since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    sent: [u32; MESSAGE_TYPES.len()],
    received: [u32; MESSAGE_TYPES.len()],
    discarded: [u32; Discard::ALL.len()],
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was sent.
    Sent,
    /// It was received, used or not.
    Received,
    /// It was received and not used.
    Discarded,
}

/// The message types that are counted apart, with their names.
const MESSAGE_TYPES: [(MessageType, &str); 9] = [
    (MessageType::Discover, "discover"),
    (MessageType::Offer, "offer"),
    (MessageType::Request, "request"),
    (MessageType::Decline, "decline"),
    (MessageType::Ack, "ack"),
    (MessageType::Nak, "nak"),
    (MessageType::Release, "release"),
    (MessageType::Inform, "inform"),
    (MessageType::ForceRenew, "force-renew"),
];

impl Counters {
    /// Messages of that type sent.
    pub fn sent(&self, message_type: MessageType) -> u32 {
        read(&self.sent, position(message_type))
    }

    /// Messages of that type received, used or not.
    pub fn received(&self, message_type: MessageType) -> u32 {
        read(&self.received, position(message_type))
    }

    /// Messages not used for that reason.
    pub fn discarded(&self, reason: Discard) -> u32 {
        read(&self.discarded, Some(reason as usize))
    }

    /// Adds what another client counted.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in [
            (&mut self.sent[..], &other.sent[..]),
            (&mut self.received[..], &other.received[..]),
            (&mut self.discarded[..], &other.discarded[..]),
        ] {
            for (our, their) in ours.iter_mut().zip(theirs) {
                *our = our.saturating_add(*their);
            }
        }
    }

    /// Every counter that is not zero: what is counted, of which type or for which reason, and how
    /// often.
    pub fn iter(&self) -> impl Iterator<Item = (Counted, &'static str, u32)> {
        let types = || MESSAGE_TYPES.iter().map(|(_, name)| *name);
        let reasons = Discard::ALL.iter().map(|reason| reason.name());
        let sent = types().zip(self.sent).map(|(name, n)| (Counted::Sent, name, n));
        let received = types().zip(self.received).map(|(name, n)| (Counted::Received, name, n));
        let discarded = reasons.zip(self.discarded).map(|(name, n)| (Counted::Discarded, name, n));
        sent.chain(received).chain(discarded).filter(|&(_, _, count)| count > 0)
    }

    pub(super) fn count_sent(&mut self, message_type: MessageType) {
        add(&mut self.sent, position(message_type));
    }

    pub(super) fn count_received(&mut self, message_type: MessageType) {
        add(&mut self.received, position(message_type));
    }

    pub(super) fn count_discarded(&mut self, reason: Discard) {
        add(&mut self.discarded, Some(reason as usize));
    }
}

fn position(message_type: MessageType) -> Option<usize> {
    MESSAGE_TYPES.iter().position(|(t, _)| *t == message_type)
}

fn read(counts: &[u32], position: Option<usize>) -> u32 {
    position.and_then(|i| counts.get(i)).copied().unwrap_or(0)
}

fn add(counts: &mut [u32], position: Option<usize>) {
    if let Some(count) = position.and_then(|i| counts.get_mut(i)) {
        *count = count.saturating_add(1);
    }
}

macro_rules! discards {
    ($($(#[$doc:meta])* $variant:ident $name:literal $text:literal;)*) => {
        /// Why a message was not used.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Discard {
            $($(#[$doc])* $variant,)*
        }

        impl Discard {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The reason's name in lower case, words joined by `-`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl fmt::Display for Discard {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)*
                })
            }
        }
    };
}

discards! {
    /// Not a DHCP message: too short, or without the magic cookie.
    Malformed "malformed" "malformed";
    /// From a client.
    NotReply "not-reply" "not from a server";
    /// BOOTP, without a message type.
    NoType "no-type" "no message type";
    /// A type that servers do not send.
    WrongType "wrong-type" "not a type for clients";
    /// FORCERENEW without authentication (RFC 3203 6), which is never obeyed.
    ForceRenew "force-renew" "unauthenticated FORCERENEW";
    /// For another hardware address.
    WrongHardware "wrong-hardware" "for another hardware address";
    /// For another client identifier (RFC 6842).
    WrongClientIdentifier "wrong-client-identifier" "for another client identifier";
    /// An answer to nothing that was asked lately.
    WrongTransaction "wrong-transaction" "unknown transaction";
    /// Nothing of that type is waited for now.
    Unexpected "unexpected" "not expected in this state";
    /// Without a server identifier.
    NoServerIdentifier "no-server-identifier" "no usable server identifier";
    /// From a server that has no say in this.
    WrongServer "wrong-server" "from another server than asked";
    /// The address is none that a host can have.
    BadAddress "bad-address" "no usable address";
    /// For another address than the one asked for.
    WrongAddress "wrong-address" "for another address than asked for";
    /// Without a lease time.
    NoLeaseTime "no-lease-time" "no lease time";
    /// The lease is over before it could be renewed.
    LeaseTooShort "lease-too-short" "lease too short to use";
    /// An ACK to DISCOVER that does not say it is one (RFC 4039 3.1).
    NotRapid "not-rapid" "ACK to DISCOVER without rapid commit";
    /// An offer without an address, only to say that the host may not choose one (RFC 2563).
    NoAutoConfigure "no-auto-configure" "no address, and no link-local one allowed";
    /// One offer more than are kept.
    TooManyOffers "too-many-offers" "more offers than are kept";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_discard_has_its_own_counter() {
        let mut counters = Counters::default();
        for (count, reason) in (1..).zip(Discard::ALL) {
            for _ in 0..count {
                counters.count_discarded(*reason);
            }
        }
        for (count, reason) in (1..).zip(Discard::ALL) {
            assert_eq!(counters.discarded(*reason), count);
        }
        assert_eq!(counters.iter().count(), Discard::ALL.len());
    }

    #[test]
    fn types_without_a_counter_are_ignored() {
        let mut counters = Counters::default();
        counters.count_received(MessageType::Other(77));
        counters.count_sent(MessageType::Discover);
        assert_eq!(counters.iter().collect::<Vec<_>>(), [(Counted::Sent, "discover", 1)]);
    }
}

//! What a server's message says, checked before anything else looks at it.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::Instant;
use wire::dhcpv4::{self, Malformed, Message, MessageType, Op, OptionCode, Reason};

use super::config::Config;
use super::counters::Discard;
use super::input::Link;
use super::lease::{Lease, Route};
use super::message::{client_identifier, fits_chaddr};
use crate::exchange::Sent;

/// The shortest lease that can be used: T1 must come before T2, T2 before the end, and a server
/// must not be able to have us ask several times a second. A shorter one is not stretched, for
/// that would be using an address past its term.
const SHORTEST_LEASE: u32 = 2;
/// RFC 791 3.1: "All hosts must be prepared to accept datagrams of up to 576 octets". RFC 2132 5.1
/// allows 68, with which a server could cripple the interface.
const SMALLEST_MTU: u16 = 576;
/// The most routes taken from one lease; a message has room for hundreds.
const MAX_ROUTES: usize = 128;

/// A message of a server that concerns this client.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) kind: ReplyKind,
    /// From option 54, an address that a host can have.
    pub(super) server: Option<Ipv4Addr>,
    pub(super) message: Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyKind {
    Offer,
    Ack,
    Nak,
}

impl Reply {
    /// Checks that a message is a server's answer to this client; to which of its questions, the
    /// caller checks.
    pub(super) fn new(message: Message, config: &Config, link: &Link) -> Result<Self, Discard> {
        if message.op != Op::Reply {
            return Err(Discard::NotReply);
        }
        let kind = match message.message_type().ok_or(Discard::NoType)? {
            MessageType::Offer => ReplyKind::Offer,
            MessageType::Ack => ReplyKind::Ack,
            MessageType::Nak => ReplyKind::Nak,
            MessageType::ForceRenew => return Err(Discard::ForceRenew),
            _ => return Err(Discard::WrongType),
        };
        if fits_chaddr(&link.hardware) && message.chaddr != link.hardware {
            return Err(Discard::WrongHardware);
        }
        // RFC 6842 3: "If the 'client identifier' option is present in the server's reply and it
        // does not match the one sent, the client MUST silently discard the message."
        let echoed = message.options.get(OptionCode::CLIENT_IDENTIFIER);
        if let (Some(echoed), Some(own)) = (echoed, client_identifier(config, link))
            && echoed != own
        {
            return Err(Discard::WrongClientIdentifier);
        }
        let server = message.options.server_identifier();
        Ok(Self { kind, server: server.filter(|address| is_host(*address)), message })
    }

    /// The lease that an offer or an ACK describes; `server` is used where option 54 is absent,
    /// and the terms count from `sent`.
    pub(super) fn lease(
        &self,
        config: &Config,
        server: Option<Ipv4Addr>,
        sent: Sent,
    ) -> Result<Lease, Discard> {
        let address = self.message.yiaddr;
        if !is_host(address) {
            return Err(Discard::BadAddress);
        }
        let seconds = self.message.options.lease_time();
        let terms = Terms::new(
            seconds.ok_or(Discard::NoLeaseTime)?,
            self.message.options.renewal_time(),
            self.message.options.rebinding_time(),
            sent.at,
        )?;
        let lease = self.parameters(config, address, server, terms)?;
        if address == lease.server || !names_one_host(address, lease.prefix_length) {
            return Err(Discard::BadAddress);
        }
        Ok(lease)
    }

    /// The answer to INFORM: a lease without terms for the caller's own address.
    pub(super) fn informed(
        &self,
        config: &Config,
        address: Ipv4Addr,
        sent: Sent,
    ) -> Result<Lease, Discard> {
        let terms =
            Terms { obtained_at: sent.at, renew_at: None, rebind_at: None, expires_at: None };
        self.parameters(config, address, None, terms)
    }

    /// The server's words, printable and short.
    pub(super) fn words(&self) -> Option<String> {
        /// RFC 3396 lets a message fill a packet; a log line should not be that long.
        const LONGEST: usize = 200;
        let words = self.message.options.message()?;
        let printable = |c: char| match c {
            // Besides control characters, what turns the direction of text around.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        };
        Some(words.chars().take(LONGEST).map(printable).collect())
    }

    fn parameters(
        &self,
        config: &Config,
        address: Ipv4Addr,
        server: Option<Ipv4Addr>,
        terms: Terms,
    ) -> Result<Lease, Discard> {
        let options = &self.message.options;
        let server = self.server.or(server).ok_or(Discard::NoServerIdentifier)?;
        let prefix_length = match options.subnet_mask() {
            // A mask of 0.0.0.0 would put the whole world on the link.
            Some((_, length)) if length > 0 => length,
            _ => class_prefix(address),
        };
        let broadcast = options
            .broadcast_address()
            .filter(|b| !b.is_unspecified() && !b.is_loopback())
            .or_else(|| subnet_broadcast(address, prefix_length));
        let usable = |servers: Vec<Ipv4Addr>| -> Vec<Ipv4Addr> {
            let mut seen: Vec<Ipv4Addr> = Vec::new();
            for server in servers.into_iter().filter(|s| is_host(*s)) {
                if !seen.contains(&server) {
                    seen.push(server);
                }
            }
            seen
        };
        let mut lease = Lease {
            address,
            prefix_length,
            broadcast,
            server,
            obtained_at: terms.obtained_at,
            renew_at: terms.renew_at,
            rebind_at: terms.rebind_at,
            expires_at: terms.expires_at,
            routes: read_routes(options, address),
            dns: usable(options.dns_servers()),
            domain_name: options.domain_name().map(str::to_owned),
            domain_search: options.domain_search(),
            ntp: usable(options.ntp_servers()),
            mtu: options.mtu().filter(|mtu| *mtu >= SMALLEST_MTU),
            host_name: options.host_name().map(str::to_owned),
            captive_portal: options.captive_portal().map(str::to_owned),
            options: options.iter().map(|(code, data)| (code.0, data.to_vec())).collect(),
            gateway: None,
        };
        lease.leave_out_refused(config);
        Ok(lease)
    }
}

/// The options of a message that are not used, and why.
pub(super) fn ignored(options: &dhcpv4::Options) -> Vec<Malformed> {
    let mut ignored = options.malformed().to_vec();
    if options.mtu().is_some_and(|mtu| mtu < SMALLEST_MTU) {
        ignored.push(Malformed { code: OptionCode::INTERFACE_MTU, reason: Reason::Range });
    }
    ignored
}

/// An offer that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) address: Ipv4Addr,
    pub(super) server: Ipv4Addr,
    /// The DISCOVER it answers.
    pub(super) sent: Sent,
}

/// Which of `offers` to take: one for the address wanted (held before, or configured), else one of
/// the server known, else the first.
pub(super) fn choose(
    offers: &[Offer],
    wanted: Option<Ipv4Addr>,
    known: Option<Ipv4Addr>,
) -> Option<Offer> {
    let by = |test: &dyn Fn(&Offer) -> bool| offers.iter().find(|o| test(o)).copied();
    by(&|offer| Some(offer.address) == wanted)
        .or_else(|| by(&|offer| Some(offer.server) == known))
        .or_else(|| offers.first().copied())
}

/// The points in time that a lease consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    obtained_at: Instant,
    renew_at: Option<Instant>,
    rebind_at: Option<Instant>,
    expires_at: Option<Instant>,
}

impl Terms {
    /// RFC 2131 4.4.5: "T1 defaults to (0.5 * duration_of_lease). T2 defaults to (0.875 *
    /// duration_of_lease)." Both are the defaults where T1 < T2 < the end would not hold.
    fn new(
        lease: u32,
        renewal: Option<u32>,
        rebinding: Option<u32>,
        obtained_at: Instant,
    ) -> Result<Self, Discard> {
        if lease < SHORTEST_LEASE {
            return Err(Discard::LeaseTooShort);
        }
        if lease == dhcpv4::INFINITE {
            return Ok(Self { obtained_at, renew_at: None, rebind_at: None, expires_at: None });
        }
        let end = Duration::from_secs(lease.into());
        let seconds = |time: u32| Duration::from_secs(time.into());
        let mut t1 = renewal.map_or(end / 2, seconds);
        let mut t2 = rebinding.map_or(end / 8 * 7, seconds);
        if t1.is_zero() || t1 >= t2 || t2 >= end {
            (t1, t2) = (end / 2, end / 8 * 7);
        }
        Ok(Self {
            obtained_at,
            renew_at: Some(obtained_at + t1),
            rebind_at: Some(obtained_at + t2),
            expires_at: Some(obtained_at + end),
        })
    }
}

/// Whether a host can have this address: a server or a client, not a group and not this machine.
pub(super) fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && !address.is_loopback() && !address.is_multicast() && !address.is_broadcast()
}

/// The network part of an address.
pub(super) fn network(address: Ipv4Addr, prefix_length: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & mask(prefix_length))
}

fn mask(prefix_length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0)
}

/// The prefix length an address had before masks (RFC 791 3.2): what peers use for a server that
/// sends none. RFC 2131 has no default, and the classful one is right wherever such a server is.
fn class_prefix(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

fn subnet_broadcast(address: Ipv4Addr, prefix_length: u8) -> Option<Ipv4Addr> {
    // RFC 3021: a /31 has no broadcast address.
    (prefix_length <= 30).then(|| Ipv4Addr::from_bits(address.to_bits() | !mask(prefix_length)))
}

/// Whether the address is neither that of its subnet nor that of all hosts in it (RFC 1122
/// 3.2.1.3). A /31 has two hosts (RFC 3021) and a /32 one.
fn names_one_host(address: Ipv4Addr, prefix_length: u8) -> bool {
    match subnet_broadcast(address, prefix_length) {
        Some(broadcast) => address != broadcast && address != network(address, prefix_length),
        None => true,
    }
}

/// RFC 3442: "If the DHCP server returns both a Classless Static Routes option and a Router
/// option, the DHCP client MUST ignore the Router option."
fn read_routes(options: &dhcpv4::Options, own: Ipv4Addr) -> Vec<Route> {
    let classless = options.classless_routes();
    let mut routes: Vec<Route> = Vec::new();
    let mut add = |route: Route| {
        let gateway_ok = route.gateway.is_none_or(|g| is_host(g) && g != own);
        let [first, ..] = route.destination.octets();
        // A prefix of less than 8 bits may begin with 0 and is more than 0/8.
        let reachable = first < 224 && first != 127 && (first != 0 || route.prefix_length < 8);
        if gateway_ok && reachable && routes.len() < MAX_ROUTES && !routes.contains(&route) {
            routes.push(route);
        }
    };
    if classless.is_empty() {
        for router in options.routers() {
            add(Route {
                destination: Ipv4Addr::UNSPECIFIED,
                prefix_length: 0,
                gateway: Some(router),
            });
        }
    }
    for route in classless {
        add(Route {
            destination: route.destination,
            prefix_length: route.prefix_len,
            gateway: (!route.router.is_unspecified()).then_some(route.router),
        });
    }
    routes
}

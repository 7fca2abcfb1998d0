//! Writes every message a client sends.
//!
//! Which fields and options each has (RFC 2131 tables 4 and 5; `-` is "must not"):
//!
//! | | ciaddr | requested address (50) | server identifier (54) | to |
//! |---|---|---|---|---|
//! | DISCOVER | 0 | may | - | broadcast |
//! | REQUEST, selecting | 0 | the offered address | the chosen server | broadcast |
//! | REQUEST, rebooting | 0 | the previous address | - | broadcast |
//! | REQUEST, renewing | the address | - | - | the issuing server |
//! | REQUEST, rebinding | the address | - | - | broadcast |
//! | DECLINE | 0 | the address | the issuing server | broadcast |
//! | RELEASE | the address | - | the issuing server | the issuing server |
//! | INFORM | the address | - | - | broadcast |
//!
//! The client identifier is in all of them; requests for parameters are in all but DECLINE and
//! RELEASE.

use core::net::Ipv4Addr;

use engine::Rng;
use wire::dhcpv4::{self, Message, MessageType, Op, OptionCode};
use wire::{HardwareAddress, HardwareType};

use super::config::{Broadcast, ClientIdentifier, Config};
use super::input::Link;
use super::timers::secs;
use crate::exchange::Sent;

/// `chaddr` has room for no more (RFC 2131 2); longer addresses are left out (RFC 4390 2.1).
const CHADDR_LENGTH: usize = 16;
/// RFC 2132 9.10: "the minimum legal value is 576 octets".
const MINIMUM_MESSAGE_SIZE: u32 = 576;
/// No server fills more than an Ethernet frame.
const MAXIMUM_MESSAGE_SIZE: u32 = 1500;
/// RFC 2132 9.14: the type byte and at least one more.
const CLIENT_IDENTIFIER_LENGTH: core::ops::RangeInclusive<usize> = 2..=255;
/// RFC 4361 6.1: the type of an identifier made of IAID and DUID.
const CLIENT_IDENTIFIER_DUID: u8 = 255;

/// A message and the fields that make it what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Looks for servers; `wanted` is a hint.
    Discover { wanted: Option<Ipv4Addr> },
    /// Takes an offer.
    Select { address: Ipv4Addr, server: Ipv4Addr },
    /// Asks whether the previous address is still right.
    Reboot { address: Ipv4Addr },
    /// Asks for an extension (renewing and rebinding differ in their destination only).
    Extend { address: Ipv4Addr },
    /// Tells that another host has the address.
    Decline { address: Ipv4Addr, server: Ipv4Addr },
    /// Gives the address back.
    Release { address: Ipv4Addr, server: Ipv4Addr },
    /// Asks for parameters only.
    Inform { address: Ipv4Addr },
}

impl Kind {
    /// The message type of it.
    pub(super) fn message_type(self) -> MessageType {
        match self {
            Self::Discover { .. } => MessageType::Discover,
            Self::Select { .. } | Self::Reboot { .. } | Self::Extend { .. } => MessageType::Request,
            Self::Decline { .. } => MessageType::Decline,
            Self::Release { .. } => MessageType::Release,
            Self::Inform { .. } => MessageType::Inform,
        }
    }
}

/// Writes a message. `rng` decides the order of options where that must not tell clients apart.
pub(super) fn build(
    kind: Kind,
    sent: Sent,
    config: &Config,
    link: &Link,
    rng: &mut Rng,
) -> Message {
    let mut message = ordered(kind, sent, config, link);
    if config.anonymize {
        shuffle_options(&mut message, rng);
    }
    message
}

fn ordered(kind: Kind, sent: Sent, config: &Config, link: &Link) -> Message {
    let mut message = Message::new(Op::Request, sent.xid);
    message.hardware_type = link.hardware_type;
    if fits_chaddr(&link.hardware) {
        message.chaddr = link.hardware;
    }
    let options = &mut message.options;
    options.set_message_type(kind.message_type());
    if let Some(identifier) = client_identifier(config, link) {
        options.set_client_identifier(&identifier);
    }

    let none = Ipv4Addr::UNSPECIFIED;
    let (ciaddr, requested, server) = match kind {
        Kind::Discover { wanted } => (none, wanted, None),
        Kind::Select { address, server } | Kind::Decline { address, server } => {
            (none, Some(address), Some(server))
        }
        Kind::Reboot { address } => (none, Some(address), None),
        Kind::Extend { address } | Kind::Inform { address } => (address, None, None),
        Kind::Release { address, server } => (address, None, Some(server)),
    };
    message.ciaddr = ciaddr;
    if let Some(address) = requested {
        options.set_requested_address(address);
    }
    if let Some(server) = server {
        options.set_server_identifier(server);
    }

    if matches!(kind, Kind::Decline { .. } | Kind::Release { .. }) {
        // Table 5: "secs 0", "flags 0", and MUST NOT for all that asks for something.
        return message;
    }
    message.secs = secs(sent);
    message.broadcast = ciaddr.is_unspecified() && needs_broadcast(config, link);
    // RFC 7844 3.1: "SHOULD limit the subset of options sent in messages to the subset listed in the
    // remaining subsections": of these, the parameter request list alone.
    if !config.anonymize {
        state_wishes(options, kind, config, link);
    }
    options.set_parameter_request_list(&parameter_request_list(config));
    if !config.anonymize {
        identify(&mut message, config);
    }
    message
}

/// What the server may do, and how much of it.
fn state_wishes(options: &mut dhcpv4::Options, kind: Kind, config: &Config, link: &Link) {
    if matches!(kind, Kind::Discover { .. }) && asks_for_rapid_commit(config) {
        options.set_rapid_commit();
    }
    if matches!(kind, Kind::Discover { .. }) && config.link_local {
        options.set_auto_configure(true);
    }
    if let (false, Some(time)) = (matches!(kind, Kind::Inform { .. }), config.request_lease_time) {
        options.set_lease_time(u32::try_from(time.as_secs()).unwrap_or(dhcpv4::INFINITE));
    }
    let size = link.mtu.clamp(MINIMUM_MESSAGE_SIZE, MAXIMUM_MESSAGE_SIZE);
    options.set_max_message_size(u16::try_from(size).unwrap_or(u16::MAX));
}

/// Whether DISCOVER invites an ACK.
pub(super) fn asks_for_rapid_commit(config: &Config) -> bool {
    config.rapid_commit && !config.anonymize
}

/// RFC 7844 3.1: "SHOULD randomize the ordering of options before sending any DHCPv4 message";
/// 3.6 has the same for the parameter request list.
fn shuffle_options(message: &mut Message, rng: &mut Rng) {
    let mut list = message.options.parameter_request_list();
    if !list.is_empty() {
        shuffle(&mut list, rng);
        let of = |code| list.iter().position(|listed| *listed == code);
        // RFC 3442's order, which servers may go by.
        if let (Some(classless), Some(router)) =
            (of(OptionCode::CLASSLESS_ROUTE), of(OptionCode::ROUTER))
            && router < classless
        {
            list.swap(router, classless);
        }
        message.options.set_parameter_request_list(&list);
    }
    let mut options: Vec<(OptionCode, Vec<u8>)> =
        message.options.iter().map(|(code, data)| (code, data.to_vec())).collect();
    shuffle(&mut options, rng);
    message.options = dhcpv4::Options::new();
    for (code, data) in options {
        message.options.insert(code, data);
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        // At most `last`.
        items.swap(last, rng.below(last as u64 + 1) as usize);
    }
}

/// The value of option 61; `None` when it is left out.
pub(super) fn client_identifier(config: &Config, link: &Link) -> Option<Vec<u8>> {
    let by_hardware = || {
        // "It may consist of type-value pairs similar to the 'htype'/'chaddr' fields."
        let [_, hardware_type] = link.hardware_type.0.to_be_bytes();
        let mut bytes = vec![hardware_type];
        bytes.extend(link.hardware.as_bytes());
        bytes
    };
    let bytes = match &config.client_identifier {
        // RFC 7844 3.5: "the client identifier [...] SHOULD be identical to the link-layer address".
        _ if config.anonymize => by_hardware(),
        ClientIdentifier::HardwareAddress => by_hardware(),
        ClientIdentifier::Duid { iaid, duid } => {
            let mut bytes = vec![CLIENT_IDENTIFIER_DUID];
            bytes.extend(iaid.to_be_bytes());
            bytes.extend(duid);
            bytes
        }
        ClientIdentifier::Raw(bytes) => bytes.clone(),
        ClientIdentifier::None => return None,
    };
    CLIENT_IDENTIFIER_LENGTH.contains(&bytes.len()).then_some(bytes)
}

/// Whether a hardware address can be given in `chaddr`.
pub(super) fn fits_chaddr(hardware: &HardwareAddress) -> bool {
    hardware.len() <= CHADDR_LENGTH
}

fn needs_broadcast(config: &Config, link: &Link) -> bool {
    match config.broadcast {
        Broadcast::Always => true,
        Broadcast::Never => false,
        Broadcast::Auto => {
            link.hardware.is_empty()
                || !fits_chaddr(&link.hardware)
                || link.hardware_type == HardwareType::INFINIBAND
        }
    }
}

/// Host name, vendor and user class.
fn identify(message: &mut Message, config: &Config) {
    let options = &mut message.options;
    let fqdn = config.fqdn.as_ref().map(|fqdn| dhcpv4::Fqdn {
        flags: match fqdn.server_updates {
            true => dhcpv4::Fqdn::SERVER_UPDATES,
            false => dhcpv4::Fqdn::NO_UPDATES,
        },
        name: fqdn.name.clone(),
    });
    // RFC 4702 3.1: "clients that send the Client FQDN option SHOULD NOT also send the Host Name
    // option". A name that has no wire form is not sent; the host name takes its place.
    let named = fqdn.is_some_and(|fqdn| options.set_fqdn(&fqdn).is_ok());
    if let (false, Some(name)) = (named, non_empty(config.host_name.as_deref())) {
        options.set_host_name(name);
    }
    if let Some(class) = config.vendor_class.as_ref().filter(|c| !c.is_empty()) {
        options.set_vendor_class(class.clone());
    }
    if !config.user_class.is_empty() {
        // Fails for an empty or overlong class only, and then sends none.
        let _ = options.set_user_class(&config.user_class);
    }
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// What the server is asked for: what the client uses, and what the configuration adds.
fn parameter_request_list(config: &Config) -> Vec<OptionCode> {
    let mut list = vec![OptionCode::SUBNET_MASK];
    if config.use_routes {
        // RFC 3442: "the client [...] MUST request both [...]. The Classless Static Routes option
        // MUST appear [...] prior to the Router option".
        list.extend([OptionCode::CLASSLESS_ROUTE, OptionCode::ROUTER]);
    }
    if config.use_dns {
        list.extend([OptionCode::DNS_SERVER, OptionCode::DOMAIN_NAME, OptionCode::DOMAIN_SEARCH]);
    }
    if !config.anonymize {
        if config.use_routes {
            list.push(OptionCode::CLASSLESS_ROUTE_MICROSOFT);
        }
        if config.use_host_name {
            list.push(OptionCode::HOST_NAME);
        }
        if config.use_mtu {
            list.push(OptionCode::INTERFACE_MTU);
        }
        list.push(OptionCode::BROADCAST_ADDRESS);
        if config.use_ntp {
            list.push(OptionCode::NTP_SERVER);
        }
        list.extend([
            OptionCode::RENEWAL_TIME,
            OptionCode::REBINDING_TIME,
            OptionCode::CAPTIVE_PORTAL,
        ]);
        for code in &config.request_options {
            if !list.contains(code) {
                list.push(*code);
            }
        }
    }
    if config.ipv6_only && !list.contains(&OptionCode::IPV6_ONLY_PREFERRED) {
        list.push(OptionCode::IPV6_ONLY_PREFERRED);
    }
    list
}

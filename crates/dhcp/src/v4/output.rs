use core::net::Ipv4Addr;
use core::time::Duration;

use engine::{CommandId, EffectId, Instant, Refused};
use wire::{HardwareAddress, arp, dhcpv4};

use super::lease::{Lease, Record, Route, State};

/// What a client wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Put this on the wire. Loss is expected, and found out by the silence that follows.
    Send(Transmit),
    /// Receive exactly this from now on; replaces the previous one.
    Listen(Listen),
    /// Change something in the host; the result comes back as `Input::Effect`. Effects are carried
    /// out in this order.
    Effect {
        /// Names the effect in its result.
        id: EffectId,
        /// What to do.
        effect: Effect,
    },
    /// Tell whoever watches.
    Event(Event),
    /// The end of a command.
    Reply {
        /// The command's.
        id: CommandId,
        /// What became of it.
        result: Result<Outcome, Failure>,
    },
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// To 255.255.255.255 and the link's broadcast address, from port 68 to port 67, through the
    /// packet socket: works without an address and without routes.
    Broadcast {
        /// Source address: 0.0.0.0 before an address is in use.
        source: Ipv4Addr,
        /// The message.
        message: Box<dhcpv4::Message>,
    },
    /// From our address to the server, port 68 to port 67, through the host's own routes.
    Unicast {
        /// Our address.
        source: Ipv4Addr,
        /// The server.
        destination: Ipv4Addr,
        /// The message.
        message: Box<dhcpv4::Message>,
    },
    /// ARP.
    Arp {
        /// The packet.
        packet: arp::Packet,
        /// Link-layer destination; `None` for broadcast.
        to: Option<HardwareAddress>,
    },
}

/// What a client needs to receive. An idle lease needs no DHCP at all, and of ARP only what
/// concerns its own address: everything else is dropped by the kernel's filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listen {
    /// DHCP messages.
    pub dhcp: DhcpListen,
    /// ARP packets.
    pub arp: ArpListen,
}

/// Which DHCP messages to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DhcpListen {
    /// None.
    #[default]
    Off,
    /// Through the packet socket: there is no address yet.
    Packet,
    /// Through a UDP socket on port 68 of this interface: the address is in use, and the kernel
    /// must not answer for the port.
    Udp,
}

/// Which ARP packets to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArpListen {
    /// None.
    #[default]
    Off,
    /// Those of other hosts that use this address as sender, or probe for it.
    Conflicts(Ipv4Addr),
    /// The same, and besides whatever this other host (a router) sends.
    ConflictsAnd(Ipv4Addr, Ipv4Addr),
}

/// A change to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put the address on the interface, or bring its lifetimes up to date.
    AddAddress(Address),
    /// Take the address off, with whatever the kernel hung on it. That it is not there counts as
    /// done, here and for routes.
    RemoveAddress {
        /// The address.
        address: Ipv4Addr,
        /// Its prefix length.
        prefix_length: u8,
    },
    /// Install the route (protocol dhcp, the interface's metric).
    AddRoute(RouteEntry),
    /// Remove the route.
    RemoveRoute(RouteEntry),
    /// Set the interface's MTU; `None` puts back the one it had before us.
    SetMtu(Option<u16>),
    /// Make these the interface's name servers; `None` withdraws them.
    SetResolver(Option<Resolver>),
    /// Set the host's name.
    SetHostName(String),
    /// Put the record on disk. Its result says that it survives a power failure.
    Persist(Box<Record>),
    /// Put a RELEASE on the wire. Nobody answers one, so that its result is all that can be known
    /// of it: whether it left the host, and why not. What follows waits until that is settled, for
    /// the address that it comes from must not go first.
    Release(Transmit),
}

/// An address with the lifetimes the kernel is to enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub prefix_length: u8,
    /// Broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// When the kernel is to remove it by itself; `None` for never.
    pub expires_at: Option<Instant>,
    /// A link-local address (scope link) rather than a leased one.
    pub link_local: bool,
}

/// A route with what it needs beside its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteEntry {
    /// Destination and gateway.
    pub route: Route,
    /// The preferred source: the leased address.
    pub source: Ipv4Addr,
    /// The gateway lies outside the subnet and has to be reached on the link all the same.
    pub on_link: bool,
}

/// Name resolution as a lease brings it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// Servers, in order of preference.
    pub servers: Vec<Ipv4Addr>,
    /// The interface's domain.
    pub domain: Option<String>,
    /// Search list, in order.
    pub search: Vec<String>,
}

/// What happened, for logs and subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client went from one state to another.
    StateChanged {
        /// Before.
        from: State,
        /// After.
        to: State,
    },
    /// A lease was obtained and applied.
    Acquired(Box<Lease>),
    /// The lease was extended, or confirmed after a restart or a carrier change.
    Renewed {
        /// As it is now.
        lease: Box<Lease>,
        /// How the server was asked.
        via: Via,
    },
    /// The lease was given back.
    Released {
        /// Its address.
        address: Ipv4Addr,
        /// Length of the subnet's prefix.
        prefix_length: u8,
        /// The server it was from.
        server: Ipv4Addr,
        /// Whether the server was told.
        told: Told,
    },
    /// The lease ran out.
    Expired {
        /// Its address.
        address: Ipv4Addr,
        /// Length of the subnet's prefix.
        prefix_length: u8,
    },
    /// A server refused (NAK); its lease, if it was in use, is gone.
    Refused {
        /// The server.
        server: Ipv4Addr,
        /// Its words, option 56.
        message: Option<String>,
    },
    /// Another host uses the address.
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// Who.
        hardware: HardwareAddress,
        /// The address was kept and defended (RFC 5227 section 2.4); otherwise it was given up.
        defended: bool,
    },
    /// No server has answered yet.
    NoAnswer {
        /// Since when.
        waited: Duration,
        /// Messages sent meanwhile.
        tries: u32,
    },
    /// A link-local address is in use because no server answered.
    LinkLocal {
        /// The address.
        address: Ipv4Addr,
    },
    /// Somebody removed the address or a route, and it was put back.
    Restored {
        /// The address it belongs to.
        address: Ipv4Addr,
    },
    /// The interface is back on the network it was on; the lease goes on (RFC 4436).
    SameNetwork {
        /// The router that proved it.
        gateway: Ipv4Addr,
    },
    /// A message was not used.
    Discarded {
        /// Why, for the debug log; never contains unescaped bytes of the message.
        reason: String,
    },
    /// A message was used, but not all of its options.
    OptionsIgnored {
        /// Which and why, for the debug log.
        reason: String,
    },
    /// An effect failed and the client went on without it.
    EffectFailed {
        /// What failed and why.
        reason: String,
    },
}

/// How a server was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The issuing server alone.
    Unicast,
    /// All servers on the link.
    Broadcast,
    /// Nobody was asked: the network was recognised by its router (RFC 4436).
    SameNetwork,
}

/// What became of a RELEASE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It left the host. Whether it arrived, nobody knows: no server answers one (RFC 2131 section
    /// 4.4.6).
    Sent,
    /// It did not leave: to the server, the address stays leased until the lease runs out.
    NotSent {
        /// Why, in words for a person.
        reason: String,
    },
}

/// How a command ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is a lease now, persisted and applied.
    Acquired {
        /// The lease.
        lease: Box<Lease>,
        /// It was there already.
        already: bool,
    },
    /// The lease was extended, and that is persisted.
    Renewed {
        /// As it is now.
        lease: Box<Lease>,
        /// How the server was asked.
        via: Via,
    },
    /// The lease is given back: the address and all else is removed, and that it is released is
    /// persisted.
    Released {
        /// The address given back.
        address: Ipv4Addr,
        /// Length of the subnet's prefix.
        prefix_length: u8,
        /// The server it was from.
        server: Ipv4Addr,
        /// Whether the server was told.
        told: Told,
    },
    /// The answer to INFORM. `address` is the caller's own and the terms are empty.
    Informed {
        /// What the server said.
        lease: Box<Lease>,
    },
    /// The client stopped.
    Stopped,
}

/// How a command failed. What the client does by itself goes on unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The link has no carrier or is administratively down.
    #[error("the link is down")]
    LinkDown,
    /// There is nothing to release.
    #[error("nothing is leased")]
    NotLeased,
    /// No server answered in time. The client keeps trying.
    #[error("no server answered within {:.1} s, {tries} tries", waited.as_secs_f64())]
    NoAnswer {
        /// From the command to its deadline.
        waited: Duration,
        /// Messages sent meanwhile.
        tries: u32,
    },
    /// A server refused (NAK). The client starts over by itself.
    #[error("server {server} refused{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// The server.
        server: Ipv4Addr,
        /// Its words, option 56, printable.
        message: Option<String>,
    },
    /// Another host uses the address that was offered. The client starts over by itself.
    #[error("address {address} is in use by {hardware}")]
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// Who uses it.
        hardware: HardwareAddress,
    },
    /// A server told this link to do without IPv4 (RFC 8925).
    #[error("the network asks for IPv6 only, for {} s", wait.as_secs())]
    Ipv6Only {
        /// For how long.
        wait: Duration,
    },
    /// The caller went away, or a later command made this one moot.
    #[error("cancelled")]
    Cancelled,
    /// The kernel or the store would not do what the lease needs.
    #[error("{0}")]
    Host(Refused),
}

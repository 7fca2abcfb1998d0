//! What the daemon tells, in the types of the standard library.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::from_api::from_api;
use crate::{EventKind, Family, Route, State, Via};

/// One client of one interface, with the lease it holds, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Address family.
    pub family: Family,
    /// Where the client stands.
    pub state: State,
    /// The link is up and has carrier.
    pub link_up: bool,
    /// Hexadecimal bytes separated by colons.
    pub hardware_address: Option<String>,
    /// The leased address.
    pub address: Option<IpAddr>,
    /// Bits of the network the address is in.
    pub prefix_length: Option<u8>,
    /// Broadcast address of that network.
    pub broadcast: Option<IpAddr>,
    /// The issuing server.
    pub server: Option<IpAddr>,
    /// When the lease was granted or last extended.
    pub obtained_at: Option<SystemTime>,
    /// When the issuing server will be asked to extend it (T1); `None` for an infinite lease.
    pub renew_at: Option<SystemTime>,
    /// When any server will be asked to extend it (T2); `None` for an infinite lease.
    pub rebind_at: Option<SystemTime>,
    /// When it ends; `None` for an infinite lease.
    pub expires_at: Option<SystemTime>,
    /// Routes that came with the lease, in the server's order.
    pub routes: Vec<Route>,
    /// Name servers, in the server's order.
    pub dns: Vec<IpAddr>,
    /// Domain of the host.
    pub domain_name: Option<String>,
    /// Domains to search, in the server's order.
    pub domain_search: Vec<String>,
    /// Time servers, in the server's order.
    pub ntp: Vec<IpAddr>,
    /// Bytes.
    pub mtu: Option<u32>,
    /// Name the server gave this host.
    pub host_name: Option<String>,
    /// URI of a captive portal (RFC 8910).
    pub captive_portal: Option<String>,
    /// The address of 169.254/16 in use while no server answers.
    pub link_local: Option<IpAddr>,
    /// Metric of the routes.
    pub metric: Option<u32>,
    /// Client identifier sent, hexadecimal bytes separated by colons.
    pub client_identifier: Option<String>,
}

from_api!(api::lease::Lease => Details {
    interface,
    ifindex,
    family,
    state,
    link_up,
    hardware_address,
    address,
    prefix_length,
    broadcast,
    server,
    obtained_at: each,
    renew_at: each,
    rebind_at: each,
    expires_at: each,
    routes,
    dns,
    domain_name,
    domain_search,
    ntp,
    mtu,
    host_name,
    captive_portal,
    link_local,
    metric,
    client_identifier,
});

/// A lease is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acquired {
    /// The client with its lease.
    pub lease: Details,
    /// The lease was in use before the call.
    pub already: bool,
}

from_api!(api::lease::AcquireReply => Acquired { lease: into, already });

/// A lease was extended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renewed {
    /// The client with its lease.
    pub lease: Details,
    /// How the server was asked.
    pub via: Via,
}

from_api!(api::lease::RenewReply => Renewed { lease: into, via });

/// A lease was given back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Released {
    /// The address given back.
    pub address: IpAddr,
    /// The server it was from.
    pub server: IpAddr,
    /// Whether the server was told: the message left the host. Whether it arrived, nobody knows:
    /// no server answers it. Where it did not, the address stays leased to the server until the
    /// lease runs out. `None` with a daemon that does not say.
    pub server_told: Option<bool>,
    /// Why it was not told, in words.
    pub reason: Option<String>,
}

from_api!(api::lease::ReleaseReply => Released { address, server, server_told, reason });

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub time: SystemTime,
    /// Name of the interface it concerns; empty for [`EventKind::Resync`].
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Address family.
    pub family: Family,
    /// One sentence for a person.
    pub text: String,
    /// The client after the event.
    pub lease: Option<Details>,
}

from_api!(api::lease::Event => Event {
    kind,
    time: into,
    interface,
    ifindex,
    family,
    text,
    lease: each,
});

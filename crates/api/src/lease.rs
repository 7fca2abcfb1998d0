//! `org.iphelper.Lease`: address leases.
//!
//! Mirrors `varlink/org.iphelper.Lease.varlink`, whose comments say what each method does and what
//! each field means.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::calls::calls;
use crate::open_enum::open_enum;
use crate::{Prefix, Time, Timeout};

/// The interface's description, as `GetInterfaceDescription` returns it.
pub const IDL: &str = include_str!("../../../varlink/org.iphelper.Lease.varlink");

/// Address family of a lease.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// DHCPv4.
    #[default]
    Ipv4,
    /// DHCPv6.
    Ipv6,
}

/// A route that came with a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub destination: Prefix,
    /// Next hop; absent for a destination on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

open_enum! {
    /// Where a client stands, named as in RFC 2131 figure 5.
    pub enum State {
        /// About to look for a server.
        Init = "init",
        /// Waiting for offers.
        Selecting = "selecting",
        /// An offer was chosen and requested.
        Requesting = "requesting",
        /// About to ask for the address it held before.
        InitReboot = "init-reboot",
        /// Waiting for word about the address it held before.
        Rebooting = "rebooting",
        /// A lease is in use.
        Bound = "bound",
        /// In use; the issuing server is asked to extend it.
        Renewing = "renewing",
        /// In use; any server is asked to extend it.
        Rebinding = "rebinding",
        /// Not told to acquire, or the link is down.
        Stopped = "stopped",
        /// Given back on command; nothing happens until the next.
        Released = "released",
        /// Leased; conflict detection has to finish before use.
        Probing = "probing",
        /// The network asked to do without IPv4.
        Ipv6Only = "ipv6-only",
    }
}

/// One client of one interface, with the lease it holds, if any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_address: Option<String>,
    /// The leased address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Bits of the network the address is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<u8>,
    /// Broadcast address of that network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<IpAddr>,
    /// The issuing server, from its server identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<IpAddr>,
    /// When the lease was granted or last extended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obtained_at: Option<Time>,
    /// T1; absent for an infinite lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Time>,
    /// T2; absent for an infinite lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebind_at: Option<Time>,
    /// The end; absent for an infinite lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Routes that came with the lease, in the server's order.
    pub routes: Vec<Route>,
    /// Name servers, in the server's order.
    pub dns: Vec<IpAddr>,
    /// Domain of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
    /// Domains to search, in the server's order.
    pub domain_search: Vec<String>,
    /// Time servers, in the server's order.
    pub ntp: Vec<IpAddr>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Name the server gave this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// URI of RFC 8910.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captive_portal: Option<String>,
    /// The address of 169.254/16 in use while no server answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_local: Option<IpAddr>,
    /// Metric of the routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Client identifier sent, hexadecimal bytes separated by colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_identifier: Option<String>,
}

impl Lease {
    /// A client that holds nothing: every field that does not apply is absent or empty.
    pub fn new(interface: impl Into<String>, ifindex: u32, family: Family, state: State) -> Self {
        Self {
            interface: interface.into(),
            ifindex,
            family,
            state,
            link_up: false,
            hardware_address: None,
            address: None,
            prefix_length: None,
            broadcast: None,
            server: None,
            obtained_at: None,
            renew_at: None,
            rebind_at: None,
            expires_at: None,
            routes: Vec::new(),
            dns: Vec::new(),
            domain_name: None,
            domain_search: Vec::new(),
            ntp: Vec::new(),
            mtu: None,
            host_name: None,
            captive_portal: None,
            link_local: None,
            metric: None,
            client_identifier: None,
        }
    }
}

open_enum! {
    /// What happened.
    pub enum EventKind {
        /// The client is in that state: at the start of a subscription, and on each change.
        State = "state",
        /// A lease was obtained and applied.
        Acquired = "acquired",
        /// The lease was extended.
        Renewed = "renewed",
        /// The lease was given back on command.
        Released = "released",
        /// The lease ran out unextended.
        Expired = "expired",
        /// A server refused.
        Refused = "refused",
        /// Another host uses the address.
        Conflict = "conflict",
        /// No server answered; the client keeps trying.
        NoAnswer = "no-answer",
        /// An address of 169.254/16 came into use or left it.
        LinkLocal = "link-local",
        /// The lease was taken up again after a restart of the daemon.
        Restored = "restored",
        /// The network was recognised by its router after a carrier change.
        SameNetwork = "same-network",
        /// A packet was not believed.
        Discarded = "discarded",
        /// The kernel or the disk refused something.
        EffectFailed = "effect-failed",
        /// This subscriber was too slow and missed events; "state" events follow for every
        /// client there is, as at the start. Concerns no interface: `interface` is empty.
        Resync = "resync",
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub time: Time,
    /// Name of the interface it concerns.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Address family.
    pub family: Family,
    /// One sentence for a person.
    pub text: String,
    /// The client after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

/// How a server was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The issuing server alone.
    Unicast,
    /// All servers on the link.
    Broadcast,
    /// Nobody was: the network was recognised by its router.
    SameNetwork,
}

/// Parameters of `List`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// A name, or a pattern with `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Clients of this family alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

/// Reply of `List`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReply {
    /// One client.
    pub lease: Lease,
}

/// Parameters of `Acquire`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// Name of the interface.
    pub interface: String,
    /// IPv4 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// How long to wait for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// Reply of `Acquire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcquireReply {
    /// The client with its lease.
    pub lease: Lease,
    /// The lease was in use before the call.
    pub already: bool,
}

/// Parameters of `Renew`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Name of the interface.
    pub interface: String,
    /// IPv4 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// How long to wait for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// Reply of `Renew`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewReply {
    /// The client with its lease.
    pub lease: Lease,
    /// How the server was asked.
    pub via: Via,
}

/// Parameters of `Release`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Name of the interface.
    pub interface: String,
    /// IPv4 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// How long to wait for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// Reply of `Release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseReply {
    /// The address given back.
    pub address: IpAddr,
    /// The server it was from.
    pub server: IpAddr,
    /// Whether the server was told: the message left the host. Whether it arrived, nobody knows:
    /// no server answers it. Where it did not, the address stays leased to the server until the
    /// lease runs out. Absent from daemons that do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_told: Option<bool>,
    /// Why it was not told, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Parameters of `Inform`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inform {
    /// Name of the interface.
    pub interface: String,
    /// The address configured by hand; the interface's first when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How long to wait for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// Reply of `Inform`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InformReply {
    /// The parameters, with the address they were asked for.
    pub lease: Lease,
}

/// Parameters of `Monitor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// A name, or a pattern with `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// Reply of `Monitor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorReply {
    /// What happened.
    pub event: Event,
}

calls! {
    "org.iphelper.Lease", Error;
    read List => ListReply,
    change Acquire => AcquireReply,
    change Renew => RenewReply,
    change Release => ReleaseReply,
    change Inform => InformReply,
    read Monitor => MonitorReply,
}

/// The interface's errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum Error {
    /// There is no interface of that name.
    #[error("there is no interface {interface}")]
    #[serde(rename = "org.iphelper.Lease.NoSuchInterface")]
    NoSuchInterface {
        /// The name asked for.
        interface: String,
    },

    /// The interface's addresses are not the daemon's to manage.
    #[error("{interface} is not managed{}", held_by(holder.as_deref()))]
    #[serde(rename = "org.iphelper.Lease.NotManaged")]
    NotManaged {
        /// Name of the interface, or the pattern that nothing managed matched.
        interface: String,
        /// Another DHCP client that manages it, where one was seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<String>,
    },

    /// There is no lease to release.
    #[error("{interface} holds no lease")]
    #[serde(rename = "org.iphelper.Lease.NotLeased")]
    NotLeased {
        /// Name of the interface.
        interface: String,
    },

    /// No carrier, or administratively down.
    #[error("the link of {interface} is down")]
    #[serde(rename = "org.iphelper.Lease.LinkDown")]
    LinkDown {
        /// Name of the interface.
        interface: String,
    },

    /// No server answered. The client keeps trying; a lease that is still valid stays in use.
    #[error("no DHCP server answered on {interface} in {waited:.1} s ({})", tries_text(*tries))]
    #[serde(rename = "org.iphelper.Lease.NoAnswer")]
    NoAnswer {
        /// Name of the interface.
        interface: String,
        /// Seconds waited.
        waited: f64,
        /// Packets sent.
        tries: u32,
    },

    /// A server refused. The lease, if one was in use, is gone; the client starts over.
    #[error("{server} refused the lease on {interface}{}", in_words(message.as_deref()))]
    #[serde(rename = "org.iphelper.Lease.Refused")]
    Refused {
        /// Name of the interface.
        interface: String,
        /// The server that refused.
        server: IpAddr,
        /// Its own words.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },

    /// Another host uses the address. The client starts over.
    #[error("{address} on {interface} is in use by {hardware_address}")]
    #[serde(rename = "org.iphelper.Lease.Conflict")]
    Conflict {
        /// Name of the interface.
        interface: String,
        /// The address.
        address: IpAddr,
        /// Who uses it: hexadecimal bytes separated by colons.
        hardware_address: String,
    },

    /// The network asks for IPv6 only.
    #[error("the network of {interface} asks for IPv6 only for {wait:.0} s")]
    #[serde(rename = "org.iphelper.Lease.Ipv6Only")]
    Ipv6Only {
        /// Name of the interface.
        interface: String,
        /// Seconds for which it asks that.
        wait: f64,
    },

    /// A later command made this one moot, or the daemon is ending.
    #[error("cancelled by a later command or the daemon's end")]
    #[serde(rename = "org.iphelper.Lease.Cancelled")]
    Cancelled {
        /// Name of the interface; empty when the call concerned all.
        interface: String,
    },

    /// The kernel or the disk refused what the lease needs, or the interface lacks what is needed.
    #[error("failed on {interface}: {reason}")]
    #[serde(rename = "org.iphelper.Lease.Host")]
    Host {
        /// Name of the interface.
        interface: String,
        /// What was refused, and why.
        reason: String,
    },

    /// The caller may not change leases.
    #[error("access denied: {needed} needed")]
    #[serde(rename = "org.iphelper.Lease.AccessDenied")]
    AccessDenied {
        /// What would do.
        needed: String,
    },

    /// Not yet served for this family.
    #[error("leases of this family are not served: {family:?}")]
    #[serde(rename = "org.iphelper.Lease.FamilyNotSupported")]
    FamilyNotSupported {
        /// The family.
        family: Family,
    },
}

fn held_by(holder: Option<&str>) -> String {
    holder.map(|holder| format!(" here but by {holder}")).unwrap_or_default()
}

fn in_words(message: Option<&str>) -> String {
    message.map(|message| format!(": {message:?}")).unwrap_or_default()
}

fn tries_text(tries: u32) -> String {
    match tries {
        1 => "1 try".to_owned(),
        _ => format!("{tries} tries"),
    }
}

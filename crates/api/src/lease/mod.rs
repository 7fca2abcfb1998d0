//! `org.iphelper.Lease`: address leases.
//!
//! Mirrors `varlink/org.iphelper.Lease.varlink`, whose comments say what each method does and what
//! each field means.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Timeout;
use crate::calls::calls;
use crate::open_enum::open_enum;

mod error;
mod event;
mod info;

pub use error::Error;
pub use event::{Event, EventKind};
pub use info::{Binding, DhcpOption, LeaseInfo, Route, Server, State};

/// The interface's description, as `GetInterfaceDescription` returns it.
pub const IDL: &str = include_str!("../../../../varlink/org.iphelper.Lease.varlink");

/// Address family of a lease. No third value will be added.
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

open_enum! {
    /// How a server was asked.
    pub enum Via {
        /// The issuing server alone.
        Unicast = "unicast",
        /// All servers on the link.
        Broadcast = "broadcast",
        /// None was: the network was recognised by its router.
        SameNetwork = "same-network",
    }
}

/// Parameters of `List`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// A name, a pattern with `*` and `?`, or an alternative name, index or GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Clients of this family alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

/// A reply of `List`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReply {
    /// Clients, by interface.
    pub leases: Vec<LeaseInfo>,
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
#[non_exhaustive]
pub struct AcquireReply {
    /// The client with its lease.
    pub lease: LeaseInfo,
    /// The lease was in use before the call.
    pub already: bool,
}

impl AcquireReply {
    /// With `already`, the lease was in use before the call.
    pub fn new(lease: LeaseInfo, already: bool) -> Self {
        Self { lease, already }
    }
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
#[non_exhaustive]
pub struct RenewReply {
    /// The client with its lease.
    pub lease: LeaseInfo,
    /// How the server was asked.
    pub via: Via,
}

impl RenewReply {
    /// An extension for which a server was asked that way.
    pub fn new(lease: LeaseInfo, via: Via) -> Self {
        Self { lease, via }
    }
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
#[non_exhaustive]
pub struct ReleaseReply {
    /// What was given back, without times.
    pub bindings: Vec<Binding>,
    /// The server it was from.
    pub server: Server,
    /// Whether the message to the server left the host. With DHCPv4 no server answers it, so
    /// whether it arrived is not known. Where it did not leave, the address stays leased to the
    /// server until the lease runs out.
    pub message_sent: bool,
    /// Why it did not leave, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReleaseReply {
    /// A release of which the server was informed.
    pub fn sent(bindings: Vec<Binding>, server: Server) -> Self {
        Self { bindings, server, message_sent: true, reason: None }
    }

    /// A release of which the server was not informed, and why not.
    pub fn not_sent(bindings: Vec<Binding>, server: Server, reason: impl Into<String>) -> Self {
        Self { bindings, server, message_sent: false, reason: Some(reason.into()) }
    }
}

/// Parameters of `Inform`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inform {
    /// Name of the interface.
    pub interface: String,
    /// IPv4 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The address configured by hand; the interface's first when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How long to wait for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// Reply of `Inform`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InformReply {
    /// The client with the parameters, and without bindings.
    pub lease: LeaseInfo,
    /// The address they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl InformReply {
    /// The parameters for that address.
    pub fn new(lease: LeaseInfo, address: Option<IpAddr>) -> Self {
        Self { lease, address }
    }
}

/// Parameters of `Monitor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// A name, a pattern with `*` and `?`, or an alternative name, index or GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// Reply of `Monitor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorReply {
    /// What happened.
    pub event: Event,
}

calls! {
    "org.iphelper.Lease", Error;
    list List => ListReply { leases: LeaseInfo },
    change Acquire => AcquireReply,
    change Renew => RenewReply,
    change Release => ReleaseReply,
    change Inform => InformReply,
    monitor Monitor => MonitorReply,
}

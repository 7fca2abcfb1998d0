//! Why a call of `org.iphelper.Lease` failed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::lease::{Family, Server};

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
        server: Server,
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
        /// The address that another host uses.
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
        /// Name of the interface; absent when the call named none.
        #[serde(skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
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
        /// The family that was asked for.
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

impl crate::InterfaceError for Error {
    fn access_denied(needed: String) -> Self {
        Self::AccessDenied { needed }
    }

    fn cancelled() -> Self {
        Self::Cancelled { interface: None }
    }
}

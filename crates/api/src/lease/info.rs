//! Clients and the leases they hold.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::lease::Family;
use crate::open_enum::open_enum;
use crate::{Prefix, Time};

/// One client of one interface, with the lease it holds, if any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// Name of the interface.
    pub interface: String,
    /// The interface's index (`IFLA_IFINDEX`), which a rename keeps.
    pub ifindex: u32,
    /// Address family.
    pub family: Family,
    /// Where the client stands.
    pub state: State,
    /// The link is up and has carrier.
    pub link_up: bool,
    /// Of the interface: hexadecimal bytes separated by colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_address: Option<String>,
    /// What the lease binds; empty without a lease.
    pub bindings: Vec<Binding>,
    /// The server that granted the lease or extended it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// When the lease was granted or last extended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obtained_at: Option<Time>,
    /// When the issuing server is asked for an extension (T1); absent for an infinite lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Time>,
    /// When any server is asked (T2); absent for an infinite lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebind_at: Option<Time>,
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
    /// Of the link, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Name the server gave this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// URI of the captive portal's API (RFC 8910).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captive_portal: Option<String>,
    /// Options that no other field carries, by code.
    pub options: Vec<DhcpOption>,
    /// The address of 169.254/16 in use while no server answers (RFC 3927).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_local: Option<IpAddr>,
    /// Metric of the routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Sent by the client: option 61 with DHCPv4, its DUID with DHCPv6; hexadecimal bytes separated
    /// by colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_identifier: Option<String>,
}

/// What a lease binds to this host: either an address or a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Binding {
    /// The leased address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// First address of a delegated prefix (IPv6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpAddr>,
    /// Bits of the network that the address is in, or of the prefix.
    pub prefix_length: u8,
    /// Broadcast address of the address's network (IPv4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<IpAddr>,
    /// Until when new connections may use it; absent for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_until: Option<Time>,
    /// Until when it may be used at all; absent for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// A DHCP server: an address, a DUID, or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Server {
    /// DHCPv4: the server identifier. DHCPv6: the source of its last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// DHCPv6: its DUID, hexadecimal bytes separated by colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duid: Option<String>,
}

/// A route that came with a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Route {
    /// Where it leads.
    pub destination: Prefix,
    /// Next hop; absent for a destination on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// An option of the server's last message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DhcpOption {
    /// Its code: of DHCPv4 or DHCPv6, as the lease's family is.
    pub code: u16,
    /// Lower case, words joined by `-`; absent where the daemon has no name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The value as received: hexadecimal bytes separated by colons.
    pub data: String,
    /// The value as text, where its form is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
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
        /// Nothing was asked for, or the link is down.
        Stopped = "stopped",
        /// Given back on command; nothing happens until the next.
        Released = "released",
        /// Leased; conflict detection has to finish before use.
        Probing = "probing",
        /// The network asked to do without IPv4.
        Ipv6Only = "ipv6-only",
    }
}

impl LeaseInfo {
    /// A client that holds nothing: every field that does not apply is absent or empty.
    pub fn new(interface: impl Into<String>, ifindex: u32, family: Family, state: State) -> Self {
        Self {
            interface: interface.into(),
            ifindex,
            family,
            state,
            link_up: false,
            hardware_address: None,
            bindings: Vec::new(),
            server: None,
            obtained_at: None,
            renew_at: None,
            rebind_at: None,
            routes: Vec::new(),
            dns: Vec::new(),
            domain_name: None,
            domain_search: Vec::new(),
            ntp: Vec::new(),
            mtu: None,
            host_name: None,
            captive_portal: None,
            options: Vec::new(),
            link_local: None,
            metric: None,
            client_identifier: None,
        }
    }

    /// Whether it holds a lease.
    pub fn is_leased(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// The addresses leased, in the server's order; delegated prefixes are none.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.bindings.iter().filter_map(|binding| binding.address)
    }
}

impl Binding {
    /// An address in a network of that many bits, for ever.
    pub fn of_address(address: impl Into<IpAddr>, prefix_length: u8) -> Self {
        Self { address: Some(address.into()), prefix_length, ..Self::default() }
    }

    /// A delegated prefix, for ever.
    pub fn of_prefix(prefix: Prefix) -> Self {
        Self { prefix: Some(prefix.address), prefix_length: prefix.length, ..Self::default() }
    }

    /// The address or the first address of the prefix.
    pub fn first(&self) -> Option<IpAddr> {
        self.address.or(self.prefix)
    }
}

impl fmt::Display for Binding {
    /// `192.0.2.7/24`; of a prefix, `2001:db8:7::/48`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first() {
            Some(address) => write!(f, "{address}/{}", self.prefix_length),
            None => write!(f, "/{}", self.prefix_length),
        }
    }
}

impl Server {
    /// A server of which an address is known.
    pub fn at(address: impl Into<IpAddr>) -> Self {
        Self { address: Some(address.into()), duid: None }
    }

    /// A server of which the DUID is known: hexadecimal bytes separated by colons.
    pub fn with_duid(duid: impl Into<String>) -> Self {
        Self { address: None, duid: Some(duid.into()) }
    }
}

impl fmt::Display for Server {
    /// The address, or the DUID where no address is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.duid) {
            (Some(address), _) => address.fmt(f),
            (None, Some(duid)) => f.write_str(duid),
            (None, None) => f.write_str("unknown"),
        }
    }
}

impl Route {
    /// A route to `destination`; without a gateway, the destination is on the link.
    pub fn new(destination: Prefix, gateway: Option<IpAddr>) -> Self {
        Self { destination, gateway }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gateway {
            Some(gateway) => write!(f, "{} via {gateway}", self.destination),
            None => write!(f, "{} on the link", self.destination),
        }
    }
}

impl DhcpOption {
    /// An option with a value as received: hexadecimal bytes separated by colons.
    pub fn new(code: u16, data: impl Into<String>) -> Self {
        Self { code, name: None, data: data.into(), text: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_and_servers_as_text() {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(Binding::of_address(address, 24).to_string(), "192.0.2.7/24");
        let prefix = Binding::of_prefix("2001:db8:7::/48".parse().unwrap());
        assert_eq!(prefix.to_string(), "2001:db8:7::/48");
        let link_local: IpAddr = "fe80::1".parse().unwrap();
        let both = Server { duid: Some("00:03:00:01".into()), ..Server::at(link_local) };
        assert_eq!(both.to_string(), "fe80::1");
        assert_eq!(Server::with_duid("00:03:00:01").to_string(), "00:03:00:01");
    }

    #[test]
    fn a_lease_of_dhcpv6_has_its_shape() {
        let json = serde_json::json!({
            "interface": "eth0", "ifindex": 2, "family": "ipv6", "state": "bound", "link_up": true,
            "bindings": [
                { "address": "2001:db8::7", "prefix_length": 128,
                  "preferred_until": "2026-11-21T12:00:00.000Z",
                  "expires_at": "2026-11-21T13:00:00.000Z" },
                { "prefix": "2001:db8:7::", "prefix_length": 48 },
            ],
            "server": { "address": "fe80::1", "duid": "00:03:00:01:02:00:00:00:00:01" },
            "routes": [], "dns": ["fe80::1"], "domain_search": [], "ntp": [],
            "options": [{ "code": 21, "data": "00" }],
        });
        let lease: LeaseInfo = serde_json::from_value(json.clone()).unwrap();
        let held: Vec<String> = lease.bindings.iter().map(ToString::to_string).collect();
        assert_eq!(held, ["2001:db8::7/128", "2001:db8:7::/48"]);
        assert_eq!(lease.addresses().count(), 1);
        assert_eq!(serde_json::to_value(&lease).unwrap(), json);
    }
}

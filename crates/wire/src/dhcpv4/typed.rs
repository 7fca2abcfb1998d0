//! Typed readers and writers. A reader returns `None`, or an empty list, if the option is absent
//! or does not have the form its RFC gives it; [`Options::malformed`] tells which.

use std::net::Ipv4Addr;

use super::{Fqdn, MessageType, OptionCode, Options, Reason, Route, decode, name};
use crate::Result;

/// Readers.
impl Options {
    /// What the message is for; `None` for BOOTP.
    pub fn message_type(&self) -> Option<MessageType> {
        self.read(OptionCode::MESSAGE_TYPE, decode::fixed).map(|[value]| value.into())
    }

    /// The server's name for itself: where to send what is for this server alone.
    pub fn server_identifier(&self) -> Option<Ipv4Addr> {
        self.address(OptionCode::SERVER_IDENTIFIER)
    }

    /// The address the client asks for.
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.address(OptionCode::REQUESTED_ADDRESS)
    }

    /// The duration of the lease in seconds; [`INFINITE`](super::INFINITE) never ends.
    pub fn lease_time(&self) -> Option<u32> {
        self.read(OptionCode::LEASE_TIME, decode::seconds)
    }

    /// T1: seconds from the start of the lease to its renewal.
    pub fn renewal_time(&self) -> Option<u32> {
        self.read(OptionCode::RENEWAL_TIME, decode::seconds)
    }

    /// T2: seconds from the start of the lease to its rebinding.
    pub fn rebinding_time(&self) -> Option<u32> {
        self.read(OptionCode::REBINDING_TIME, decode::seconds)
    }

    /// The subnet mask and its length in bits; a mask with gaps is no mask.
    pub fn subnet_mask(&self) -> Option<(Ipv4Addr, u8)> {
        self.read(OptionCode::SUBNET_MASK, decode::subnet_mask)
    }

    /// The default routers, best first. To be ignored if there are
    /// [`classless_routes`](Self::classless_routes) (RFC 3442).
    pub fn routers(&self) -> Vec<Ipv4Addr> {
        self.addresses(OptionCode::ROUTER)
    }

    /// The resolvers, best first.
    pub fn dns_servers(&self) -> Vec<Ipv4Addr> {
        self.addresses(OptionCode::DNS_SERVER)
    }

    /// The time servers, best first.
    pub fn ntp_servers(&self) -> Vec<Ipv4Addr> {
        self.addresses(OptionCode::NTP_SERVER)
    }

    /// The WINS servers, best first.
    pub fn netbios_name_servers(&self) -> Vec<Ipv4Addr> {
        self.addresses(OptionCode::NETBIOS_NAME_SERVER)
    }

    /// The NetBIOS node type: 1 B, 2 P, 4 M, 8 H.
    pub fn netbios_node_type(&self) -> Option<u8> {
        self.read(OptionCode::NETBIOS_NODE_TYPE, decode::fixed).map(|[value]| value)
    }

    /// The broadcast address of the subnet.
    pub fn broadcast_address(&self) -> Option<Ipv4Addr> {
        self.address(OptionCode::BROADCAST_ADDRESS)
    }

    /// The interface's MTU in bytes, 68 at least.
    pub fn mtu(&self) -> Option<u16> {
        self.read(OptionCode::INTERFACE_MTU, |data| decode::at_least(68, data))
    }

    /// The client's host name, checked, without a trailing dot; it may have a domain.
    pub fn host_name(&self) -> Option<&str> {
        self.read(OptionCode::HOST_NAME, decode::host_or_domain)
    }

    /// The client's domain, checked, without a trailing dot.
    pub fn domain_name(&self) -> Option<&str> {
        self.read(OptionCode::DOMAIN_NAME, decode::host_or_domain)
    }

    /// The domains to search, checked, without trailing dots (RFC 3397).
    pub fn domain_search(&self) -> Vec<String> {
        self.read(OptionCode::DOMAIN_SEARCH, name::list).unwrap_or_default()
    }

    /// The classless static routes (RFC 3442); Microsoft's option 249 if option 121 gives none.
    pub fn classless_routes(&self) -> Vec<Route> {
        self.read(OptionCode::CLASSLESS_ROUTE, decode::classless_routes)
            .or_else(|| self.read(OptionCode::CLASSLESS_ROUTE_MICROSOFT, decode::classless_routes))
            .unwrap_or_default()
    }

    /// The old static routes: destination host or classful network, router.
    pub fn static_routes(&self) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        self.read(OptionCode::STATIC_ROUTE, decode::address_pairs).unwrap_or_default()
    }

    /// The URI of the captive portal's API (RFC 8910).
    pub fn captive_portal(&self) -> Option<&str> {
        self.read(OptionCode::CAPTIVE_PORTAL, decode::uri)
    }

    /// For how many seconds to do without IPv4 (RFC 8925 3.4).
    pub fn ipv6_only_preferred(&self) -> Option<u32> {
        self.read(OptionCode::IPV6_ONLY_PREFERRED, decode::seconds)
    }

    /// Why the server refused or the client declined, for people; unclean characters replaced.
    pub fn message(&self) -> Option<String> {
        self.read(OptionCode::MESSAGE, decode::message)
    }

    /// The client's identifier, two bytes at least, the first of them its type.
    pub fn client_identifier(&self) -> Option<&[u8]> {
        self.read(OptionCode::CLIENT_IDENTIFIER, decode::client_identifier)
    }

    /// The client's vendor class.
    pub fn vendor_class(&self) -> Option<&[u8]> {
        self.read(OptionCode::VENDOR_CLASS, decode::non_empty)
    }

    /// The client's user classes (RFC 3004).
    pub fn user_class(&self) -> Vec<&[u8]> {
        self.read(OptionCode::USER_CLASS, decode::user_class).unwrap_or_default()
    }

    /// The longest message the sender takes, in bytes of the whole IP packet, 576 at least.
    pub fn max_message_size(&self) -> Option<u16> {
        self.read(OptionCode::MAX_MESSAGE_SIZE, |data| decode::at_least(576, data))
    }

    /// What the client asks for.
    pub fn parameter_request_list(&self) -> Vec<OptionCode> {
        let codes = self.get(OptionCode::PARAMETER_REQUEST_LIST).unwrap_or_default();
        codes.iter().copied().map(OptionCode).collect()
    }

    /// The client's name and who updates the DNS (RFC 4702).
    pub fn fqdn(&self) -> Option<Fqdn> {
        self.read(OptionCode::FQDN, decode::fqdn)
    }

    /// Whether an exchange of two messages is asked for or granted (RFC 4039).
    pub fn rapid_commit(&self) -> bool {
        self.read(OptionCode::RAPID_COMMIT, decode::fixed::<0>).is_some()
    }

    /// Whether the client may give itself a link-local address (RFC 2563).
    pub fn auto_configure(&self) -> Option<bool> {
        self.read(OptionCode::AUTO_CONFIGURE, decode::auto_configure)
    }

    /// The TFTP server's name.
    pub fn tftp_server_name(&self) -> Option<&str> {
        self.text(OptionCode::TFTP_SERVER_NAME)
    }

    /// The TFTP servers' addresses (RFC 5859).
    pub fn tftp_servers(&self) -> Vec<Ipv4Addr> {
        self.addresses(OptionCode::TFTP_SERVER_ADDRESS)
    }

    /// The name of the file to boot from.
    pub fn boot_file_name(&self) -> Option<&str> {
        self.text(OptionCode::BOOT_FILE_NAME)
    }

    /// An option that is one address.
    pub fn address(&self, code: OptionCode) -> Option<Ipv4Addr> {
        self.read(code, decode::address)
    }

    /// An option that is a list of addresses.
    pub fn addresses(&self, code: OptionCode) -> Vec<Ipv4Addr> {
        self.read(code, decode::addresses).unwrap_or_default()
    }

    /// An option that is text: UTF-8 without control characters. It may still hold what a shell,
    /// a file system or a name service takes for its own.
    pub fn text(&self, code: OptionCode) -> Option<&str> {
        self.read(code, decode::text)
    }

    fn read<'a, T>(
        &'a self,
        code: OptionCode,
        decode: impl FnOnce(&'a [u8]) -> core::result::Result<T, Reason>,
    ) -> Option<T> {
        decode(self.get(code)?).ok()
    }
}

/// Writers: each puts its option at the end of the list or replaces it in place.
impl Options {
    /// Writes what the message is for.
    pub fn set_message_type(&mut self, message_type: MessageType) -> &mut Self {
        self.insert(OptionCode::MESSAGE_TYPE, [message_type.into()])
    }

    /// Writes the server's name for itself.
    pub fn set_server_identifier(&mut self, address: Ipv4Addr) -> &mut Self {
        self.set_address(OptionCode::SERVER_IDENTIFIER, address)
    }

    /// Writes the address the client asks for.
    pub fn set_requested_address(&mut self, address: Ipv4Addr) -> &mut Self {
        self.set_address(OptionCode::REQUESTED_ADDRESS, address)
    }

    /// Writes the duration of the lease in seconds.
    pub fn set_lease_time(&mut self, seconds: u32) -> &mut Self {
        self.insert(OptionCode::LEASE_TIME, seconds.to_be_bytes())
    }

    /// Writes T1 in seconds.
    pub fn set_renewal_time(&mut self, seconds: u32) -> &mut Self {
        self.insert(OptionCode::RENEWAL_TIME, seconds.to_be_bytes())
    }

    /// Writes T2 in seconds.
    pub fn set_rebinding_time(&mut self, seconds: u32) -> &mut Self {
        self.insert(OptionCode::REBINDING_TIME, seconds.to_be_bytes())
    }

    /// Writes the subnet mask of a prefix length in bits; above 32 counts as 32.
    pub fn set_subnet_mask(&mut self, prefix_len: u8) -> &mut Self {
        let host_bits = 32 - u32::from(prefix_len.min(32));
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        self.insert(OptionCode::SUBNET_MASK, mask.to_be_bytes())
    }

    /// Writes the default routers.
    pub fn set_routers(&mut self, routers: &[Ipv4Addr]) -> &mut Self {
        self.set_addresses(OptionCode::ROUTER, routers)
    }

    /// Writes the resolvers.
    pub fn set_dns_servers(&mut self, servers: &[Ipv4Addr]) -> &mut Self {
        self.set_addresses(OptionCode::DNS_SERVER, servers)
    }

    /// Writes the time servers.
    pub fn set_ntp_servers(&mut self, servers: &[Ipv4Addr]) -> &mut Self {
        self.set_addresses(OptionCode::NTP_SERVER, servers)
    }

    /// Writes the WINS servers.
    pub fn set_netbios_name_servers(&mut self, servers: &[Ipv4Addr]) -> &mut Self {
        self.set_addresses(OptionCode::NETBIOS_NAME_SERVER, servers)
    }

    /// Writes the broadcast address.
    pub fn set_broadcast_address(&mut self, address: Ipv4Addr) -> &mut Self {
        self.set_address(OptionCode::BROADCAST_ADDRESS, address)
    }

    /// Writes the interface's MTU in bytes.
    pub fn set_mtu(&mut self, mtu: u16) -> &mut Self {
        self.insert(OptionCode::INTERFACE_MTU, mtu.to_be_bytes())
    }

    /// Writes the host name as it is given.
    pub fn set_host_name(&mut self, name: &str) -> &mut Self {
        self.insert(OptionCode::HOST_NAME, name)
    }

    /// Writes the domain as it is given.
    pub fn set_domain_name(&mut self, name: &str) -> &mut Self {
        self.insert(OptionCode::DOMAIN_NAME, name)
    }

    /// Writes the domains to search, without compression.
    ///
    /// Fails, and changes nothing, if one of them is not a name.
    pub fn set_domain_search(&mut self, names: &[impl AsRef<str>]) -> Result<&mut Self> {
        let mut data = Vec::new();
        for name in names {
            name::emit(name.as_ref(), true, &mut data)?;
        }
        Ok(self.insert(OptionCode::DOMAIN_SEARCH, data))
    }

    /// Writes classless static routes (option 121).
    pub fn set_classless_routes(&mut self, routes: &[Route]) -> &mut Self {
        let mut data = Vec::new();
        for route in routes {
            let prefix_len = route.prefix_len.min(32);
            data.push(prefix_len);
            data.extend(route.destination.octets().iter().take(prefix_len.div_ceil(8).into()));
            data.extend(route.router.octets());
        }
        self.insert(OptionCode::CLASSLESS_ROUTE, data)
    }

    /// Writes old static routes: destination, router.
    pub fn set_static_routes(&mut self, routes: &[(Ipv4Addr, Ipv4Addr)]) -> &mut Self {
        let data: Vec<u8> =
            routes.iter().flat_map(|(to, via)| [to.octets(), via.octets()].concat()).collect();
        self.insert(OptionCode::STATIC_ROUTE, data)
    }

    /// Writes the URI of the captive portal's API.
    pub fn set_captive_portal(&mut self, uri: &str) -> &mut Self {
        self.insert(OptionCode::CAPTIVE_PORTAL, uri)
    }

    /// Writes for how many seconds to do without IPv4.
    pub fn set_ipv6_only_preferred(&mut self, seconds: u32) -> &mut Self {
        self.insert(OptionCode::IPV6_ONLY_PREFERRED, seconds.to_be_bytes())
    }

    /// Writes words for people.
    pub fn set_message(&mut self, text: &str) -> &mut Self {
        self.insert(OptionCode::MESSAGE, text)
    }

    /// Writes the client's identifier, its type byte first.
    pub fn set_client_identifier(&mut self, identifier: &[u8]) -> &mut Self {
        self.insert(OptionCode::CLIENT_IDENTIFIER, identifier)
    }

    /// Writes the client's vendor class.
    pub fn set_vendor_class(&mut self, class: impl Into<Vec<u8>>) -> &mut Self {
        self.insert(OptionCode::VENDOR_CLASS, class)
    }

    /// Writes the client's user classes.
    ///
    /// Fails, and changes nothing, if one of them is empty or above 255 bytes.
    pub fn set_user_class(&mut self, classes: &[impl AsRef<[u8]>]) -> Result<&mut Self> {
        let mut data = Vec::new();
        for class in classes.iter().map(AsRef::as_ref) {
            let length = u8::try_from(class.len()).ok().filter(|&length| length > 0);
            data.push(length.ok_or(crate::Error::Unencodable {
                layer: crate::Layer::Dhcpv4,
                what: "user class",
            })?);
            data.extend(class);
        }
        Ok(self.insert(OptionCode::USER_CLASS, data))
    }

    /// Writes the longest message the sender takes, in bytes of the whole IP packet.
    pub fn set_max_message_size(&mut self, size: u16) -> &mut Self {
        self.insert(OptionCode::MAX_MESSAGE_SIZE, size.to_be_bytes())
    }

    /// Writes what the client asks for.
    pub fn set_parameter_request_list(&mut self, codes: &[OptionCode]) -> &mut Self {
        let data: Vec<u8> = codes.iter().map(|code| code.0).collect();
        self.insert(OptionCode::PARAMETER_REQUEST_LIST, data)
    }

    /// Writes the client's name and who updates the DNS, in wire form.
    ///
    /// Fails, and changes nothing, if the name is neither empty nor a name.
    pub fn set_fqdn(&mut self, fqdn: &Fqdn) -> Result<&mut Self> {
        let mut data = vec![fqdn.flags | Fqdn::WIRE_FORM, 0, 0];
        if !fqdn.name.is_empty() {
            name::emit(&fqdn.name, fqdn.name.ends_with('.'), &mut data)?;
        }
        Ok(self.insert(OptionCode::FQDN, data))
    }

    /// Asks for, or grants, an exchange of two messages.
    pub fn set_rapid_commit(&mut self) -> &mut Self {
        self.insert(OptionCode::RAPID_COMMIT, [])
    }

    /// Writes whether the client may give itself a link-local address.
    pub fn set_auto_configure(&mut self, may: bool) -> &mut Self {
        self.insert(OptionCode::AUTO_CONFIGURE, [u8::from(may)])
    }

    /// Writes the TFTP servers' addresses.
    pub fn set_tftp_servers(&mut self, servers: &[Ipv4Addr]) -> &mut Self {
        self.set_addresses(OptionCode::TFTP_SERVER_ADDRESS, servers)
    }

    /// Writes the name of the file to boot from.
    pub fn set_boot_file_name(&mut self, name: &str) -> &mut Self {
        self.insert(OptionCode::BOOT_FILE_NAME, name)
    }

    /// Writes an option that is one address.
    pub fn set_address(&mut self, code: OptionCode, address: Ipv4Addr) -> &mut Self {
        self.insert(code, address.octets())
    }

    /// Writes an option that is a list of addresses.
    pub fn set_addresses(&mut self, code: OptionCode, addresses: &[Ipv4Addr]) -> &mut Self {
        self.insert(code, addresses.iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>())
    }
}

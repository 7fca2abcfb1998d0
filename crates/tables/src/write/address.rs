use std::net::IpAddr;

use netlink::address::{Address, Assignment};
use netlink::kernel::EACCES;
use netlink::{Family, Request, Transport, address};

use crate::{Error, Prefix, Tables};

impl<T: Transport> Tables<T> {
    /// Adds an address to an interface.
    ///
    /// IPv6 addresses are tentative until nobody else turns out to have them: watch for
    /// [`DadState::Preferred`](crate::DadState::Preferred), about a second later.
    ///
    /// Fails with [`Error::AlreadyExists`] if the interface has the address,
    /// [`Error::NotFound`] without such an interface, [`Error::InvalidValue`] for what no interface
    /// can have, [`Error::NotSupported`] if IPv6 is turned off there.
    pub fn add_address(&mut self, address: &Assignment) -> Result<(), Error> {
        check(address)?;
        self.address_request(&address.add(), address)
    }

    /// Changes an address' lifetimes, metric, protocol and flags.
    ///
    /// Fails with [`Error::NotFound`] if the interface does not have it with this prefix length
    /// and peer.
    pub fn set_address(&mut self, address: &Assignment) -> Result<(), Error> {
        check(address)?;
        let family = Family::of(address.address);
        let request = address::dump(family, Some(address.interface));
        let rows = self.connection.dump::<Address>(&request);
        let rows = rows.map_err(|error| Error::of(error, subject(address)))?;
        let is_it = |row: &Address| {
            row.interface == address.interface
                && row.address == address.address
                && row.prefix_length == address.prefix_length
                && row.peer == address.peer.filter(|peer| *peer != address.address)
        };
        if !rows.iter().any(is_it) {
            return Err(Error::not_found(subject(address)));
        }
        self.address_request(&address.replace(), address)
    }

    /// Takes an address off an interface. Only its interface, address, prefix length and peer
    /// count.
    ///
    /// Fails with [`Error::NotFound`] if the interface does not have it.
    pub fn delete_address(&mut self, address: &Assignment) -> Result<(), Error> {
        check(address)?;
        self.address_request(&address.delete(), address)
    }

    fn address_request(&mut self, request: &Request, address: &Assignment) -> Result<(), Error> {
        match self.carry_out(request, subject(address)) {
            // "IPv6 is disabled on this device"; the privilege is refused with EPERM.
            Err(Error::NotPermitted(failure)) if failure.code == Some(EACCES) => {
                Err(Error::NotSupported(failure))
            }
            outcome => outcome,
        }
    }
}

fn subject(address: &Assignment) -> String {
    format!(
        "address {} on interface {}",
        Prefix::new(address.address, address.prefix_length),
        address.interface
    )
}

/// What the kernel would refuse, or worse, would accept.
fn check(address: &Assignment) -> Result<(), Error> {
    let wrong = |problem| Err(Error::invalid(subject(address), problem));
    let ip = address.address;
    if address.interface == 0 {
        return wrong("no interface");
    }
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]) {
        return wrong("not a unicast address");
    }
    if address.prefix_length > Prefix::maximum_length(ip) {
        return wrong("the prefix length is more than the address has bits");
    }
    if address.peer.is_some_and(|peer| peer.is_ipv4() != ip.is_ipv4()) {
        return wrong("the peer is of the other family");
    }
    // The kernel passes over both.
    if ip.is_ipv6() && address.broadcast.is_some() {
        return wrong("only IPv4 has broadcast addresses");
    }
    if ip.is_ipv6() && address.label.is_some() {
        return wrong("only IPv4 addresses have labels");
    }
    let forever = u32::MAX;
    let valid = address.valid_seconds.unwrap_or(forever);
    if valid == 0 {
        return wrong("it would be valid for no time");
    }
    if address.preferred_seconds.unwrap_or(forever) > valid {
        return wrong("it would be preferred for longer than valid");
    }
    Ok(())
}

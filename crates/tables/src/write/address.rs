use std::net::IpAddr;

use netlink::address::Address;
use netlink::kernel::EACCES;
use netlink::{Family, Request, Transport, address};

use crate::{AddressSettings, Error, Prefix, Tables};

impl<T: Transport> Tables<T> {
    /// Adds an address to an interface.
    ///
    /// IPv6 addresses are tentative until nobody else turns out to have them: watch for
    /// [`DadState::Preferred`](crate::DadState::Preferred), about a second later.
    ///
    /// Fails with [`Error::AlreadyExists`] if the interface has the address,
    /// [`Error::NoSuchInterface`], [`Error::InvalidValue`] for what no interface can have,
    /// [`Error::NotSupported`] if IPv6 is turned off there.
    pub fn add_address(&mut self, settings: &AddressSettings) -> Result<(), Error> {
        check(settings)?;
        let ifindex = self.index_of(&settings.interface)?;
        self.address_request(&settings.assignment(ifindex).add(), settings)
    }

    /// Changes an address' lifetimes, metric, protocol and flags.
    ///
    /// Fails with [`Error::NotFound`] if the interface does not have it with this prefix length
    /// and peer.
    pub fn set_address(&mut self, settings: &AddressSettings) -> Result<(), Error> {
        check(settings)?;
        let ifindex = self.index_of(&settings.interface)?;
        let request = address::dump(Family::of(settings.address), Some(ifindex));
        let rows = self.connection.dump::<Address>(&request);
        let rows =
            rows.map_err(|error| Error::of(error, subject(settings)).on(&settings.interface))?;
        let is_it = |row: &Address| {
            row.interface == ifindex
                && row.address == settings.address
                && row.prefix_length == settings.prefix_length
                && row.peer == settings.peer.filter(|peer| *peer != settings.address)
        };
        if !rows.iter().any(is_it) {
            return Err(Error::not_found(subject(settings)));
        }
        self.address_request(&settings.assignment(ifindex).replace(), settings)
    }

    /// Takes an address off an interface. Only its interface, address, prefix length and peer
    /// count.
    ///
    /// Fails with [`Error::NotFound`] if the interface does not have it.
    pub fn delete_address(&mut self, settings: &AddressSettings) -> Result<(), Error> {
        check(settings)?;
        let ifindex = self.index_of(&settings.interface)?;
        self.address_request(&settings.assignment(ifindex).delete(), settings)
    }

    fn address_request(
        &mut self,
        request: &Request,
        settings: &AddressSettings,
    ) -> Result<(), Error> {
        let outcome = self.carry_out(request, subject(settings));
        match outcome.map_err(|error| error.on(&settings.interface)) {
            // "IPv6 is disabled on this device"; the privilege is refused with EPERM.
            Err(Error::NotPermitted(failure)) if failure.code == Some(EACCES) => {
                Err(Error::NotSupported(failure))
            }
            outcome => outcome,
        }
    }
}

fn subject(settings: &AddressSettings) -> String {
    format!(
        "address {} on interface {}",
        Prefix::new(settings.address, settings.prefix_length),
        settings.interface
    )
}

/// What the kernel would refuse, or worse, would accept.
fn check(settings: &AddressSettings) -> Result<(), Error> {
    let wrong = |problem| Err(Error::invalid(subject(settings), problem));
    let ip = settings.address;
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]) {
        return wrong("not a unicast address");
    }
    if settings.prefix_length > Prefix::maximum_length(ip) {
        return wrong("the prefix length is more than the address has bits");
    }
    if settings.peer.is_some_and(|peer| peer.is_ipv4() != ip.is_ipv4()) {
        return wrong("the peer is of the other family");
    }
    // The kernel passes over both.
    if ip.is_ipv6() && settings.broadcast.is_some() {
        return wrong("only IPv4 has broadcast addresses");
    }
    if ip.is_ipv6() && settings.label.is_some() {
        return wrong("only IPv4 addresses have labels");
    }
    let forever = u32::MAX;
    let valid = settings.valid_lifetime.unwrap_or(forever);
    if valid == 0 {
        return wrong("it would be valid for no time");
    }
    if settings.preferred_lifetime.unwrap_or(forever) > valid {
        return wrong("it would be preferred for longer than valid");
    }
    Ok(())
}

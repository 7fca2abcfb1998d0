use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink::kernel::RTNLGRP_NEIGH;
use netlink::neighbor::{Entry, Neighbor as Row, State};
use netlink::{Change, Event, Family, Monitor, Request, Transport, neighbor};

use crate::directory;
use crate::error::Failure;
use crate::{Error, Neighbor, NeighborSettings, NeighborState, RouteProtocol, Selector, Tables};

impl<T: Transport> Tables<T> {
    /// Adds a neighbour.
    ///
    /// Fails with [`Error::AlreadyExists`] if there is one of this address,
    /// [`Error::NoSuchInterface`], and [`Error::InvalidValue`] without a link address, or for an
    /// address that no neighbour can have.
    pub fn add_neighbor(&mut self, settings: &NeighborSettings) -> Result<(), Error> {
        let entry = self.neighbor_entry(settings)?;
        check_hardware(settings)?;
        self.neighbor_request(&entry.add(), settings)
    }

    /// Changes a neighbour's link address and state.
    ///
    /// Fails with [`Error::NotFound`] if there is no entry of this address.
    pub fn set_neighbor(&mut self, settings: &NeighborSettings) -> Result<(), Error> {
        let entry = self.neighbor_entry(settings)?;
        check_hardware(settings)?;
        if self.neighbor_row(&entry, &settings.interface)?.is_none() {
            return Err(Error::not_found(subject(settings.address, &settings.interface)));
        }
        self.neighbor_request(&entry.replace(), settings)
    }

    /// Forgets a neighbour. Only its interface and address count.
    ///
    /// Fails with [`Error::NotFound`] if there is no entry of this address.
    pub fn delete_neighbor(&mut self, settings: &NeighborSettings) -> Result<(), Error> {
        let entry = self.neighbor_entry(settings)?;
        self.neighbor_request(&entry.delete(), settings)
    }

    fn neighbor_entry(&mut self, settings: &NeighborSettings) -> Result<Entry, Error> {
        check(settings.address, &settings.interface)?;
        settings.entry(self.index_of(&settings.interface)?)
    }

    fn neighbor_request(
        &mut self,
        request: &Request,
        settings: &NeighborSettings,
    ) -> Result<(), Error> {
        let interface = &settings.interface;
        let outcome = self.carry_out(request, subject(settings.address, interface));
        outcome.map_err(|error| error.on(interface))
    }

    /// Forgets the neighbours of a family, on one interface or on all, but for those set by hand
    /// and those that need no resolution. Returns how many.
    pub fn flush_neighbors(
        &mut self,
        family: Family,
        interface: Option<Selector>,
    ) -> Result<usize, Error> {
        let ifindex = interface.map(|selector| self.ifindex(selector)).transpose()?;
        let rows = self.connection.dump::<Row>(&neighbor::dump(family, ifindex));
        let rows = rows.map_err(|error| Error::of(error, "neighbours"))?;
        let requests: Vec<_> = rows
            .iter()
            .filter(|row| ifindex.is_none_or(|ifindex| ifindex == row.interface))
            .filter(|row| row.state != State::PERMANENT && row.state != State::NO_ARP)
            .map(|row| Entry::address(row.interface, row.address).delete())
            .collect();
        let mut flushed = 0;
        for outcome in self.connection.request_all(&requests) {
            match outcome.map_err(|error| Error::of(error, "neighbour")) {
                Ok(()) => flushed += 1,
                // It went by itself.
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(flushed)
    }

    /// Finds a neighbour's link address now, by ARP or neighbour solicitation, whatever is known
    /// of it; entries set by hand are answered as they are. `monitor` hears of neighbours
    /// (`RTNLGRP_NEIGH`) in the same network namespace.
    ///
    /// See [`resolve_neighbor`](Tables::resolve_neighbor), which brings its own.
    pub fn resolve_neighbor_with<M: Transport>(
        &mut self,
        monitor: &mut Monitor<M>,
        selector: impl Into<Selector>,
        address: IpAddr,
        timeout: Duration,
    ) -> Result<Neighbor, Error> {
        let deadline_at = Instant::now().checked_add(timeout);
        let selector = selector.into();
        let (ifindex, interface, resolves) = self.one_link(&selector, |view, _| {
            let resolves = !(view.flags.is_loopback() || view.flags.is_point_to_point());
            (view.index, directory::Entry::new(view), resolves)
        })?;
        check(address, &selector)?;
        let entry = Entry::address(ifindex, address);
        let subject = subject(address, &selector);
        if let Some(known) = self.neighbor_row(&entry, &selector)? {
            if known.state == State::PERMANENT || known.state == State::NO_ARP {
                return Ok(Neighbor::new(&known, &interface));
            }
            match self.carry_out(&entry.delete(), &subject) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if !resolves {
            // The kernel keeps one IPv4 neighbour there, whatever address was asked for.
            return Ok(Neighbor::without_resolution(ifindex, address, &interface));
        }
        // What was told so far is about the entry that is gone.
        while monitor.receive(Some(Duration::ZERO), |_| ())? {}
        self.carry_out(&entry.resolve(), &subject)?;
        let mut found = self.neighbor_row(&entry, &selector)?;
        loop {
            match found.take() {
                Some(row) if row.state.is_usable() => return Ok(Neighbor::new(&row, &interface)),
                Some(row) if row.state == State::FAILED => {
                    let failure = Failure::new(&subject, "nobody answers");
                    return Err(Error::Unreachable(failure));
                }
                _ => {}
            }
            let left = deadline_at.map(|at| at.saturating_duration_since(Instant::now()));
            let mut lost = false;
            let received = monitor.receive(left, |event| match event {
                Event::Neighbor(Change::Present, row)
                    if row.interface == ifindex && row.address == address && !row.is_proxy =>
                {
                    found = Some(row);
                }
                Event::Lost => lost = true,
                _ => {}
            })?;
            // Neighbours that nobody asked for may be told without end.
            if !received || found.is_none() && left == Some(Duration::ZERO) {
                let failure = Failure::new(&subject, "no answer in time");
                return Err(Error::TimedOut(failure));
            }
            if lost {
                found = self.neighbor_row(&entry, &selector)?;
            }
        }
    }

    fn neighbor_row(&mut self, entry: &Entry, selector: &Selector) -> Result<Option<Row>, Error> {
        let request = neighbor::dump(Family::of(entry.address), Some(entry.interface));
        let rows = self.connection.dump::<Row>(&request);
        let rows = rows.map_err(|error| Error::of(error, subject(entry.address, selector)))?;
        let is_it = |row: &Row| row.interface == entry.interface && row.address == entry.address;
        Ok(rows.into_iter().find(is_it))
    }
}

impl Tables {
    /// Finds a neighbour's link address now, by ARP or neighbour solicitation, and waits for the
    /// answer until `timeout` is over. In the calling thread's network namespace.
    ///
    /// What was known of it is forgotten first; entries set by hand are answered as they are. Where
    /// nothing is resolved, on a loopback or a point-to-point link, the state is
    /// [`NoArp`](NeighborState::NoArp) at once.
    /// Fails with [`Error::Unreachable`] when the kernel gives up (after 3 seconds by default),
    /// [`Error::TimedOut`] when the time is over, [`Error::InvalidValue`] for an address no
    /// neighbour can have.
    pub fn resolve_neighbor(
        &mut self,
        selector: impl Into<Selector>,
        address: IpAddr,
        timeout: Duration,
    ) -> Result<Neighbor, Error> {
        let mut monitor = Monitor::open(&[RTNLGRP_NEIGH])?;
        self.resolve_neighbor_with(&mut monitor, selector, address, timeout)
    }
}

impl Neighbor {
    /// Behind an interface with one other end, or none.
    fn without_resolution(ifindex: u32, address: IpAddr, interface: &directory::Entry) -> Self {
        Self {
            interface: interface.name,
            ifindex,
            luid: interface.luid,
            family: Family::of(address),
            address,
            physical_address: None,
            state: NeighborState::NoArp,
            is_router: false,
            is_unreachable: false,
            protocol: RouteProtocol(0),
            flags: 0,
            confirmed_ago: None,
            used_ago: None,
            updated_ago: None,
        }
    }

    /// Whether its link address can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        use NeighborState::{Failed, Incomplete, None};
        !matches!(self.state, None | Incomplete | Failed)
    }
}

fn subject(address: IpAddr, interface: &Selector) -> String {
    format!("neighbour {address} on interface {interface}")
}

fn check(address: IpAddr, interface: &Selector) -> Result<(), Error> {
    let broadcast = address == IpAddr::from([255; 4]);
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast {
        let subject = subject(address, interface);
        return Err(Error::invalid(subject, "not an address of a neighbour"));
    }
    Ok(())
}

fn check_hardware(settings: &NeighborSettings) -> Result<(), Error> {
    if settings.physical_address.is_none_or(|hardware| hardware.is_empty()) {
        let subject = subject(settings.address, &settings.interface);
        return Err(Error::invalid(subject, "no link address"));
    }
    Ok(())
}

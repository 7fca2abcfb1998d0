use std::net::IpAddr;

use netlink::kernel::*;
use netlink::route::{Entry, Route as Row, lookup, matching};
use netlink::{Family, Request, Transport, route};
use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::{Error, NextHop, Prefix, Route, RouteSettings, Selector, Tables};

/// How the kernel routes packets to a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BestRoute {
    /// The route of the tables that applies, with all its ways.
    pub route: Route,
    /// The way packets go: one of the route's.
    pub next_hop: NextHop,
    /// The source address of packets of this host.
    pub source: Option<IpAddr>,
}

impl<T: Transport> Tables<T> {
    /// Adds a route.
    ///
    /// Fails with [`Error::AlreadyExists`] if there is one of the same destination, table and
    /// metric, [`Error::NoSuchInterface`], [`Error::InvalidValue`] for a destination with host bits
    /// or a gateway that is not on the link.
    pub fn add_route(&mut self, settings: &RouteSettings) -> Result<(), Error> {
        let entry = settings.entry(|selector| self.index_of(selector))?;
        check(&entry)?;
        self.route_request(&entry.add(), &entry, settings)
    }

    /// Puts a route in the place of the first one of the same destination, table and metric.
    ///
    /// Fails with [`Error::NotFound`] if there is none.
    pub fn set_route(&mut self, settings: &RouteSettings) -> Result<(), Error> {
        let entry = settings.entry(|selector| self.index_of(selector))?;
        check(&entry)?;
        let family = Family::of(entry.destination.address);
        // The kernel's own choice where nothing is said (IP6_RT_PRIO_USER).
        let metric = match (family, entry.priority) {
            (Family::Ipv6, 0) => 1024,
            (_, metric) => metric,
        };
        let request = route::dump(family, Some(entry.table), None);
        let rows = match self.connection.dump::<Row>(&request) {
            Ok(rows) => rows,
            // The kernel makes tables as they are needed: this one is not there.
            Err(error) if error.code() == Some(ENOENT) => Vec::new(),
            Err(error) => return Err(Error::of(error, subject(&entry))),
        };
        let is_it = |row: &Row| {
            row.destination == entry.destination
                && row.table == entry.table
                && row.priority == metric
                && row.type_of_service == 0
        };
        if !rows.iter().any(is_it) {
            return Err(Error::not_found(subject(&entry)));
        }
        self.route_request(&entry.replace(), &entry, settings)
    }

    /// Removes the first route that agrees in everything said.
    ///
    /// Fails with [`Error::NotFound`] if there is none.
    pub fn delete_route(&mut self, settings: &RouteSettings) -> Result<(), Error> {
        let entry = settings.pattern(|selector| self.index_of(selector))?;
        if entry.destination.length > Prefix::maximum_length(entry.destination.address) {
            return Err(Error::invalid(subject(&entry), "the prefix is too long"));
        }
        self.carry_out(&entry.delete(), subject(&entry))
    }

    /// How the kernel routes packets to `destination`: from `source`, which must be an address of
    /// this host, and by the interface given, where they are. Policy rules count.
    ///
    /// Fails with [`Error::Unreachable`] where no packet would go: there is no route, or one that
    /// says so (`unreachable`, `prohibit`, `blackhole`); [`Error::NoSuchInterface`];
    /// [`Error::InvalidValue`] if the source is no address of this host, or of the other
    /// family.
    pub fn best_route(
        &mut self,
        destination: IpAddr,
        source: Option<IpAddr>,
        interface: Option<Selector>,
    ) -> Result<BestRoute, Error> {
        let subject = format!("route to {destination}");
        if source.is_some_and(|source| source.is_ipv4() != destination.is_ipv4()) {
            return Err(Error::invalid(subject, "the source is of the other family"));
        }
        if let Some(source) = source {
            self.check_source(source, &subject)?;
        }
        let interface = interface.map(|selector| self.ifindex(selector)).transpose()?;
        // There may be thousands of interfaces; those of the answer are asked for.
        let mut directory = Directory::default();
        let request = lookup(destination, source, interface);
        let answer = self.connection.one_view::<Row, _>(&request, |view| {
            (Route::new(view, &directory), view.preferred_source)
        });
        let (mut way, chosen) = answer.map_err(|error| unreachable(error, &subject))?;
        self.name_ways(&mut way, &mut directory)?;
        if matches!(way.kind.0, RTN_BLACKHOLE | RTN_UNREACHABLE | RTN_PROHIBIT | RTN_THROW) {
            let problem = format!("the route says {}", way.kind);
            return Err(Error::Unreachable(crate::Failure::new(subject, problem)));
        }
        let Some(next_hop) = way.next_hops.first().copied() else {
            return Err(Error::Unreachable(crate::Failure::new(subject, "no way leads there")));
        };
        let request = matching(destination, source, interface);
        let found =
            self.connection.one_view::<Row, _>(&request, |view| Route::new(view, &directory));
        let route = match found {
            Ok(mut route) => {
                self.name_ways(&mut route, &mut directory)?;
                route
            }
            // The tables changed between the questions, or the kernel is too old for this one.
            Err(netlink::Error::Refused(_)) => way,
            Err(error) => return Err(Error::of(error, subject)),
        };
        Ok(BestRoute { route, next_hop, source: source.or(chosen) })
    }

    /// Without its interface a gateway is unreachable, which the kernel says first.
    fn route_request(
        &mut self,
        request: &Request,
        entry: &Entry,
        settings: &RouteSettings,
    ) -> Result<(), Error> {
        let outcome = self.carry_out(request, subject(entry));
        if matches!(outcome, Err(Error::InvalidValue(_) | Error::NotFound(_))) {
            for selector in settings.interfaces() {
                self.one_link(selector, |_, _| ())?;
            }
        }
        outcome
    }

    /// The kernel refuses a foreign IPv4 source, and routes from any IPv6 source.
    fn check_source(&mut self, source: IpAddr, subject: &str) -> Result<(), Error> {
        // An address of the host's local table; one of a VRF is in another.
        let local =
            self.connection.one_view::<Row, _>(&lookup(source, None, None), |view| view.kind);
        if source.is_loopback() || matches!(local, Ok(RTN_LOCAL)) {
            return Ok(());
        }
        let mut is_ours = false;
        let request = netlink::address::dump(Family::of(source), None);
        let visit =
            self.connection.visit::<netlink::address::Address>(&request, |visit| match visit {
                netlink::Visit::Row(row) => is_ours |= row.address == source,
                netlink::Visit::Restart => is_ours = false,
            });
        visit.map_err(Error::reading)?;
        if is_ours {
            Ok(())
        } else {
            Err(Error::invalid(subject, format_args!("{source} is no address of this host")))
        }
    }
}

/// The kernel says with errors what routes say of packets.
fn unreachable(error: netlink::Error, subject: &str) -> Error {
    let answers = [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, EAGAIN];
    match error {
        netlink::Error::Refused(refusal) if answers.contains(&refusal.code) => {
            Error::Unreachable(crate::error::failure(&refusal, subject))
        }
        error => Error::of(error, subject),
    }
}

fn subject(entry: &Entry) -> String {
    format!("route to {} in table {}", entry.destination, entry.table)
}

fn check(entry: &Entry) -> Result<(), Error> {
    let wrong = |problem| Err(Error::invalid(subject(entry), problem));
    let Prefix { address, length } = entry.destination;
    if length > Prefix::maximum_length(address) {
        return wrong("the prefix is too long");
    }
    let nowhere =
        entry.interface.is_none() && entry.gateway.is_none() && entry.next_hops.is_empty();
    if entry.kind == RTN_UNICAST && nowhere {
        return wrong("it leads nowhere: no interface and no gateway");
    }
    let gateways = entry.next_hops.iter().map(|way| way.gateway).chain([entry.gateway]);
    if address.is_ipv6() && gateways.flatten().any(|gateway| gateway.is_ipv4()) {
        return wrong("the gateway is of the other family");
    }
    if entry.preferred_source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
        return wrong("the preferred source is of the other family");
    }
    if entry.next_hops.iter().any(|way| !(1..=256).contains(&way.weight)) {
        return wrong("a weight is from 1 to 256");
    }
    if address.is_ipv4() && entry.expires_seconds.is_some() {
        let problem = "IPv4 routes do not end by themselves";
        return Err(Error::not_supported(subject(entry), problem));
    }
    Ok(())
}

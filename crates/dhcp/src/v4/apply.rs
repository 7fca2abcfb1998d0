//! What a lease means for the host: the effects that bring the interface from one lease to the
//! next.

use core::net::Ipv4Addr;

use super::lease::{Lease, Route};
use super::offer::network;
use super::output::{Address, Effect, Resolver, RouteEntry};

/// The effects that put `lease` in place of `old`, which had the same address if any.
///
/// The address itself is always there: that is how its lifetimes are brought up to date. With
/// `whole`, nothing of `old` is taken for granted (after a restart or a carrier change), and only
/// what is no longer wanted is removed.
pub(super) fn changes(old: Option<&Lease>, lease: &Lease, whole: bool) -> Vec<Effect> {
    let mut effects = vec![Effect::AddAddress(address(lease))];
    let old_routes = old.map(routes).unwrap_or_default();
    let new_routes = routes(lease);
    for entry in old_routes.iter().filter(|e| !new_routes.contains(e)) {
        effects.push(Effect::RemoveRoute(*entry));
    }
    for entry in new_routes {
        if whole || !old_routes.contains(&entry) {
            effects.push(Effect::AddRoute(entry));
        }
    }
    let old_mtu = old.and_then(|lease| lease.mtu);
    if lease.mtu != old_mtu || (whole && lease.mtu.is_some()) {
        effects.push(Effect::SetMtu(lease.mtu));
    }
    let (old_resolver, new_resolver) = (old.and_then(resolver), resolver(lease));
    if new_resolver != old_resolver || (whole && new_resolver.is_some()) {
        effects.push(Effect::SetResolver(new_resolver));
    }
    let old_name = old.and_then(|lease| lease.host_name.as_ref());
    if let Some(name) = &lease.host_name
        && (whole || old_name != Some(name))
    {
        effects.push(Effect::SetHostName(name.clone()));
    }
    effects
}

/// The effects that take everything of `lease` away, the address last: routes need it.
pub(super) fn removal(lease: &Lease) -> Vec<Effect> {
    let mut effects: Vec<Effect> =
        routes(lease).into_iter().rev().map(Effect::RemoveRoute).collect();
    if resolver(lease).is_some() {
        effects.push(Effect::SetResolver(None));
    }
    if lease.mtu.is_some() {
        effects.push(Effect::SetMtu(None));
    }
    effects
        .push(Effect::RemoveAddress { address: lease.address, prefix_length: lease.prefix_length });
    effects
}

/// The lease's address with its lifetimes.
pub(super) fn address(lease: &Lease) -> Address {
    Address {
        address: lease.address,
        prefix_length: lease.prefix_length,
        broadcast: lease.broadcast,
        expires_at: lease.expires_at,
        link_local: false,
    }
}

/// One of the lease's routes as it is installed.
pub(super) fn route(lease: &Lease, route: Route) -> RouteEntry {
    let in_subnet = |gateway: Ipv4Addr| {
        network(gateway, lease.prefix_length) == network(lease.address, lease.prefix_length)
    };
    RouteEntry {
        route,
        source: lease.address,
        on_link: route.gateway.is_some_and(|gateway| !in_subnet(gateway)),
    }
}

/// The lease's routes, those on the link first: the gateways of others may lie behind them.
pub(super) fn routes(lease: &Lease) -> Vec<RouteEntry> {
    let mut entries: Vec<RouteEntry> = lease.routes.iter().map(|r| route(lease, *r)).collect();
    entries.sort_by_key(|entry| entry.route.gateway.is_some());
    entries
}

fn resolver(lease: &Lease) -> Option<Resolver> {
    let resolver = Resolver {
        servers: lease.dns.clone(),
        domain: lease.domain_name.clone(),
        search: lease.domain_search.clone(),
    };
    (resolver != Resolver::default()).then_some(resolver)
}

//! What engines want done to the host.

use std::net::IpAddr;
use std::time::Duration;

use api::daemon::ProblemKind;
use dhcp::v4::{self, Effect, EffectResult, Record};
use engine::{EffectId, Engine as _, Refused};

use super::Roster;
use super::interface::Unsaved;
use super::key::{ClientKey, Tag};
use super::output::Output;
use super::timers::Timer;
use crate::host::{self, Change};
use crate::leases::resolver::Servers;
use crate::leases::store::{Entry, InstalledWith};
use crate::names;
use crate::problems::Subject;

/// After a write failed, when everything unwritten is tried again.
const STORE_RETRY: Duration = Duration::from_secs(30);

impl Roster {
    /// Has an effect carried out; its result comes back as an input.
    pub(super) fn carry_out(&mut self, client: ClientKey, id: EffectId, effect: Effect) {
        let configured = self.configured_metric(client.ifindex);
        let Some(interface) = self.interfaces.get_mut(&client) else { return };
        if let Some(held) = &mut interface.release {
            return held.then(id, effect);
        }
        let tag = Tag { client, number: interface.number, effect: Some(id) };
        if let (Effect::AddAddress(address), Some(configured)) = (&effect, configured) {
            interface.settle_metric(address.address, configured);
        }
        let (ifindex, metric) = (client.ifindex, interface.metric);
        match effect {
            Effect::AddAddress(address) => {
                interface.installed.add_address(address.address, address.expires_at);
                self.change(tag, Change::AddAddress(host_address(ifindex, address, metric)));
            }
            Effect::RemoveAddress { address, prefix_length } => {
                interface.installed.remove_address(address);
                let address = address.into();
                let interface = ifindex;
                self.change(tag, Change::RemoveAddress { interface, address, prefix_length });
            }
            Effect::AddRoute(entry) => {
                interface.installed.add_route(entry.route);
                self.change(tag, Change::AddRoute(host_route(ifindex, entry, metric)));
            }
            Effect::RemoveRoute(entry) => {
                interface.installed.remove_route(entry.route);
                self.change(tag, Change::RemoveRoute(host_route(ifindex, entry, metric)));
            }
            Effect::SetMtu(mtu) => self.set_mtu(tag, mtu),
            Effect::SetResolver(resolver) => {
                interface.resolver.clone_from(&resolver);
                let name = self.name(ifindex);
                self.put(match resolver {
                    Some(resolver) => {
                        let servers = servers_of(&name, metric, &resolver);
                        Output::SetServers { tag, servers }
                    }
                    None => {
                        let (tag, family) = (Some(tag), client.family);
                        Output::ClearServers { tag, family, interface: name }
                    }
                });
            }
            Effect::SetHostName(name) if !names::is_domain(&name) => {
                let refused = Refused::other(format!("{name:?} is not a host name"));
                self.results.push_back((tag, Err(refused)));
            }
            Effect::SetHostName(name) => self.change(tag, Change::SetHostName(name)),
            Effect::Persist(record) => self.persist(tag, record),
            Effect::Release(transmit) => self.release(client, id, transmit),
        }
    }

    fn change(&mut self, tag: Tag, change: Change) {
        self.put(Output::Change { tag, change });
    }

    fn set_mtu(&mut self, tag: Tag, mtu: Option<u16>) {
        let ifindex = tag.client.ifindex;
        let Some(link) = self.links.get_mut(&ifindex) else { return };
        let Some(interface) = self.interfaces.get_mut(&tag.client) else { return };
        let wanted = match mtu {
            Some(mtu) => {
                interface.mtu_before.get_or_insert(link.mtu);
                Some(u32::from(mtu))
            }
            None => interface.mtu_before.take(),
        };
        // Nothing was changed, so nothing is put back: answered by way of an idle change.
        let mtu = wanted.unwrap_or(link.mtu);
        // The next lease's MTU may come before the kernel's word of this change, and what is put
        // back after it is not what this lease had.
        link.mtu = mtu;
        self.change(tag, Change::SetMtu { interface: ifindex, mtu });
    }

    fn persist(&mut self, tag: Tag, record: Box<Record>) {
        let ifindex = tag.client.ifindex;
        let name = self.name(ifindex);
        let Some(interface) = self.interfaces.get_mut(&tag.client) else { return };
        let entry = Box::new(Entry {
            interface: name,
            record: (*record).clone(),
            on_command: interface.on_command,
            mtu_before: interface.mtu_before,
            installed: Some(InstalledWith { index: ifindex, metric: interface.metric }),
        });
        interface.unsaved = Some(Unsaved::after(interface.unsaved.take(), record));
        self.put(Output::Write { tag, entry });
    }

    /// Hands the resolver what it knew under another name.
    pub(super) fn set_servers_again(&mut self, client: ClientKey) {
        let name = self.name(client.ifindex);
        let Some(interface) = self.interfaces.get(&client) else { return };
        let Some(resolver) = &interface.resolver else { return };
        let tag = Tag { client, number: interface.number, effect: None };
        let servers = servers_of(&name, interface.metric, resolver);
        self.put(Output::SetServers { tag, servers });
    }

    /// Has the kernel changed because the roster wants it, not an engine.
    pub(super) fn change_unasked(&mut self, client: ClientKey, change: Change) {
        let Some(interface) = self.interfaces.get(&client) else { return };
        let tag = Tag { client, number: interface.number, effect: None };
        self.change(tag, change);
    }

    pub(super) fn on_resolved(&mut self, tag: Tag, result: EffectResult) {
        let (subject, kind) = (Subject::Part("resolver"), ProblemKind::ResolverFailed);
        self.put(match &result {
            Ok(()) => Output::Clear { subject, kind },
            Err(refused) => Output::Raise { subject, kind, text: refused.text.clone() },
        });
        self.finish(tag, result);
    }

    pub(super) fn on_stored(&mut self, tag: Tag, result: EffectResult) {
        let interface = self.interfaces.get_mut(&tag.client);
        if let Some(interface) = interface.filter(|known| known.number == tag.number) {
            interface.unsaved.take_if(|unsaved| unsaved.on_answer(result.is_ok()));
        }
        let (subject, kind) = (Subject::Part("store"), ProblemKind::StoreUnwritable);
        match &result {
            Ok(()) if self.timers.is_set(Timer::StoreRetry) => {}
            Ok(()) => self.put(Output::Clear { subject, kind }),
            Err(refused) => {
                let text =
                    format!("leases cannot be written and will not survive a restart: {refused}");
                self.put(Output::Raise { subject, kind, text });
                if !self.timers.is_set(Timer::StoreRetry) {
                    self.timers.set(Timer::StoreRetry, Some(self.now + STORE_RETRY));
                }
            }
        }
        self.finish(tag, result);
    }

    /// Tries again what could not be written.
    pub(super) fn write_unsaved(&mut self) {
        let unsaved: Vec<(Tag, Box<Record>)> = self
            .interfaces
            .iter()
            .filter_map(|(client, known)| {
                let tag = Tag { client: *client, number: known.number, effect: None };
                Some((tag, known.unsaved.as_ref()?.record.clone()))
            })
            .collect();
        for (tag, record) in unsaved {
            self.persist(tag, record);
        }
    }

    /// Hands the result of an effect to its engine.
    pub(super) fn finish(&mut self, tag: Tag, result: EffectResult) {
        if let Err(refused) = &result {
            self.counters.count("lease_effects_failed");
            let name = self.name(tag.client.ifindex);
            // What an engine asked for, it has an event for, too.
            match tag.effect {
                Some(_) => tracing::debug!("{name}: {refused}"),
                None => tracing::warn!("{name}: {refused}"),
            }
        }
        let Some(interface) = self.interfaces.get_mut(&tag.client) else { return };
        if let Some(id) = tag.effect.filter(|_| interface.number == tag.number) {
            interface.client.handle(v4::Input::Effect { id, result }, self.now);
            self.drain(tag.client);
        }
    }
}

/// What a lease brings to the resolver.
fn servers_of(interface: &str, metric: u32, resolver: &v4::Resolver) -> Servers {
    let servers = resolver.servers.iter().copied().map(IpAddr::V4).collect();
    Servers::new(interface, metric, servers, resolver.domain.iter().chain(&resolver.search))
}

/// An address as the host knows it.
fn host_address(ifindex: u32, address: v4::Address, metric: u32) -> host::Address {
    host::Address {
        interface: ifindex,
        address: address.address.into(),
        prefix_length: address.prefix_length,
        broadcast: address.broadcast,
        preferred_until: address.expires_at,
        expires_at: address.expires_at,
        is_link_local: address.link_local,
        metric,
    }
}

/// A route as the host knows it.
fn host_route(ifindex: u32, entry: v4::RouteEntry, metric: u32) -> host::RouteEntry {
    let v4::Route { destination, prefix_length, gateway } = entry.route;
    let gateway = gateway.map(IpAddr::V4);
    host::RouteEntry {
        interface: ifindex,
        route: host::Route { destination: destination.into(), prefix_length, gateway },
        source: entry.source.into(),
        is_on_link: entry.on_link,
        metric,
    }
}

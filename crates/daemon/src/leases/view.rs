//! Leases and events as the API shows them.

use std::net::IpAddr;
use std::sync::Arc;

use api::lease::{EventKind, Family, Lease, Route, State};
use api::server::Lazy;
use api::{Prefix, Time, lease};
use dhcp::v4::{self, Event, Told, Via};

use super::roster::{ClientKey, Interface};
use super::{Leases, Summary};
use crate::clock::Clock;
use crate::host::LinkRow;

impl Leases {
    /// One client.
    pub(super) fn view(&self, client: ClientKey) -> Option<Lease> {
        let (interface, link) = self.roster.client(client)?;
        Some(shown(interface, link, Clock::read()))
    }

    /// The clients whose interface matches, by index. Readers share those that did not change.
    pub(super) fn view_all(&mut self, pattern: Option<&str>) -> Vec<Arc<Lease>> {
        self.clock = self.clock.kept();
        let clock = self.clock;
        let matches = |name: &str| pattern.is_none_or(|pattern| api::matches(pattern, name));
        self.roster
            .clients_mut()
            .filter(|(_, link)| matches(&link.name))
            .map(|(interface, link)| {
                let fresh = shown(interface, link, clock);
                match &interface.shown {
                    Some(before) if **before == fresh => before.clone(),
                    _ => interface.shown.insert(Arc::new(fresh)).clone(),
                }
            })
            .collect()
    }

    /// Where every client that matches stands, as events, each made when it is sent.
    pub(super) fn snapshot(&mut self, pattern: Option<&str>) -> Lazy<Arc<lease::Event>> {
        let time = Time::now();
        let event = move |lease: Arc<Lease>| {
            let lease = Arc::unwrap_or_clone(lease);
            Arc::new(lease::Event {
                kind: EventKind::State,
                time,
                interface: lease.interface.clone(),
                ifindex: lease.ifindex,
                family: Family::Ipv4,
                text: state_text(&lease),
                lease: Some(lease),
            })
        };
        Box::new(self.view_all(pattern).into_iter().map(event))
    }

    pub(super) fn summary(&self) -> Summary {
        let mut summary = Summary { resolver: self.choice.to_string(), interfaces: 0, leases: 0 };
        for (_, interface, _) in self.roster.clients() {
            summary.interfaces += 1;
            summary.leases += usize::from(interface.client.state().has_lease());
        }
        summary
    }

    /// Logs what happened, keeps the problems up to date, and tells subscribers.
    pub(super) fn on_event(&mut self, client: ClientKey, event: &Event) {
        let link = self.roster.link(client.ifindex);
        let Some(name) = link.map(|link| link.name.clone()) else { return };
        let (kind, text) = told(event);
        match event {
            Event::StateChanged { .. } | Event::Discarded { .. } | Event::OptionsIgnored { .. } => {
                tracing::debug!("{name}: {text}")
            }
            Event::Acquired(_)
            | Event::Renewed { .. }
            | Event::Released { told: Told::Sent, .. }
            | Event::LinkLocal { .. }
            | Event::SameNetwork { .. } => tracing::info!("{name}: {text}"),
            // Logged as the problem it is.
            Event::Conflict { .. } => {}
            Event::NoAnswer { tries, .. } if !worth_a_warning(*tries) => {
                tracing::debug!("{name}: {text}")
            }
            Event::Released { told: Told::NotSent { .. }, .. }
            | Event::Expired { .. }
            | Event::Refused { .. }
            | Event::NoAnswer { .. }
            | Event::Restored { .. }
            | Event::EffectFailed { .. } => tracing::warn!("{name}: {text}"),
        }
        match event {
            Event::Acquired(_) | Event::Renewed { .. } => self.problems.clear(&name, "conflict"),
            Event::Conflict { .. } => self.problems.raise(&name, "conflict", text.clone()),
            _ => {}
        }
        self.announce(client, kind, text);
    }

    fn announce(&self, client: ClientKey, kind: EventKind, text: String) {
        if !self.events.are_awaited() {
            return;
        }
        let Some(link) = self.roster.link(client.ifindex) else { return };
        let event = lease::Event {
            kind,
            time: Time::now(),
            interface: link.name.clone(),
            ifindex: client.ifindex,
            family: Family::Ipv4,
            text,
            lease: self.view(client),
        };
        self.events.publish(Arc::new(event));
    }

    /// Tells subscribers that a client is no more.
    pub(super) fn announce_gone(&self, client: ClientKey, name: &str) {
        if self.events.are_awaited() {
            let event = lease::Event {
                kind: EventKind::State,
                time: Time::now(),
                interface: name.to_owned(),
                ifindex: client.ifindex,
                family: Family::Ipv4,
                text: format!("{name} is not managed any more"),
                lease: None,
            };
            self.events.publish(Arc::new(event));
        }
    }
}

fn shown(interface: &Interface, link: &LinkRow, clock: Clock) -> Lease {
    let client = &interface.client;
    let mut shown = Lease::new(&link.name, link.index, Family::Ipv4, state(client.state()));
    shown.link_up = link.is_up;
    shown.hardware_address = (!link.hardware.is_empty()).then(|| link.hardware.to_string());
    shown.link_local = client.link_local().map(IpAddr::V4);
    shown.metric = Some(interface.metric);
    shown.client_identifier = client.client_identifier().map(|bytes| colons(&bytes));
    if let Some(lease) = client.lease() {
        fill(&mut shown, lease, clock);
    }
    shown
}

/// What a lease says, in the API's terms. Used for the answer to INFORM too.
pub(super) fn fill(shown: &mut Lease, lease: &v4::Lease, clock: Clock) {
    let wall = |instant| Time::from(clock.wall(instant));
    shown.address = Some(lease.address.into());
    shown.prefix_length = Some(lease.prefix_length);
    shown.broadcast = lease.broadcast.map(IpAddr::V4);
    shown.server = Some(lease.server.into());
    shown.obtained_at = Some(wall(lease.obtained_at));
    shown.renew_at = lease.renew_at.map(wall);
    shown.rebind_at = lease.rebind_at.map(wall);
    shown.expires_at = lease.expires_at.map(wall);
    shown.routes = lease
        .routes
        .iter()
        .filter_map(|route| {
            let destination = Prefix::new(route.destination, route.prefix_length)?;
            Some(Route { destination, gateway: route.gateway.map(IpAddr::V4) })
        })
        .collect();
    shown.dns = lease.dns.iter().copied().map(IpAddr::V4).collect();
    shown.domain_name.clone_from(&lease.domain_name);
    shown.domain_search.clone_from(&lease.domain_search);
    shown.ntp = lease.ntp.iter().copied().map(IpAddr::V4).collect();
    shown.mtu = lease.mtu.map(u32::from);
    shown.host_name.clone_from(&lease.host_name);
    shown.captive_portal.clone_from(&lease.captive_portal);
}

fn state(state: v4::State) -> State {
    match state {
        v4::State::Stopped => State::Stopped,
        v4::State::Released => State::Released,
        v4::State::Init => State::Init,
        v4::State::Selecting => State::Selecting,
        v4::State::Requesting => State::Requesting,
        v4::State::InitReboot => State::InitReboot,
        v4::State::Rebooting => State::Rebooting,
        v4::State::Probing => State::Probing,
        v4::State::Bound => State::Bound,
        v4::State::Renewing => State::Renewing,
        v4::State::Rebinding => State::Rebinding,
        v4::State::Ipv6Only => State::Ipv6Only,
    }
}

fn state_text(lease: &Lease) -> String {
    match lease.address {
        Some(address) => format!("{} with {address}", lease.state),
        None => lease.state.to_string(),
    }
}

/// Whether that many tries without an answer are to be warned of: a network without a server has one
/// more each minute, as long as it lasts.
fn worth_a_warning(tries: u32) -> bool {
    tries.is_power_of_two()
}

/// What happened, as one sentence.
fn told(event: &Event) -> (EventKind, String) {
    match event {
        Event::StateChanged { from, to } => (EventKind::State, format!("{to} after {from}")),
        Event::Acquired(lease) => {
            let end = match lease.expires_at {
                Some(at) => format!("for {} s", (at - lease.obtained_at).as_secs()),
                None => "for ever".to_owned(),
            };
            let text = format!(
                "leased {}/{} from {} {end}",
                lease.address, lease.prefix_length, lease.server
            );
            (EventKind::Acquired, text)
        }
        Event::Renewed { lease, via } => {
            let asked = match via {
                Via::Unicast => format!("{} extended", lease.server),
                Via::Broadcast => format!("{}, asked by broadcast, extended", lease.server),
                Via::SameNetwork => "the network is the same and keeps".to_owned(),
            };
            (EventKind::Renewed, format!("{asked} the lease of {}", lease.address))
        }
        Event::Released { address, server, told } => {
            let text = match told {
                Told::Sent => format!("gave {address} back to {server}"),
                Told::NotSent { reason } => {
                    format!("gave {address} up; {server} was not told: {reason}")
                }
            };
            (EventKind::Released, text)
        }
        Event::Expired { address } => {
            (EventKind::Expired, format!("the lease of {address} ran out; it is not used any more"))
        }
        Event::Refused { server, message } => {
            let words = message.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            (EventKind::Refused, format!("{server} refused{words}"))
        }
        Event::Conflict { address, hardware, defended } => {
            let end = if *defended { "it was defended" } else { "it was given up" };
            (EventKind::Conflict, format!("{hardware} uses {address} too; {end}"))
        }
        Event::NoAnswer { waited, tries } => {
            let word = if *tries == 1 { "try" } else { "tries" };
            let text =
                format!("no server answered within {:.1} s, {tries} {word}", waited.as_secs_f64());
            (EventKind::NoAnswer, text)
        }
        Event::LinkLocal { address } => {
            (EventKind::LinkLocal, format!("uses {address} because no server answered"))
        }
        Event::Restored { address } => {
            (EventKind::Restored, format!("{address} or a route of it was removed and put back"))
        }
        Event::SameNetwork { gateway } => {
            (EventKind::SameNetwork, format!("back on the network of {gateway}"))
        }
        Event::Discarded { reason } | Event::OptionsIgnored { reason } => {
            (EventKind::Discarded, reason.clone())
        }
        Event::EffectFailed { reason } => (EventKind::EffectFailed, reason.clone()),
    }
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_without_a_server_does_not_fill_the_log() {
        // A day of tries, one a minute.
        let warned: Vec<_> = (1..=1_440).filter(|tries| worth_a_warning(*tries)).collect();
        assert_eq!(warned, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024]);
    }

    #[test]
    fn ignored_options_are_named() {
        let reason = "ACK from 192.0.2.1: option 1 has a wrong length".to_owned();
        let told = told(&Event::OptionsIgnored { reason: reason.clone() });
        assert_eq!(told, (EventKind::Discarded, reason));
    }
}

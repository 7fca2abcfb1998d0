//! Leases and events as the API shows them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::daemon::ProblemKind;
use api::lease::{self, Binding, DhcpOption, EventKind, Family, LeaseInfo, Route, Server, State};
use api::server::Lazy;
use api::{Prefix, Time};
use dhcp::v4::{self, Event, Outcome, Told, Via};
use engine::Instant;
use wire::dhcpv4::OptionCode;

use super::Leases;
use super::handle::Summary;
use super::roster::{ClientKey, Interface};
use crate::clock::Clock;
use crate::host::LinkRow;
use crate::problems::Subject;

impl Leases {
    /// One client.
    pub(super) fn view(&self, client: ClientKey) -> Option<LeaseInfo> {
        let (interface, link) = self.roster.client(client)?;
        Some(lease_info(interface, link, Clock::read()))
    }

    /// One client after a command.
    pub(super) fn view_after(&self, client: ClientKey, outcome: &Outcome) -> Option<LeaseInfo> {
        let Outcome::Informed { lease } = outcome else { return self.view(client) };
        let (interface, link) = self.roster.client(client)?;
        Some(informed(interface, link, lease, Clock::read()))
    }

    /// The clients whose interface matches, by index. Readers share those that did not change.
    pub(super) fn view_all(&mut self, pattern: Option<&str>) -> Vec<Arc<LeaseInfo>> {
        self.clock = self.clock.kept();
        let clock = self.clock;
        // Who names one interface may name it in any way.
        let named = pattern.and_then(|reference| self.roster.resolve(reference));
        let named = named.map(|link| link.name.clone());
        let pattern = named.as_deref().or(pattern);
        let matches = |name: &str| pattern.is_none_or(|pattern| api::matches(pattern, name));
        self.roster
            .clients()
            .filter(|(_, _, link)| matches(&link.name))
            .map(|(key, interface, link)| {
                self.listed.share(key, lease_info(interface, link, clock))
            })
            .collect()
    }

    /// Where every client that matches stands, as events, each made when it is sent.
    pub(super) fn snapshot(&mut self, pattern: Option<&str>) -> Lazy<Arc<lease::Event>> {
        let time = Time::now();
        let event = move |lease: Arc<LeaseInfo>| {
            let lease = Arc::unwrap_or_clone(lease);
            let mut event = lease::Event::new(EventKind::State, state_text(&lease));
            event.time = time;
            event.state = Some(lease.state.clone());
            Arc::new(event.after(lease))
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
        let reported = reported(event);
        let text = &reported.text;
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
            Event::Acquired(_) | Event::Renewed { .. } => {
                let subject = Subject::Interface(name.clone());
                self.problems.clear(subject, ProblemKind::AddressConflict);
            }
            Event::Conflict { .. } => {
                let subject = Subject::Interface(name.clone());
                self.problems.raise(subject, ProblemKind::AddressConflict, text.clone());
            }
            _ => {}
        }
        if self.events.are_awaited() {
            let event = match self.view(client) {
                Some(lease) => reported.after(lease),
                None => reported.about(name, client.ifindex, Family::Ipv4),
            };
            self.events.publish(Arc::new(event));
        }
    }

    /// Publishes that a client is no more.
    pub(super) fn announce_gone(&self, client: ClientKey, name: &str) {
        if self.events.are_awaited() {
            let text = format!("{name} is not managed any more");
            let event = lease::Event::new(EventKind::Removed, text);
            let event = event.about(name, client.ifindex, Family::Ipv4);
            self.events.publish(Arc::new(event));
        }
    }
}

fn lease_info(interface: &Interface, link: &LinkRow, clock: Clock) -> LeaseInfo {
    let mut info = without_lease(interface, link);
    if let Some(lease) = interface.client.lease() {
        let times = |at| Time::from(clock.wall(at));
        info.bindings = vec![binding(lease, times)];
        info.renew_at = lease.renew_at.map(times);
        info.rebind_at = lease.rebind_at.map(times);
        fill(&mut info, lease, clock);
    }
    info
}

/// A client with what a server said to its INFORM.
fn informed(
    interface: &Interface,
    link: &LinkRow,
    parameters: &v4::Lease,
    clock: Clock,
) -> LeaseInfo {
    let mut info = without_lease(interface, link);
    fill(&mut info, parameters, clock);
    info
}

fn without_lease(interface: &Interface, link: &LinkRow) -> LeaseInfo {
    let client = &interface.client;
    let mut info = LeaseInfo::new(&link.name, link.index, Family::Ipv4, state(client.state()));
    info.link_up = link.is_up;
    info.hardware_address = (!link.hardware.is_empty()).then(|| link.hardware.to_string());
    info.link_local = client.link_local().map(IpAddr::V4);
    info.metric = Some(interface.metric);
    info.client_identifier = client.client_identifier().map(|bytes| colons(&bytes));
    info
}

/// What a lease says beside its address and its terms.
fn fill(info: &mut LeaseInfo, lease: &v4::Lease, clock: Clock) {
    info.server = Some(Server::at(lease.server));
    info.obtained_at = Some(clock.wall(lease.obtained_at).into());
    info.routes = lease
        .routes
        .iter()
        .filter_map(|route| {
            let destination = Prefix::checked(route.destination, route.prefix_length)?;
            Some(Route::new(destination, route.gateway.map(IpAddr::V4)))
        })
        .collect();
    info.dns = lease.dns.iter().copied().map(IpAddr::V4).collect();
    info.domain_name.clone_from(&lease.domain_name);
    info.domain_search.clone_from(&lease.domain_search);
    info.ntp = lease.ntp.iter().copied().map(IpAddr::V4).collect();
    info.mtu = lease.mtu.map(u32::from);
    info.host_name.clone_from(&lease.host_name);
    info.captive_portal.clone_from(&lease.captive_portal);
    info.options = lease.other_options().map(|(code, data)| option(code, data)).collect();
    info.options.sort_by_key(|option| option.code);
}

/// DHCPv4 has one lifetime: the address is preferred as long as it is valid.
fn binding(lease: &v4::Lease, times: impl Fn(Instant) -> Time) -> Binding {
    let mut binding = Binding::of_address(lease.address, lease.prefix_length);
    binding.broadcast = lease.broadcast.map(IpAddr::V4);
    binding.expires_at = lease.expires_at.map(times);
    binding.preferred_until = binding.expires_at;
    binding
}

fn option(code: OptionCode, data: &[u8]) -> DhcpOption {
    let mut option = DhcpOption::new(code.0.into(), colons(data));
    option.name = code.name().map(str::to_owned);
    option.text = code.text(data);
    option
}

/// How a server was asked, in the API's terms.
pub(super) fn via(via: Via) -> lease::Via {
    match via {
        Via::Unicast => lease::Via::Unicast,
        Via::Broadcast => lease::Via::Broadcast,
        Via::SameNetwork => lease::Via::SameNetwork,
    }
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

fn state_text(lease: &LeaseInfo) -> String {
    match lease.addresses().next() {
        Some(address) => format!("{} with {address}", lease.state),
        None => lease.state.to_string(),
    }
}

/// Whether that many tries without an answer are to be warned of: a network without a server has one
/// more each minute, as long as it lasts.
fn worth_a_warning(tries: u32) -> bool {
    tries.is_power_of_two()
}

/// What happened, of no client yet: a sentence and what it says in its members.
fn reported(event: &Event) -> lease::Event {
    let event_of = |kind: EventKind, text: String| lease::Event::new(kind, text);
    match event {
        Event::StateChanged { from, to } => {
            let mut reported = event_of(EventKind::State, format!("{to} after {from}"));
            reported.state = Some(state(*to));
            reported.previous_state = Some(state(*from));
            reported
        }
        Event::Acquired(lease) => {
            let end = match lease.expires_at {
                Some(at) => format!("for {} s", (at - lease.obtained_at).as_secs()),
                None => "for ever".to_owned(),
            };
            let v4::Lease { address, prefix_length, server, .. } = &**lease;
            let text = format!("leased {address}/{prefix_length} from {server} {end}");
            with_lease(event_of(EventKind::Acquired, text), lease)
        }
        Event::Renewed { lease, via: how } => {
            let asked = match how {
                Via::Unicast => format!("{} extended", lease.server),
                Via::Broadcast => format!("{}, asked by broadcast, extended", lease.server),
                Via::SameNetwork => "the network is the same and keeps".to_owned(),
            };
            let text = format!("{asked} the lease of {}", lease.address);
            let mut reported = with_lease(event_of(EventKind::Renewed, text), lease);
            reported.via = Some(via(*how));
            reported
        }
        Event::Released { address, prefix_length, server, told } => {
            let (text, reason) = match told {
                Told::Sent => (format!("gave {address} back to {server}"), None),
                Told::NotSent { reason } => {
                    let text = format!("gave {address} up; {server} was not told: {reason}");
                    (text, Some(reason.clone()))
                }
            };
            let mut reported = event_of(EventKind::Released, text);
            reported.bindings = vec![Binding::of_address(*address, *prefix_length)];
            reported.server = Some(Server::at(*server));
            reported.message_sent = Some(reason.is_none());
            reported.reason = reason;
            reported
        }
        Event::Expired { address, prefix_length } => {
            let text = format!("the lease of {address} ran out; it is not used any more");
            let mut reported = event_of(EventKind::Expired, text);
            reported.bindings = vec![Binding::of_address(*address, *prefix_length)];
            reported
        }
        Event::Refused { server, message } => {
            let words = message.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            let mut reported = event_of(EventKind::Refused, format!("{server} refused{words}"));
            reported.server = Some(Server::at(*server));
            reported.reason.clone_from(message);
            reported
        }
        Event::Conflict { address, hardware, defended } => {
            let end = if *defended { "it was defended" } else { "it was given up" };
            let text = format!("{hardware} uses {address} too; {end}");
            let mut reported = with_address(event_of(EventKind::Conflict, text), *address);
            reported.hardware_address = Some(hardware.to_string());
            reported.defended = Some(*defended);
            reported
        }
        Event::NoAnswer { waited, tries } => {
            let (waited, word) = (waited.as_secs_f64(), if *tries == 1 { "try" } else { "tries" });
            let text = format!("no server answered within {waited:.1} s, {tries} {word}");
            let mut reported = event_of(EventKind::NoAnswer, text);
            reported.waited = Some(waited);
            reported.tries = Some(*tries);
            reported
        }
        Event::LinkLocal { address } => {
            let text = format!("uses {address} because no server answered");
            with_address(event_of(EventKind::LinkLocal, text), *address)
        }
        Event::Restored { address } => {
            let text = format!("{address} or a route of it was removed and put back");
            with_address(event_of(EventKind::Restored, text), *address)
        }
        Event::SameNetwork { gateway } => {
            let text = format!("back on the network of {gateway}");
            let mut reported = event_of(EventKind::SameNetwork, text);
            reported.router = Some((*gateway).into());
            reported
        }
        Event::Discarded { reason } => with_reason(EventKind::Discarded, reason),
        Event::OptionsIgnored { reason } => with_reason(EventKind::OptionsIgnored, reason),
        Event::EffectFailed { reason } => with_reason(EventKind::EffectFailed, reason),
    }
}

/// A lease that was obtained or extended; when it ends is in the client that the event is about.
fn with_lease(mut event: lease::Event, lease: &v4::Lease) -> lease::Event {
    let clock = Clock::read();
    event.bindings = vec![binding(lease, |at| clock.wall(at).into())];
    event.server = Some(Server::at(lease.server));
    event
}

fn with_address(mut event: lease::Event, address: Ipv4Addr) -> lease::Event {
    event.address = Some(address.into());
    event
}

fn with_reason(kind: EventKind, reason: &str) -> lease::Event {
    let mut event = lease::Event::new(kind, reason);
    event.reason = Some(reason.to_owned());
    event
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
        let reported = reported(&Event::OptionsIgnored { reason: reason.clone() });
        assert_eq!((reported.kind, reported.reason), (EventKind::OptionsIgnored, Some(reason)));
    }

    #[test]
    fn facts_are_members_and_not_only_words() {
        let (address, server) = (Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(192, 0, 2, 1));
        let told = Told::NotSent { reason: "the link is down".to_owned() };
        let released = reported(&Event::Released { address, prefix_length: 24, server, told });
        assert_eq!(released.bindings, [Binding::of_address(address, 24)]);
        assert_eq!(released.server, Some(Server::at(server)));
        assert_eq!(released.message_sent, Some(false));
        assert_eq!(released.reason.as_deref(), Some("the link is down"));

        let changed = Event::StateChanged { from: v4::State::Bound, to: v4::State::Renewing };
        let changed = reported(&changed);
        let states = (changed.previous_state, changed.state);
        assert_eq!(states, (Some(State::Bound), Some(State::Renewing)));
    }

    #[test]
    fn options_have_names_and_text_where_these_are_known() {
        let known = option(OptionCode::TFTP_SERVER_NAME, b"pxe");
        assert_eq!((known.code, known.data.as_str()), (66, "70:78:65"));
        assert_eq!(known.name.as_deref(), Some("tftp-server-name"));
        assert_eq!(known.text.as_deref(), Some("pxe"));
        let unknown = option(OptionCode(224), &[1, 2]);
        assert_eq!((unknown.name, unknown.data.as_str(), unknown.text), (None, "01:02", None));
    }
}

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::VecDeque;

use engine::{Engine, Instant, Rng};
use wire::dhcpv4::{Malformed, Message, MessageType};
use wire::{HardwareAddress, arp};

use super::apply::changes;
use super::commands::Commands;
use super::config::{ClientIdentifier, Config, ConflictDetection};
use super::counters::{Counters, Discard};
use super::dna::Dna;
use super::host::{Batches, Purpose};
use super::inform::Inform;
use super::input::{Input, Link};
use super::lease::{Lease, Record, State};
use super::link_local::LinkLocal;
use super::message::{self, Kind};
use super::offer;
use super::output::{ArpListen, DhcpListen, Effect, Event, Listen, Output, Transmit};
use super::state::{Binding, Phase, earliest};
use crate::exchange::Sent;

/// More outputs than this and the queue's memory is given back once it is drained.
const KEPT_OUTPUTS: usize = 2;

/// A DHCPv4 client for one interface.
///
/// Does nothing until a [`Command`](super::Command) tells it to, nothing on the wire before the
/// first [`Link`], and wakes up only when a protocol timer is due: an idle lease's next timer is
/// T1.
#[derive(Debug)]
pub struct Client {
    pub(super) config: Box<Config>,
    /// Settings that came during an exchange, for the next one.
    next_config: Option<Box<Config>>,
    /// What the client is to call itself when the lease is gone that it got by its present name.
    next_identifier: Option<ClientIdentifier>,
    pub(super) rng: Rng,
    /// As last told; `None` until the first time.
    pub(super) link: Option<Link>,
    /// A lease is wanted, whatever the state is just now.
    pub(super) wanted: bool,
    pub(super) phase: Phase,
    /// The lease held. In use in Bound, Renewing and Rebinding; in other states what remains of it
    /// while a server is looked for.
    pub(super) binding: Option<Box<Binding>>,
    /// The last lease, no longer held: its address is asked for again.
    pub(super) hint: Option<Box<Lease>>,
    /// The hardware address that `binding` and `hint` were restored for, until the link is known.
    pub(super) restored_for: Option<HardwareAddress>,
    pub(super) commands: Commands,
    pub(super) batches: Batches,
    pub(super) link_local: Option<Box<LinkLocal>>,
    /// A server forbade link-local addresses on this link (RFC 2563).
    pub(super) auto_configure_forbidden: bool,
    pub(super) dna: Option<Box<Dna>>,
    pub(super) informs: Vec<Inform>,
    /// Refusals since the last lease.
    pub(super) refusals: u32,
    /// Conflicts since the last address that proved to be free.
    pub(super) conflicts: u32,
    pub(super) counters: Box<Counters>,
    /// Messages that ask for something, since the start: what a command's `tries` are counted by.
    pub(super) asked: u32,
    listen: Listen,
    outputs: VecDeque<Output>,
}

impl Client {
    /// A client that waits for its first input.
    pub fn new(config: Config, rng: Rng) -> Self {
        Self {
            config: Box::new(config),
            next_config: None,
            next_identifier: None,
            rng,
            link: None,
            wanted: false,
            phase: Phase::Stopped,
            binding: None,
            hint: None,
            restored_for: None,
            commands: Commands::default(),
            batches: Batches::default(),
            link_local: None,
            auto_configure_forbidden: false,
            dna: None,
            informs: Vec::new(),
            refusals: 0,
            conflicts: 0,
            counters: Box::default(),
            asked: 0,
            listen: Listen::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Where the client stands.
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// The lease held. Outside of the states that [have one](State::has_lease) it is what remains
    /// of an earlier one: in use until it ends or a server has decided.
    pub fn lease(&self) -> Option<&Lease> {
        self.binding.as_ref().map(|binding| &binding.lease)
    }

    /// The link-local address in use.
    pub fn link_local(&self) -> Option<Ipv4Addr> {
        self.link_local.as_ref().and_then(|local| local.in_use())
    }

    /// What was sent, received and not used.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The value of option 61 as it is sent on this link; `None` when the option is left out or
    /// the link is not known yet.
    pub fn client_identifier(&self) -> Option<Vec<u8>> {
        message::client_identifier(&self.config, self.link.as_ref()?)
    }
}

/// What is wrong with a message's options, in words; a hostile one can have hundreds.
fn describe(malformed: &[Malformed]) -> String {
    const NAMED: usize = 8;
    let words: Vec<String> = malformed.iter().take(NAMED).map(Malformed::to_string).collect();
    words.join(", ")
}

impl Engine for Client {
    type Input<'a> = Input<'a>;
    type Output = Output;

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.fire(now);
        match input {
            Input::Link(link) => self.on_link(link, now),
            Input::Configure(config) => self.on_configure(config, now),
            Input::Restore(record) => self.on_restore(*record, now),
            Input::Command { id, command, deadline } => self.on_command(id, command, deadline, now),
            Input::Cancel { id } => self.on_cancel(id),
            Input::Message { source, payload } => self.on_message(source, payload, now),
            Input::Arp(packet) => self.on_arp(packet, now),
            Input::Effect { id, result } => self.on_effect(id, result, now),
            Input::AddressRemoved(address) => self.on_address_removed(address, now),
            Input::RouteRemoved(route) => self.on_route_removed(route, now),
        }
        self.fire(now);
        self.update_listen();
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > KEPT_OUTPUTS {
            self.outputs = VecDeque::new();
        }
        output
    }

    fn poll_timeout(&self) -> Option<Instant> {
        earliest(Timer::ORDER.map(|timer| self.due_at(timer)))
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.fire(now);
        self.update_listen();
    }
}

/// What a client waits for besides inputs: the one table of its timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// The address must no longer be used.
    Expiry,
    /// The state has something to do.
    State,
    ConflictDetection,
    /// Something is put back that somebody removed.
    Restore,
    /// The router is asked for.
    Dna,
    LinkLocal,
    /// An INFORM is repeated.
    Informs,
    /// A caller gives up.
    Deadlines,
}

impl Timer {
    /// The order in which those fire that are due at once, as many are after a sleep. An address
    /// past its term goes before anything else happens, also one that the state has come to just
    /// now: none of the others may use it.
    const ORDER: [Self; 9] = [
        Self::Expiry,
        Self::State,
        Self::Expiry,
        Self::ConflictDetection,
        Self::Restore,
        Self::Dna,
        Self::LinkLocal,
        Self::Informs,
        Self::Deadlines,
    ];
}

impl Client {
    fn due_at(&self, timer: Timer) -> Option<Instant> {
        let binding = self.binding.as_ref();
        match timer {
            Timer::Expiry => binding?.lease.expires_at,
            Timer::State => self.phase.next_at(self.lease()),
            Timer::ConflictDetection => binding?.acd?.next_at(),
            Timer::Restore => binding?.restore_at,
            Timer::Dna => Some(self.dna.as_ref()?.next_at()),
            Timer::LinkLocal => self.link_local.as_ref()?.next_at(),
            Timer::Informs => self.informs.iter().map(|inform| inform.retransmit_at).min(),
            Timer::Deadlines => self.commands.next_deadline(),
        }
    }

    /// Fires everything that is due.
    fn fire(&mut self, now: Instant) {
        /// Every timer that fires moves on or goes away; this bounds a mistake in that.
        const MOST: usize = 1_000;
        for _ in 0..MOST {
            let mut has_fired = false;
            for timer in Timer::ORDER {
                if self.due_at(timer).is_some_and(|at| at <= now) {
                    self.fire_timer(timer, now);
                    has_fired = true;
                }
            }
            if !has_fired {
                return;
            }
        }
    }

    fn fire_timer(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Expiry => self.expire(now),
            Timer::State => self.fire_phase(now),
            Timer::ConflictDetection => self.fire_conflict_detection(now),
            Timer::Restore => self.fire_restore(now),
            Timer::Dna => self.fire_dna(now),
            Timer::LinkLocal => self.fire_link_local(now),
            Timer::Informs => self.fire_informs(now),
            Timer::Deadlines => self.fire_deadlines(now),
        }
    }

    fn on_link(&mut self, link: Link, now: Instant) {
        let before = self.link.replace(link);
        let had = self.restored_for.take().or(before.map(|link| link.hardware));
        if had.is_some_and(|hardware| hardware != link.hardware) {
            self.forget_everything(now);
        }
        let was_up = before.is_some_and(|link| link.up);
        match (was_up, link.up) {
            (false, true) => self.on_link_up(now),
            (_, false) => self.on_link_down(),
            (true, true) => {}
        }
    }

    /// Another hardware address makes another client: nothing of what the old one had is ours.
    fn forget_everything(&mut self, now: Instant) {
        self.drop_binding();
        self.hint = None;
        self.link_down_protocols();
        self.extension_becomes_acquisition();
        if self.link.is_some_and(|link| link.up) && self.wanted {
            self.init(now, Duration::ZERO);
        }
    }

    fn on_link_up(&mut self, now: Instant) {
        if self.wanted && matches!(self.phase, Phase::Stopped) {
            self.begin(now);
        }
    }

    fn on_link_down(&mut self) {
        self.link_down_protocols();
        if let Phase::Probing(probing) = &self.phase {
            self.hint = Some(Box::new(probing.lease.clone()));
        }
        if !matches!(self.phase, Phase::Released) {
            self.set_phase(Phase::Stopped);
        }
        self.fail_for_link_down();
        self.end_informs();
    }

    /// Stops what needs the wire, apart from the state itself.
    fn link_down_protocols(&mut self) {
        self.withdraw_link_local();
        self.auto_configure_forbidden = false;
        self.refusals = 0;
        self.dna = None;
        if let Some(binding) = &mut self.binding {
            binding.acd = None;
            binding.restore_at = None;
        }
    }

    fn on_restore(&mut self, record: Record, now: Instant) {
        let untouched = matches!(self.phase, Phase::Stopped) && !self.wanted;
        if !untouched || self.binding.is_some() || self.hint.is_some() {
            return;
        }
        if record.released {
            self.set_phase(Phase::Released);
            self.hint = record.lease.map(Box::new);
        } else if let Some(lease) = record.lease {
            // Expired or not: `expire` takes it off the interface if it is past its term.
            self.binding = Some(self.new_binding(lease, false));
            self.withdraw_refused();
        }
        match self.link {
            Some(link) if link.hardware != record.hardware => self.forget_everything(now),
            Some(_) => {}
            None => self.restored_for = Some(record.hardware),
        }
    }

    /// The record of what is held now; `None` as long as nobody has said for which link.
    pub(super) fn record(&self) -> Option<Effect> {
        let hardware = self.link.map(|link| link.hardware).or(self.restored_for)?;
        let lease = self.lease().or(self.hint.as_deref());
        Some(Effect::Persist(Box::new(Record {
            hardware,
            lease: lease.cloned(),
            released: matches!(self.phase, Phase::Released),
        })))
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        let (from, to) = (self.phase.state(), phase.state());
        self.phase = phase;
        self.adopt_config();
        if from != to {
            self.event(Event::StateChanged { from, to });
        }
    }

    fn on_configure(&mut self, config: Box<Config>, now: Instant) {
        self.next_config = Some(config);
        self.withdraw_refused();
        self.adopt_config();
        if self.has_new_config() {
            self.hurry(now);
        }
        if matches!(self.phase, Phase::Ipv6Only(_)) && !self.config.ipv6_only {
            self.init(now, Duration::ZERO);
        }
    }

    /// Takes off the host what the newest settings refuse: a server that routed around a VPN is not
    /// to go on with it until it is asked again. What they let in comes with the next answer.
    fn withdraw_refused(&mut self) {
        let Some(mut binding) = self.binding.take() else { return };
        let old = binding.lease.clone();
        binding.lease.leave_out_refused(self.newest_config());
        // The address stays as it is, be it on the interface or not.
        let mut effects = changes(Some(&old), &binding.lease, false);
        effects.retain(|effect| !matches!(effect, Effect::AddAddress(_)));
        let changed = binding.lease != old;
        self.binding = Some(binding);
        if changed {
            effects.extend(self.record());
        }
        // A batch of nothing never ends.
        if !effects.is_empty() {
            self.carry_out(Purpose::Other, effects);
        }
    }

    /// The settings last told, whether or not an exchange has begun with them.
    pub(super) fn newest_config(&self) -> &Config {
        self.next_config.as_deref().unwrap_or(&self.config)
    }

    /// Whether settings wait for the exchange to end that differ from those it began with.
    pub(super) fn has_new_config(&self) -> bool {
        self.next_config.as_ref().is_some_and(|next| *next != self.config)
    }

    /// Takes over new settings between two exchanges: the answers to one are judged by what it
    /// asked with.
    fn adopt_config(&mut self) {
        let between = matches!(
            self.phase,
            Phase::Stopped
                | Phase::Released
                | Phase::Init(_)
                | Phase::Bound(_)
                | Phase::Ipv6Only(_)
        );
        if !between {
            return;
        }
        if let Some(config) = self.next_config.take() {
            let old = core::mem::replace(&mut self.config, config);
            let current = old.client_identifier;
            self.next_identifier =
                Some(core::mem::replace(&mut self.config.client_identifier, current));
            if !self.config.link_local {
                self.withdraw_link_local();
            }
        }
        // RFC 2131 4.2: "If the client supplies a 'client identifier', the client MUST use the same
        // 'client identifier' in all subsequent messages". By another name the server would not
        // know whose lease it is to extend or to take back.
        if self.binding.is_none()
            && let Some(identifier) = self.next_identifier.take()
        {
            self.config.client_identifier = identifier;
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.is_some_and(|link| link.up)
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    /// Broadcasts a message, or sends it to `server` alone. Nothing goes out on a link that is
    /// down.
    pub(super) fn send(
        &mut self,
        kind: Kind,
        sent: Sent,
        source: Ipv4Addr,
        server: Option<Ipv4Addr>,
    ) {
        let Some(transmit) = self.transmit(kind, sent, source, server) else { return };
        let is_answered = !matches!(kind, Kind::Decline { .. });
        if is_answered {
            self.asked = self.asked.saturating_add(1);
            self.update_listen();
        }
        self.output(Output::Send(transmit));
        // Who closes a socket waits; a packet that nobody answers need not.
        self.update_listen();
    }

    /// A message as it is to be sent; `None` while the link is down.
    pub(super) fn transmit(
        &mut self,
        kind: Kind,
        sent: Sent,
        source: Ipv4Addr,
        server: Option<Ipv4Addr>,
    ) -> Option<Transmit> {
        let link = self.link.filter(|link| link.up)?;
        let message = Box::new(message::build(kind, sent, &self.config, &link, &mut self.rng));
        self.counters.count_sent(kind.message_type());
        Some(match server {
            Some(destination) => Transmit::Unicast { source, destination, message },
            None => Transmit::Broadcast { source, message },
        })
    }

    pub(super) fn send_arp(&mut self, packet: arp::Packet, to: Option<HardwareAddress>) {
        if self.is_up() {
            self.update_listen();
            self.output(Output::Send(Transmit::Arp { packet, to }));
        }
    }

    /// Tells what to receive, if that has changed.
    pub(super) fn update_listen(&mut self) {
        let listen = self.needed();
        if listen != self.listen {
            self.listen = listen;
            self.output(Output::Listen(listen));
        }
    }

    fn needed(&self) -> Listen {
        if !self.is_up() {
            return Listen::default();
        }
        let dhcp = match &self.phase {
            Phase::Selecting(_) | Phase::Requesting(_) | Phase::Rebooting(_) => DhcpListen::Packet,
            Phase::Bound(bound) if bound.late.is_some() => DhcpListen::Packet,
            Phase::Renewing(_) | Phase::Rebinding(_) => DhcpListen::Udp,
            _ if !self.informs.is_empty() => DhcpListen::Udp,
            _ => DhcpListen::Off,
        };
        let conflicts = match (&self.phase, &self.binding, &self.link_local) {
            (Phase::Probing(probing), ..) => Some(probing.acd.address()),
            (_, Some(binding), _) if binding.acd.is_some() => Some(binding.lease.address),
            (_, None, Some(local)) => local.watched(),
            _ => None,
        };
        let router = self.dna.as_ref().map(|dna| dna.router());
        let arp = match (conflicts.or(self.lease().map(|lease| lease.address)), router) {
            (Some(address), Some(router)) => ArpListen::ConflictsAnd(address, router),
            _ => conflicts.map_or(ArpListen::Off, ArpListen::Conflicts),
        };
        Listen { dhcp, arp }
    }

    pub(super) fn discard(&mut self, reason: Discard, source: Ipv4Addr, kind: Option<MessageType>) {
        self.counters.count_discarded(reason);
        let reason = match kind {
            Some(kind) => format!("{kind} from {source}: {reason}"),
            None => format!("packet from {source}: {reason}"),
        };
        self.event(Event::Discarded { reason });
    }

    pub(super) fn detects_conflicts(&self) -> bool {
        let ethernet_like = self.link.is_some_and(|link| !link.hardware.is_empty());
        ethernet_like && self.config.conflict_detection != ConflictDetection::Off
    }

    fn on_message(&mut self, source: Ipv4Addr, payload: &[u8], now: Instant) {
        match Message::parse(payload) {
            Ok(message) => self.on_parsed(source, message, now),
            Err(error) => {
                self.counters.count_discarded(Discard::Malformed);
                let reason = format!("packet from {source}: {error}");
                self.event(Event::Discarded { reason });
            }
        }
    }

    fn on_parsed(&mut self, source: Ipv4Addr, message: Message, now: Instant) {
        let kind = message.message_type();
        if let Some(kind) = kind {
            self.counters.count_received(kind);
        }
        let ignored = describe(&offer::ignored(&message.options));
        match (self.on_reply(message, now), kind) {
            (Err(reason), _) => self.discard(reason, source, kind),
            (Ok(()), Some(kind)) if !ignored.is_empty() => {
                let reason = format!("{kind} from {source}: {ignored}");
                self.event(Event::OptionsIgnored { reason });
            }
            (Ok(()), _) => {}
        }
    }
}

//! Which interface has a client, and what becomes of it: the engine of the tenant `leases`.
//!
//! It decides which interfaces are managed, joins each to its DHCP engine, and keeps what belongs to
//! the two of them: what is installed in the kernel, what an earlier daemon left there, which record
//! is not on disk, who waits for an answer. A rename, an interface that goes and comes back, an
//! address that somebody else removed, a RELEASE on its way out: all of it is decided here, and all
//! that is to be done about it is handed out as [`Output`]s. One roster serves one network namespace.
//!
//! Like every engine it has no socket, no clock and no randomness of its own (see the crate
//! `engine`), so that a world of a thousand interfaces runs in a test.

mod command;
mod config;
mod effects;
mod input;
mod interface;
mod kernel;
mod key;
mod links;
mod output;
mod pacer;
mod release;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use api::lease::Family;
use dhcp::v4::{self, EffectResult};
use engine::{CommandId, Engine, Instant, Rng};
use wire::HardwareAddress;

pub(crate) use input::{Input, Operation};
pub(crate) use interface::Interface;
pub(crate) use key::{ClientKey, Network, Tag};
pub(crate) use output::{Failure, Output, Refusal};

use crate::config::Config;
use crate::counters::Counters;
use crate::host::{AddressRow, LinkRow, resolve};
use crate::leases::Identity;
use crate::leases::store::Entry;
use command::Pending;
use interface::Installed;
use output::Step;
use pacer::Pacer;
use timers::{Timer, Timers};

/// What a roster starts from.
#[derive(Debug)]
pub(crate) struct Start {
    /// The namespace it serves.
    pub(crate) network: Network,
    /// The configuration in force.
    pub(crate) config: Arc<Config>,
    /// Who the host is to servers.
    pub(crate) identity: Identity,
    /// Records, by name of the interface.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Of its clients' transaction identifiers and delays.
    pub(crate) rng: Rng,
}

/// The clients of one network namespace.
#[derive(Debug)]
pub(crate) struct Roster {
    network: Network,
    config: Arc<Config>,
    identity: Identity,
    rng: Rng,
    /// When the input that is being handled came.
    now: Instant,

    links: BTreeMap<u32, LinkRow>,
    /// How many interfaces have each link-layer address.
    own_hardware: HashMap<HardwareAddress, usize>,
    interfaces: BTreeMap<ClientKey, Interface>,
    /// Clients so far: the number of each is another one.
    numbered: u64,
    /// Records of interfaces that are not there, or not managed.
    entries: BTreeMap<String, Entry>,
    pruned_at: Option<Instant>,
    /// Addresses of others, by interface.
    foreign: BTreeMap<u32, Vec<AddressRow>>,
    timers: Timers,
    pacer: Pacer,
    is_reading_tables: bool,
    /// They have been read at least once, or could not be.
    knows_tables: bool,
    /// What was ours when that reading was asked for: the tables cannot know of anything later.
    expected: BTreeMap<ClientKey, Installed>,

    pending: HashMap<CommandId, Pending>,
    last_own_command: u64,
    /// The daemon ends when these are answered.
    stopping: Option<BTreeSet<CommandId>>,
    counters: Counters,

    outputs: VecDeque<Step>,
    /// Results of effects that take nobody: handed in when the engine they are of is drained.
    results: VecDeque<(Tag, EffectResult)>,
}

impl Roster {
    /// A roster that knows of no interface yet.
    pub(crate) fn new(start: Start) -> Self {
        let Start { network, config, identity, entries, rng } = start;
        Self {
            network,
            config,
            identity,
            rng,
            now: Instant::from_nanos(0),
            links: BTreeMap::new(),
            own_hardware: HashMap::new(),
            interfaces: BTreeMap::new(),
            numbered: 0,
            entries,
            pruned_at: None,
            foreign: BTreeMap::new(),
            timers: Timers::default(),
            pacer: Pacer::default(),
            is_reading_tables: false,
            knows_tables: false,
            expected: BTreeMap::new(),
            pending: HashMap::new(),
            last_own_command: u64::MAX,
            stopping: None,
            counters: Counters::default(),
            outputs: VecDeque::new(),
            results: VecDeque::new(),
        }
    }

    /// A client, and its interface.
    pub(crate) fn client(&self, key: ClientKey) -> Option<(&Interface, &LinkRow)> {
        Some((self.interfaces.get(&key)?, self.links.get(&key.ifindex)?))
    }

    /// Every client, by interface.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (ClientKey, &Interface, &LinkRow)> {
        self.interfaces
            .iter()
            .filter_map(|(key, interface)| Some((*key, interface, self.links.get(&key.ifindex)?)))
    }

    /// An interface, managed or not.
    pub(crate) fn link(&self, ifindex: u32) -> Option<&LinkRow> {
        self.links.get(&ifindex)
    }

    /// The interface that a caller means: see [`resolve`].
    pub(crate) fn resolve(&self, reference: &str) -> Option<&LinkRow> {
        resolve(reference, self.links.values())
    }

    /// The interface's name, also of one that just went.
    pub(crate) fn name(&self, ifindex: u32) -> String {
        self.links
            .get(&ifindex)
            .map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
    }

    /// An address of the interface that has an end and is not ours: another client leased it.
    pub(crate) fn leased_by_another(&self, ifindex: u32) -> Option<&AddressRow> {
        self.foreign.get(&ifindex)?.iter().find(|row| row.is_dynamic)
    }

    /// Whether it is known who has which address: until then no command can be judged.
    pub(crate) fn knows_tables(&self) -> bool {
        self.knows_tables
    }

    /// Whether it was [stopped](Input::Stop) and everything that was to be done first is done.
    pub(crate) fn has_ended(&self) -> bool {
        self.stopping.as_ref().is_some_and(BTreeSet::is_empty) && self.outputs.is_empty()
    }

    /// What it and its clients counted; of each interface by itself, or the sums.
    pub(crate) fn counters(&self, per_interface: bool) -> Counters {
        let mut counters = self.counters.clone();
        let mut all = v4::Counters::default();
        for (client, interface) in &self.interfaces {
            let counted = interface.client.counters();
            match per_interface {
                true => add_client(&mut counters, Some(&self.name(client.ifindex)), counted),
                false => all.add(counted),
            }
            let labels = labels(client.family, per_interface.then(|| self.name(client.ifindex)));
            counters.gauge("dhcp_clients", &labels, 1);
            counters.gauge("leases", &labels, interface.client.state().has_lease().into());
        }
        add_client(&mut counters, None, &all);
        counters
    }

    fn key(&self, ifindex: u32) -> ClientKey {
        ClientKey::ipv4(self.network, ifindex)
    }

    /// Hands an engine an input, and takes what it wants done.
    fn tell(&mut self, key: ClientKey, input: v4::Input<'_>) {
        if let Some(interface) = self.interfaces.get_mut(&key) {
            interface.client.handle(input, self.now);
            self.drain(key);
        }
    }

    /// Takes what an engine wants done, and notes when it wants to be called next.
    fn drain(&mut self, key: ClientKey) {
        while let Some(interface) = self.interfaces.get_mut(&key) {
            let Some(output) = interface.client.poll_output() else { break };
            match output {
                v4::Output::Send(transmit) => self.put(Output::Send { client: key, transmit }),
                v4::Output::Listen(listen) => self.put(Output::Listen { client: key, listen }),
                v4::Output::Effect { id, effect } => self.carry_out(key, id, effect),
                v4::Output::Event(event) => self.put(Output::Event { client: key, event }),
                v4::Output::Reply { id, result } => self.on_reply(key, id, result),
            }
        }
        let Some(interface) = self.interfaces.get(&key) else { return };
        if self.pacer.is_under_way(key.ifindex) && !interface.is_asking() {
            let completed = interface.client.state().has_lease();
            self.pacer.done(key.ifindex, completed, self.now);
        }
        self.timers.set(Timer::Client(key), interface.client.poll_timeout());
    }

    /// Hands in the results that took nobody, and starts the interfaces whose turn it is.
    fn settle(&mut self) {
        loop {
            if let Some((tag, result)) = self.results.pop_front() {
                self.finish(tag, result);
            } else if let Some(ifindex) = self.pacer.next(self.now) {
                self.tell_link(ifindex);
            } else {
                return;
            }
        }
    }

    fn put(&mut self, output: Output) {
        self.outputs.push_back(Step::Output(output));
    }

    fn fire_due(&mut self, now: Instant) {
        self.now = now;
        while let Some(timer) = self.timers.take_due(now) {
            self.fire(timer);
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Client(key) => {
                if let Some(interface) = self.interfaces.get_mut(&key) {
                    interface.client.handle_timeout(self.now);
                    self.drain(key);
                }
            }
            Timer::Release(key) => self.give_up_release(key),
            Timer::StoreRetry => self.write_unsaved(),
        }
    }
}

impl Engine for Roster {
    type Input<'a> = Input<'a>;
    type Output = Output;

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.fire_due(now);
        match input {
            Input::Links(links) => links.into_iter().for_each(|link| self.on_link(link)),
            Input::Notice(notice) => self.on_notice(notice),
            Input::ReadTables => self.read_tables(),
            Input::Tables(tables) => self.on_tables(tables),
            Input::Message { client, source, payload } => {
                self.tell(client, v4::Input::Message { source, payload });
            }
            Input::Arp { client, packet } => self.on_arp(client, packet),
            Input::Changed(tag, result) => self.finish(tag, result),
            Input::Stored(tag, result) => self.on_stored(tag, result),
            Input::Resolved(tag, result) => self.on_resolved(tag, result),
            Input::Released { client, result } => self.end_release(client, result),
            Input::Command { id, interface, command, deadline } => {
                self.on_command(id, interface, command, deadline);
            }
            Input::Cancel(id) => self.on_cancel(id),
            Input::Configure(config) => self.configure(config),
            Input::Stop => self.stop(),
        }
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.outputs.pop_front()? {
                Step::Output(output) => return Some(output),
                Step::Forget(key) => self.forget_client(key),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.timers.next_at(), self.pacer.next_at()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.fire_due(now);
        self.settle();
    }
}

/// Adds what a client of an interface counted, or several.
fn add_client(counters: &mut Counters, interface: Option<&str>, counted: &v4::Counters) {
    for (what, which, count) in counted.iter() {
        let (name, label) = match what {
            v4::Counted::Sent => ("dhcp_sent", "type"),
            v4::Counted::Received => ("dhcp_received", "type"),
            v4::Counted::Discarded => ("dhcp_discarded", "reason"),
        };
        let mut labels = labels(Family::Ipv4, interface.map(str::to_owned));
        labels.push((label, which.to_owned()));
        counters.add(name, &labels, count.into());
    }
}

fn labels(family: Family, interface: Option<String>) -> Vec<(&'static str, String)> {
    let family = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    let interface = interface.map(|name| ("interface", name));
    std::iter::once(("family", family.to_owned())).chain(interface).collect()
}

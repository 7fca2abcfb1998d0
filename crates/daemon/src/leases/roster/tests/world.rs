//! A host made of values: interfaces that come, change and go, a kernel that keeps addresses and
//! routes, a disk, and a server at the other end of every link. Time is simulated, and everything
//! follows from the seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use api::daemon::ProblemKind;
use dhcp::v4::{Outcome, Transmit};
use engine::{CommandId, Engine as _, Instant, Reason, Refused, Rng};
use wire::HardwareAddress;
use wire::dhcpv4::{Message, MessageType};

use super::super::output::{Failure, Output, Refusal};
use super::super::{ClientKey, Input, Network, Operation, Roster, Start};
use crate::config::Config;
use crate::host::{self, AddressRow, Change, LinkRow, Notice, RouteRow, Tables};
use crate::leases::Identity;
use crate::leases::resolver::Servers;
use crate::leases::store::Entry;
use crate::problems::Subject;
use crate::testing::{self, Folder};

pub(super) const NETWORK: Network = Network(7);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// What a link, a server, a disk or the kernel takes at most.
const LONGEST_DELAY: Duration = Duration::from_millis(4);

/// How a command ended.
#[derive(Debug)]
pub(super) enum Answer {
    Done(Outcome),
    Failed(Failure),
    Refused(Refusal),
}

/// What comes to the roster by and by.
#[derive(Debug)]
enum Delivery {
    Message(ClientKey, Vec<u8>),
    Input(Input<'static>),
    /// A record reaches the disk.
    Written(Input<'static>, Box<Entry>),
    /// The tables are read at this moment.
    Tables,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Instant,
    rng: Rng,
    config: Arc<Config>,
    identity: Identity,
    pub(super) roster: Roster,
    queue: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,

    // The kernel.
    pub(super) links: BTreeMap<u32, LinkRow>,
    pub(super) addresses: BTreeMap<(u32, Ipv4Addr), AddressRow>,
    /// By interface, destination with gateway, and metric: another metric is another route.
    pub(super) routes: BTreeMap<(u32, String, u32), RouteRow>,
    /// The disk.
    pub(super) disk: BTreeMap<String, Entry>,
    pub(super) is_disk_full: bool,
    pub(super) resolver: BTreeMap<String, Servers>,
    pub(super) problems: BTreeSet<(Subject, ProblemKind)>,
    pub(super) answers: HashMap<CommandId, Answer>,

    // The server.
    pub(super) is_server_up: bool,
    leases: HashMap<HardwareAddress, Ipv4Addr>,
    /// Those that were given back.
    pub(super) given_back: BTreeSet<Ipv4Addr>,
    /// How a RELEASE ends; `None` keeps it waiting for a link address.
    pub(super) release: Option<Result<(), Refused>>,
    commands: u64,
}

impl World {
    pub(super) fn new(seed: u64, config: &str) -> Self {
        let config = Config::parse(config, "world.toml".as_ref()).unwrap();
        let folder = Folder::new("world");
        let identity = Identity::discover(folder.path());
        let mut rng = Rng::from_u64(seed);
        let config = Arc::new(config);
        let start = Start {
            network: NETWORK,
            config: config.clone(),
            identity: identity.clone(),
            entries: BTreeMap::new(),
            rng: rng.fork(),
        };
        let mut world = Self {
            now: Instant::from_secs(100),
            rng,
            config,
            identity,
            roster: Roster::new(start),
            queue: BTreeMap::new(),
            sequence: 0,
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            routes: BTreeMap::new(),
            disk: BTreeMap::new(),
            is_disk_full: false,
            resolver: BTreeMap::new(),
            problems: BTreeSet::new(),
            answers: HashMap::new(),
            is_server_up: true,
            leases: HashMap::new(),
            given_back: BTreeSet::new(),
            release: Some(Ok(())),
            commands: 0,
        };
        world.begin();
        world
    }

    /// As a daemon does that starts.
    fn begin(&mut self) {
        let links = self.links.values().cloned().collect();
        self.tell(Input::Links(links));
        self.tell(Input::ReadTables);
    }

    /// Ends the daemon without a word, and starts another one. Of what was on its way to the disk,
    /// some has arrived.
    pub(super) fn kill(&mut self) {
        for (_, delivery) in std::mem::take(&mut self.queue) {
            if let Delivery::Written(_, entry) = delivery
                && self.rng.chance(1, 2)
            {
                self.disk.insert(entry.interface.clone(), *entry);
            }
        }
        self.answers.clear();
        self.resolver.clear();
        self.problems.clear();
        self.roster = Roster::new(Start {
            network: NETWORK,
            config: self.config.clone(),
            identity: self.identity.clone(),
            entries: self.disk.clone(),
            rng: self.rng.fork(),
        });
        self.begin();
    }

    /// Plugs in an interface that is up.
    pub(super) fn plug(&mut self, ifindex: u32, name: &str) {
        self.plug_in(testing::link(ifindex, name));
    }

    pub(super) fn plug_in(&mut self, link: LinkRow) {
        self.links.insert(link.index, link.clone());
        self.tell(Input::Notice(Notice::Link(link)));
    }

    /// An interface goes, with everything that is on it. As in the kernel, its addresses go before
    /// the notification of its end.
    pub(super) fn unplug(&mut self, ifindex: u32) {
        self.links.remove(&ifindex).unwrap();
        self.routes.retain(|(interface, ..), _| *interface != ifindex);
        let gone = self.addresses.extract_if(.., |(interface, _), _| *interface == ifindex);
        for (_, row) in gone.collect::<Vec<_>>() {
            self.tell(Input::Notice(Notice::AddressTakenAlong(row)));
        }
        self.tell(Input::Notice(Notice::LinkGone(ifindex)));
    }

    pub(super) fn change_link(&mut self, ifindex: u32, change: impl FnOnce(&mut LinkRow)) {
        let link = self.links.get_mut(&ifindex).unwrap();
        change(link);
        let link = link.clone();
        self.tell(Input::Notice(Notice::Link(link)));
    }

    /// Somebody removes an address, with the routes that need it.
    pub(super) fn remove_address(&mut self, ifindex: u32, address: Ipv4Addr) {
        let row = self.addresses.remove(&(ifindex, address)).unwrap();
        self.tell(Input::Notice(Notice::AddressGone(row)));
    }

    pub(super) fn command(
        &mut self,
        interface: &str,
        command: Operation,
        within: Duration,
    ) -> CommandId {
        self.commands += 1;
        let id = CommandId(self.commands);
        let deadline = self.now + within;
        self.tell(Input::Command { id, interface, command, deadline });
        id
    }

    pub(super) fn reconfigure(&mut self, config: &str) {
        self.config = Arc::new(Config::parse(config, "world.toml".as_ref()).unwrap());
        self.tell(Input::Configure(self.config.clone()));
    }

    pub(super) fn tell(&mut self, input: Input<'_>) {
        self.roster.handle(input, self.now);
        self.drain();
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let delivery = self.queue.keys().next().map(|(at, _)| *at);
            let timer = self.roster.poll_timeout().map(|at| at.max(self.now));
            let Some(next) = [delivery, timer].into_iter().flatten().min().filter(|at| *at <= end)
            else {
                break;
            };
            self.now = next;
            if delivery == Some(next) {
                let (_, delivery) = self.queue.pop_first().unwrap();
                self.deliver(delivery);
            } else {
                self.roster.handle_timeout(self.now);
                self.drain();
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Message(client, payload) => {
                if self.links.get(&client.ifindex).is_some_and(|link| link.is_up) {
                    self.tell(Input::Message { client, source: SERVER, payload: &payload });
                }
            }
            Delivery::Input(input) => self.tell(input),
            Delivery::Written(answer, entry) => {
                self.disk.insert(entry.interface.clone(), *entry);
                self.tell(answer);
            }
            Delivery::Tables => {
                let tables = Tables {
                    links: self.links.values().cloned().collect(),
                    addresses: self.addresses.values().copied().collect(),
                    routes: self.routes.values().copied().collect(),
                };
                self.post(Delivery::Input(Input::Tables(Ok(tables))));
            }
        }
    }

    fn post(&mut self, delivery: Delivery) {
        let wait = self.rng.duration(Duration::from_micros(50), LONGEST_DELAY);
        self.post_after(wait, delivery);
    }

    fn post_after(&mut self, wait: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((self.now + wait, self.sequence), delivery);
    }

    fn drain(&mut self) {
        while let Some(output) = self.roster.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { client, transmit } => self.send(client, transmit),
            Output::Release { client, transmit } => {
                if let Some(result) = self.release.clone() {
                    if result.is_ok() {
                        self.send(client, transmit);
                    }
                    self.post(Delivery::Input(Input::Released { client, result }));
                }
            }
            Output::Change { tag, change } => {
                let result = self.change(change);
                self.post(Delivery::Input(Input::Changed(tag, result)));
            }
            Output::ReadTables => self.post(Delivery::Tables),
            Output::Write { tag, .. } if self.is_disk_full => {
                let result = Err(Refused::other("the disk is full"));
                self.post(Delivery::Input(Input::Stored(tag, result)));
            }
            Output::Write { tag, entry } => {
                // In order, like the thread that writes.
                let written = Delivery::Written(Input::Stored(tag, Ok(())), entry);
                self.post_after(LONGEST_DELAY, written);
            }
            Output::Rename { from, to } => {
                if let Some(mut entry) = self.disk.remove(&from) {
                    entry.interface.clone_from(&to);
                    self.disk.insert(to, entry);
                }
            }
            Output::Remove { interface } => _ = self.disk.remove(&interface),
            Output::SetServers { tag, servers } => {
                self.resolver.insert(servers.interface.clone(), servers);
                self.post(Delivery::Input(Input::Resolved(tag, Ok(()))));
            }
            Output::ClearServers { tag, interface, .. } => {
                self.resolver.remove(&interface);
                if let Some(tag) = tag {
                    self.post(Delivery::Input(Input::Resolved(tag, Ok(()))));
                }
            }
            Output::Reply { id, client, result } => self.on_reply(id, client, result),
            Output::Refuse { id, refusal } => {
                assert!(self.answers.insert(id, Answer::Refused(refusal)).is_none());
            }
            Output::Raise { subject, kind, .. } => _ = self.problems.insert((subject, kind)),
            Output::Clear { subject, kind } => _ = self.problems.remove(&(subject, kind)),
            Output::Forget { subject } => self.problems.retain(|(known, _)| *known != subject),
            Output::Listen { .. }
            | Output::Close { .. }
            | Output::ForgetRelease { .. }
            | Output::Event { .. }
            | Output::Gone { .. }
            | Output::LookForHolder { .. } => {}
        }
    }

    /// What is acknowledged is on disk, or is gone, at that moment.
    fn on_reply(&mut self, id: CommandId, client: ClientKey, result: Result<Outcome, Failure>) {
        let name = self.roster.name(client.ifindex);
        let stored = self.disk.get(&name).map(|entry| &entry.record);
        match &result {
            Ok(Outcome::Acquired { lease, .. } | Outcome::Renewed { lease, .. }) => {
                assert_eq!(
                    stored.and_then(|record| record.lease.as_ref()),
                    Some(&**lease),
                    "{name}"
                );
                assert!(self.addresses.contains_key(&(client.ifindex, lease.address)), "{name}");
            }
            Ok(Outcome::Released { address, .. }) => {
                assert!(stored.is_some_and(|record| record.released), "{name}");
                assert!(!self.addresses.contains_key(&(client.ifindex, *address)), "{name}");
            }
            _ => {}
        }
        let answer = match result {
            Ok(outcome) => Answer::Done(outcome),
            Err(failure) => Answer::Failed(failure),
        };
        assert!(self.answers.insert(id, answer).is_none(), "answered once");
    }

    /// The kernel makes a change. Like it, this knows nothing of interfaces that are gone.
    fn change(&mut self, change: Change) -> Result<(), Refused> {
        match change {
            Change::AddAddress(host::Address { interface, address, prefix_length, .. }) => {
                if !self.links.contains_key(&interface) {
                    return Err(Refused::new(Reason::NoSuchInterface, "no such device"));
                }
                let row = AddressRow {
                    interface,
                    address,
                    prefix_length,
                    is_ours: true,
                    is_dynamic: true,
                };
                self.addresses.insert((interface, ipv4(address)), row);
            }
            Change::RemoveAddress { interface, address, .. } => {
                self.addresses.remove(&(interface, ipv4(address)));
            }
            Change::AddRoute(entry) => {
                let row = RouteRow {
                    interface: entry.interface,
                    route: entry.route,
                    metric: entry.metric,
                };
                self.routes.insert(route_key(&entry), row);
            }
            Change::RemoveRoute(entry) => {
                self.routes.remove(&route_key(&entry));
            }
            Change::SetMtu { interface, mtu } => {
                if let Some(link) = self.links.get_mut(&interface) {
                    link.mtu = mtu;
                }
            }
            Change::KeepOtherAddresses { .. } | Change::SetHostName(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, client: ClientKey, transmit: Transmit) {
        let message = match transmit {
            Transmit::Broadcast { message, .. } | Transmit::Unicast { message, .. } => message,
            Transmit::Arp { .. } => return,
        };
        if !self.is_server_up || !self.links.get(&client.ifindex).is_some_and(|link| link.is_up) {
            return;
        }
        if let Some(reply) = self.serve(&message) {
            self.post(Delivery::Message(client, reply.emit()));
        }
    }

    /// The server: one that knows everybody, and gives everybody their address back.
    fn serve(&mut self, message: &Message) -> Option<Message> {
        let own = self.address_for(message.chaddr);
        let kind = match message.message_type()? {
            MessageType::Discover => MessageType::Offer,
            MessageType::Request => {
                let asked = message.options.requested_address().unwrap_or(message.ciaddr);
                match asked == own {
                    true => MessageType::Ack,
                    false => MessageType::Nak,
                }
            }
            MessageType::Release => {
                self.given_back.insert(message.ciaddr);
                return None;
            }
            _ => return None,
        };
        let mut reply = Message::reply_to(message);
        reply.options.set_message_type(kind);
        reply.options.set_server_identifier(SERVER);
        if kind != MessageType::Nak {
            reply.yiaddr = own;
            reply.options.set_lease_time(3_600).set_subnet_mask(8).set_routers(&[SERVER]);
            reply.options.set_dns_servers(&[SERVER]);
        }
        Some(reply)
    }

    fn address_for(&mut self, who: HardwareAddress) -> Ipv4Addr {
        let next = u32::from(Ipv4Addr::new(10, 1, 0, 0)) + self.leases.len() as u32;
        *self.leases.entry(who).or_insert_with(|| Ipv4Addr::from(next))
    }

    /// The address that a client has, if it is in the kernel and on disk as well.
    pub(super) fn leased(&self, ifindex: u32) -> Option<Ipv4Addr> {
        let (interface, link) = self.roster.client(ClientKey::ipv4(NETWORK, ifindex))?;
        let lease = interface.client.lease()?;
        let stored = self.disk.get(&link.name)?.record.lease.as_ref()?;
        let is_there = self.addresses.contains_key(&(ifindex, lease.address));
        (is_there && stored.address == lease.address).then_some(lease.address)
    }

    /// What has to hold whenever nothing is under way.
    pub(super) fn check(&self) {
        assert!(self.queue.is_empty(), "{:?}", self.queue.first_key_value());
        for (ifindex, address) in self.addresses.keys() {
            let row = self.addresses[&(*ifindex, *address)];
            assert!(!row.is_ours || self.leased(*ifindex) == Some(*address), "{row:?} is nobody's");
        }
        for (ifindex, route, _) in self.routes.keys() {
            assert!(self.leased(*ifindex).is_some(), "{route} of {ifindex} is nobody's");
        }
        for (key, interface, link) in self.roster.clients() {
            let leased = interface.client.lease().map(|lease| lease.address);
            assert_eq!(self.leased(key.ifindex), leased, "{} is not in place", link.name);
            let has_servers = self.resolver.contains_key(&link.name);
            assert_eq!(has_servers, leased.is_some(), "{}", link.name);
        }
        let names: BTreeSet<&str> = self.links.values().map(|link| link.name.as_str()).collect();
        for name in self.resolver.keys() {
            assert!(names.contains(name.as_str()), "name servers of {name}, which is not there");
        }
    }
}

fn route_key(entry: &host::RouteEntry) -> (u32, String, u32) {
    (entry.interface, entry.route.to_string(), entry.metric)
}

fn ipv4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} in a world of IPv4"),
    }
}

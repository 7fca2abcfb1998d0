//! What the roster wants done.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use api::daemon::ProblemKind;
use api::lease::Family;
use dhcp::v4::{Listen, Transmit};
use engine::Engine as _;
use sys::packet::{ETHERTYPE_ARP, ETHERTYPE_IPV4};
use wire::HardwareAddress;
use wire::dhcpv4::Message;
use wire::udp::emit_ipv4_udp;

use super::roster::{ClientKey, Input, Output, Tag};
use super::sockets::{CLIENT_PORT, SERVER_PORT, TYPE_OF_SERVICE, client_socket};
use super::{Done, Leases};
use crate::clock;
use crate::host::{Answer, Change};
use crate::leases::resolver::Servers;
use crate::leases::store::Entry;
use crate::problems::Subject;

/// RFC 2131 says nothing; 64 is the system's default (RFC 1700).
const TIME_TO_LIVE: u8 = 64;

/// What is done by a thread.
#[derive(Debug)]
pub(super) enum Work {
    Change(Tag, Change),
    ReadTables,
    Write(Tag, Box<Entry>),
    Rename { from: String, to: String },
    Remove { interface: String },
    SetServers(Tag, Servers),
    ClearServers(Option<Tag>, Family, String),
}

const PROCESSES: Subject = Subject::Part("processes");

impl Leases {
    /// Tells the roster something, and does what it wants done.
    pub(super) fn tell(&mut self, input: Input<'_>) {
        self.roster.handle(input, clock::now());
        self.drain();
    }

    /// Does what the roster wants done. What has its result at once is told afterwards.
    pub(super) fn drain(&mut self) {
        loop {
            while let Some(output) = self.roster.poll_output() {
                self.carry_out(output);
            }
            let Some(result) = self.results.pop_front() else { return };
            self.roster.handle(result, clock::now());
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { client, transmit } => self.send(client, transmit),
            Output::Listen { client, listen } => self.listen(client, listen),
            Output::Close { client } => self.close(client),
            Output::Release { client, transmit } => self.release(client, transmit),
            Output::ForgetRelease { client } => _ = self.leaving.remove(&client),
            Output::Change { tag, change } => self.work(Work::Change(tag, change)),
            Output::ReadTables => self.work(Work::ReadTables),
            Output::Write { tag, entry } => self.work(Work::Write(tag, entry)),
            Output::Rename { from, to } => self.work(Work::Rename { from, to }),
            Output::Remove { interface } => self.work(Work::Remove { interface }),
            Output::SetServers { tag, servers } => self.work(Work::SetServers(tag, servers)),
            Output::ClearServers { tag, family, interface } => {
                self.work(Work::ClearServers(tag, family, interface));
            }
            Output::Event { client, event } => self.on_event(client, &event),
            Output::Gone { client, name } => self.announce_gone(client, &name),
            Output::Reply { id, client, result } => self.answer(id, client, result),
            Output::Refuse { id, refusal } => self.refuse(id, refusal),
            Output::LookForHolder { client } => self.look_for_holder(client),
            Output::Raise { subject, kind, text } => self.problems.raise(subject, kind, text),
            Output::Clear { subject, kind } => self.problems.clear(subject, kind),
            Output::Forget { subject } => self.problems.forget(&subject),
        }
    }

    /// Puts a packet on the wire. Loss is expected: a failure is counted and logged, no more.
    fn send(&mut self, client: ClientKey, transmit: Transmit) {
        if let Err(error) = self.transmit(client, transmit) {
            self.counters.count("dhcp_send_failed");
            let name = self.roster.name(client.ifindex);
            tracing::debug!("{name}: a packet could not be sent: {error}");
        }
    }

    /// Hands a packet to the kernel.
    pub(super) fn transmit(&mut self, client: ClientKey, transmit: Transmit) -> io::Result<()> {
        let ifindex = client.ifindex;
        match transmit {
            Transmit::Broadcast { source, message } => {
                let source = SocketAddrV4::new(source, CLIENT_PORT);
                let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
                let bytes = emit_ipv4_udp(
                    source,
                    destination,
                    TYPE_OF_SERVICE,
                    TIME_TO_LIVE,
                    &message.emit(),
                );
                let to = self.broadcast_of(ifindex).unwrap_or_default();
                self.sender.send_to(ifindex, ETHERTYPE_IPV4, to.as_bytes(), &bytes)
            }
            Transmit::Unicast { source, destination, message } => {
                self.send_unicast(client, source, destination, &message)
            }
            Transmit::Arp { packet, to } => {
                let to = to.or_else(|| self.broadcast_of(ifindex)).unwrap_or_default();
                self.sender.send_to(ifindex, ETHERTYPE_ARP, to.as_bytes(), &packet.emit())
            }
        }
    }

    fn broadcast_of(&self, ifindex: u32) -> Option<HardwareAddress> {
        self.roster.link(ifindex).map(|link| link.broadcast)
    }

    fn send_unicast(
        &mut self,
        client: ClientKey,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        message: &Message,
    ) -> io::Result<()> {
        let bytes = message.emit();
        let to = SocketAddrV4::new(destination, SERVER_PORT);
        let open = self.sockets.get(&client).and_then(|sockets| sockets.udp.as_ref());
        match open {
            Some(socket) => socket.send_to(&bytes, to, Some(source), Some(client.ifindex)),
            None => {
                let socket = client_socket(source, client.ifindex)?;
                socket.send_to(&bytes, to, Some(source), Some(client.ifindex))
            }
        }
    }

    /// Receives exactly this from now on.
    fn listen(&mut self, client: ClientKey, listen: Listen) {
        let Some(link) = self.roster.link(client.ifindex) else { return };
        let sockets = self.sockets.entry(client).or_default();
        match sockets.listen(listen, link, &self.poller, self.reaper.as_ref()) {
            Ok(()) => {
                let subject = Subject::Interface(link.name.clone());
                self.problems.clear(subject, ProblemKind::SocketFailed);
            }
            Err(error) => {
                let text = format!("a socket cannot be opened, so no answer is heard: {error}");
                let subject = Subject::Interface(link.name.clone());
                self.problems.raise(subject, ProblemKind::SocketFailed, text);
            }
        }
    }

    fn close(&mut self, client: ClientKey) {
        self.leaving.remove(&client);
        if let Some(mut sockets) = self.sockets.remove(&client) {
            sockets.close(&self.poller, self.reaper.as_ref());
        }
    }

    /// Hands the work to its thread, or keeps it until the threads run.
    fn work(&mut self, work: Work) {
        let Some(threads) = &self.threads else { return self.early.push(work) };
        match work {
            Work::Change(tag, change) => threads.kernel.change(tag, change),
            Work::ReadTables => threads.kernel.read(),
            Work::Write(tag, entry) => threads.store.write(tag, *entry),
            Work::Rename { from, to } => threads.store.rename(&from, &to),
            Work::Remove { interface } => threads.store.remove(&interface),
            Work::SetServers(tag, servers) => threads.resolver.set(tag, tag.client.family, servers),
            Work::ClearServers(tag, family, interface) => {
                threads.resolver.clear(tag, family, &interface);
            }
        }
    }

    /// Hands over what came before the threads ran.
    pub(super) fn hand_over_early(&mut self) {
        for work in std::mem::take(&mut self.early) {
            self.work(work);
        }
    }

    /// A thread has answered.
    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Kernel(Answer::Changed(tag, result)) => self.tell(Input::Changed(tag, result)),
            Done::Kernel(Answer::Tables(tables)) => self.tell(Input::Tables(tables)),
            Done::Resolved(tag, result) => self.tell(Input::Resolved(tag, result)),
            Done::Stored(tag, result) => self.tell(Input::Stored(tag, result)),
            Done::Holder(client, holder) => self.on_holder(client, &holder),
            Done::Processes(Some(trouble)) => {
                self.problems.raise(PROCESSES, ProblemKind::ProcessLookupFailed, trouble);
            }
            Done::Processes(None) => {
                self.problems.clear(PROCESSES, ProblemKind::ProcessLookupFailed);
            }
        }
    }
}

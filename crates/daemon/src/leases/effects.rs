//! What engines want done.

use std::io;
use std::net::SocketAddrV4;

use dhcp::v4::{Effect, EffectId, EffectResult, Input, Listen, Record, Transmit};
use engine::Engine as _;
use sys::packet::{ETHERTYPE_ARP, ETHERTYPE_IPV4};
use wire::HardwareAddress;
use wire::dhcpv4::Message;
use wire::udp::emit_ipv4_udp;

use super::interface::Unsaved;
use super::sockets::{CLIENT_PORT, SERVER_PORT, TYPE_OF_SERVICE, client_socket};
use super::{Done, Leases, STORE_RETRY, Tag};
use crate::clock;
use crate::kernel::{Answer, Change};
use crate::resolver::Servers;
use crate::store::{Entry, InstalledWith};

/// RFC 2131 says nothing; 64 is the system's default (RFC 1700).
const TIME_TO_LIVE: u8 = 64;
/// Something to do once the threads run.
#[derive(Debug)]
pub(super) enum Early {
    Change(Tag, Change),
    HostName(Tag, String),
    Write(Tag, Box<Entry>),
    SetServers(Tag, Servers),
    ClearServers(Option<Tag>, String),
}

impl Leases {
    /// Puts a packet on the wire. Loss is expected: a failure is counted and logged, no more.
    pub(super) fn send(&mut self, index: u32, transmit: Transmit) {
        if let Err(error) = self.transmit(index, transmit) {
            self.counters.count("send-failed");
            tracing::debug!("{}: a packet could not be sent: {error}", self.name(index));
        }
    }

    /// Hands a packet to the kernel.
    pub(super) fn transmit(&mut self, index: u32, transmit: Transmit) -> io::Result<()> {
        match transmit {
            Transmit::Broadcast { source, message } => {
                let source = SocketAddrV4::new(source, CLIENT_PORT);
                let destination = SocketAddrV4::new(std::net::Ipv4Addr::BROADCAST, SERVER_PORT);
                let bytes = emit_ipv4_udp(
                    source,
                    destination,
                    TYPE_OF_SERVICE,
                    TIME_TO_LIVE,
                    &message.emit(),
                );
                let to = self.links.get(&index).map(|link| link.broadcast).unwrap_or_default();
                self.sender.send_to(index, ETHERTYPE_IPV4, to.as_bytes(), &bytes)
            }
            Transmit::Unicast { source, destination, message } => {
                self.send_unicast(index, source, destination, &message)
            }
            Transmit::Arp { packet, to } => {
                let broadcast = || self.links.get(&index).map(|link| link.broadcast);
                let to: HardwareAddress = to.or_else(broadcast).unwrap_or_default();
                self.sender.send_to(index, ETHERTYPE_ARP, to.as_bytes(), &packet.emit())
            }
        }
    }

    fn send_unicast(
        &mut self,
        index: u32,
        source: std::net::Ipv4Addr,
        destination: std::net::Ipv4Addr,
        message: &Message,
    ) -> io::Result<()> {
        let Some(interface) = self.interfaces.get_mut(&index) else { return Ok(()) };
        let bytes = message.emit();
        let to = SocketAddrV4::new(destination, SERVER_PORT);
        if let Some(socket) = &interface.sockets.udp {
            return socket.send_to(&bytes, to, Some(source), Some(index));
        }
        let socket = client_socket(source, index)?;
        socket.send_to(&bytes, to, Some(source), Some(index))
    }

    /// Receives exactly this from now on.
    pub(super) fn listen(&mut self, index: u32, listen: Listen) {
        let (Some(interface), Some(link)) =
            (self.interfaces.get_mut(&index), self.links.get(&index))
        else {
            return;
        };
        match interface.sockets.listen(listen, link, &self.poller, self.reaper.as_ref()) {
            Ok(()) => self.problems.clear(&link.name, "socket"),
            Err(error) => {
                let text = format!("a socket cannot be opened, so no answer is heard: {error}");
                self.problems.raise(&link.name, "socket", text);
            }
        }
    }

    /// Has an effect carried out; its result becomes an input.
    pub(super) fn carry_out(&mut self, index: u32, id: EffectId, effect: Effect) {
        let configured = self.configured_metric(index);
        let Some(interface) = self.interfaces.get_mut(&index) else { return };
        if let Some(leaving) = &mut interface.release {
            return leaving.then(id, effect);
        }
        let tag = Tag { interface: index, client: interface.number, effect: Some(id) };
        if let (Effect::AddAddress(address), Some(configured)) = (&effect, configured) {
            interface.settle_metric(address.address, configured);
        }
        let metric = interface.metric;
        let now = clock::now();
        match effect {
            Effect::AddAddress(address) => {
                interface.installed.add_address(address.address, address.expires_at);
                self.change(tag, Change::add_address(index, address, metric, now));
            }
            Effect::RemoveAddress { address, prefix_length } => {
                interface.installed.remove_address(address);
                self.change(tag, Change::remove_address(index, address, prefix_length));
            }
            Effect::AddRoute(entry) => {
                interface.installed.add_route(entry.route);
                self.change(tag, Change::add_route(index, entry, metric));
            }
            Effect::RemoveRoute(entry) => {
                interface.installed.remove_route(entry.route);
                self.change(tag, Change::remove_route(index, entry, metric));
            }
            Effect::SetMtu(mtu) => self.set_mtu(tag, mtu),
            Effect::SetResolver(resolver) => {
                interface.resolver.clone_from(&resolver);
                let name = self.name(index);
                match resolver {
                    Some(resolver) => {
                        let servers = Servers::new(&name, metric, &resolver);
                        self.early_or(Early::SetServers(tag, servers));
                    }
                    None => self.early_or(Early::ClearServers(Some(tag), name)),
                }
            }
            Effect::SetHostName(name) => self.set_host_name(tag, name),
            Effect::Persist(record) => self.persist(tag, record),
            Effect::Release(transmit) => self.release(tag, transmit),
        }
    }

    fn change(&mut self, tag: Tag, change: Change) {
        self.early_or(Early::Change(tag, change));
    }

    fn set_mtu(&mut self, tag: Tag, mtu: Option<u16>) {
        let Some(link) = self.links.get_mut(&tag.interface) else { return };
        let Some(interface) = self.interfaces.get_mut(&tag.interface) else { return };
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
        self.change(tag, Change::mtu(tag.interface, mtu));
    }

    fn set_host_name(&mut self, tag: Tag, name: String) {
        if !crate::names::is_domain(&name) {
            return self.settle(tag, Err(format!("{name:?} is not a host name")));
        }
        let unchanged = sys::hostname::read().is_ok_and(|present| present.to_str() == Some(&name));
        if unchanged {
            return self.settle(tag, Ok(()));
        }
        self.early_or(Early::HostName(tag, name));
    }

    fn persist(&mut self, tag: Tag, record: Box<Record>) {
        let name = self.name(tag.interface);
        let Some(interface) = self.interfaces.get_mut(&tag.interface) else { return };
        let entry = Entry {
            interface: name,
            record: (*record).clone(),
            on_command: interface.on_command,
            mtu_before: interface.mtu_before,
            installed: Some(InstalledWith { index: tag.interface, metric: interface.metric }),
        };
        interface.unsaved = Some(Unsaved::after(interface.unsaved.take(), record));
        self.early_or(Early::Write(tag, Box::new(entry)));
    }

    /// Hands the work to its thread, or keeps it until the threads run.
    fn early_or(&mut self, work: Early) {
        let (Some(kernel), Some(store), Some(resolver)) =
            (&self.kernel, &self.store, &self.resolver)
        else {
            return self.early.push(work);
        };
        match work {
            Early::Change(tag, change) => kernel.change(tag, change),
            Early::HostName(tag, name) => kernel.set_host_name(tag, name),
            Early::Write(tag, entry) => store.write(tag, *entry),
            Early::SetServers(tag, servers) => resolver.set(tag, servers),
            Early::ClearServers(tag, interface) => resolver.clear(tag, &interface),
        }
    }

    /// Hands over what came before the threads ran.
    pub(super) fn hand_over_early(&mut self) {
        for work in std::mem::take(&mut self.early) {
            self.early_or(work);
        }
    }

    /// Withdraws name servers that no engine speaks for any more.
    pub(super) fn clear_servers(&mut self, interface: &str) {
        self.early_or(Early::ClearServers(None, interface.to_owned()));
    }

    /// Hands the resolver what it knew under another name.
    pub(super) fn set_servers_again(&mut self, index: u32) {
        let name = self.name(index);
        let Some(interface) = self.interfaces.get(&index) else { return };
        let Some(resolver) = &interface.resolver else { return };
        let tag = Tag { interface: index, client: interface.number, effect: None };
        let servers = Servers::new(&name, interface.metric, resolver);
        self.early_or(Early::SetServers(tag, servers));
    }

    /// Removes an address that an earlier daemon left behind.
    pub(super) fn remove_stale(
        &mut self,
        index: u32,
        address: std::net::Ipv4Addr,
        prefix_length: u8,
    ) {
        let Some(interface) = self.interfaces.get(&index) else { return };
        let tag = Tag { interface: index, client: interface.number, effect: None };
        self.change(tag, Change::remove_address(index, address, prefix_length));
    }

    /// Sees to it that an address of somebody else's on a managed interface stays when ours goes.
    pub(super) fn keep_others(&mut self, index: u32) {
        let Some(interface) = self.interfaces.get_mut(&index) else { return };
        if std::mem::replace(&mut interface.keeps_others, true) {
            return;
        }
        let tag = Tag { interface: index, client: interface.number, effect: None };
        self.change(tag, Change::keep_other_addresses(index));
    }

    /// A thread has answered.
    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Kernel(Answer::Changed(tag, result)) | Done::Settled(tag, result) => {
                self.finish(tag, result);
            }
            Done::Kernel(Answer::Tables(tables)) => self.on_tables(tables),
            Done::Resolved(tag, result) => {
                match &result {
                    Ok(()) => self.problems.clear("resolver", "set"),
                    Err(reason) => self.problems.raise("resolver", "set", reason.clone()),
                }
                self.finish(tag, result);
            }
            Done::Stored(tag, result) => {
                self.on_stored(tag, &result);
                self.finish(tag, result);
            }
            Done::Holder(index, holder) => self.on_holder(index, &holder),
            Done::Processes(Some(trouble)) => self.problems.raise("processes", "find", trouble),
            Done::Processes(None) => self.problems.clear("processes", "find"),
        }
    }

    fn on_stored(&mut self, tag: Tag, result: &EffectResult) {
        let interface = self.interfaces.get_mut(&tag.interface);
        if let Some(interface) = interface.filter(|known| known.number == tag.client) {
            interface.unsaved.take_if(|unsaved| unsaved.on_answer(result.is_ok()));
        }
        match result {
            Ok(()) => {
                if self.store_retry_at.is_none() {
                    self.problems.clear("store", "write");
                }
            }
            Err(reason) => {
                let text =
                    format!("leases cannot be written and will not survive a restart: {reason}");
                self.problems.raise("store", "write", text);
                self.store_retry_at.get_or_insert(clock::now() + STORE_RETRY);
            }
        }
    }

    /// Tries again what could not be written.
    pub(super) fn write_unsaved(&mut self) {
        let unsaved: Vec<(u32, u64, Box<Record>)> = self
            .interfaces
            .iter()
            .filter_map(|(index, known)| {
                Some((*index, known.number, known.unsaved.as_ref()?.record.clone()))
            })
            .collect();
        for (interface, client, record) in unsaved {
            self.persist(Tag { interface, client, effect: None }, record);
        }
    }

    /// Hands the result of an effect to its engine.
    fn finish(&mut self, tag: Tag, result: EffectResult) {
        if let Err(reason) = &result {
            self.counters.count("effect-failed");
            // What an engine asked for, it also tells of.
            match tag.effect {
                Some(_) => tracing::debug!("{}: {reason}", self.name(tag.interface)),
                None => tracing::warn!("{}: {reason}", self.name(tag.interface)),
            }
        }
        let Some(interface) = self.interfaces.get_mut(&tag.interface) else { return };
        if let Some(id) = tag.effect.filter(|_| interface.number == tag.client) {
            interface.client.handle(Input::Effect { id, result }, clock::now());
            self.drain(tag.interface);
        }
    }
}

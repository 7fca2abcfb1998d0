//! Interfaces that come, change and go, and what others do to what is ours.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::time::Duration;

use dhcp::v4::{Command, CommandId, Input};
use engine::{Engine as _, Instant};
use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketType, socket};
use wire::HardwareAddress;

use super::Leases;
use super::interface::Interface;
use crate::clock;
use crate::kernel::{AddressRow, LinkRow, Notice, RouteRow, Tables};
use crate::store::Entry;

/// Notification datagrams taken before others have their turn.
const TURN: usize = 64;
/// How often records are looked through that may not be needed any more.
const PRUNED_EVERY: Duration = Duration::from_secs(3600);
/// A command that no caller waits for has no deadline.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl Leases {
    pub(super) fn on_notices(&mut self) -> io::Result<()> {
        let mut notices = Vec::new();
        self.notices.receive(TURN, |notice| notices.push(notice))?;
        // An interface takes its addresses along; these were not removed by anybody.
        let gone: BTreeSet<u32> = notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::LinkGone(index) => Some(*index),
                _ => None,
            })
            .collect();
        for notice in notices {
            match notice {
                Notice::Link(link) => self.on_link(link),
                Notice::LinkGone(index) => self.on_link_gone(index),
                Notice::Address(row) => self.on_address(row),
                Notice::AddressGone(row) => {
                    self.forget_foreign(row);
                    if !gone.contains(&row.interface) {
                        self.on_address_gone(row);
                    }
                }
                Notice::AddressTakenAlong(row) => self.forget_foreign(row),
                Notice::RouteGone(row) => self.on_route_gone(row),
                Notice::Lost => {
                    self.counters.count("notifications-lost");
                    self.read_tables();
                }
            }
        }
        Ok(())
    }

    /// Has the tables read, to find out what notifications did not tell.
    pub(super) fn read_tables(&mut self) {
        if let Some(kernel) = self.kernel.as_ref().filter(|_| !self.reading_tables) {
            self.reading_tables = true;
            let installed =
                |(index, interface): (&u32, &Interface)| (*index, interface.installed.clone());
            self.expected = self.interfaces.iter().map(installed).collect();
            kernel.read();
        }
    }

    /// Compares what there is with what is known. Notifications may run ahead of the tables; what
    /// is compared here is true at worst for a moment too long, and the next one corrects it. What
    /// was installed after the reading was asked for is not missed.
    pub(super) fn on_tables(&mut self, tables: Result<Tables, String>) {
        self.reading_tables = false;
        self.knows_tables = true;
        let tables = match tables {
            Ok(tables) => tables,
            Err(reason) => {
                let text = format!("the network's state cannot be read: {reason}");
                return self.problems.raise("kernel", "read", text);
            }
        };
        self.problems.clear("kernel", "read");
        let present: BTreeSet<u32> = tables.links.iter().map(|link| link.index).collect();
        let gone: Vec<u32> =
            self.links.keys().copied().filter(|index| !present.contains(index)).collect();
        gone.into_iter().for_each(|index| self.on_link_gone(index));
        tables.links.into_iter().for_each(|link| self.on_link(link));

        let now = clock::now();
        let mut missing = Vec::new();
        let expected = std::mem::take(&mut self.expected);
        let addresses: HashSet<_> =
            tables.addresses.iter().map(|row| (row.interface, row.address)).collect();
        let routes: HashSet<_> =
            tables.routes.iter().map(|row| (row.interface, row.route)).collect();
        for (index, interface) in &self.interfaces {
            let Some(expected) = expected.get(index) else { continue };
            for (address, _) in &expected.addresses {
                let there = addresses.contains(&(*index, *address));
                if !there && interface.installed.expects(*address, now) {
                    missing.push((*index, Input::AddressRemoved(*address)));
                }
            }
            let still = |route: &&_| interface.installed.routes.contains(route);
            for route in expected.routes.iter().filter(still) {
                if !routes.contains(&(*index, *route)) {
                    missing.push((*index, Input::RouteRemoved(*route)));
                }
            }
        }
        for (index, input) in missing {
            self.tell(index, input);
        }
        self.remove_left_behind(&tables.addresses);
        self.foreign.clear();
        tables.addresses.into_iter().for_each(|row| self.on_address(row));
    }

    /// Removes addresses with our tag that no lease speaks for: an earlier daemon was killed and
    /// its lease is over, or another server's lease took its place.
    fn remove_left_behind(&mut self, addresses: &[AddressRow]) {
        for row in addresses.iter().filter(|row| row.is_ours) {
            let Some(interface) = self.interfaces.get(&row.interface) else { continue };
            let leased = interface.client.lease().is_some_and(|lease| lease.address == row.address);
            let link_local = interface.client.link_local() == Some(row.address);
            let known =
                interface.installed.addresses.iter().any(|(known, _)| *known == row.address);
            if !leased && !link_local && !known {
                tracing::info!(
                    "{}: removing {}, which nobody leases any more",
                    self.name(row.interface),
                    row.address
                );
                self.remove_stale(row.interface, row.address, row.prefix_length);
            }
        }
    }

    /// An interface is there, new or changed.
    pub(super) fn on_link(&mut self, link: LinkRow) {
        let index = link.index;
        let before = self.links.insert(index, link.clone());
        if before.as_ref() == Some(&link) {
            return;
        }
        if let Some(before) = &before {
            self.forget_hardware(before.hardware);
        }
        *self.own_hardware.entry(link.hardware).or_default() += 1;
        if let Some(before) = before.as_ref().filter(|before| before.name != link.name) {
            self.on_renamed(index, &before.name, &link.name);
        }
        if !self.interfaces.contains_key(&index) {
            return self.consider(index);
        }
        let was_up = before.as_ref().is_some_and(|before| before.is_up);
        if before.is_some_and(|before| before.hardware != link.hardware) {
            // The client identifier may be made of it.
            if let Some(interface) = self.interfaces.get_mut(&index) {
                interface.hardware = link.hardware;
            }
            self.configure(index);
        }
        if link.is_up && !was_up {
            self.pacer.ask(index);
        } else if !link.is_up {
            self.pacer.forget(index);
            self.tell_link(index);
        } else if !self.pacer.is_waiting(index) {
            self.tell_link(index);
        }
    }

    /// A lease follows its interface under the new name, and its record too.
    fn on_renamed(&mut self, index: u32, from: &str, to: &str) {
        if !self.interfaces.contains_key(&index) {
            return;
        }
        tracing::info!("{from} is called {to} now");
        self.problems.forget(from);
        self.clear_servers(from);
        if let Some(store) = &self.store {
            store.rename(from, to);
        }
        self.set_servers_again(index);
        if self.config.section(to).is_some() {
            self.configure(index);
        }
    }

    /// Starts to manage an interface if the configuration or a record says so.
    pub(super) fn consider(&mut self, index: u32) {
        let Some(link) = self.links.get(&index) else { return };
        let on_command = self.entries.get(&link.name).is_some_and(|entry| entry.on_command);
        if !link.is_loopback && (on_command || self.config.is_managed(&link.name)) {
            self.manage(index);
            self.start_client(index);
        }
    }

    /// Makes the client of an interface, with what is known from before.
    pub(super) fn manage(&mut self, index: u32) {
        let Some(link) = self.links.get(&index) else { return };
        let settings = self.config.settings(&link.name);
        self.clients += 1;
        let mut interface = Interface::new(link, settings, &self.identity, self.clients);
        if let Some(entry) = self.entries.remove(&link.name) {
            let now = clock::now();
            interface.left_behind = entry.left_behind(index, now);
            if let Some((_, metric)) = interface.left_behind {
                interface.metric = metric;
            }
            let Entry { record, on_command, mtu_before, .. } = entry;
            interface.on_command = on_command;
            interface.mtu_before = mtu_before;
            interface.client.handle(Input::Restore(Box::new(record)), now);
        }
        tracing::debug!("{} is managed", link.name);
        self.interfaces.insert(index, interface);
    }

    /// Tells a new client to obtain a lease unless it was released, and lets it begin when it is
    /// its turn.
    pub(super) fn start_client(&mut self, index: u32) {
        let released = self
            .interfaces
            .get(&index)
            .is_some_and(|known| known.client.state() == dhcp::v4::State::Released);
        if !released {
            let id = self.own_command();
            self.tell(index, Input::Command { id, command: Command::Acquire, deadline: NEVER });
        }
        match self.links.get(&index).is_some_and(|link| link.is_up) {
            true => self.pacer.ask(index),
            false => self.tell_link(index),
        }
    }

    /// Names a command that no caller waits for.
    pub(super) fn own_command(&mut self) -> CommandId {
        // Callers' numbers count upwards from 1, ours downwards.
        self.last_own_command -= 1;
        CommandId(self.last_own_command)
    }

    /// Hands an engine an input.
    pub(super) fn tell(&mut self, index: u32, input: Input<'_>) {
        if let Some(interface) = self.interfaces.get_mut(&index) {
            interface.client.handle(input, clock::now());
            self.drain(index);
        }
    }

    /// Hands an engine the present state of its link.
    pub(super) fn tell_link(&mut self, index: u32) {
        if let Some(link) = self.links.get(&index).map(LinkRow::link) {
            self.tell(index, Input::Link(link));
        }
    }

    /// Hands an engine the settings there are now.
    pub(super) fn configure(&mut self, index: u32) {
        let Some(link) = self.links.get(&index) else { return };
        let settings = self.config.settings(&link.name);
        let config = Box::new(settings.client(link.hardware.as_bytes(), &self.identity));
        self.tell(index, Input::Configure(config));
    }

    /// An interface is gone, with everything the kernel had on it.
    fn on_link_gone(&mut self, index: u32) {
        let Some(link) = self.links.remove(&index) else { return };
        self.foreign.remove(&index);
        self.forget_hardware(link.hardware);
        self.problems.forget(&link.name);
        if self.interfaces.contains_key(&index) {
            tracing::info!("{} is gone", link.name);
            self.forget_interface(index, &link.name);
        }
    }

    fn forget_hardware(&mut self, hardware: HardwareAddress) {
        if let Some(count) = self.own_hardware.get_mut(&hardware) {
            *count -= 1;
            if *count == 0 {
                self.own_hardware.remove(&hardware);
            }
        }
    }

    /// Ends a client without a word to its server; the record stays for when the interface is back.
    pub(super) fn forget_interface(&mut self, index: u32, name: &str) {
        self.pacer.forget(index);
        let Some(mut interface) = self.interfaces.remove(&index) else { return };
        if let Some(leaving) = interface.release.take() {
            self.forget_release(&leaving);
        }
        if let Some(at) = interface.deadline_at {
            self.deadlines.remove(&(at, index));
        }
        interface.sockets.close(&self.poller, self.reaper.as_ref());
        if interface.resolver.is_some() {
            self.clear_servers(name);
        }
        self.counters.add_client(interface.client.counters());
        self.entries.insert(name.to_owned(), interface.entry(name));
        self.prune();
        self.fail_pending(index);
        self.announce_gone(index, name);
    }

    /// Forgets records that nobody needs any more, now and then: on a host of containers every
    /// interface that goes leaves one.
    fn prune(&mut self) {
        let now = clock::now();
        if self.pruned_at.is_some_and(|at| now < at + PRUNED_EVERY) {
            return;
        }
        self.pruned_at = Some(now);
        for (name, _) in self.entries.extract_if(.., |_, entry| entry.is_obsolete(now)) {
            tracing::debug!("{name}: its lease ended long ago; forgotten");
            if let Some(store) = &self.store {
                store.remove(&name);
            }
        }
    }

    fn on_address(&mut self, row: AddressRow) {
        if !row.is_ours {
            self.forget_foreign(row);
            self.foreign.entry(row.interface).or_default().push(row);
            self.keep_others(row.interface);
        }
    }

    fn forget_foreign(&mut self, row: AddressRow) {
        if let Some(rows) = self.foreign.get_mut(&row.interface) {
            rows.retain(|known| known.address != row.address);
        }
    }

    fn on_address_gone(&mut self, row: AddressRow) {
        let now = clock::now();
        let Some(interface) = self.interfaces.get(&row.interface) else { return };
        // An interface that goes, be it to another namespace, is out of the list before its addresses
        // go, and told to be gone a while after them.
        if interface.installed.expects(row.address, now) && exists(row.interface) {
            tracing::warn!("{}: somebody removed {}", self.name(row.interface), row.address);
            self.tell(row.interface, Input::AddressRemoved(row.address));
        }
    }

    fn on_route_gone(&mut self, row: RouteRow) {
        let Some(interface) = self.interfaces.get(&row.interface) else { return };
        let is_up = self.links.get(&row.interface).is_some_and(|link| link.is_up);
        let installed = &interface.installed;
        let ours = row.metric == interface.metric && installed.routes.contains(&row.route);
        // The kernel takes the routes of an address that runs out along with it.
        let now = clock::now();
        let lives = installed.addresses.iter().any(|(address, _)| installed.expects(*address, now));
        if ours && is_up && lives && exists(row.interface) {
            let route = row.route;
            tracing::warn!(
                "{}: somebody removed the route to {}/{}",
                self.name(row.interface),
                route.destination,
                route.prefix_length
            );
            self.tell(row.interface, Input::RouteRemoved(route));
        }
    }

    /// The interface's name, also of one that just went.
    pub(super) fn name(&self, index: u32) -> String {
        self.links
            .get(&index)
            .map_or_else(|| format!("interface {index}"), |link| link.name.clone())
    }
}

/// Whether there is an interface of this index, as the kernel knows it at this moment.
fn exists(ifindex: u32) -> bool {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    // Without an answer it is taken for there.
    !socket.is_ok_and(|socket| index_to_name(&socket, ifindex) == Err(Errno::NODEV))
}

//! Commands, the configuration that makes interfaces managed, and the end.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use dhcp::v4::{self, Command, Outcome};
use engine::{CommandId, Engine as _, Instant};

use super::Roster;
use super::config::client_config;
use super::input::Operation;
use super::interface::Interface;
use super::key::ClientKey;
use super::output::{Failure, Output, Refusal, Step};
use super::timers::Timer;
use crate::config::Config;
use crate::host::LinkRow;
use crate::leases::store::Entry;

/// How long giving leases back may take when the daemon or the management of an interface ends.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// A command that no caller waits for has no deadline.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// A caller's command on its way through an engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    client: ClientKey,
}

impl Roster {
    pub(super) fn on_command(
        &mut self,
        id: CommandId,
        interface: &str,
        asked: Operation,
        deadline: Instant,
    ) {
        match self.prepare(id, interface, asked) {
            Ok((client, command)) => {
                self.pending.insert(id, Pending { client });
                self.hurry(client.ifindex);
                self.tell(client, v4::Input::Command { id, command, deadline });
            }
            Err(refusal) => self.put(Output::Refuse { id, refusal }),
        }
    }

    pub(super) fn on_cancel(&mut self, id: CommandId) {
        if let Some(Pending { client }) = self.pending.remove(&id) {
            self.tell(client, v4::Input::Cancel { id });
        }
    }

    /// The client that a command is for, made if the command says so.
    fn prepare(
        &mut self,
        id: CommandId,
        reference: &str,
        asked: Operation,
    ) -> Result<(ClientKey, Command), Refusal> {
        let link = self.resolve(reference).ok_or(Refusal::NoSuchInterface)?;
        let (ifindex, is_loopback) = (link.index, link.is_loopback);
        let key = self.key(ifindex);
        let own = self.address_of_others(ifindex);
        let command = match asked {
            Operation::Acquire => Command::Acquire,
            Operation::Renew => Command::Renew,
            Operation::Release => Command::Release,
            // The client is on the interface whose address that is, or is asked for.
            Operation::Inform(None) if own.is_none() => return Err(Refusal::NoAddress),
            Operation::Inform(address) => {
                Command::Inform { address: address.or(own).unwrap_or(Ipv4Addr::UNSPECIFIED) }
            }
        };
        let known = self.interfaces.get_mut(&key);
        // One that was made for one question, or told to end, is not one that others can go by.
        let is_leaving = known.as_ref().is_some_and(|known| known.leaving.is_some());
        match (asked, known) {
            (Operation::Acquire | Operation::Inform(_), None) => {
                if is_loopback {
                    return Err(Refusal::Loopback);
                }
                if asked == Operation::Acquire {
                    self.put(Output::LookForHolder { client: key });
                }
                self.manage(ifindex);
                if let Some(made) = self.interfaces.get_mut(&key) {
                    made.on_command = asked == Operation::Acquire;
                    // A client that was made for one question goes when it is answered.
                    made.leaving = (asked != Operation::Acquire).then_some(id);
                }
                self.tell_link(ifindex);
            }
            (Operation::Acquire, Some(known)) if is_leaving => {
                known.leaving = None;
                known.on_command = true;
            }
            (Operation::Renew | Operation::Release, None) => {
                return Err(Refusal::NotManaged { ifindex });
            }
            (Operation::Renew | Operation::Release, Some(_)) if is_leaving => {
                return Err(Refusal::NotManaged { ifindex });
            }
            (_, Some(_)) => {}
        }
        Ok((key, command))
    }

    /// Somebody waits for this interface: it is not the pacer's any more.
    fn hurry(&mut self, ifindex: u32) {
        if self.pacer.is_waiting(ifindex) {
            self.pacer.forget(ifindex);
            self.tell_link(ifindex);
        }
    }

    /// A client has answered a command. The roster's own have no caller.
    pub(super) fn on_reply(
        &mut self,
        client: ClientKey,
        id: CommandId,
        result: Result<Outcome, v4::Failure>,
    ) {
        if let Some(stopping) = &mut self.stopping {
            stopping.remove(&id);
        }
        if self.pending.remove(&id).is_some() {
            self.put(Output::Reply { id, client, result: result.map_err(Failure::Client) });
        }
        let Some(known) = self.interfaces.get_mut(&client) else { return };
        if known.leaving == Some(id) {
            // Whoever else asks something of it has their answer first.
            let other = self.pending.iter().find(|(_, pending)| pending.client == client);
            match other {
                Some((other, _)) => known.leaving = Some(*other),
                None => self.outputs.push_back(Step::Forget(client)),
            }
        }
    }

    /// Ends a client that was to end when it had answered.
    pub(super) fn forget_client(&mut self, client: ClientKey) {
        let name = self.name(client.ifindex);
        tracing::info!("{name} is not managed any more");
        self.forget_interface(client, &name);
    }

    /// Answers the commands of a client that is gone.
    pub(super) fn fail_pending(&mut self, client: ClientKey) {
        let gone = self.pending.extract_if(|_, pending| pending.client == client);
        for (id, _) in gone.collect::<Vec<_>>() {
            self.put(Output::Reply { id, client, result: Err(Failure::InterfaceGone) });
        }
    }

    /// Goes by another configuration.
    pub(super) fn configure(&mut self, config: Arc<Config>) {
        self.config = config;
        let links: Vec<(u32, String)> =
            self.links.iter().map(|(index, link)| (*index, link.name.clone())).collect();
        for (ifindex, name) in links {
            let key = self.key(ifindex);
            let on_command = self.interfaces.get(&key).map(|known| known.on_command);
            match (on_command, self.config.is_managed(&name)) {
                (None, true) => self.consider(ifindex),
                (Some(false), false) => self.stop_managing(key),
                (Some(_), _) => {
                    self.use_configured_metric(key);
                    self.configure_client(key);
                }
                (None, false) => {}
            }
        }
    }

    /// The interface is no longer ours: its lease goes back, and with the answer its client.
    fn stop_managing(&mut self, client: ClientKey) {
        let id = self.own_command();
        if let Some(interface) = self.interfaces.get_mut(&client) {
            interface.leaving = Some(id);
            self.stop_client(client, id);
        }
    }

    fn stop_client(&mut self, client: ClientKey, id: CommandId) {
        let deadline = self.now + STOP_WITHIN;
        let command = Command::Stop { release: true };
        self.tell(client, v4::Input::Command { id, command, deadline });
    }

    /// Ends, at once or when every lease is given back.
    pub(super) fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let leased: Vec<ClientKey> = match self.config.daemon.release_on_stop {
            true => self.interfaces.keys().copied().collect(),
            false => Vec::new(),
        };
        let commands: Vec<_> =
            leased.into_iter().map(|client| (client, self.own_command())).collect();
        self.stopping = Some(commands.iter().map(|(_, id)| *id).collect());
        for (client, id) in commands {
            self.stop_client(client, id);
        }
    }

    /// A metric that changed takes effect with the next lease; what is installed keeps its own.
    fn use_configured_metric(&mut self, client: ClientKey) {
        let Some(metric) = self.configured_metric(client.ifindex) else { return };
        if let Some(interface) = self.interfaces.get_mut(&client)
            && interface.installed.is_empty()
        {
            interface.metric = metric;
        }
    }

    /// The metric that the configuration gives an interface.
    pub(super) fn configured_metric(&self, ifindex: u32) -> Option<u32> {
        let link = self.links.get(&ifindex)?;
        Some(self.config.settings(&link.name).metric(ifindex))
    }

    /// Starts to manage an interface if the configuration or a record says so.
    pub(super) fn consider(&mut self, ifindex: u32) {
        let Some(link) = self.links.get(&ifindex) else { return };
        let on_command = self.entries.get(&link.name).is_some_and(|entry| entry.on_command);
        if !link.is_loopback && (on_command || self.config.is_managed(&link.name)) {
            self.manage(ifindex);
            self.start_client(ifindex);
        }
    }

    /// Makes the client of an interface, with what is known from before.
    fn manage(&mut self, ifindex: u32) {
        let key = self.key(ifindex);
        let Some(link) = self.links.get(&ifindex) else { return };
        let settings = self.config.settings(&link.name);
        self.numbered += 1;
        let rng = self.rng.fork();
        let mut interface = Interface::new(link, settings, &self.identity, self.numbered, rng);
        if let Some(entry) = self.entries.remove(&link.name) {
            interface.left_behind = entry.left_behind(ifindex, self.now);
            if let Some((_, metric)) = interface.left_behind {
                interface.metric = metric;
            }
            let Entry { record, on_command, mtu_before, .. } = entry;
            interface.on_command = on_command;
            interface.mtu_before = mtu_before;
            interface.client.handle(v4::Input::Restore(Box::new(record)), self.now);
        }
        tracing::debug!("{} is managed", link.name);
        self.interfaces.insert(key, interface);
        self.drain(key);
    }

    /// Has a new client obtain a lease unless it was released, and lets it begin when it is its
    /// turn.
    fn start_client(&mut self, ifindex: u32) {
        let key = self.key(ifindex);
        let state = self.interfaces.get(&key).map(|known| known.client.state());
        if state != Some(v4::State::Released) {
            let id = self.own_command();
            let command = Command::Acquire;
            self.tell(key, v4::Input::Command { id, command, deadline: NEVER });
        }
        match self.links.get(&ifindex).is_some_and(|link| link.is_up) {
            true => self.pacer.ask(ifindex),
            false => self.tell_link(ifindex),
        }
    }

    /// Names a command that no caller waits for.
    fn own_command(&mut self) -> CommandId {
        // Callers' numbers count upwards from 1, these downwards.
        self.last_own_command -= 1;
        CommandId(self.last_own_command)
    }

    /// Hands an engine the present state of its link.
    pub(super) fn tell_link(&mut self, ifindex: u32) {
        if let Some(link) = self.links.get(&ifindex).map(link_of) {
            self.tell(self.key(ifindex), v4::Input::Link(link));
        }
    }

    /// Hands an engine the settings there are now.
    pub(super) fn configure_client(&mut self, client: ClientKey) {
        let Some(link) = self.links.get(&client.ifindex) else { return };
        let settings = self.config.settings(&link.name);
        let config = client_config(settings, link.hardware.as_bytes(), &self.identity);
        self.tell(client, v4::Input::Configure(Box::new(config)));
    }

    /// Ends a client without a word to its server; the record stays for when the interface is back.
    pub(super) fn forget_interface(&mut self, client: ClientKey, name: &str) {
        self.pacer.forget(client.ifindex);
        let Some(interface) = self.interfaces.remove(&client) else { return };
        self.timers.set(Timer::Client(client), None);
        self.timers.set(Timer::Release(client), None);
        self.put(Output::Close { client });
        if interface.resolver.is_some() {
            let (family, interface) = (client.family, name.to_owned());
            self.put(Output::ClearServers { tag: None, family, interface });
        }
        super::add_client(&mut self.counters, None, interface.client.counters());
        self.entries.insert(name.to_owned(), interface.entry(name));
        self.prune();
        self.fail_pending(client);
        self.put(Output::Gone { client, name: name.to_owned() });
    }
}

/// An interface as the DHCP engine needs to know it.
fn link_of(link: &LinkRow) -> v4::Link {
    v4::Link {
        up: link.is_up,
        hardware_type: link.hardware_type,
        hardware: link.hardware,
        mtu: link.mtu,
    }
}

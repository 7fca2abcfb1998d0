//! A client whose every step is checked against what must hold whatever happens.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use dhcp::v4::*;
use engine::{CommandId, EffectId, Engine as _, Instant, Rng};
use wire::dhcpv4::{Message, MessageType, OptionCode};

/// A client, and the host as its effects have made it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) client: Client,
    pub(crate) now: Instant,
    /// Addresses on the interface, with their ends.
    pub(crate) addresses: BTreeMap<Ipv4Addr, Option<Instant>>,
    /// Effects without a result, with the address they add.
    pub(crate) effects: BTreeMap<EffectId, Option<Ipv4Addr>>,
    /// Commands without a reply, with their deadlines.
    pub(crate) commands: BTreeMap<CommandId, Instant>,
    listen: Listen,
    next_command: u64,
    /// When the client could last have acted.
    awake_at: Instant,
}

impl Checked {
    pub(crate) fn new(config: Config, seed: u64, now: Instant) -> Self {
        Self {
            client: Client::new(config, Rng::from_u64(seed)),
            now,
            addresses: BTreeMap::new(),
            effects: BTreeMap::new(),
            commands: BTreeMap::new(),
            listen: Listen::default(),
            next_command: 0,
            awake_at: now,
        }
    }

    pub(crate) fn command(&mut self, command: Command, deadline: Instant) -> Vec<Output> {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.commands.insert(id, deadline);
        self.input(Input::Command { id, command, deadline })
    }

    pub(crate) fn result(&mut self, id: EffectId, result: EffectResult) -> Vec<Output> {
        if let Some(Some(address)) = self.effects.remove(&id)
            && result.is_err()
        {
            self.addresses.remove(&address);
        }
        self.input(Input::Effect { id, result })
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        self.client.handle(input, self.now);
        self.drain()
    }

    pub(crate) fn timeout(&mut self) -> Vec<Output> {
        self.client.handle_timeout(self.now);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.client.poll_output() {
            self.check_output(&output);
            outputs.push(output);
            assert!(outputs.len() < 500, "too many outputs");
        }
        self.check_state();
        self.awake_at = self.now;
        outputs
    }

    /// The machine slept through that deadline: the reply comes when it wakes.
    fn slept_past(&self, deadline: Instant) -> bool {
        self.awake_at <= deadline
    }

    fn check_output(&mut self, output: &Output) {
        match output {
            Output::Send(transmit) => self.check_transmit(transmit),
            Output::Listen(listen) => {
                assert_ne!(*listen, self.listen, "told twice");
                self.listen = *listen;
            }
            Output::Effect { id, effect } => {
                let added = match effect {
                    Effect::AddAddress(address) => {
                        self.addresses.insert(address.address, address.expires_at);
                        Some(address.address)
                    }
                    Effect::RemoveAddress { address, .. } => {
                        self.addresses.remove(address);
                        None
                    }
                    Effect::Release(transmit) => {
                        self.check_transmit(transmit);
                        None
                    }
                    _ => None,
                };
                assert!(self.effects.insert(*id, added).is_none(), "id used twice");
            }
            Output::Event(
                Event::Discarded { reason }
                | Event::OptionsIgnored { reason }
                | Event::EffectFailed { reason },
            ) => check_text(reason),
            Output::Event(Event::Refused { message, .. }) => {
                message.iter().for_each(|text| check_text(text));
            }
            Output::Event(_) => {}
            Output::Reply { id, result } => {
                let deadline = self.commands.remove(id).expect("one reply to each command");
                let on_time = self.now <= deadline || self.slept_past(deadline);
                assert!(on_time, "{result:?} after the deadline");
                match result {
                    Err(failure) => check_text(&failure.to_string()),
                    // From here on the kernel's lifetimes are what ends them.
                    Ok(Outcome::Stopped) => self.addresses.clear(),
                    Ok(_) => {}
                }
            }
        }
    }

    fn check_state(&self) {
        for (address, end) in &self.addresses {
            assert!(end.is_none_or(|end| end > self.now), "{address} used past its term");
        }
        if self.client.state().has_lease() {
            let lease = self.client.lease().expect("the state has a lease");
            assert!(lease.expires_at.is_none_or(|end| end > self.now));
            assert!(lease.renew_at <= lease.rebind_at && lease.rebind_at <= lease.expires_at);
        }
        let overdue = self.commands.values().find(|deadline| **deadline <= self.now);
        assert_eq!(overdue, None, "unanswered past its deadline");
        let timeout = self.client.poll_timeout();
        assert!(timeout.is_none_or(|at| at > self.now), "busy at {timeout:?}");
    }

    fn check_transmit(&self, transmit: &Transmit) {
        match transmit {
            Transmit::Broadcast { source, message } => {
                assert!(source.is_unspecified() || *source == message.ciaddr);
                self.check_message(message, None);
            }
            Transmit::Unicast { source, destination, message } => {
                assert_eq!(*source, message.ciaddr);
                self.check_message(message, Some(*destination));
            }
            Transmit::Arp { packet, .. } => {
                assert!(packet.sender_hardware.len() == packet.target_hardware.len());
            }
        }
    }

    /// RFC 2131 table 5.
    fn check_message(&self, message: &Message, destination: Option<Ipv4Addr>) {
        let options = &message.options;
        let requested = options.requested_address();
        let server = options.server_identifier();
        let has_address = !message.ciaddr.is_unspecified();
        let kind = message.message_type().expect("a type");
        match kind {
            MessageType::Discover => assert!(!has_address && server.is_none()),
            MessageType::Request => match (has_address, server) {
                (false, Some(_)) => assert!(requested.is_some() && destination.is_none()),
                (false, None) => assert!(requested.is_some() && destination.is_none()),
                (true, None) => assert!(requested.is_none()),
                (true, Some(_)) => panic!("neither selecting nor extending"),
            },
            MessageType::Decline => {
                assert!(!has_address && requested.is_some() && server.is_some());
                assert_eq!(destination, None);
            }
            MessageType::Release => {
                assert!(has_address && requested.is_none() && server.is_some());
                assert!(destination.is_none() || destination == server);
            }
            MessageType::Inform => {
                assert!(has_address && requested.is_none() && server.is_none());
                assert!(!options.contains(OptionCode::LEASE_TIME));
            }
            other => panic!("{other} is not a client's"),
        }
        let silent = matches!(kind, MessageType::Decline | MessageType::Release);
        assert_eq!(silent, !options.contains(OptionCode::PARAMETER_REQUEST_LIST));
        assert!(silent || self.listen.dhcp != DhcpListen::Off, "deaf to the answer");
        assert_eq!(Message::parse(&message.emit()).as_ref(), Ok(message));
    }
}

fn check_text(text: &str) {
    assert!(text.len() < 1_000 && !text.contains(char::is_control), "{text:?}");
}

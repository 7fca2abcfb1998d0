//! A ledger and an enforcer on a machine of values, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use ::ports::guard::grant_key;
use ::ports::{
    Admitted, Block, Caller, Command, Config, Done, Effect, EffectResult, Event, Failure, Id,
    Input, Manager, Outcome, Output, Owner, Protocol, Reservation, Terms, Wanted,
};
use engine::{CommandId, Engine as _, Instant, Rng};

use super::machine::{Machine, owned};
use crate::config::GuardChoice;
use crate::ports::enforcer::{Carried, Enforcement, Enforcer, Opened};
use crate::ports::store::Unread;
use crate::ports::sysctl::PortSet;
use crate::refusal::refused;

pub(crate) const ROOT: Caller = Caller { uid: 0, is_privileged: true };

/// A daemon on its machine.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) manager: Manager,
    pub(crate) enforcer: Enforcer<Machine>,
    pub(crate) enforcement: Option<Enforcement>,
    pub(crate) replies: VecDeque<Result<Outcome, Failure>>,
    pub(crate) events: Vec<Event>,
    now: Instant,
    choice: GuardChoice,
    commands: u64,
    starts: u64,
}

impl World {
    pub(crate) fn new(choice: GuardChoice) -> Self {
        let machine = Machine::default();
        machine.write_list("7000-7009");
        machine.state_mut().groups.insert("/a".into(), 71);
        Self {
            manager: Manager::new(Config::default(), Rng::from_u64(0)),
            enforcer: Enforcer::new(machine.clone(), choice, Unread::default()),
            machine,
            enforcement: None,
            replies: VecDeque::new(),
            events: Vec::new(),
            now: Instant::from_secs(100),
            choice,
            commands: 0,
            starts: 0,
        }
    }

    /// With a persistent reservation and a runtime one, whose socket is the returned one.
    pub(crate) fn inhabited() -> (Self, CommandId) {
        let mut this = Self::new(GuardChoice::Auto);
        this.create(5_000, 3, &[1_000]);
        let socket = this.acquire(5_100);
        this.expect_replies(2);
        this.assert_consistent();
        (this, socket)
    }

    pub(crate) fn create(&mut self, start: u32, count: u32, users: &[u32]) {
        let mut terms = terms(0);
        terms.admitted.users = users.iter().copied().collect();
        terms.admitted.cgroups = ["/a".to_owned(), "/later".to_owned()].into();
        let (protocol, block) = (Protocol::Tcp, block(start, count));
        self.command(Command::Create { protocol, block, terms: Box::new(terms) });
    }

    pub(crate) fn acquire(&mut self, start: u32) -> CommandId {
        let terms = Box::new(terms(1_000));
        let caller = Caller { uid: 1_000, is_privileged: false };
        let wanted = Wanted::Block(block(start, 2));
        self.command(Command::Acquire { caller, protocol: Protocol::Tcp, wanted, terms })
    }

    pub(crate) fn delete(&mut self, start: u32, count: u32, kill: bool) {
        let (protocol, block) = (Protocol::Tcp, block(start, count));
        self.command(Command::Delete { protocol, block, kill });
    }

    pub(crate) fn admit(&mut self, start: u32, count: u32, user: u32) {
        let whom = Admitted { users: [user].into(), cgroups: BTreeSet::new() };
        let (protocol, block) = (Protocol::Tcp, block(start, count));
        self.command(Command::Admit { protocol, block, whom });
    }

    /// Ends every runtime reservation by its token.
    pub(crate) fn release(&mut self) {
        let tokens: Vec<_> = self.runtime().map(|one| one.token).collect();
        for token in tokens {
            self.command(Command::Release { caller: ROOT, token });
        }
    }

    pub(crate) fn runtime(&self) -> impl Iterator<Item = &Reservation> {
        self.manager.reservations().filter(|one| one.kind == ::ports::Kind::Runtime)
    }

    fn command(&mut self, command: Command) -> CommandId {
        self.commands += 1;
        let id = CommandId(self.commands);
        if matches!(command, Command::Acquire { .. }) {
            self.machine.state_mut().sockets.insert(id, Default::default());
        }
        self.input(Input::Command { id, command });
        id
    }

    pub(crate) fn close(&mut self, socket: CommandId) {
        if let Some(id) = self.machine.close(socket) {
            self.input(Input::Closed(id));
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.manager.handle(input, self.now);
        self.run();
    }

    /// A new daemon, on what the one before left.
    pub(crate) fn restart(&mut self) {
        self.starts += 1;
        let (records, unread) = {
            let mut state = self.machine.state_mut();
            (state.is_killed, state.kill_before, state.fail) = (false, None, None);
            let is_readable = |id: &Id| !state.unreadable.contains(id);
            let records = state.left.disk.values().filter(|one| is_readable(&one.id));
            (records.cloned().collect(), Unread::These(state.unreadable.clone()))
        };
        self.manager = Manager::new(Config::default(), Rng::from_u64(self.starts));
        self.enforcer = Enforcer::new(self.machine.clone(), self.choice, unread);
        self.enforcement = None;
        self.input(Input::Restore(records));
    }

    /// The same machine, with a daemon that has not been told anything yet.
    pub(crate) fn again(mut self) -> Self {
        self.manager = Manager::new(Config::default(), Rng::from_u64(77));
        self.enforcer = Enforcer::new(self.machine.clone(), self.choice, Unread::default());
        self
    }

    /// The same machine, with another choice of the administrator from the next start on.
    pub(crate) fn with(self, choice: GuardChoice) -> Self {
        Self { choice, ..self }
    }

    fn run(&mut self) {
        while let Some(output) = self.manager.poll_output() {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Reply { result, .. } => self.replies.push_back(result),
                Output::Effect { id, effect } => {
                    let result = self.carry_out(&effect);
                    if self.machine.state().is_killed {
                        return;
                    }
                    self.manager.handle(Input::Effect { id, result }, self.now);
                }
            }
        }
    }

    fn carry_out(&mut self, effect: &Effect) -> EffectResult {
        if let Effect::Own { command, id } = effect {
            let step = self.machine.step("own");
            let mut state = step.map_err(|error| refused("own", &error))?;
            let socket = state.sockets.entry(*command).or_default();
            (socket.granted, socket.owned) = (Some(*id), Some(*id));
            return Ok(Done::Done);
        }
        let Carried { opened, result, .. } = self.enforcer.carry_out(effect);
        if let Some(Opened { enforcement, .. }) = opened {
            self.enforcement = Some(enforcement);
        }
        result
    }

    /// Whatever failed is tried again and works.
    pub(crate) fn settle(&mut self) {
        self.machine.state_mut().fail = None;
        for _ in 0..6 {
            self.now += Duration::from_secs(31);
            self.manager.handle_timeout(self.now);
            self.run();
        }
        assert!(self.manager.is_idle());
    }

    pub(crate) fn expect_replies(&mut self, number: usize) {
        assert_eq!(self.replies.len(), number);
        for reply in self.replies.drain(..) {
            reply.unwrap();
        }
    }

    /// What is in the kernel and on disk is what the ledger knows, and nothing else.
    pub(crate) fn assert_consistent(&self) {
        let state = self.machine.state();
        let known: BTreeMap<Id, &Reservation> =
            self.manager.reservations().map(|one| (one.id, one)).collect();
        assert!(state.left.disk.values().eq(known.values().copied()), "{:#?}", state.left);
        assert!(state.left.rows.keys().eq(known.keys()), "{:#?}", state.left);
        let mut owners = BTreeMap::new();
        let (mut users, mut cgroups) = (BTreeSet::new(), BTreeSet::new());
        let mut ports = state.others.clone();
        for one in known.values() {
            let row = &state.left.rows[&one.id];
            assert_eq!((row.protocol, row.block), (one.protocol, one.block));
            owners.extend(owned(one.protocol, one.block, one.id));
            ports.insert(one.block.ports());
            let groups = one.admitted.cgroups.iter().filter_map(|name| state.groups.get(name));
            let groups: BTreeSet<u64> = groups.copied().collect();
            assert_eq!(
                (row.users, row.cgroups),
                (!one.admitted.users.is_empty(), !groups.is_empty())
            );
            let key = |who| grant_key(one.id, who).to_vec();
            users.extend(one.admitted.users.iter().map(|user| key(u64::from(*user))));
            cgroups.extend(groups.into_iter().map(key));
        }
        assert_eq!(state.left.owners, owners);
        assert_eq!(state.left.users, users);
        assert_eq!(state.left.cgroups, cgroups);
        assert_eq!(state.left.list, ports);
    }

    /// What is in force, by first port.
    pub(crate) fn starts(&self) -> Vec<u16> {
        self.manager.reservations().map(|one| one.block.start()).collect()
    }

    pub(crate) fn list(&self) -> PortSet {
        self.machine.state().left.list.clone()
    }
}

pub(crate) fn block(start: u32, count: u32) -> Block {
    Block::new(start, count).unwrap()
}

fn terms(uid: u32) -> Terms {
    Terms {
        owner: Owner { uid, ..Owner::default() },
        purpose: None,
        created_at: SystemTime::UNIX_EPOCH,
        expires_at: None,
        refusal: None,
        dry_run: false,
        low_ports: false,
        admitted: Admitted::default(),
    }
}

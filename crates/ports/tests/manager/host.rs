//! A host that carries out effects, or fails to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use engine::{CommandId, EffectId, Engine as _, Instant, Refused, Rng};
use iphelper_ports::{
    Admitted, Block, Command, Config, Done, Effect, EffectError, EffectResult, Event, Failure, Id,
    Input, Kind, Manager, Outcome, Output, Owner, Protocol, Reservation, Terms, Unrecorded,
};

/// How the next effect goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fate {
    #[default]
    Works,
    /// Nothing happens, and it says so.
    Fails,
    /// It happens, and says that it did not.
    FailsAfterwards,
    /// The daemon is killed before it.
    CrashBefore,
    /// The daemon is killed after it, before it hears.
    CrashAfter,
}

/// The kernel and the disk: what a daemon's death leaves alone.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) excluded: BTreeSet<u16>,
    pub(crate) guard: BTreeMap<Id, Reservation>,
    pub(crate) disk: BTreeMap<Id, Reservation>,
    /// Whose record was there and cannot be read.
    pub(crate) unreadable: BTreeSet<Id>,
    /// Sockets of strangers.
    pub(crate) in_use: BTreeSet<(Protocol, u16)>,
    /// How often a scan finds somebody whom the survey before it did not.
    pub(crate) races: u32,
    /// Sockets that came with commands, and the reservation they own.
    pub(crate) sockets: BTreeMap<CommandId, Option<Id>>,
}

impl Host {
    fn carry_out(&mut self, effect: &Effect) -> EffectResult {
        match effect {
            Effect::Exclude(blocks) => {
                self.excluded = blocks.iter().flat_map(|block| block.ports()).collect();
            }
            Effect::Insert(reservation) | Effect::Admit(reservation) => {
                self.guard.insert(reservation.id, (**reservation).clone());
            }
            Effect::Remove(reservation) => _ = self.guard.remove(&reservation.id),
            Effect::Scan { block, .. } if self.races > 0 => {
                self.races -= 1;
                return Err(EffectError::InUse(block.start()));
            }
            Effect::Scan { protocol, block, .. } => {
                let holder = block.ports().find(|port| self.in_use.contains(&(*protocol, *port)));
                if let Some(port) = holder {
                    return Err(EffectError::InUse(port));
                }
            }
            Effect::Survey { protocol } => {
                let taken = self.in_use.iter().filter(|(of, _)| of == protocol);
                let block = |port: u16| Block::new(port.into(), 1).unwrap();
                return Ok(Done::Taken(taken.map(|(_, port)| block(*port)).collect()));
            }
            Effect::Own { command, id } => _ = self.sockets.insert(*command, Some(*id)),
            Effect::Kill { protocol, block } => {
                let before = self.in_use.len();
                self.in_use.retain(|(of, port)| of != protocol || !block.contains(*port));
                return Ok(Done::Killed((before - self.in_use.len()).try_into().unwrap()));
            }
            Effect::Persist(reservation) => {
                self.disk.insert(reservation.id, (**reservation).clone());
            }
            Effect::Forget { id, .. } => _ = self.disk.remove(id),
            Effect::Enforce(reservations) => {
                let mut ended = Vec::new();
                let mut guard = BTreeMap::new();
                for reservation in reservations {
                    let id = reservation.id;
                    match self.guard.contains_key(&id) || reservation.kind == Kind::Persistent {
                        true => _ = guard.insert(id, reservation.clone()),
                        false => ended.push(id),
                    }
                }
                let has_record = |id| reservations.iter().any(|one| one.id == id);
                let unreadable =
                    self.guard.values().filter(|one| self.unreadable.contains(&one.id));
                let unrecorded: Vec<Reservation> =
                    unreadable.filter(|one| !has_record(one.id)).cloned().collect();
                guard.extend(unrecorded.iter().map(|one| (one.id, one.clone())));
                self.guard = guard;
                let unrecorded = unrecorded.into_iter().map(unrecorded_of).collect();
                return Ok(Done::Enforced { ended, unrecorded });
            }
        }
        Ok(Done::Done)
    }
}

/// What the kernel knows of a reservation.
fn unrecorded_of(reservation: Reservation) -> Unrecorded {
    let Reservation { id, protocol, block, kind, owner, admitted, expires_at, .. } = reservation;
    let terms = Terms { admitted, expires_at, ..terms(owner.uid) };
    Unrecorded { id, protocol, block, kind, terms }
}

/// A daemon on its host.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) manager: Manager,
    pub(crate) host: Host,
    pub(crate) now: Instant,
    pub(crate) config: Config,
    pub(crate) replies: VecDeque<(CommandId, Result<Outcome, Failure>)>,
    pub(crate) events: Vec<Event>,
    /// Every effect that was asked for, by its first word, with what became of it.
    pub(crate) trace: Vec<String>,
    /// For the effects to come; they work when there are none.
    pub(crate) fates: VecDeque<Fate>,
    commands: u64,
    boots: u64,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            manager: Manager::new(config.clone(), Rng::from_u64(0)),
            host: Host::default(),
            now: Instant::from_secs(100),
            config,
            replies: VecDeque::new(),
            events: Vec::new(),
            trace: Vec::new(),
            fates: VecDeque::new(),
            commands: 0,
            boots: 0,
        }
    }

    /// Gives a command and carries out what follows from it.
    pub(crate) fn command(&mut self, command: Command) -> CommandId {
        self.commands += 1;
        let id = CommandId(self.commands);
        if let Command::Acquire { .. } = command {
            self.host.sockets.insert(id, None);
        }
        self.input(Input::Command { id, command });
        id
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.manager.handle(input, self.now);
        self.run();
    }

    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
        self.manager.handle_timeout(self.now);
        self.run();
    }

    /// The last descriptor of a command's socket is closed: the kernel acts, daemon or not.
    pub(crate) fn close(&mut self, socket: CommandId) {
        if let Some(Some(id)) = self.host.sockets.remove(&socket)
            && self.host.guard.remove(&id).is_some()
        {
            self.input(Input::Closed(id));
        }
    }

    /// Kills the daemon and starts another.
    pub(crate) fn restart(&mut self) {
        self.boots += 1;
        self.manager = Manager::new(self.config.clone(), Rng::from_u64(self.boots));
        let records = self.host.disk.values().cloned().collect();
        self.input(Input::Restore(records));
    }

    fn run(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.manager.poll_output() {
            outputs += 1;
            assert!(outputs < 10_000, "it never comes to rest: {:?}", self.trace.last());
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Reply { id, result } => self.replies.push_back((id, result)),
                Output::Effect { id, effect } => {
                    let fate = self.fates.pop_front().unwrap_or_default();
                    if !matches!(fate, Fate::Fails | Fate::CrashBefore) {
                        let result = self.host.carry_out(&effect);
                        self.trace.push(told(&effect, fate));
                        match fate {
                            Fate::CrashAfter => return self.restart(),
                            Fate::FailsAfterwards => self.fail(id),
                            _ => self.manager.handle(Input::Effect { id, result }, self.now),
                        }
                    } else {
                        self.trace.push(told(&effect, fate));
                        match fate {
                            Fate::CrashBefore => return self.restart(),
                            _ => self.fail(id),
                        }
                    }
                }
            }
        }
    }

    fn fail(&mut self, id: EffectId) {
        let result = Err(Refused::other("it would not").into());
        self.manager.handle(Input::Effect { id, result }, self.now);
    }

    /// Whether what was on record has been put in force since the last restart.
    pub(crate) fn is_caught_up(&self) -> bool {
        let last = |wanted: fn(&Event) -> bool| self.events.iter().rposition(wanted);
        let failed = last(|event| matches!(event, Event::EffectFailed { id: None, .. }));
        failed <= last(|event| matches!(event, Event::CaughtUp))
    }

    /// What is known, enforced, on record and kept from automatic selection is the same.
    pub(crate) fn assert_consistent(&self) {
        let known: BTreeMap<Id, Reservation> =
            self.manager.reservations().map(|known| (known.id, known.clone())).collect();
        assert_eq!(self.host.guard, known, "enforced");
        assert_eq!(self.host.disk, known, "on record");
        let ports: BTreeSet<u16> = known.values().flat_map(|known| known.block.ports()).collect();
        assert_eq!(self.host.excluded, ports, "excluded");
    }
}

fn told(effect: &Effect, fate: Fate) -> String {
    let name = format!("{effect:?}");
    let name: String = name.chars().take_while(|letter| letter.is_alphabetic()).collect();
    match fate {
        Fate::Works => name,
        _ => format!("{name} {fate:?}"),
    }
}

pub(crate) fn block(start: u32, count: u32) -> Block {
    Block::new(start, count).unwrap()
}

pub(crate) fn terms(uid: u32) -> Terms {
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

use core::time::Duration;
use std::collections::VecDeque;

use engine::{CommandId, EffectId, Engine, Instant, Rng};

use crate::commands::Waiting;
use crate::ledger::{Ledger, Stage};
use crate::transaction::{END, ENFORCE, Purpose, Step, Transaction};
use crate::{
    Block, Caller, Config, Effect, Event, Failure, Id, Input, Kind, Outcome, Output, Protocol,
    Reservation, Token,
};

/// After something failed that nobody waits for, when it is tried again: twice as late each time,
/// up to the longest. What is short is often there a moment later, and a full disk for hours.
const FIRST_RETRY_AFTER: Duration = Duration::from_secs(1);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The ledger of one host's port reservations.
///
/// Commands are carried out one after another, each as a sequence of effects. One that fails half
/// way is taken back step by step before it is answered. What cannot be taken back either is tried
/// again until it works, and its ports are nobody's until then.
#[derive(Debug)]
pub struct Manager {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) ledger: Ledger,
    pub(crate) current: Option<Transaction>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// Reservations that ended by themselves, and how.
    pub(crate) ending: VecDeque<(Id, Purpose)>,
    /// Nobody has been told yet that what was on record is in force.
    is_restoring: bool,
    /// What was on record has not been enforced yet.
    is_unenforced: bool,
    /// The same, at the next retry.
    enforce_again: bool,
    /// Something has failed that nobody waits for.
    is_behind: bool,
    retry_at: Option<Instant>,
    /// When the next retry would be, after a failure.
    retry_after: Duration,
    is_stopping: bool,
    effects: u64,
    outputs: VecDeque<Output>,
}

impl Manager {
    /// A manager of no reservations.
    pub fn new(config: Config, rng: Rng) -> Self {
        Self {
            config,
            rng,
            ledger: Ledger::default(),
            current: None,
            waiting: VecDeque::new(),
            ending: VecDeque::new(),
            is_restoring: false,
            is_unenforced: false,
            enforce_again: false,
            is_behind: false,
            retry_at: None,
            retry_after: FIRST_RETRY_AFTER,
            is_stopping: false,
            effects: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Those in force, by protocol and port.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.ledger.in_force()
    }

    /// The one in force with this id.
    pub fn get(&self, id: Id) -> Option<&Reservation> {
        self.ledger.in_force_by_id(id)
    }

    /// The persistent one in force with exactly this block.
    pub fn find(&self, protocol: Protocol, block: Block) -> Option<&Reservation> {
        let found = self.ledger.in_force_by_block(protocol, block)?;
        (found.kind == Kind::Persistent).then_some(found)
    }

    /// The one that the token opens, if the caller may use it: a persistent one is for its owner,
    /// for its users and for whoever is privileged, a runtime one for its owner and the privileged.
    pub fn open(&self, token: Token, caller: Caller) -> Result<&Reservation, Failure> {
        let found = self.ledger.in_force_by_token(token).ok_or(Failure::InvalidToken)?;
        let is_user = found.kind == Kind::Persistent && found.admitted.users.contains(&caller.uid);
        match caller.is_privileged || found.owner.uid == caller.uid || is_user {
            true => Ok(found),
            false => Err(Failure::AccessDenied { needed: "the reservation's owner or uid 0" }),
        }
    }

    /// The ports that all users without privilege hold by runtime reservations, and how many they
    /// may.
    pub fn runtime_ports_of_all(&self) -> (u32, u32) {
        (self.ledger.held_by_all().ports, self.config.runtime_ports_of_all())
    }

    /// Whether nothing is under way and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty() && self.ending.is_empty()
    }

    /// Whether there is nothing at all: none in force, none coming and none going.
    pub fn is_empty(&self) -> bool {
        self.ledger.entries().next().is_none()
    }
}

impl Engine for Manager {
    type Input<'a> = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Instant) {
        self.fire(now);
        match input {
            Input::Restore(records) => self.on_restore(records, now),
            Input::Configure(config) => self.config = config,
            Input::Command { id, .. } if self.is_stopping => {
                self.reply(id, Err(Failure::Cancelled));
            }
            Input::Command { id, command } => self.waiting.push_back(Waiting { id, command }),
            Input::Effect { id, result } => self.on_effect(id, result, now),
            Input::Closed(id) => self.on_closed(id),
            Input::Lost => self.is_unenforced = true,
            Input::Stop => {
                self.is_stopping = true;
                for Waiting { id, .. } in std::mem::take(&mut self.waiting) {
                    self.reply(id, Err(Failure::Cancelled));
                }
            }
        }
        self.proceed(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Timer::ALL.into_iter().filter_map(|timer| self.due_at(timer)).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.fire(now);
        self.proceed(now);
    }
}

/// What a manager waits for besides inputs: the one table of its timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// A reservation's time is over.
    Expiry,
    /// What has failed is tried again.
    Retry,
}

impl Timer {
    const ALL: [Self; 2] = [Self::Expiry, Self::Retry];
}

impl Manager {
    fn due_at(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Expiry => self.ledger.next_expiry().map(|(at, _)| at),
            // While something is under way its result comes first.
            Timer::Retry => self.retry_at.filter(|_| self.current.is_none()),
        }
    }

    fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.due_at(timer).is_some_and(|at| at <= now)
    }

    /// Ends the reservations whose time is over. A retry is a transaction like others, and begins
    /// when nothing else is under way.
    fn fire(&mut self, now: Instant) {
        while self.is_due(Timer::Expiry, now)
            && let Some((_, id)) = self.ledger.next_expiry()
        {
            self.ledger.end(id);
            self.ending.push_back((id, Purpose::Expire));
        }
    }

    fn on_restore(&mut self, mut records: Vec<Reservation>, now: Instant) {
        // Of two that contradict each other the elder was there first.
        records.sort_by_key(|record| (record.created_at, record.id));
        for record in records {
            let overlaps = self.ledger.overlap(record.protocol, record.block).is_some();
            if overlaps || self.ledger.knows(record.id, record.token) {
                self.tell(Event::Contradicted(Box::new(record)));
                continue;
            }
            let id = record.id;
            let is_over = record.expires_at.is_some_and(|at| at <= now);
            match is_over {
                true => {
                    self.tell(Event::Expired(Box::new(record.clone())));
                    self.ledger.add(record, Stage::Leaving);
                    if let Some(entry) = self.ledger.get_mut(id) {
                        entry.owed.push(Step::Forget);
                    }
                    self.retry_at = Some(now);
                }
                false => {
                    self.ledger.add(record, Stage::Making);
                    self.ledger.put_in_force(id);
                    if let Some(entry) = self.ledger.get_mut(id) {
                        entry.is_excluded = true;
                    }
                }
            }
        }
        self.is_unenforced = true;
        self.is_restoring = true;
    }

    /// The guard's word that a socket is gone.
    pub(crate) fn on_closed(&mut self, id: Id) {
        let kind = self.ledger.get(id).map(|entry| entry.reservation.kind);
        if kind == Some(Kind::Runtime) && self.ledger.end(id) {
            self.ending.push_back((id, Purpose::Close));
        }
    }

    /// Begins what is next, as long as nothing is under way.
    fn proceed(&mut self, now: Instant) {
        while self.current.is_none() {
            let Some(next) = self.next_transaction(now) else { break };
            self.current = Some(next);
            self.advance(now);
        }
    }

    fn next_transaction(&mut self, now: Instant) -> Option<Transaction> {
        if self.is_due(Timer::Retry, now) {
            self.retry_at = None;
            let ending: Vec<Id> = self.ending.iter().map(|(id, _)| *id).collect();
            let behind = self.ledger.entries().filter(|(_, entry)| !entry.owed.is_empty());
            let behind = behind.map(|(id, _)| id).filter(|id| !ending.contains(id));
            self.ending.extend(behind.map(|id| (id, Purpose::CatchUp)));
            self.is_unenforced |= self.enforce_again;
        }
        if std::mem::take(&mut self.is_unenforced) {
            self.enforce_again = false;
            return Some(Transaction::new(Purpose::Enforce, None, ENFORCE));
        }
        while let Some((id, purpose)) = self.ending.pop_front() {
            // An end does whatever was left to do.
            if self.ending.iter().any(|(other, _)| *other == id) {
                continue;
            }
            let Some(entry) = self.ledger.get_mut(id) else { continue };
            let owed = std::mem::take(&mut entry.owed);
            let steps = if entry.stage == Stage::InForce { &owed } else { END };
            return Some(Transaction::new(purpose, Some(id), steps));
        }
        // What had ended meanwhile is gone as well by now.
        if std::mem::take(&mut self.is_restoring) {
            self.tell(Event::Restored);
        }
        while let Some(Waiting { id, command }) = self.waiting.pop_front() {
            match self.begin(id, command) {
                Ok(transaction) => return Some(transaction),
                Err(failure) => self.reply(id, Err(failure)),
            }
        }
        None
    }

    pub(crate) fn reply(&mut self, id: CommandId, result: Result<Outcome, Failure>) {
        self.outputs.push_back(Output::Reply { id, result });
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Has an effect carried out, and returns its name.
    pub(crate) fn emit(&mut self, effect: Effect) -> EffectId {
        self.effects += 1;
        let id = EffectId(self.effects);
        self.outputs.push_back(Output::Effect { id, effect });
        id
    }

    /// Notes what failed and that nobody waits for.
    pub(crate) fn fall_behind(&mut self, id: Option<Id>, step: Step, reason: String, now: Instant) {
        match id.and_then(|id| self.ledger.get_mut(id)) {
            Some(entry) => entry.owed.push(step),
            None => self.enforce_again = true,
        }
        self.is_behind = true;
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.retry_after);
            self.retry_after = (2 * self.retry_after).min(LONGEST_RETRY_AFTER);
        }
        self.tell(Event::EffectFailed { id, reason });
    }

    /// Tells when everything that had failed is done.
    pub(crate) fn note_progress(&mut self) {
        if !self.is_behind || self.enforce_again {
            return;
        }
        if self.ledger.entries().all(|(_, entry)| entry.owed.is_empty()) {
            self.is_behind = false;
            self.retry_at = None;
            self.retry_after = FIRST_RETRY_AFTER;
            self.tell(Event::CaughtUp);
        }
    }
}

use engine::{CommandId, EffectId, Instant};

use crate::commands::search;
use crate::ledger::Stage;
use crate::manager::Manager;
use crate::transaction::{Purpose, Search, Step, Transaction};
use crate::{
    Admitted, Block, Done, Effect, EffectError, EffectResult, Event, Failure, Id, Kind, Outcome,
    Reservation, Unrecorded,
};

impl Manager {
    /// Has the next step of the current transaction carried out, or ends it.
    pub(crate) fn advance(&mut self, now: Instant) {
        let Some(mut current) = self.current.take() else { return };
        // A step without an effect is for a reservation that is gone.
        while let Some(step) = current.next() {
            if let Some(effect) = self.effect(&current, step) {
                current.effect = Some((self.emit(effect), step));
                self.current = Some(current);
                return;
            }
            current.skip();
        }
        self.finish(current, now);
    }

    /// Takes the result of a step.
    pub(crate) fn on_effect(&mut self, effect: EffectId, result: EffectResult, now: Instant) {
        let is_awaited = |current: &mut Transaction| {
            current.effect.is_some_and(|(awaited, _)| awaited == effect)
        };
        let Some(mut current) = self.current.take_if(is_awaited) else { return };
        let Some((_, step)) = current.effect.take() else { return };
        match result {
            Ok(done) if !current.goes_back() => {
                current.skip();
                self.note(&mut current, done);
            }
            Ok(_) => {}
            Err(error) if !current.goes_back() && current.is_atomic() => {
                current.skip();
                current.failure = Some(error.into());
            }
            Err(error) => {
                let reason = Failure::from(error).to_string();
                self.fall_behind(current.id, step, reason, now);
                if !current.goes_back() {
                    current.skip();
                }
            }
        }
        self.current = Some(current);
        self.advance(now);
    }

    fn note(&mut self, current: &mut Transaction, done: Done) {
        match done {
            Done::Done => {}
            Done::Killed(number) => current.killed = number,
            Done::Enforced { ended, unrecorded } => {
                current.ended = ended;
                for found in unrecorded {
                    self.keep(found);
                }
            }
            Done::Taken(taken) => {
                let Purpose::MakeAny(search) = &current.purpose else { return };
                let added = self.place(search, &taken);
                match added {
                    Ok(id) => current.id = Some(id),
                    Err(failure) => current.failure = Some(failure),
                }
            }
        }
    }

    /// Adds the reservation that is looked for, where there is room.
    fn place(&mut self, search: &Search, taken: &[Block]) -> Result<Id, Failure> {
        let (protocol, count) = (search.protocol, search.count);
        let preferred = &self.config.dynamic_ports;
        let block = self.ledger.free_block(protocol, count, taken, preferred, &mut self.rng);
        let block = block.ok_or(Failure::NoFreeBlock { count })?;
        self.add(protocol, block, Kind::Runtime, search.terms.clone())
    }

    /// Goes on with a reservation whose record cannot be read.
    fn keep(&mut self, found: Unrecorded) {
        let Unrecorded { id, protocol, block, kind, terms } = found;
        if self.ledger.get(id).is_some() || self.ledger.overlap(protocol, block).is_some() {
            return;
        }
        let (_, token) = self.draw();
        self.ledger.add(terms.of(id, token, protocol, block, kind), Stage::Making);
        self.ledger.put_in_force(id);
        if let Some(entry) = self.ledger.get_mut(id) {
            entry.is_excluded = true;
        }
        if let Some(kept) = self.known(id) {
            self.tell(Event::Kept(kept));
        }
    }

    /// What a step asks of the host.
    fn effect(&mut self, current: &Transaction, step: Step) -> Option<Effect> {
        match (step, &current.purpose) {
            (Step::Survey, Purpose::MakeAny(search)) => {
                return Some(Effect::Survey { protocol: search.protocol });
            }
            (Step::Enforce, _) => {
                return Some(Effect::Enforce(self.reservations().cloned().collect()));
            }
            (Step::Exclude, Purpose::Enforce) => {
                return Some(Effect::Exclude(self.ledger.excluded()));
            }
            _ => {}
        }
        let id = current.id?;
        let entry = self.ledger.get_mut(id)?;
        let reservation = match &current.purpose {
            Purpose::Change { after, .. } if !current.goes_back() => &**after,
            _ => &entry.reservation,
        };
        let (protocol, block) = (reservation.protocol, reservation.block);
        let boxed = || Box::new(reservation.clone());
        let effect = match step {
            Step::Insert => Effect::Insert(boxed()),
            Step::Remove => Effect::Remove(boxed()),
            Step::Admit => Effect::Admit(boxed()),
            Step::Persist => Effect::Persist(boxed()),
            Step::Forget => Effect::Forget { id, kind: reservation.kind },
            Step::Scan => Effect::Scan { id, protocol, block },
            Step::Kill => Effect::Kill { protocol, block },
            Step::Own => Effect::Own { command: current.command()?, id },
            Step::Exclude | Step::Include => {
                entry.is_excluded = step == Step::Exclude;
                Effect::Exclude(self.ledger.excluded())
            }
            Step::Survey | Step::Enforce => return None,
        };
        Some(effect)
    }

    /// The steps are done, or undone.
    fn finish(&mut self, current: Transaction, now: Instant) {
        let Transaction { purpose, id, failure, killed, ended, .. } = current;
        match (purpose, id, failure) {
            (Purpose::Make { command }, Some(id), None) => self.come_into_force(command, id),
            (Purpose::MakeAny(search), Some(id), None) => self.come_into_force(search.command, id),
            (Purpose::Make { command }, Some(id), Some(failure)) => {
                self.discard(id);
                self.reply(command, Err(failure));
            }
            (Purpose::MakeAny(found), id, Some(failure)) => {
                if let Some(id) = id {
                    self.discard(id);
                }
                self.look_again(*found, failure, now);
            }
            (Purpose::End { command }, Some(id), None) => {
                // Whatever was left to do for it is done with that.
                if let Some(entry) = self.ledger.get_mut(id) {
                    entry.owed.clear();
                }
                let result = self.leave(id, |reservation| Event::Deleted { reservation, killed });
                let ended = |reservation| Outcome::Ended { reservation, killed };
                self.reply(command, result.map(ended).ok_or(Failure::NotFound));
            }
            (Purpose::Release { command }, Some(id), _) => {
                let event = |reservation| Event::Released { reservation, socket_closed: false };
                let result = self.leave(id, event);
                let ended = |reservation| Outcome::Ended { reservation, killed };
                self.reply(command, result.map(ended).ok_or(Failure::InvalidToken));
            }
            (Purpose::Change { command, after }, Some(id), None) => {
                let mut before = Admitted::default();
                if let Some(entry) = self.ledger.get_mut(id) {
                    let admitted = &mut entry.reservation.admitted;
                    before = std::mem::replace(admitted, after.admitted.clone());
                }
                self.tell(Event::Changed { reservation: after.clone(), before });
                self.reply(command, Ok(Outcome::Changed(after)));
            }
            (Purpose::End { command } | Purpose::Change { command, .. }, _, Some(failure)) => {
                self.reply(command, Err(failure));
            }
            (Purpose::Close, Some(id), _) => {
                let event = |reservation| Event::Released { reservation, socket_closed: true };
                self.leave(id, event);
            }
            (Purpose::Expire, Some(id), _) => _ = self.leave(id, Event::Expired),
            (Purpose::CatchUp, Some(id), _) => {
                let entry = self.ledger.get(id);
                if entry.is_some_and(|entry| entry.stage == Stage::Leaving) {
                    self.discard(id);
                }
            }
            (Purpose::Enforce, ..) => {
                for id in ended {
                    self.on_closed(id);
                }
            }
            // Whatever makes, changes or ends one knows which.
            (_, None, _) => {}
        }
        self.note_progress();
    }

    fn come_into_force(&mut self, command: CommandId, id: Id) {
        self.ledger.put_in_force(id);
        let Some(reservation) = self.known(id) else { return };
        let event = match reservation.kind {
            Kind::Persistent => Event::Created,
            Kind::Runtime => Event::Acquired,
        };
        self.tell(event(reservation.clone()));
        self.reply(command, Ok(Outcome::Reserved(reservation)));
    }

    /// Somebody was faster: the next block may do.
    fn look_again(&mut self, found: Search, failure: Failure, now: Instant) {
        let Search { command, count, tries, .. } = found;
        match (failure, tries.checked_sub(1)) {
            (Failure::InUse(_), Some(tries)) => {
                self.current = Some(search(Search { tries, ..found }));
                self.advance(now);
            }
            (Failure::InUse(_), None) => self.reply(command, Err(Failure::NoFreeBlock { count })),
            (failure, _) => self.reply(command, Err(failure)),
        }
    }

    /// It has ended. Tells of it, and returns what it was.
    fn leave(
        &mut self,
        id: Id,
        event: impl FnOnce(Box<Reservation>) -> Event,
    ) -> Option<Box<Reservation>> {
        let reservation = self.known(id)?;
        self.tell(event(reservation.clone()));
        self.discard(id);
        Some(reservation)
    }

    /// Takes a reservation out, if nothing of it is left in the host.
    fn discard(&mut self, id: Id) {
        self.ledger.end(id);
        if self.ledger.get(id).is_none_or(|entry| entry.owed.is_empty()) {
            self.ledger.remove(id);
        }
    }

    fn known(&self, id: Id) -> Option<Box<Reservation>> {
        self.ledger.get(id).map(|entry| Box::new(entry.reservation.clone()))
    }
}

impl From<EffectError> for Failure {
    fn from(error: EffectError) -> Self {
        match error {
            EffectError::InUse(port) => Self::InUse(port),
            EffectError::TooWeak(reason) => Self::TooWeak(reason),
            EffectError::Refused(refused) => Self::Host(refused),
        }
    }
}

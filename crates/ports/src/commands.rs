use engine::CommandId;

use crate::ledger::{FIRST_OPEN_PORT, Stage};
use crate::manager::Manager;
use crate::transaction::{
    ACQUIRE, CHANGE, CREATE, END, KILL_AND_END, Purpose, Search, Step, Transaction,
};
use crate::{
    Admitted, Block, Caller, Command, Failure, Id, Kind, Limited, Protocol, Refusal, Reservation,
    Terms, Token, Wanted,
};

/// How often somebody else may be faster at blocks that looked free.
const TRIES: u8 = 8;

/// A command whose turn has not come.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: CommandId,
    pub(crate) command: Command,
}

impl Manager {
    /// Checks a command, and says what it takes.
    pub(crate) fn begin(
        &mut self,
        command: CommandId,
        wanted: Command,
    ) -> Result<Transaction, Failure> {
        match wanted {
            Command::Create { protocol, block, terms } => {
                let id = self.add(protocol, block, Kind::Persistent, *terms)?;
                Ok(Transaction::new(Purpose::Make { command }, Some(id), CREATE))
            }
            Command::Delete { protocol, block, kill } => {
                let id = self.find(protocol, block).ok_or(Failure::NotFound)?.id;
                let steps = if kill { KILL_AND_END } else { END };
                Ok(Transaction::new(Purpose::End { command }, Some(id), steps))
            }
            Command::Acquire { caller, protocol, wanted, mut terms } => {
                self.check_quota(caller, wanted.count())?;
                terms.owner.is_privileged = caller.is_privileged;
                match wanted {
                    Wanted::Block(block) => {
                        if block.start() < FIRST_OPEN_PORT && !caller.is_privileged {
                            let needed = "uid 0 for ports below 1024";
                            return Err(Failure::AccessDenied { needed });
                        }
                        let id = self.add(protocol, block, Kind::Runtime, *terms)?;
                        Ok(Transaction::new(Purpose::Make { command }, Some(id), ACQUIRE))
                    }
                    Wanted::Any(count) => {
                        let (count, terms, tries) = (count.get(), *terms, TRIES);
                        Ok(search(Search { command, protocol, count, terms, tries }))
                    }
                }
            }
            Command::Release { caller, token } => {
                let id = self.releasable(caller, token)?;
                self.ledger.end(id);
                Ok(Transaction::new(Purpose::Release { command }, Some(id), END))
            }
            Command::Admit { protocol, block, whom } => {
                self.change(command, protocol, block, |admitted| {
                    admitted.users.extend(&whom.users);
                    admitted.cgroups.extend(whom.cgroups.iter().cloned());
                })
            }
            Command::Expel { protocol, block, whom } => {
                self.change(command, protocol, block, |admitted| {
                    admitted.users.retain(|user| !whom.users.contains(user));
                    admitted.cgroups.retain(|cgroup| !whom.cgroups.contains(cgroup));
                })
            }
        }
    }

    /// Adds a reservation that is to come into force.
    pub(crate) fn add(
        &mut self,
        protocol: Protocol,
        block: Block,
        kind: Kind,
        terms: Terms,
    ) -> Result<Id, Failure> {
        if let Some((port, with)) = self.ledger.overlap(protocol, block) {
            return Err(Failure::Overlap { port, with: Box::new(with.clone()) });
        }
        let (id, token) = self.draw();
        let reservation = terms.of(id, token, protocol, block, kind);
        self.ledger.add(reservation, Stage::Making);
        Ok(id)
    }

    /// A new id and a new token.
    pub(crate) fn draw(&mut self) -> (Id, Token) {
        loop {
            let (id, token) = (Id::draw(&mut self.rng), Token::draw(&mut self.rng));
            if !self.ledger.knows(id, token) {
                return (id, token);
            }
        }
    }

    fn check_quota(&self, caller: Caller, count: u16) -> Result<(), Failure> {
        if caller.is_privileged {
            return Ok(());
        }
        let user = self.ledger.held_by(caller.uid);
        let all = self.ledger.held_by_all();
        let count = u32::from(count);
        let limits = [
            (Limited::Reservations, self.config.runtime_reservations, user.reservations, 1),
            (Limited::Ports, self.config.runtime_ports, user.ports, count),
            (Limited::PortsOfAll, self.config.runtime_ports_of_all(), all.ports, count),
        ];
        let over = limits.into_iter().find(|(_, limit, held, more)| held + more > *limit);
        match over {
            Some((what, limit, held, _)) => Err(Failure::QuotaExceeded { what, limit, held }),
            None => Ok(()),
        }
    }

    fn releasable(&self, caller: Caller, token: Token) -> Result<Id, Failure> {
        let found = self.open(token, caller)?;
        match found.kind {
            Kind::Runtime => Ok(found.id),
            Kind::Persistent => Err(Failure::InvalidToken),
        }
    }

    fn change(
        &self,
        command: CommandId,
        protocol: Protocol,
        block: Block,
        change: impl FnOnce(&mut Admitted),
    ) -> Result<Transaction, Failure> {
        let mut after = Box::new(self.find(protocol, block).ok_or(Failure::NotFound)?.clone());
        change(&mut after.admitted);
        let id = after.id;
        Ok(Transaction::new(Purpose::Change { command, after }, Some(id), CHANGE))
    }
}

impl Terms {
    /// The reservation on these terms.
    pub(crate) fn of(
        self,
        id: Id,
        token: Token,
        protocol: Protocol,
        block: Block,
        kind: Kind,
    ) -> Reservation {
        Reservation {
            id,
            token,
            protocol,
            block,
            kind,
            owner: self.owner,
            purpose: self.purpose,
            created_at: self.created_at,
            expires_at: self.expires_at,
            refusal: self.refusal.unwrap_or(Refusal::default_for(block)),
            dry_run: self.dry_run,
            low_ports: self.low_ports,
            admitted: self.admitted,
        }
    }
}

/// Looks for a block, and then takes it as if it had been asked for.
pub(crate) fn search(search: Search) -> Transaction {
    let steps: Vec<Step> = [Step::Survey].iter().chain(ACQUIRE).copied().collect();
    Transaction::new(Purpose::MakeAny(Box::new(search)), None, &steps)
}

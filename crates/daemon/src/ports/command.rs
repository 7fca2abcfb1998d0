//! What is made of the requests of others.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::ports::{
    Admitted, Block, Command, Failure, Input, InvalidBlock, Outcome, Owner, Reservation, Terms,
    Wanted,
};
use api::ports::{self as asked, Error, EventKind};
use api::server::{Descriptor, Lazy};
use engine::{CommandId, Refused};
use tokio::sync::oneshot;

use super::admission::{Needs, Verdict};
use super::calls::{Concluded, Reply};
use super::handle::{Asker, Described, Request, Search, Waiting};
use super::units::{is_unit, unit_of};
use super::worker::Job;
use super::{Ports, holders, view};
use crate::access::Caller;
use crate::clock;
use crate::subsystem::Message;
use crate::turns::Slot;

/// The most text a purpose has, in bytes.
const LONGEST_PURPOSE: usize = 1_024;
/// The longest path of a control group, in bytes (`PATH_MAX`).
const LONGEST_PATH: usize = 4_096;
/// The most users, and the most control groups, that need no token.
const MOST_ADMITTED: usize = 256;
/// The number that system calls take for "as it is" (`chown(2)`).
const NOBODY: u32 = u32::MAX;

/// A command on its way through the ledger.
#[derive(Debug)]
pub(super) struct Pending {
    caller: Caller,
    reply: Reply,
    /// What came with the call.
    pub(super) socket: Option<Descriptor>,
    /// Its place among the commands under way.
    _slot: Slot<Waiting>,
}

impl Ports {
    /// Takes what came.
    pub(super) fn on_message(&mut self, message: Message<Request>) {
        match message {
            Message::Request(request) => self.on_request(request),
            // What nobody waits for is not begun; what is begun is finished.
            Message::Left(_) => {}
            Message::Problems(answer) => _ = answer.send(self.problems.list()),
            Message::Counters { answer, .. } => _ = answer.send(self.count().list()),
            Message::Stop => {
                self.is_stopping = true;
                // Who waits hears that it is over.
                drop(self.admission.on_stop());
                self.turns.clear();
                self.tell(Input::Stop);
            }
        }
    }

    /// Takes a request.
    fn on_request(&mut self, request: Request) {
        let needs = match &request {
            Request::Call(Waiting { makes: true, .. }) => Needs::Enforcement,
            // Until then it would say that nobody is refused.
            Request::Call(_) | Request::Status(_) => Needs::Restored,
            Request::Monitor(_) | Request::Denials { .. } => return self.serve(request),
        };
        match request {
            Request::Call(Waiting { turn, .. }) if self.is_unable() => {
                turn.refuse(Error::Host { reason: "there is no thread for it".to_owned() });
            }
            request => match self.admission.admit(needs, request) {
                Verdict::Serve(request) => self.serve(request),
                Verdict::Wait { open } => self.open_if(open),
            },
        }
    }

    /// Serves a request for which what has to be known is known.
    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Call(waiting) => self.turns.push(waiting.caller.user(), waiting),
            Request::Monitor(answer) => {
                self.clock = self.clock.kept();
                let snapshot = self.snapshot();
                let _ = answer.send(self.events.subscribe(snapshot));
            }
            Request::Denials { recent, answer } => {
                let _ = answer.send(self.denials.subscribe(recent));
            }
            Request::Status(answer) => _ = answer.send(self.status()),
        }
    }

    /// Has it found out how a reservation would be enforced.
    pub(super) fn open_if(&mut self, open: bool) {
        if open {
            self.ask(Job::Open);
        }
    }

    /// Refuses those who wait to learn how what they ask for would be enforced: it cannot be found
    /// out for now.
    pub(super) fn refuse_waiting(&mut self, refused: Refused) {
        let error = view::error(Failure::Host(refused), self.level());
        for request in self.admission.on_not_opened() {
            if let Request::Call(Waiting { turn, .. }) = request {
                turn.refuse(error.clone());
            }
        }
    }

    /// Serves whose turn it is.
    pub(super) fn serve_turn(&mut self) {
        let Some((Waiting { caller, turn, .. }, slot)) = self.turns.next() else { return };
        self.clock = self.clock.kept();
        // What nobody waits for is not begun.
        if !turn.is_left() {
            turn.serve(self, caller, slot);
        }
    }

    /// Whether the thread could not be started.
    fn is_unable(&self) -> bool {
        self.worker.is_none() && self.enforcer.is_none()
    }

    /// Has the ledger carry out what a call means; answered when it has.
    pub(super) fn order<T>(
        &mut self,
        asker: Asker<T>,
        command: impl FnOnce(&Self, &Caller, Option<&Described>) -> Result<Command, Error>,
    ) where
        Reply: From<oneshot::Sender<Result<T, Error>>>,
    {
        self.notice_closed();
        let command = match command(self, &asker.caller, asker.socket.as_ref()) {
            Ok(command) => command,
            Err(error) => return asker.reply(Err(error)),
        };
        self.last_command += 1;
        let id = CommandId(self.last_command);
        let Asker { caller, socket, answer, slot } = asker;
        let socket = socket.map(|socket| socket.descriptor);
        self.pending.insert(id, Pending { caller, reply: answer.into(), socket, _slot: slot });
        self.tell(Input::Command { id, command });
    }

    pub(super) fn terms(&self, caller: &Caller, call: asked::Create) -> Result<Terms, Error> {
        let expires_at = match call.lifetime {
            None => None,
            Some(seconds) => match Duration::try_from_secs_f64(seconds) {
                Ok(lifetime) if !lifetime.is_zero() => Some(clock::now() + lifetime),
                _ => return Err(invalid("lifetime", format!("{seconds} is no time to come"))),
            },
        };
        let mut terms = Terms {
            owner: match call.owner {
                Some(NOBODY) => return Err(no_user("owner")),
                Some(uid) if uid != caller.user() => Owner { uid, ..Owner::default() },
                _ => Self::owner(caller),
            },
            purpose: purpose(call.purpose)?,
            created_at: SystemTime::now(),
            expires_at,
            refusal: call.refusal.map(view::asked_refusal),
            dry_run: call.dry_run.unwrap_or(false),
            low_ports: call.low_ports.unwrap_or(false),
            admitted: admitted(call.users, call.cgroups)?,
        };
        if let Some(only) = self.enforcement.as_ref().and_then(|found| found.refusal)
            && *terms.refusal.get_or_insert(only) != only
        {
            let reason = "strangers cannot be refused in that way".to_owned();
            return Err(Error::GuardTooWeak { level: self.level(), reason });
        }
        Ok(terms)
    }

    pub(super) fn acquisition(
        &self,
        caller: &Caller,
        call: &asked::Acquire,
        socket: &Described,
    ) -> Result<Command, Error> {
        let protocol = self.usable(socket)?;
        if call.protocol.is_some_and(|wanted| view::asked_protocol(wanted) != protocol) {
            return Err(super::associate::unsupported(format!("it is a {protocol} socket")));
        }
        if let Some(id) = self.owned_by(&socket.descriptor) {
            let reason = format!("reservation {id} ends with it already");
            return Err(super::associate::unsupported(reason));
        }
        let wanted = match call.start_port.unwrap_or(0) {
            0 => match call.number_of_ports.try_into() {
                Ok(count) => Wanted::Any(count),
                Err(_) => return Err(invalid("number_of_ports", InvalidBlock::Empty.to_string())),
            },
            start => Wanted::Block(block(start, call.number_of_ports)?),
        };
        let terms = Terms {
            owner: Self::owner(caller),
            purpose: purpose(call.purpose.clone())?,
            created_at: SystemTime::now(),
            expires_at: None,
            refusal: self.enforcement.as_ref().and_then(|found| found.refusal),
            dry_run: false,
            low_ports: false,
            admitted: Admitted::default(),
        };
        let caller = self.caller(caller);
        Ok(Command::Acquire { caller, protocol, wanted, terms: Box::new(terms) })
    }

    /// The caller as the ledger knows it.
    pub(super) fn caller(&self, caller: &Caller) -> ::ports::Caller {
        let is_privileged = self.access.may_change(caller).is_ok();
        ::ports::Caller { uid: caller.user(), is_privileged }
    }

    /// Who asks, for those who find the reservation later.
    fn owner(caller: &Caller) -> Owner {
        let known = caller.known();
        let program = known.map(|process| process.program.clone());
        let cgroup = known.and_then(|process| process.cgroup.clone());
        let unit = cgroup.as_deref().and_then(unit_of).map(str::to_owned);
        let (uid, pid) = (caller.user(), caller.process());
        Owner { uid, pid, program, unit, cgroup, ..Owner::default() }
    }

    /// Answers a command.
    pub(super) fn on_reply(&mut self, id: CommandId, result: Result<Outcome, Failure>) {
        let in_the_way = self.in_the_way.take();
        let Some(Pending { caller, reply, .. }) = self.pending.remove(&id) else { return };
        let answered = match result {
            Ok(Outcome::Reserved(one) | Outcome::Changed(one)) => {
                Ok(Concluded::Reservation(self.shown(&one, &caller)))
            }
            Ok(Outcome::Ended { killed, .. }) => Ok(Concluded::Ended { killed }),
            Err(Failure::InUse(port)) => {
                let holder = in_the_way;
                Err(Error::SharingViolation { port, holder, reservation: None })
            }
            Err(Failure::Overlap { port, with }) => {
                let reservation = Some(self.shown(&with, &caller));
                Err(Error::SharingViolation { port, holder: None, reservation })
            }
            Err(failure) => Err(view::error(failure, self.level())),
        };
        reply.send(answered);
    }

    /// What is to be looked for by a list of sockets.
    pub(super) fn wanted(&self, call: &asked::Holders) -> Result<Search, Error> {
        let ports = match (call.start_port, call.number_of_ports) {
            (None, None) => 0..=u16::MAX,
            (start, count) => block(start.unwrap_or(0), count.unwrap_or(1))?.ports(),
        };
        let of = |one: &Reservation| ((one.protocol, one.block.last()), (one.block, one.id));
        let wanted = holders::Wanted {
            protocol: call.protocol.map(view::asked_protocol),
            ports,
            is_reserved: call.reserved.unwrap_or(false),
            reservations: self.manager.reservations().map(of).collect(),
            // A descriptor of its own: the guard may be taken off meanwhile.
            sockets: self.guard.as_ref().and_then(|guard| guard.sockets().ok().map(Arc::new)),
        };
        Ok((self.holders.clone(), Box::new(wanted)))
    }

    /// A reservation as this caller may see it.
    pub(super) fn shown(&self, one: &Reservation, caller: &Caller) -> Box<asked::Reservation> {
        let mut shown = self.shown_to_all(one);
        if shown.token.is_none()
            && (one.owner.uid == caller.user() || self.access.may_change(caller).is_ok())
        {
            shown.token = Some(one.token.get().into());
        }
        Box::new(shown)
    }

    /// A reservation as everybody may see it: tokens of persistent ones are looked up without any
    /// privilege, and used with it.
    pub(super) fn shown_to_all(&self, one: &Reservation) -> asked::Reservation {
        let guard = self.guard.as_ref();
        let denials = guard.and_then(|guard| guard.denials(one.id).ok()).unwrap_or(0);
        let owner = self.owners.of(one.owner.uid);
        let mut shown = view::reservation(one, denials, owner, self.clock);
        if one.kind == ::ports::Kind::Persistent {
            shown.token = Some(one.token.get().into());
        }
        shown
    }

    pub(super) fn share(&mut self, one: asked::Reservation) -> Arc<asked::Reservation> {
        self.listed.share((one.id, one.token.is_some()), one)
    }

    /// What there is, as events, each made when it is sent.
    fn snapshot(&mut self) -> Lazy<Arc<asked::Event>> {
        let state = |one: &Reservation| {
            (format!("{} is reserved", view::name(one)), self.shown_to_all(one))
        };
        let states: Vec<_> = self.manager.reservations().map(state).collect();
        let states: Vec<_> =
            states.into_iter().map(|(text, one)| (text, self.share(one))).collect();
        Box::new(states.into_iter().map(|(text, one)| {
            Arc::new(view::event(EventKind::State, text, Arc::unwrap_or_clone(one)))
        }))
    }
}

/// A block, or what is wrong with it.
pub(super) fn block(start: u16, count: u16) -> Result<Block, Error> {
    Block::new(start.into(), count.into()).map_err(|error| {
        let parameter = match error {
            InvalidBlock::NoStart => "start_port",
            InvalidBlock::Empty | InvalidBlock::PastLast => "number_of_ports",
        };
        invalid(parameter, error.to_string())
    })
}

pub(super) fn admitted(
    users: Option<Vec<u32>>,
    cgroups: Option<Vec<String>>,
) -> Result<Admitted, Error> {
    let users = users.unwrap_or_default();
    let cgroups = cgroups.unwrap_or_default();
    if users.len() > MOST_ADMITTED {
        return Err(invalid("users", format!("there are more than {MOST_ADMITTED}")));
    }
    if users.contains(&NOBODY) {
        return Err(no_user("users"));
    }
    if cgroups.len() > MOST_ADMITTED {
        return Err(invalid("cgroups", format!("there are more than {MOST_ADMITTED}")));
    }
    let cgroups: Result<_, _> = cgroups.iter().map(|name| cgroup(name)).collect();
    Ok(Admitted { users: users.into_iter().collect(), cgroups: cgroups? })
}

fn no_user(parameter: &str) -> Error {
    invalid(parameter, format!("{NOBODY} is the number of no user"))
}

/// The name of a control group in one form: a unit's name, or a path that starts with `/`.
fn cgroup(name: &str) -> Result<String, Error> {
    if is_unit(name) {
        return Ok(name.to_owned());
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let is_usable = name.len() <= LONGEST_PATH
        && !name.contains(|letter: char| letter.is_control())
        && !parts.iter().any(|part| matches!(*part, "." | ".."));
    match is_usable && !name.is_empty() {
        true => Ok(format!("/{}", parts.join("/"))),
        false => {
            let reason = format!("{name:?} is neither a path below the root nor a unit");
            Err(invalid("cgroups", reason))
        }
    }
}

fn purpose(text: Option<String>) -> Result<Option<String>, Error> {
    match text {
        Some(text) if text.len() > LONGEST_PURPOSE => {
            Err(invalid("purpose", format!("it is longer than {LONGEST_PURPOSE} bytes")))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

fn invalid(parameter: &str, reason: String) -> Error {
    Error::InvalidParameter { parameter: parameter.to_owned(), reason }
}

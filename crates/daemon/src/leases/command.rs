//! What others ask of the leases, and what they are told.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::daemon::Problem;
use api::lease::{self, Error};
use api::server::Subscription;
use dhcp::v4::{Command, CommandId, Failure, Input, Outcome};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::holder::Search;
use super::{EVENTS, Leases};
use crate::access::Caller;
use crate::clock;

/// How long giving leases back may take when the daemon or the management of an interface ends.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A command that was carried out.
#[derive(Debug)]
pub struct Completed {
    /// The client afterwards.
    pub lease: lease::Lease,
    /// How it ended.
    pub outcome: Outcome,
}

/// A request to [`Leases`].
#[derive(Debug)]
pub(super) enum Request {
    Command {
        id: CommandId,
        interface: String,
        command: Asked,
        timeout: Duration,
        answer: oneshot::Sender<Result<Completed, Error>>,
    },
    /// The caller is gone.
    Cancel(CommandId),
    /// To be answered when it is its caller's turn.
    Read(Caller, Read),
    Summary(oneshot::Sender<Summary>),
    Counters(oneshot::Sender<Vec<api::daemon::Counter>>),
    /// The daemon ends.
    Stop,
}

/// How the leases are doing.
#[derive(Debug)]
pub struct Summary {
    /// Where name servers go.
    pub resolver: String,
    /// Interfaces that have a client.
    pub interfaces: usize,
    /// Those of them that have a lease.
    pub leases: usize,
    /// What an administrator should know of.
    pub problems: Vec<Problem>,
}

/// What looks at every lease.
#[derive(Debug)]
pub(super) enum Read {
    List { pattern: Option<String>, answer: oneshot::Sender<Vec<Arc<lease::Lease>>> },
    Subscribe { pattern: Option<String>, answer: oneshot::Sender<Subscription<lease::Event>> },
}

/// A command as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Acquire,
    Renew,
    Release,
    /// With the address configured by hand; the interface's first if there is none.
    Inform(Option<Ipv4Addr>),
}

/// A command on its way through an engine.
#[derive(Debug)]
pub(super) struct Pending {
    interface: u32,
    name: String,
    answer: oneshot::Sender<Result<Completed, Error>>,
}

/// The way to the leases, for any number of holders.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::UnboundedSender<Request>,
    next_command: Arc<AtomicU64>,
}

/// Cancels a command when its caller goes away before the answer.
struct Guard<'a> {
    handle: &'a Handle,
    id: CommandId,
    answered: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let _ = self.handle.requests.send(Request::Cancel(self.id));
        }
    }
}

impl Handle {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests, next_command: Arc::new(AtomicU64::new(1)) }, receiver)
    }

    /// Obtains a lease.
    pub async fn acquire(&self, interface: &str, timeout: Duration) -> Result<Completed, Error> {
        self.command(interface, Asked::Acquire, timeout).await
    }

    /// Extends a lease.
    pub async fn renew(&self, interface: &str, timeout: Duration) -> Result<Completed, Error> {
        self.command(interface, Asked::Renew, timeout).await
    }

    /// Gives a lease back.
    pub async fn release(&self, interface: &str, timeout: Duration) -> Result<Completed, Error> {
        self.command(interface, Asked::Release, timeout).await
    }

    /// Asks for parameters only.
    pub async fn inform(
        &self,
        interface: &str,
        address: Option<Ipv4Addr>,
        timeout: Duration,
    ) -> Result<Completed, Error> {
        self.command(interface, Asked::Inform(address), timeout).await
    }

    async fn command(
        &self,
        interface: &str,
        command: Asked,
        timeout: Duration,
    ) -> Result<Completed, Error> {
        let id = CommandId(self.next_command.fetch_add(1, Ordering::Relaxed));
        let cancelled = || Error::Cancelled { interface: interface.to_owned() };
        let (answer, answered) = oneshot::channel();
        let request =
            Request::Command { id, interface: interface.to_owned(), command, timeout, answer };
        self.requests.send(request).map_err(|_| cancelled())?;
        let mut guard = Guard { handle: self, id, answered: false };
        let result = answered.await;
        guard.answered = true;
        result.unwrap_or_else(|_| Err(cancelled()))
    }

    /// Every client whose interface matches, by interface.
    pub async fn list(&self, caller: &Caller, pattern: Option<String>) -> Vec<Arc<lease::Lease>> {
        let read = |answer| Request::Read(caller.clone(), Read::List { pattern, answer });
        self.ask(read).await.unwrap_or_default()
    }

    /// What there is, and what happens from then on. `None` when the daemon is ending.
    pub async fn subscribe(
        &self,
        caller: &Caller,
        pattern: Option<String>,
    ) -> Option<Subscription<lease::Event>> {
        self.ask(|answer| Request::Read(caller.clone(), Read::Subscribe { pattern, answer })).await
    }

    /// How the leases are doing. `None` when the daemon is ending.
    pub async fn summary(&self) -> Option<Summary> {
        self.ask(Request::Summary).await
    }

    /// Counts since start.
    pub async fn counters(&self) -> Vec<api::daemon::Counter> {
        self.ask(Request::Counters).await.unwrap_or_default()
    }

    /// Ends [`Leases::run`].
    pub fn stop(&self) {
        let _ = self.requests.send(Request::Stop);
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).ok()?;
        answered.await.ok()
    }
}

impl Leases {
    /// Serves a request.
    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Command { id, interface, command, timeout, answer } => {
                match self.prepare(id, &interface, command) {
                    Ok((index, command)) => {
                        let deadline = clock::now() + timeout;
                        let pending = Pending { interface: index, name: interface, answer };
                        self.pending.insert(id, pending);
                        self.hurry(index);
                        self.tell(index, Input::Command { id, command, deadline });
                    }
                    Err(Error::NotManaged { interface, .. })
                        if matches!(command, Asked::Renew | Asked::Release) =>
                    {
                        self.refuse_with_holder(interface, answer);
                    }
                    Err(error) => _ = answer.send(Err(error)),
                }
            }
            Request::Cancel(id) => {
                if let Some(pending) = self.pending.remove(&id) {
                    self.tell(pending.interface, Input::Cancel { id });
                }
            }
            Request::Read(caller, read) => self.turns.push(caller.user(), (caller, read)),
            Request::Summary(answer) => _ = answer.send(self.summary()),
            Request::Counters(answer) => {
                let mut counters = self.counters.clone();
                for interface in self.interfaces.values() {
                    counters.add_client(interface.client.counters());
                }
                _ = answer.send(counters.list());
            }
            Request::Stop => self.stop(),
        }
    }

    /// Answers whose turn it is. What nobody waits for is not begun.
    pub(super) fn serve_turn(&mut self) {
        match self.turns.next() {
            Some(((_, Read::List { pattern, answer }), _)) if !answer.is_closed() => {
                let _ = answer.send(self.view_all(pattern.as_deref()));
            }
            Some(((_, Read::Subscribe { pattern, answer }), _)) if !answer.is_closed() => {
                let events = self.events.subscribe();
                let snapshot = self.snapshot(pattern.as_deref());
                let _ = answer.send(Subscription { snapshot, events });
            }
            _ => {}
        }
    }

    /// Ends, at once or when every lease is given back.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let leased: Vec<u32> = match self.config.daemon.release_on_stop {
            true => self.interfaces.keys().copied().collect(),
            false => Vec::new(),
        };
        let commands: Vec<_> =
            leased.into_iter().map(|index| (index, self.own_command())).collect();
        self.stopping = Some(commands.iter().map(|(_, id)| *id).collect());
        let deadline = clock::now() + STOP_WITHIN;
        for (index, id) in commands {
            self.tell(
                index,
                Input::Command { id, command: Command::Stop { release: true }, deadline },
            );
        }
    }

    /// The interface a command is for, managed from now on if the command says so.
    fn prepare(
        &mut self,
        id: CommandId,
        name: &str,
        command: Asked,
    ) -> Result<(u32, Command), Error> {
        let interface = || name.to_owned();
        let link = self.links.values().find(|link| link.name == name);
        let Some(index) = link.map(|link| link.index) else {
            return Err(Error::NoSuchInterface { interface: interface() });
        };
        let known = self.interfaces.get(&index);
        // Made for one question, or told to end: not one that others can go by.
        let leaving = known.is_some_and(|known| known.leaving.is_some());
        let managed = known.is_some();
        if let (Asked::Inform(None), None) = (command, self.first_address(index)) {
            let reason = "it has no IPv4 address that was configured by hand".to_owned();
            return Err(Error::Host { interface: interface(), reason });
        }
        match command {
            Asked::Acquire | Asked::Inform(_) if !managed => {
                if link.is_some_and(|link| link.is_loopback) {
                    return Err(Error::NotManaged { interface: interface(), holder: None });
                }
                if command == Asked::Acquire {
                    self.look_for_holder(index);
                }
                self.manage(index);
                if let Some(known) = self.interfaces.get_mut(&index) {
                    known.on_command = command == Asked::Acquire;
                    // A client made for one question goes when it is answered.
                    known.leaving = (command != Asked::Acquire).then_some(id);
                }
                self.tell_link(index);
            }
            Asked::Acquire if leaving => {
                if let Some(known) = self.interfaces.get_mut(&index) {
                    known.leaving = None;
                    known.on_command = true;
                }
            }
            Asked::Renew | Asked::Release if !managed || leaving => {
                return Err(Error::NotManaged { interface: interface(), holder: None });
            }
            _ => {}
        }
        let command = match command {
            Asked::Acquire => Command::Acquire,
            Asked::Renew => Command::Renew,
            Asked::Release => Command::Release,
            Asked::Inform(address) => {
                let first = self.first_address(index);
                Command::Inform { address: address.or(first).unwrap_or(Ipv4Addr::UNSPECIFIED) }
            }
        };
        Ok((index, command))
    }

    /// Answers that an interface is not ours, and whose it seems to be.
    fn refuse_with_holder(
        &self,
        interface: String,
        answer: oneshot::Sender<Result<Completed, Error>>,
    ) {
        let link = self.links.values().find(|link| link.name == interface);
        let search = link.map(|link| self.search_holder(link.index));
        tokio::task::spawn_blocking(move || {
            let holder = search.and_then(Search::run);
            let _ = answer.send(Err(Error::NotManaged { interface, holder }));
        });
    }

    /// Somebody waits for this interface: it is not the pacer's any more.
    fn hurry(&mut self, index: u32) {
        if self.pacer.is_waiting(index) {
            self.pacer.forget(index);
            self.tell_link(index);
        }
    }

    /// Answers a command. Our own have no caller.
    pub(super) fn on_reply(&mut self, index: u32, id: CommandId, result: Result<Outcome, Failure>) {
        if let Some(stopping) = &mut self.stopping {
            stopping.remove(&id);
        }
        if let Some(pending) = self.pending.remove(&id) {
            self.answer(index, pending, result);
        }
        let known = self.interfaces.get_mut(&index);
        if let Some(known) = known.filter(|known| known.leaving == Some(id)) {
            // Whoever else asks something of it has their answer first.
            let other = self.pending.iter().find(|(_, pending)| pending.interface == index);
            if let Some((other, _)) = other {
                known.leaving = Some(*other);
                return;
            }
            let name = self.name(index);
            tracing::info!("{name} is not managed any more");
            self.forget_interface(index, &name);
        }
    }

    fn answer(&self, index: u32, pending: Pending, result: Result<Outcome, Failure>) {
        let answer = match result {
            Ok(outcome) => match self.view(index) {
                Some(mut lease) => {
                    if let Outcome::Informed { lease: said } = &outcome {
                        super::view::fill(&mut lease, said, clock::Clock::read());
                    }
                    Ok(Completed { lease, outcome })
                }
                None => Err(Error::NoSuchInterface { interface: pending.name }),
            },
            Err(failure) => Err(error(pending.name, failure)),
        };
        // A caller that has gone meanwhile does not want to know.
        let _ = pending.answer.send(answer);
    }

    /// Answers the commands of an interface that is gone.
    pub(super) fn fail_pending(&mut self, index: u32) {
        let of_interface = |pending: &Pending| pending.interface == index;
        let gone: Vec<CommandId> =
            self.pending.iter().filter(|(_, p)| of_interface(p)).map(|(id, _)| *id).collect();
        for pending in gone.iter().filter_map(|id| self.pending.remove(id)).collect::<Vec<_>>() {
            let error = Error::NoSuchInterface { interface: pending.name };
            let _ = pending.answer.send(Err(error));
        }
    }

    /// Goes by the configuration, as it is now.
    pub(super) fn use_configuration(&mut self) {
        self.config = self.configured.borrow_and_update().clone();
        let choice = crate::resolver::Choice::new(&self.config.daemon, &self.own_resolver_file);
        if choice != self.choice {
            if let Some(resolver) = &self.resolver {
                resolver.switch(choice.clone());
            }
            self.choice = choice;
        }
        for (index, name) in self.names() {
            let on_command = self.interfaces.get(&index).map(|known| known.on_command);
            match (on_command, self.config.is_managed(&name)) {
                (None, true) => self.consider(index),
                (Some(false), false) => self.stop_managing(index),
                (Some(_), _) => {
                    self.use_configured_metric(index);
                    self.configure(index);
                }
                (None, false) => {}
            }
        }
    }

    /// The interface is no longer ours: its lease goes back, and with the answer its client.
    fn stop_managing(&mut self, index: u32) {
        let id = self.own_command();
        if let Some(interface) = self.interfaces.get_mut(&index) {
            interface.leaving = Some(id);
            let deadline = clock::now() + STOP_WITHIN;
            let command = Command::Stop { release: true };
            self.tell(index, Input::Command { id, command, deadline });
        }
    }

    /// A metric that changed takes effect with the next lease; what is installed keeps its own.
    fn use_configured_metric(&mut self, index: u32) {
        let Some(metric) = self.configured_metric(index) else { return };
        if let Some(interface) = self.interfaces.get_mut(&index)
            && interface.installed.is_empty()
        {
            interface.metric = metric;
        }
    }

    /// The metric that the configuration gives an interface.
    pub(super) fn configured_metric(&self, index: u32) -> Option<u32> {
        let link = self.links.get(&index)?;
        Some(self.config.settings(&link.name).metric(index))
    }

    fn names(&self) -> Vec<(u32, String)> {
        self.links.iter().map(|(index, link)| (*index, link.name.clone())).collect()
    }
}

/// A failure as callers know it.
fn error(interface: String, failure: Failure) -> Error {
    match failure {
        Failure::LinkDown => Error::LinkDown { interface },
        Failure::NotLeased => Error::NotLeased { interface },
        Failure::NoAnswer { waited, tries } => {
            Error::NoAnswer { interface, waited: waited.as_secs_f64(), tries }
        }
        Failure::Refused { server, message } => {
            Error::Refused { interface, server: server.into(), message }
        }
        Failure::Conflict { address, hardware } => Error::Conflict {
            interface,
            address: address.into(),
            hardware_address: hardware.to_string(),
        },
        Failure::Ipv6Only { wait } => Error::Ipv6Only { interface, wait: wait.as_secs_f64() },
        Failure::Cancelled => Error::Cancelled { interface },
        Failure::Host { reason } => Error::Host { interface, reason },
        other => Error::Host { interface, reason: other.to_string() },
    }
}

/// The channel of events.
pub(super) fn events() -> broadcast::Sender<Arc<lease::Event>> {
    broadcast::Sender::new(EVENTS)
}

//! What others ask of the leases, and what they are told.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::daemon::Problem;
use api::lease::{self, Error};
use api::server::Subscription;
use dhcp::v4::{self, Outcome};
use engine::{CommandId, Reason, Refused};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::roster::{ClientKey, Failure, Input, Operation, Refusal};
use super::{EVENTS, Leases};
use crate::access::Caller;
use crate::clock;

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
        command: Operation,
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

/// Who waits for the answer to a command.
#[derive(Debug)]
pub(super) struct Pending {
    /// As the caller names it.
    interface: String,
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
        self.command(interface, Operation::Acquire, timeout).await
    }

    /// Extends a lease.
    pub async fn renew(&self, interface: &str, timeout: Duration) -> Result<Completed, Error> {
        self.command(interface, Operation::Renew, timeout).await
    }

    /// Gives a lease back.
    pub async fn release(&self, interface: &str, timeout: Duration) -> Result<Completed, Error> {
        self.command(interface, Operation::Release, timeout).await
    }

    /// Asks for parameters only.
    pub async fn inform(
        &self,
        interface: &str,
        address: Option<Ipv4Addr>,
        timeout: Duration,
    ) -> Result<Completed, Error> {
        self.command(interface, Operation::Inform(address), timeout).await
    }

    async fn command(
        &self,
        interface: &str,
        command: Operation,
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
                let deadline = clock::now() + timeout;
                self.pending.insert(id, Pending { interface: interface.clone(), answer });
                self.tell(Input::Command { id, interface: &interface, command, deadline });
            }
            Request::Cancel(id) => {
                self.pending.remove(&id);
                self.tell(Input::Cancel(id));
            }
            Request::Read(caller, read) => self.turns.push(caller.user(), (caller, read)),
            Request::Summary(answer) => _ = answer.send(self.summary()),
            Request::Counters(answer) => {
                let mut counters = self.roster.counters();
                counters.add_all(&self.counters);
                _ = answer.send(counters.list());
            }
            Request::Stop => self.tell(Input::Stop),
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

    /// Answers a command that a client has carried out, or has not.
    pub(super) fn answer(
        &mut self,
        id: CommandId,
        client: ClientKey,
        result: Result<Outcome, Failure>,
    ) {
        let Some(Pending { interface, answer }) = self.pending.remove(&id) else { return };
        let answered = match result {
            Ok(outcome) => match self.view(client) {
                Some(mut lease) => {
                    if let Outcome::Informed { lease: said } = &outcome {
                        super::view::fill(&mut lease, said, clock::Clock::read());
                    }
                    Ok(Completed { lease, outcome })
                }
                None => Err(Error::NoSuchInterface { interface }),
            },
            Err(Failure::Client(failure)) => Err(error(interface, failure)),
            Err(Failure::InterfaceGone) => Err(Error::NoSuchInterface { interface }),
        };
        // A caller that has gone meanwhile does not want to know.
        let _ = answer.send(answered);
    }

    /// Answers a command that no client took.
    pub(super) fn refuse(&mut self, id: CommandId, refusal: Refusal) {
        let Some(Pending { interface, answer }) = self.pending.remove(&id) else { return };
        let refused = match refusal {
            Refusal::NoSuchInterface => Error::NoSuchInterface { interface },
            Refusal::Loopback => Error::NotManaged { interface, holder: None },
            Refusal::NoAddress => {
                let reason = "it has no IPv4 address that was configured by hand".to_owned();
                Error::Host { interface, reason }
            }
            Refusal::NotManaged { ifindex } => {
                let search = self.search_holder(self.client(ifindex));
                tokio::task::spawn_blocking(move || {
                    let holder = search.run();
                    let _ = answer.send(Err(Error::NotManaged { interface, holder }));
                });
                return;
            }
        };
        let _ = answer.send(Err(refused));
    }
}

/// A failure as callers know it.
fn error(interface: String, failure: v4::Failure) -> Error {
    match failure {
        v4::Failure::LinkDown => Error::LinkDown { interface },
        v4::Failure::NotLeased => Error::NotLeased { interface },
        v4::Failure::NoAnswer { waited, tries } => {
            Error::NoAnswer { interface, waited: waited.as_secs_f64(), tries }
        }
        v4::Failure::Refused { server, message } => {
            Error::Refused { interface, server: server.into(), message }
        }
        v4::Failure::Conflict { address, hardware } => Error::Conflict {
            interface,
            address: address.into(),
            hardware_address: hardware.to_string(),
        },
        v4::Failure::Ipv6Only { wait } => Error::Ipv6Only { interface, wait: wait.as_secs_f64() },
        v4::Failure::Cancelled => Error::Cancelled { interface },
        v4::Failure::Host(Refused { reason: Reason::NoSuchInterface, .. }) => {
            Error::NoSuchInterface { interface }
        }
        v4::Failure::Host(refused) => Error::Host { interface, reason: refused.text },
    }
}

/// The channel of events.
pub(super) fn events() -> broadcast::Sender<Arc<lease::Event>> {
    broadcast::Sender::new(EVENTS)
}

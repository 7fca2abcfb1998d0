//! What is made of the requests of others.

use api::lease::{Error, Server};
use dhcp::v4::{self, Outcome};
use engine::{CommandId, Reason, Refused};
use tokio::sync::oneshot;

use super::Leases;
use super::handle::{Completed, Read, Request};
use super::roster::{ClientKey, Failure, Input, Refusal};
use crate::clock;
use crate::counters::Counters;
use crate::subsystem::Message;

/// Who waits for the answer to a command.
#[derive(Debug)]
pub(super) struct Pending {
    /// As the caller names it.
    interface: String,
    answer: oneshot::Sender<Result<Completed, Error>>,
}

impl Leases {
    /// Takes what came.
    pub(super) fn on_message(&mut self, message: Message<Request>) {
        match message {
            Message::Request(request) => self.on_request(request),
            Message::Left(number) => {
                let id = CommandId(number.0);
                self.pending.remove(&id);
                self.tell(Input::Cancel(id));
            }
            Message::Problems(answer) => _ = answer.send(self.problems.list()),
            Message::Counters { per_interface, answer } => {
                _ = answer.send(self.count(per_interface).list());
            }
            Message::Stop => self.tell(Input::Stop),
        }
    }

    fn count(&self, per_interface: bool) -> Counters {
        let mut counters = self.roster.counters(per_interface);
        counters.add_all(&self.counters);
        counters
    }

    /// Serves a request.
    fn on_request(&mut self, request: Request) {
        match request {
            Request::Command { id, interface, command, timeout, answer } => {
                let deadline = clock::now() + timeout;
                self.pending.insert(id, Pending { interface: interface.clone(), answer });
                self.tell(Input::Command { id, interface: &interface, command, deadline });
            }
            Request::Read(caller, read) => self.turns.push(caller.user(), (caller, read)),
            Request::Resolve { reference, answer } => {
                let link = self.roster.resolve(&reference);
                let _ = answer.send(link.map(|link| link.name.clone()));
            }
            Request::Summary(answer) => _ = answer.send(self.summary()),
        }
    }

    /// Answers whose turn it is. What nobody waits for is not begun.
    pub(super) fn serve_turn(&mut self) {
        match self.turns.next() {
            Some(((_, Read::List { pattern, answer }), _)) if !answer.is_closed() => {
                let _ = answer.send(self.view_all(pattern.as_deref()));
            }
            Some(((_, Read::Subscribe { pattern, answer }), _)) if !answer.is_closed() => {
                let snapshot = self.snapshot(pattern.as_deref());
                let _ = answer.send(self.events.subscribe(snapshot));
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
            Ok(outcome) => match self.view_after(client, &outcome) {
                Some(lease) => Ok(Completed { lease, outcome }),
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
            Error::Refused { interface, server: Server::at(server), message }
        }
        v4::Failure::Conflict { address, hardware } => Error::Conflict {
            interface,
            address: address.into(),
            hardware_address: hardware.to_string(),
        },
        v4::Failure::Ipv6Only { wait } => Error::Ipv6Only { interface, wait: wait.as_secs_f64() },
        v4::Failure::Cancelled => Error::Cancelled { interface: Some(interface) },
        v4::Failure::Host(Refused { reason: Reason::NoSuchInterface, .. }) => {
            Error::NoSuchInterface { interface }
        }
        v4::Failure::Host(refused) => Error::Host { interface, reason: refused.text },
    }
}

//! What others ask of the reservations, and what they are told.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use api::ports::{self as asked, Error};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::access::Caller;

/// What was, and what comes from then on, with no gap between.
#[derive(Debug)]
pub struct Following<T> {
    /// What was or is, oldest first.
    pub before: Vec<Arc<T>>,
    /// What comes. A follower that falls behind by more than the channel holds misses some.
    pub next: broadcast::Receiver<Arc<T>>,
}

/// A request to [`Ports`](super::Ports).
#[derive(Debug)]
pub(super) enum Request {
    Call { caller: Caller, call: Call, answer: oneshot::Sender<Answer> },
    Monitor(oneshot::Sender<Following<asked::Event>>),
    Denials { recent: usize, answer: oneshot::Sender<Following<asked::Denial>> },
    Status(oneshot::Sender<asked::StatusReply>),
}

/// A call that is answered once.
#[derive(Debug)]
pub(super) enum Call {
    Create(asked::Create),
    Lookup(asked::Lookup),
    Delete(asked::Delete),
    List(asked::List),
    Associate(asked::Associate, OwnedFd),
    Acquire(asked::Acquire, OwnedFd),
    Release(asked::Release),
    Grant(asked::Grant),
    Revoke(asked::Revoke),
    Holders(asked::Holders),
}

/// How a call ended.
pub(super) type Answer = Result<Answered, Error>;

#[derive(Debug)]
pub(super) enum Answered {
    Done,
    Reservation(Box<asked::Reservation>),
    Reservations(Vec<asked::Reservation>),
    Holders(Vec<asked::Holder>),
    Killed(u32),
}

/// The way to the reservations, for any number of holders.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::UnboundedSender<Request>,
}

impl Handle {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests }, receiver)
    }

    /// Reserves a block until it is deleted. Whether the caller may has been decided.
    pub async fn create(
        &self,
        caller: &Caller,
        call: asked::Create,
    ) -> Result<asked::Reservation, Error> {
        self.reservation(caller, Call::Create(call)).await
    }

    /// Finds a persistent reservation by its exact block.
    pub async fn lookup(
        &self,
        caller: &Caller,
        call: asked::Lookup,
    ) -> Result<asked::Reservation, Error> {
        self.reservation(caller, Call::Lookup(call)).await
    }

    /// Ends a persistent reservation. Whether the caller may has been decided.
    pub async fn delete(
        &self,
        caller: &Caller,
        call: asked::Delete,
    ) -> Result<asked::DeleteReply, Error> {
        match self.call(caller, Call::Delete(call)).await? {
            Answered::Killed(killed) => Ok(asked::DeleteReply { killed }),
            _ => Err(Error::Cancelled {}),
        }
    }

    /// All reservations, by protocol and port.
    pub async fn list(
        &self,
        caller: &Caller,
        call: asked::List,
    ) -> Result<Vec<asked::Reservation>, Error> {
        match self.call(caller, Call::List(call)).await? {
            Answered::Reservations(reservations) => Ok(reservations),
            _ => Err(Error::Cancelled {}),
        }
    }

    /// Gives a socket its grant, if the token is right and the caller may use it.
    pub async fn associate(
        &self,
        caller: &Caller,
        call: asked::Associate,
        socket: OwnedFd,
    ) -> Result<asked::Reservation, Error> {
        self.reservation(caller, Call::Associate(call, socket)).await
    }

    /// Reserves a block for the life of a socket.
    pub async fn acquire(
        &self,
        caller: &Caller,
        call: asked::Acquire,
        socket: OwnedFd,
    ) -> Result<asked::Reservation, Error> {
        self.reservation(caller, Call::Acquire(call, socket)).await
    }

    /// Ends a runtime reservation before its socket does.
    pub async fn release(&self, caller: &Caller, call: asked::Release) -> Result<(), Error> {
        self.call(caller, Call::Release(call)).await.map(drop)
    }

    /// Lets programs in without a token. Whether the caller may has been decided.
    pub async fn grant(
        &self,
        caller: &Caller,
        call: asked::Grant,
    ) -> Result<asked::Reservation, Error> {
        self.reservation(caller, Call::Grant(call)).await
    }

    /// Takes back what `grant` gave. Whether the caller may has been decided.
    pub async fn revoke(
        &self,
        caller: &Caller,
        call: asked::Revoke,
    ) -> Result<asked::Reservation, Error> {
        self.reservation(caller, Call::Revoke(call)).await
    }

    /// Who sits on which port, by protocol and port.
    pub async fn holders(
        &self,
        caller: &Caller,
        call: asked::Holders,
    ) -> Result<Vec<asked::Holder>, Error> {
        match self.call(caller, Call::Holders(call)).await? {
            Answered::Holders(holders) => Ok(holders),
            _ => Err(Error::Cancelled {}),
        }
    }

    /// Refused binds: the last of them, and those to come. `None` when the daemon is ending.
    pub async fn denials(&self, recent: usize) -> Option<Following<asked::Denial>> {
        self.ask(|answer| Request::Denials { recent, answer }).await
    }

    /// The reservations there are as events of kind `state`, and what happens from then on. `None`
    /// when the daemon is ending.
    pub async fn monitor(&self) -> Option<Following<asked::Event>> {
        self.ask(Request::Monitor).await
    }

    /// How reservations are enforced. `None` when the daemon is ending.
    pub async fn status(&self) -> Option<asked::StatusReply> {
        self.ask(Request::Status).await
    }

    async fn reservation(&self, caller: &Caller, call: Call) -> Result<asked::Reservation, Error> {
        match self.call(caller, call).await? {
            Answered::Reservation(reservation) => Ok(*reservation),
            _ => Err(Error::Cancelled {}),
        }
    }

    async fn call(&self, caller: &Caller, call: Call) -> Answer {
        let caller = caller.clone();
        let answer = self.ask(|answer| Request::Call { caller, call, answer }).await;
        answer.unwrap_or(Err(Error::Cancelled {}))
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).ok()?;
        answered.await.ok()
    }
}

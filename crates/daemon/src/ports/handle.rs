//! What others ask of the reservations: the calls of the API, and a few of the daemon's own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use api::Method;
use api::ports::{self as asked, Error};
use api::server::{self, Descriptor, Listed, Serves, Subscription};
use tokio::sync::oneshot;

use super::Ports;
use super::associate::{not_described, unsupported};
use super::holders::{Holders, Wanted};
use crate::access::{Access, Caller};
use crate::processes::{Process, Processes};
use crate::subsystem::Requests;
use crate::turns::{Slot, Slots};
use crate::work::Work;

/// A request to [`Ports`].
#[derive(Debug)]
pub(crate) enum Request {
    Call(Waiting),
    Monitor(oneshot::Sender<Subscription<Arc<asked::Event>>>),
    Denials { recent: usize, answer: oneshot::Sender<Subscription<Arc<asked::Denial>>> },
    Status(oneshot::Sender<asked::StatusReply>),
}

/// A method that is answered in its caller's turn.
pub(crate) trait PortCall: server::Asked + Method<Error = Error> {
    /// Whether it is for a new reservation: then it waits until it is known how that would be
    /// enforced, and for what is to be known of its owner.
    const MAKES: bool = false;

    /// Which of the descriptors passed with it is the socket that it is about.
    fn socket(&self) -> Option<u32> {
        None
    }

    /// Answers it, at once or when the ledger has.
    fn serve(self, ports: &mut Ports, asker: Asker<Self::Answer>);
}

/// Who waits for an answer, and what came with the call.
#[derive(Debug)]
pub(crate) struct Asker<T> {
    pub(super) caller: Caller,
    pub(super) socket: Option<Described>,
    pub(super) answer: oneshot::Sender<Result<T, Error>>,
    /// Its place among the calls under way.
    pub(super) slot: Slot<Waiting>,
}

impl<T> Asker<T> {
    /// Answers. A caller that has gone meanwhile does not want to know.
    pub(super) fn reply(self, result: Result<T, Error>) {
        let _ = self.answer.send(result);
    }
}

/// A call that waits for its turn.
pub(crate) struct Waiting {
    pub(super) caller: Caller,
    /// See [`PortCall::MAKES`].
    pub(super) makes: bool,
    pub(super) turn: Box<dyn Turn>,
}

/// What is done with a call when its turn has come.
pub(super) trait Turn: Send {
    /// Whether nobody waits for the answer any more.
    fn is_left(&self) -> bool;

    /// Answers without a turn.
    fn refuse(self: Box<Self>, error: Error);

    /// Has it answered.
    fn serve(self: Box<Self>, ports: &mut Ports, caller: Caller, slot: Slot<Waiting>);
}

/// A call, what came with it, and where its answer goes.
struct Asked<M: PortCall> {
    call: M,
    socket: Option<Described>,
    answer: oneshot::Sender<Result<M::Answer, Error>>,
}

impl<M: PortCall> Turn for Asked<M> {
    fn is_left(&self) -> bool {
        self.answer.is_closed()
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.answer.send(Err(error));
    }

    fn serve(self: Box<Self>, ports: &mut Ports, caller: Caller, slot: Slot<Waiting>) {
        let Self { call, socket, answer } = *self;
        call.serve(ports, Asker { caller, socket, answer, slot });
    }
}

/// A call for a list of sockets, which is made by whoever asks.
struct AskedHolders {
    call: asked::Holders,
    answer: oneshot::Sender<Result<Search, Error>>,
}

/// What is to be looked for, and with what.
pub(super) type Search = (Holders, Box<Wanted>);

impl Turn for AskedHolders {
    fn is_left(&self) -> bool {
        self.answer.is_closed()
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.answer.send(Err(error));
    }

    fn serve(self: Box<Self>, ports: &mut Ports, _: Caller, _: Slot<Waiting>) {
        let _ = self.answer.send(ports.wanted(&self.call));
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, makes, turn: _ } = self;
        let mut formatter = formatter.debug_struct("Waiting");
        formatter.field("caller", caller).field("makes", makes).finish_non_exhaustive()
    }
}

/// A socket that came with a call.
#[derive(Debug)]
pub(crate) struct Described {
    pub(super) descriptor: Descriptor,
    pub(super) description: sys::inet::Description,
}

/// The way to the reservations, for any number of holders.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    requests: Requests<Request>,
    access: Access,
    /// Lists of sockets, each for one reader.
    lists: Work,
    /// Looks at sockets of callers, which may keep whoever looks waiting.
    looks: Work,
    processes: Option<Processes>,
}

/// How long a caller waits to be known by its program. It is only told to others who come later.
const KNOWN_WITHIN: Duration = Duration::from_millis(200);

/// How many lists of sockets are made and kept at a time: one of a busy host is megabytes.
const LISTS: Slots = Slots { each: 1, all: 4, root: 4 };

/// How many sockets are looked at at a time. One whose owner keeps its lock keeps its thread, and no
/// signal ends that.
const LOOKS: Slots = Slots { each: 2, all: 16, root: 16 };
/// How long a look may take, and the wait for it.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

impl Handle {
    pub(super) fn new(
        requests: Requests<Request>,
        access: Access,
        processes: Option<Processes>,
    ) -> Self {
        Self { requests, access, lists: Work::new(LISTS), looks: Work::new(LOOKS), processes }
    }

    /// Puts a call in the queue of its caller, and waits for the answer.
    async fn call<T>(
        &self,
        caller: &Caller,
        makes: bool,
        turn: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Box<dyn Turn>,
    ) -> Result<T, Error> {
        // Whether the caller is privileged is looked at when its turn has come.
        self.access.settle(caller).await;
        let mut caller = caller.clone();
        if makes {
            let process = self.process_of(&caller).await;
            caller = caller.knowing(process);
        }
        self.ask(|answer| Request::Call(Waiting { caller, makes, turn: turn(answer) })).await?
    }

    /// The process of who becomes an owner. Where processes of others are hidden from the daemon it
    /// has to ask, as for holders.
    async fn process_of(&self, caller: &Caller) -> Option<Process> {
        let pid = caller.process()?;
        if let Some(process) = Process::of(pid) {
            return Some(process);
        }
        let asked = self.processes.as_ref()?.process(pid);
        tokio::time::timeout(KNOWN_WITHIN, asked).await.ok()?.ok()?
    }

    /// Finds out what the socket is that a call names, where that holds up nobody else.
    async fn describe(
        &self,
        caller: &Caller,
        passed: Vec<Descriptor>,
        index: u32,
    ) -> Result<Described, Error> {
        let descriptor = Descriptor::pick(passed, index).map_err(|error| {
            Error::InvalidParameter { parameter: "socket".to_owned(), reason: error.to_string() }
        })?;
        let look = move || (sys::inet::describe(&descriptor), descriptor);
        let looked = tokio::time::timeout(LOOK_WITHIN, self.looks.run(caller, look)).await;
        let held_up = |_| unsupported("it does not answer: somebody keeps it locked".to_owned());
        let ((description, descriptor), _) = looked.map_err(held_up)?.ok_or(Error::Cancelled)?;
        let description = description.map_err(|error| not_described(&error))?;
        Ok(Described { descriptor, description })
    }

    /// Asks, and waits for the answer as long as the daemon is not ending.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Error> {
        self.requests.ask(|_, answer| request(answer)).await.ok_or(Error::Cancelled)
    }
}

impl<M: PortCall> Serves<M, Caller> for Handle {
    async fn serve(
        &self,
        caller: &Caller,
        call: M,
        descriptors: Vec<Descriptor>,
    ) -> Result<M::Answer, Error> {
        let socket = match call.socket() {
            Some(index) => Some(self.describe(caller, descriptors, index).await?),
            None => None,
        };
        let turn = |answer| -> Box<dyn Turn> { Box::new(Asked { call, socket, answer }) };
        self.call(caller, M::MAKES, turn).await
    }
}

impl Serves<asked::Holders, Caller> for Handle {
    async fn serve(
        &self,
        caller: &Caller,
        call: asked::Holders,
        _: Vec<Descriptor>,
    ) -> Result<Listed<asked::Holder>, Error> {
        let place = self.lists.place(caller).await.ok_or(Error::Cancelled)?;
        let turn = |answer| -> Box<dyn Turn> { Box::new(AskedHolders { call, answer }) };
        let (holders, wanted) = self.call(caller, false, turn).await?;
        let listed = place.run(move || holders.list(&wanted)).await;
        let (holders, place) = listed.ok_or(Error::Cancelled)?;
        Ok(Listed::own(holders?, Box::new(place)))
    }
}

impl Serves<asked::Denials, Caller> for Handle {
    async fn serve(
        &self,
        _: &Caller,
        call: asked::Denials,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<asked::Denial>>, Error> {
        let recent = call.recent();
        self.ask(|answer| Request::Denials { recent, answer }).await
    }
}

impl Serves<asked::Monitor, Caller> for Handle {
    async fn serve(
        &self,
        _: &Caller,
        _: asked::Monitor,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<asked::Event>>, Error> {
        self.ask(Request::Monitor).await
    }
}

impl Serves<asked::Status, Caller> for Handle {
    async fn serve(
        &self,
        _: &Caller,
        _: asked::Status,
        _: Vec<Descriptor>,
    ) -> Result<asked::StatusReply, Error> {
        self.ask(Request::Status).await
    }
}

//! What others ask of the reservations: the calls of the API, and a few of the daemon's own.

use std::sync::Arc;
use std::time::Duration;

use api::Empty;
use api::ports::{self as asked, Error};
use api::server::{Descriptor, Listed, Serves, Subscription};
use tokio::sync::oneshot;

use super::associate::{not_described, unsupported};
use super::holders::{Holders, Wanted};
use crate::access::{Access, Caller};
use crate::processes::{Process, Processes};
use crate::subsystem::Requests;
use crate::turns::Slots;
use crate::work::Work;

/// A request to [`Ports`](super::Ports).
#[derive(Debug)]
pub(crate) enum Request {
    Call(Waiting),
    Monitor(oneshot::Sender<Subscription<Arc<asked::Event>>>),
    Denials { recent: usize, answer: oneshot::Sender<Subscription<Arc<asked::Denial>>> },
    Status(oneshot::Sender<asked::StatusReply>),
}

/// A call that is answered once.
#[derive(Debug)]
pub(crate) enum Call {
    Create(asked::Create),
    Lookup(asked::Lookup),
    Delete(asked::Delete),
    List(asked::List),
    Associate(asked::Associate, Described),
    Acquire(asked::Acquire, Described),
    Release(asked::Release),
    Grant(asked::Grant),
    Revoke(asked::Revoke),
    /// To be looked for by whoever asks.
    Holders(asked::Holders),
}

/// A socket that came with a call.
#[derive(Debug)]
pub(crate) struct Described {
    pub(super) descriptor: Descriptor,
    pub(super) description: sys::inet::Description,
}

/// A call that waits for its turn.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(super) caller: Caller,
    pub(super) call: Call,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Call {
    /// Whether it is for a new reservation.
    pub(super) fn makes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Acquire(..))
    }
}

/// How a call ended.
pub(crate) type Answer = Result<Answered, Error>;

#[derive(Debug)]
pub(crate) enum Answered {
    Reservation(Box<asked::Reservation>),
    Reservations(Vec<Arc<asked::Reservation>>),
    /// What is to be looked for, and with what.
    Holders(Holders, Box<Wanted>),
    Killed(u32),
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

    async fn reservation(
        &self,
        caller: &Caller,
        call: Call,
    ) -> Result<asked::ReservationReply, Error> {
        match self.call(caller, call).await? {
            Answered::Reservation(reservation) => {
                Ok(asked::ReservationReply { reservation: *reservation })
            }
            _ => Err(Error::Cancelled),
        }
    }

    async fn call(&self, caller: &Caller, call: Call) -> Answer {
        // Whether the caller is privileged is looked at when its turn has come.
        self.access.settle(caller).await;
        let mut caller = caller.clone();
        if matches!(call, Call::Create(_) | Call::Acquire(..)) {
            let process = self.process_of(&caller).await;
            caller = caller.knowing(process);
        }
        self.ask(|answer| Request::Call(Waiting { caller, call, answer })).await?
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

/// Answers methods that are answered with the reservation they are about.
macro_rules! about_a_reservation {
    ($($method:ident),+ $(,)?) => { $(
        impl Serves<asked::$method, Caller> for Handle {
            async fn serve(
                &self,
                caller: &Caller,
                call: asked::$method,
                _: Vec<Descriptor>,
            ) -> Result<asked::ReservationReply, Error> {
                self.reservation(caller, Call::$method(call)).await
            }
        }
    )+ };
    (with a socket: $($method:ident),+ $(,)?) => { $(
        impl Serves<asked::$method, Caller> for Handle {
            async fn serve(
                &self,
                caller: &Caller,
                call: asked::$method,
                descriptors: Vec<Descriptor>,
            ) -> Result<asked::ReservationReply, Error> {
                let socket = self.describe(caller, descriptors, call.socket).await?;
                self.reservation(caller, Call::$method(call, socket)).await
            }
        }
    )+ };
}

about_a_reservation!(Create, Lookup, Grant, Revoke);
about_a_reservation!(with a socket: Associate, Acquire);

impl Serves<asked::Delete, Caller> for Handle {
    async fn serve(
        &self,
        caller: &Caller,
        call: asked::Delete,
        _: Vec<Descriptor>,
    ) -> Result<asked::DeleteReply, Error> {
        match self.call(caller, Call::Delete(call)).await? {
            Answered::Killed(killed) => Ok(asked::DeleteReply { killed }),
            _ => Err(Error::Cancelled),
        }
    }
}

impl Serves<asked::Release, Caller> for Handle {
    async fn serve(
        &self,
        caller: &Caller,
        call: asked::Release,
        _: Vec<Descriptor>,
    ) -> Result<Empty, Error> {
        self.call(caller, Call::Release(call)).await.map(|_| Empty {})
    }
}

impl Serves<asked::List, Caller> for Handle {
    async fn serve(
        &self,
        caller: &Caller,
        call: asked::List,
        _: Vec<Descriptor>,
    ) -> Result<Listed<asked::Reservation>, Error> {
        match self.call(caller, Call::List(call)).await? {
            Answered::Reservations(reservations) => Ok(Listed::shared(reservations)),
            _ => Err(Error::Cancelled),
        }
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
        let Answered::Holders(holders, wanted) = self.call(caller, Call::Holders(call)).await?
        else {
            return Err(Error::Cancelled);
        };
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

//! The calls of `org.iphelper.PortReservation`.

use std::sync::Arc;

use serde::Serialize;

use super::connection::Connection;
use super::conversation::Conversation;
use super::descriptor::Descriptor;
use super::feed::{self, Feed, Subscribed};
use super::handler::{Handler, PortHandler, Subscription};
use super::line::Over;
use crate::ports::{
    self, Denial, DenialsReply, Error, Event, EventKind, HoldersReply, Reservation,
    ReservationReply,
};
use crate::{Empty, Time, protocol};

impl<H: Handler> Conversation<H> {
    pub(super) async fn answer_ports(
        &mut self,
        call: ports::Call,
        more: bool,
        oneway: bool,
    ) -> Result<(), Over> {
        use ports::Call::*;
        let Self { line, peer, handler, statistics, end } = self;
        let (handler, peer) = (&**handler, &*peer);
        let ports = handler.ports();
        let passed = line.connection.take_descriptors();
        match call {
            Monitor(_) => feed::run(Events { ports, peer }, line, statistics, end).await,
            Denials(call) => {
                let denials = Refused { ports, peer, call, missed: 0 };
                feed::run(denials, line, statistics, end).await
            }
            List(call) => {
                let nothing = || Error::NotFound;
                let reply = |one| told(Arc::unwrap_or_clone(one));
                line.list(more, oneway, ports.list(peer, call), reply, nothing).await
            }
            Holders(call) => {
                let reply = |holder| HoldersReply { holder };
                let nothing = || Error::NotFound;
                line.list(more, oneway, ports.holders(peer, call), reply, nothing).await
            }
            Status(_) => line.answer(oneway, ports.status(peer)).await,
            Lookup(call) => {
                line.answer(oneway, async { ports.lookup(peer, call).await.map(told) }).await
            }
            Create(call) => {
                line.answer(oneway, async { ports.create(peer, call).await.map(told) }).await
            }
            Delete(call) => line.answer(oneway, ports.delete(peer, call)).await,
            Grant(call) => {
                line.answer(oneway, async { ports.grant(peer, call).await.map(told) }).await
            }
            Revoke(call) => {
                line.answer(oneway, async { ports.revoke(peer, call).await.map(told) }).await
            }
            Associate(call) => {
                let answer = async {
                    let socket = pick(passed, call.socket)?;
                    ports.associate(peer, call, socket).await.map(told)
                };
                line.answer(oneway, answer).await
            }
            Acquire(call) => {
                let answer = async {
                    let socket = pick(passed, call.socket)?;
                    ports.acquire(peer, call, socket).await.map(told)
                };
                line.answer(oneway, answer).await
            }
            Release(call) => {
                let answer = async { ports.release(peer, call).await.map(|()| Empty {}) };
                line.answer(oneway, answer).await
            }
        }
    }
}

fn told(reservation: Reservation) -> ReservationReply {
    ReservationReply { reservation }
}

/// The descriptor that a call names; the others are closed.
fn pick(passed: Vec<Descriptor>, index: u32) -> Result<Descriptor, Error> {
    let count = passed.len();
    passed.into_iter().nth(index as usize).ok_or_else(|| Error::InvalidParameter {
        parameter: "socket".to_owned(),
        reason: match count {
            0 => "no descriptor was passed with the call".to_owned(),
            _ => format!("{count} descriptors were passed with the call, counted from 0"),
        },
    })
}

/// What happens to reservations.
struct Events<'a, Ports, Peer> {
    ports: &'a Ports,
    peer: &'a Peer,
}

impl<Ports: PortHandler<Peer>, Peer: Sync> Feed for Events<'_, Ports, Peer> {
    type Item = Arc<Event>;
    type Error = Error;

    async fn subscribe(&mut self) -> Result<Subscribed<Arc<Event>>, Error> {
        let Subscription { snapshot, events } = self.ports.subscribe(self.peer).await?;
        Ok(Subscribed { snapshot, is_superseded: None, channels: vec![events] })
    }

    fn tell(
        &mut self,
        connection: &mut Connection,
        event: Arc<Event>,
    ) -> Result<(), protocol::Error> {
        // Borrowed, where `MonitorReply` would own.
        #[derive(Serialize)]
        struct Reply<'a> {
            event: &'a Event,
        }
        connection.reply_and_continue(&Reply { event: &event })
    }

    fn missed(&mut self, _: u64) -> Option<Arc<Event>> {
        Some(Arc::new(Event {
            kind: EventKind::Resync,
            time: Time::now(),
            text: "This subscriber was too slow and missed events; what there is follows."
                .to_owned(),
            reservation: None,
        }))
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled
    }
}

/// Binds that were refused.
struct Refused<'a, Ports, Peer> {
    ports: &'a Ports,
    peer: &'a Peer,
    call: ports::Denials,
    /// How many this subscriber was too slow for since the last it was told of.
    missed: u64,
}

impl<Ports: PortHandler<Peer>, Peer: Sync> Feed for Refused<'_, Ports, Peer> {
    type Item = Arc<Denial>;
    type Error = Error;

    async fn subscribe(&mut self) -> Result<Subscribed<Arc<Denial>>, Error> {
        let Subscription { snapshot, events } =
            self.ports.subscribe_to_denials(self.peer, &self.call).await?;
        Ok(Subscribed { snapshot, is_superseded: None, channels: vec![events] })
    }

    fn tell(
        &mut self,
        connection: &mut Connection,
        denial: Arc<Denial>,
    ) -> Result<(), protocol::Error> {
        let mut denial = Arc::unwrap_or_clone(denial);
        denial.suppressed = denial.suppressed.saturating_add(std::mem::take(&mut self.missed));
        connection.reply_and_continue(&DenialsReply { denial })
    }

    fn missed(&mut self, count: u64) -> Option<Arc<Denial>> {
        self.missed = self.missed.saturating_add(count);
        None
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled
    }
}

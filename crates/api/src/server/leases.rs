//! The calls of `org.iphelper.Lease`.

use std::sync::Arc;

use serde::Serialize;

use super::connection::Connection;
use super::conversation::Conversation;
use super::feed::{self, Feed, Subscribed};
use super::handler::{Handler, Subscription};
use super::line::Over;
use crate::lease::{self, Error, Event};
use crate::{matches, protocol};

impl<H: Handler> Conversation<H> {
    pub(super) async fn answer_leases(
        &mut self,
        call: lease::Call,
        more: bool,
        oneway: bool,
    ) -> Result<(), Over> {
        use lease::Call::*;
        let Self { line, peer, handler, statistics, end } = self;
        let (handler, peer) = (&**handler, &*peer);
        match call {
            Monitor(call) => feed::run(Events { handler, peer, call }, line, statistics, end).await,
            List(call) => {
                let pattern = call.interface.clone().unwrap_or_else(|| "*".to_owned());
                let nothing = || Error::NotManaged { interface: pattern, holder: None };
                let reply = |lease| lease::ListReply { lease: Arc::unwrap_or_clone(lease) };
                line.list(more, oneway, handler.list(peer, call), reply, nothing).await
            }
            Acquire(call) => line.answer(oneway, handler.acquire(peer, call)).await,
            Renew(call) => line.answer(oneway, handler.renew(peer, call)).await,
            Release(call) => line.answer(oneway, handler.release(peer, call)).await,
            Inform(call) => line.answer(oneway, handler.inform(peer, call)).await,
        }
    }
}

/// What happens to leases.
struct Events<'a, H: Handler> {
    handler: &'a H,
    peer: &'a H::Peer,
    call: lease::Monitor,
}

impl<H: Handler> Feed for Events<'_, H> {
    type Item = Arc<Event>;
    type Error = Error;

    async fn subscribe(&mut self) -> Result<Subscribed<Arc<Event>>, Error> {
        let Subscription { snapshot, events } =
            self.handler.subscribe(self.peer, &self.call).await?;
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
        let pattern = self.call.interface.as_deref().unwrap_or("*");
        match event.interface.as_deref().is_none_or(|name| matches(pattern, name)) {
            true => connection.reply_and_continue(&Reply { event: &event }),
            false => Ok(()),
        }
    }

    fn missed(&mut self, _: u64) -> Option<Arc<Event>> {
        let text = "This subscriber was too slow and missed events; what there is follows.";
        Some(Arc::new(Event::new(lease::EventKind::Resync, text)))
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled { interface: self.call.interface.clone() }
    }
}

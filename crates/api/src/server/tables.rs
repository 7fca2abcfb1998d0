//! The calls of `org.iphelper.Interface`.

use std::iter;
use std::sync::Arc;

use serde::Serialize;

use super::connection::Connection;
use super::conversation::Conversation;
use super::feed::{self, Feed, Subscribed};
use super::handler::{Handler, Listed, TableSubscription};
use super::line::Over;
use crate::interface::{self, Change, ChangeKind, Error, Filter, Listing, Local, Rows};
use crate::protocol;

impl<H: Handler> Conversation<H> {
    pub(super) async fn answer_tables(
        &mut self,
        call: interface::Call,
        oneway: bool,
    ) -> Result<(), Over> {
        use interface::Call::*;
        match call {
            ListInterfaces(call) => self.rows(&call).await,
            ListIpInterfaces(call) => self.rows(&call).await,
            ListUnicastAddresses(call) => self.rows(&call).await,
            ListMulticastAddresses(call) => self.rows(&call).await,
            ListAnycastAddresses(call) => self.rows(&call).await,
            ListRoutes(call) => self.rows(&call).await,
            ListNeighbors(call) => self.rows(&call).await,
            ListStack(call) => self.rows(&call).await,
            Monitor(call) => {
                let Self { line, peer, handler, statistics, end } = self;
                let filter = call.filter();
                let changes = Changes { handler: &**handler, peer, call, filter };
                feed::run(changes, line, statistics, end).await
            }
            GetInterface(call) => self.carry_out(call, oneway).await,
            GetIpInterface(call) => self.carry_out(call, oneway).await,
            Set(call) => self.carry_out(call, oneway).await,
            AddAddress(call) => self.carry_out(call, oneway).await,
            SetAddress(call) => self.carry_out(call, oneway).await,
            DeleteAddress(call) => self.carry_out(call, oneway).await,
            AddRoute(call) => self.carry_out(call, oneway).await,
            SetRoute(call) => self.carry_out(call, oneway).await,
            DeleteRoute(call) => self.carry_out(call, oneway).await,
            AddNeighbor(call) => self.carry_out(call, oneway).await,
            SetNeighbor(call) => self.carry_out(call, oneway).await,
            DeleteNeighbor(call) => self.carry_out(call, oneway).await,
            FlushNeighbors(call) => self.carry_out(call, oneway).await,
            ResolveNeighbor(call) => self.carry_out(call, oneway).await,
            BestRoute(call) => self.carry_out(call, oneway).await,
        }
    }

    async fn carry_out<C: Local>(&mut self, call: C, oneway: bool) -> Result<(), Over> {
        self.line.answer(oneway, self.handler.carry_out(&self.peer, call)).await
    }

    /// Sends a table in parts. Each is made and encoded when there is room for it.
    async fn rows<L: Listing>(&mut self, call: &L) -> Result<(), Over> {
        let listed = self.line.attended(false, self.handler.rows(&self.peer, call)).await?;
        let Listed { rows: mut reading, place } = match listed {
            Ok(listed) => listed,
            Err(error) => return Ok(self.line.connection.fail(&error)?),
        };
        let is_alone = place.is_some();
        // The last part is only known when there is no other.
        let mut part = Vec::new();
        while let Some(next) = reading.step(Rows::<L::Row>::MOST) {
            if next.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            let rows = std::mem::replace(&mut part, next);
            if !rows.is_empty() {
                self.line.connection.reply_and_continue(&Rows { rows })?;
                let is_wanted = || is_alone || reading.is_superseded();
                self.line.make_room_for_list(is_wanted).await?;
            }
        }
        Ok(self.line.connection.reply(&Rows { rows: part })?)
    }
}

/// What happens to tables.
struct Changes<'a, H: Handler> {
    handler: &'a H,
    peer: &'a H::Peer,
    call: interface::Monitor,
    filter: Filter,
}

impl<H: Handler> Feed for Changes<'_, H> {
    type Item = Arc<[Change]>;
    type Error = Error;

    async fn subscribe(&mut self) -> Result<Subscribed<Arc<[Change]>>, Error> {
        let TableSubscription { snapshot, is_superseded, changes } =
            self.handler.subscribe_to_tables(self.peer, &self.call).await?;
        let parts = snapshot.map(Arc::from);
        let snapshot = parts.chain(iter::once_with(|| mark(ChangeKind::Complete)));
        Ok(Subscribed {
            snapshot: Box::new(snapshot),
            is_superseded: Some(is_superseded),
            channels: changes,
        })
    }

    fn tell(
        &mut self,
        connection: &mut Connection,
        changes: Arc<[Change]>,
    ) -> Result<(), protocol::Error> {
        // Borrowed, where `MonitorReply` would own.
        #[derive(Serialize)]
        struct Reply<'a> {
            changes: Vec<&'a Change>,
        }
        let wanted = |change: &&Change| change.is_wanted(&self.call, &self.filter);
        let changes: Vec<&Change> = changes.iter().filter(wanted).collect();
        match changes.is_empty() {
            true => Ok(()),
            false => connection.reply_and_continue(&Reply { changes }),
        }
    }

    fn missed(&mut self, _: u64) -> Option<Arc<[Change]>> {
        Some(mark(ChangeKind::Resync))
    }

    fn upset(&self, changes: &Arc<[Change]>) -> Option<Arc<[Change]>> {
        // A row that was told may not be asked for any more, and another may be now.
        let renames = self.filter.interface.is_some() && changes.iter().any(renames);
        renames.then(|| mark(ChangeKind::Resync))
    }

    fn closed(&self) -> Option<Arc<[Change]>> {
        Some(mark(ChangeKind::Resync))
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled
    }
}

/// Whether an interface has another name after a change. Routes show the names of their ways.
fn renames(change: &Change) -> bool {
    let names = ["interface", "alternative_names", "next_hops"];
    change.kind == ChangeKind::Changed
        && change.members.iter().any(|member| names.contains(&member.as_str()))
}

fn mark(kind: ChangeKind) -> Arc<[Change]> {
    [Change::mark(kind)].into()
}

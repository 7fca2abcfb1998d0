//! The calls of `org.iphelper.Interface`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::conversation::{Conversation, Line, Over};
use super::handler::Handler;
use super::serve::Statistics;
use crate::interface::{self, Change, ChangeKind, Error, Filter, Listing, Local, Rows};

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
            Monitor(call) => self.monitor_tables(&call).await,
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
        let (handler, peer) = (&*self.handler, &self.peer);
        let answer = async {
            if C::CHANGES {
                handler.may_change(peer).map_err(|needed| Error::AccessDenied { needed })?;
            }
            handler.carry_out(peer, call).await
        };
        self.line.answer(oneway, answer).await
    }

    /// Sends a table in parts. Each is encoded once, when there is room for it.
    async fn rows<L: Listing>(&mut self, call: &L) -> Result<(), Over> {
        let listed = self.line.attended(false, self.handler.rows(&self.peer, call)).await?;
        let mut left = match listed {
            Ok(rows) => rows.into_iter(),
            Err(error) => return Ok(self.line.connection.fail(&error)?),
        };
        loop {
            let rows = Rows { rows: left.by_ref().take(Rows::<L::Row>::MOST).collect() };
            if left.len() == 0 {
                return Ok(self.line.connection.reply(&rows)?);
            }
            self.line.connection.reply_and_continue(&rows)?;
            self.line.make_room().await?;
        }
    }

    /// Runs a subscription until one side ends it.
    async fn monitor_tables(&mut self, call: &interface::Monitor) -> Result<(), Over> {
        let end = &mut self.end;
        let follow = follow(&*self.handler, &self.peer, call, &mut self.line, &self.statistics);
        let error = tokio::select! {
            ended = follow => ended?,
            _ = end.changed() => Error::Cancelled {},
        };
        self.line.connection.fail(&error)?;
        match end.has_changed() {
            Ok(_) => Ok(()),
            Err(_) => {
                // A subscriber that does not read must not delay the end.
                self.line.write_some().ok();
                Err(Over::Gone)
            }
        }
    }
}

/// Sends a subscriber the rows and their changes. Returns why there are no more.
///
/// Changes are taken from the channels only when there is room for them, so a slow subscriber
/// costs a buffer, and what it misses is the channels' to tell. Cancel safe.
async fn follow<H: Handler>(
    handler: &H,
    peer: &H::Peer,
    call: &interface::Monitor,
    line: &mut Line,
    statistics: &Statistics,
) -> Result<Error, Over> {
    let filter = call.filter();
    let mut missed_some = false;
    loop {
        let subscribed = line.attended(false, handler.subscribe_to_tables(peer, call)).await?;
        let subscription = match subscribed {
            Ok(subscription) => subscription,
            Err(error) => return Ok(error),
        };
        if missed_some {
            Statistics::count(&statistics.resynchronised);
            tell(line, &[Change::mark(ChangeKind::Resync)], call, &filter).await?;
        }
        for part in Parts::new(subscription.snapshot) {
            tell(line, &part, call, &filter).await?;
        }
        tell(line, &[Change::mark(ChangeKind::Complete)], call, &filter).await?;
        let mut channels = subscription.changes;
        let ended = loop {
            let received = match next_at_once(&mut channels) {
                Some(received) => received,
                None => {
                    // What is ready at once goes out in one write.
                    line.flush().await?;
                    tokio::select! {
                        received = next(&mut channels) => received,
                        () = line.gone() => return Err(Over::Gone),
                    }
                }
            };
            match received {
                Ok(changes) => tell(line, &changes, call, &filter).await?,
                Err(error) => break error,
            }
        };
        match ended {
            RecvError::Lagged(_) => missed_some = true,
            RecvError::Closed => return Ok(Error::Cancelled {}),
        }
    }
}

/// A snapshot in parts, which are freed as they are sent.
struct Parts(std::vec::IntoIter<Change>);

impl Parts {
    fn new(changes: Vec<Change>) -> Self {
        Self(changes.into_iter())
    }
}

impl Iterator for Parts {
    type Item = Vec<Change>;

    fn next(&mut self) -> Option<Vec<Change>> {
        let part: Vec<Change> = self.0.by_ref().take(Rows::<Change>::MOST).collect();
        (!part.is_empty()).then_some(part)
    }
}

/// Sends those changes that are asked for.
async fn tell(
    line: &mut Line,
    changes: &[Change],
    call: &interface::Monitor,
    filter: &Filter,
) -> Result<(), Over> {
    // Borrowed, where `MonitorReply` would own.
    #[derive(Serialize)]
    struct Reply<'a> {
        changes: Vec<&'a Change>,
    }
    let wanted = |change: &&Change| change.is_wanted(call, filter);
    let changes: Vec<&Change> = changes.iter().filter(wanted).collect();
    if changes.is_empty() {
        return Ok(());
    }
    line.make_room().await?;
    Ok(line.connection.reply_and_continue(&Reply { changes })?)
}

type Changes = Result<Arc<[Change]>, RecvError>;

/// What some channel has already, beginning with the one whose turn it is.
fn next_at_once(channels: &mut [Receiver<Arc<[Change]>>]) -> Option<Changes> {
    let mut found = None;
    for (index, channel) in channels.iter_mut().enumerate() {
        let received = match channel.try_recv() {
            Ok(changes) => Ok(changes),
            Err(TryRecvError::Empty) => continue,
            Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
            Err(TryRecvError::Closed) => Err(RecvError::Closed),
        };
        found = Some((index, received));
        break;
    }
    let (index, received) = found?;
    // One that always has something lets the others have their turn.
    channels.rotate_left(index + 1);
    Some(received)
}

/// Waits for the next changes of any channel. Cancel safe.
async fn next(channels: &mut [Receiver<Arc<[Change]>>]) -> Changes {
    let mut receptions: Vec<Pin<Box<_>>> =
        channels.iter_mut().map(|channel| Box::pin(channel.recv())).collect();
    std::future::poll_fn(|context| {
        let mut ready = receptions.iter_mut().map(|one| one.as_mut().poll(context));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

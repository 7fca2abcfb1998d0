//! One call, from its parameters to its last reply.

use std::pin::Pin;
use std::task::Poll;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;

use super::descriptor::Descriptor;
use super::handler::{Asked, Listed, Monitoring, Serves, Subscription};
use super::line::{Line, Over};
use super::statistics::Statistics;
use crate::{Listing, Method, service};

/// A call that is being answered.
pub(crate) struct Exchange<'a> {
    pub(super) line: &'a mut Line,
    pub(super) statistics: &'a Statistics,
    pub(super) end: &'a mut watch::Receiver<()>,
    /// What was passed with it.
    pub(super) descriptors: Vec<Descriptor>,
    /// The caller takes more than one reply.
    pub(super) more: bool,
    /// Nobody waits for a reply.
    pub(super) oneway: bool,
}

impl Exchange<'_> {
    /// Sends the one reply.
    pub(crate) async fn answer<M, H, Peer>(
        self,
        handler: &H,
        peer: &Peer,
        call: M,
    ) -> Result<(), Over>
    where
        M: Asked<Answer = <M as Method>::Reply>,
        H: Serves<M, Peer>,
    {
        let answer = handler.serve(peer, call, self.descriptors);
        match self.line.attended(self.oneway, answer).await? {
            Ok(reply) => self.line.connection.reply(&reply)?,
            Err(error) => self.line.connection.fail(&error)?,
        }
        Ok(())
    }

    /// Sends the objects there are: all in one reply to a caller that takes one, and has room for them,
    /// else in parts.
    pub(crate) async fn list<M, H, Peer>(
        self,
        handler: &H,
        peer: &Peer,
        call: M,
    ) -> Result<(), Over>
    where
        M: Listing + Asked<Answer = Listed<<M as Listing>::Object>>,
        H: Serves<M, Peer>,
    {
        let Self { line, descriptors, more, oneway, .. } = self;
        let listed = line.attended(oneway, handler.serve(peer, call, descriptors)).await?;
        let Listed { parts, place, is_superseded } = match listed {
            Ok(listed) => listed,
            Err(error) => return Ok(line.connection.fail(&error)?),
        };
        let is_alone = place.is_some();
        let is_wanted = || is_alone || is_superseded.as_ref().is_some_and(|is| is());
        line.connection.begin_list(M::MEMBER)?;
        for part in parts {
            let mut is_empty = true;
            for object in part.objects() {
                is_empty = false;
                if line.connection.is_list_full() {
                    if !more {
                        return Ok(line.connection.fail(&service::Error::ExpectedMore)?);
                    }
                    line.connection.continue_list(M::MEMBER)?;
                    line.make_room_for_list(is_wanted).await?;
                }
                line.connection.push_to_list(object)?;
            }
            if is_empty {
                tokio::task::yield_now().await;
            }
        }
        Ok(line.connection.end_list()?)
    }

    /// Sends what there is, then what happens, until one side ends it.
    pub(crate) async fn follow<M, H, Peer>(
        self,
        handler: &H,
        peer: &Peer,
        call: M,
    ) -> Result<(), Over>
    where
        M: Monitoring + Asked<Answer = Subscription<<M as Monitoring>::Item>>,
        H: Serves<M, Peer>,
        Peer: Sync,
    {
        let Self { line, statistics, end, .. } = self;
        let ended = tokio::select! {
            ended = follow(line, statistics, handler, peer, &call) => Some(ended?),
            _ = end.changed() => None,
        };
        line.connection.fail(&ended.unwrap_or_else(|| call.cancelled()))?;
        match end.has_changed() {
            Ok(_) => Ok(()),
            Err(_) => {
                // A subscriber that does not read must not delay the end.
                line.write_some()?;
                Err(Over::Gone)
            }
        }
    }
}

/// Sends a subscriber what it asked for. Returns why there is no more.
///
/// Items are taken from the channels only when there is room for them, so a slow subscriber costs
/// a buffer, and what it misses is counted by the channels. Cancel safe.
async fn follow<M, H, Peer>(
    line: &mut Line,
    statistics: &Statistics,
    handler: &H,
    peer: &Peer,
    asked: &M,
) -> Result<M::Error, Over>
where
    M: Monitoring + Asked<Answer = Subscription<<M as Monitoring>::Item>>,
    H: Serves<M, Peer>,
    Peer: Sync,
{
    let mut resync = None;
    let mut missed = 0;
    loop {
        let subscribe = async {
            let call = handler.resolve(peer, asked.clone()).await;
            (handler.serve(peer, call.clone(), Vec::new()).await, call)
        };
        let (subscribed, call) = line.attended(false, subscribe).await?;
        let Subscription { snapshot, is_superseded, mut channels } = match subscribed {
            Ok(subscription) => subscription,
            Err(error) => return Ok(error),
        };
        let is_superseded = || is_superseded.as_ref().is_some_and(|is_superseded| is_superseded());
        for item in resync.into_iter().chain(snapshot).chain(call.complete()) {
            match call.reply(&item, missed) {
                Some(reply) => {
                    missed = 0;
                    line.connection.reply_and_continue(&reply)?;
                    line.make_room_for_list(&is_superseded).await?;
                }
                // Much may be passed over that was not asked for.
                None => tokio::task::yield_now().await,
            }
        }
        resync = loop {
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
                Ok(item) if call.is_upset_by(&item) => break call.resync(),
                Ok(item) => {
                    line.make_room().await?;
                    if let Some(reply) = call.reply(&item, missed) {
                        missed = 0;
                        line.connection.reply_and_continue(&reply)?;
                    }
                }
                Err(RecvError::Lagged(count)) => match call.resync() {
                    Some(resync) => {
                        Statistics::count(&statistics.resynchronised);
                        break Some(resync);
                    }
                    None => missed += count,
                },
                Err(RecvError::Closed) if M::OUTLIVES_CHANNELS => break call.resync(),
                Err(RecvError::Closed) => return Ok(asked.cancelled()),
            }
        };
    }
}

/// What some channel has already, beginning with the one whose turn it is.
fn next_at_once<T: Clone>(channels: &mut [Receiver<T>]) -> Option<Result<T, RecvError>> {
    let mut found = None;
    for (index, channel) in channels.iter_mut().enumerate() {
        let received = match channel.try_recv() {
            Ok(item) => Ok(item),
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

/// Waits for the next item of any channel. Cancel safe.
async fn next<T: Clone>(channels: &mut [Receiver<T>]) -> Result<T, RecvError> {
    let mut receptions: Vec<Pin<Box<_>>> =
        channels.iter_mut().map(|channel| Box::pin(channel.recv())).collect();
    std::future::poll_fn(|context| {
        let mut ready = receptions.iter_mut().map(|one| one.as_mut().poll(context));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

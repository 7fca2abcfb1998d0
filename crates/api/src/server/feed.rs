//! What a subscriber is sent: what there is, then what happens, until one side ends it.

use std::pin::Pin;
use std::task::Poll;

use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;

use super::connection::Connection;
use super::handler::{IsSuperseded, Lazy};
use super::line::{Line, Over};
use super::statistics::Statistics;
use crate::protocol;

/// A subscription of one kind.
pub(super) trait Feed: Send {
    /// What goes through the channels.
    type Item: Clone + Send;

    /// The errors of the interface.
    type Error: Serialize + std::error::Error;

    /// Subscribes; asked again when the subscriber was too slow.
    fn subscribe(
        &mut self,
    ) -> impl Future<Output = Result<Subscribed<Self::Item>, Self::Error>> + Send;

    /// Queues an item as a reply, if it was asked for.
    fn tell(
        &mut self,
        connection: &mut Connection,
        item: Self::Item,
    ) -> Result<(), protocol::Error>;

    /// What the subscriber is told when it has missed so many items: with an item, that and
    /// everything there is, anew; with `None`, nothing now.
    fn missed(&mut self, count: u64) -> Option<Self::Item>;

    /// Whether what was told does not hold after an item, so that the subscriber is told everything
    /// there is, anew, with this mark before it.
    fn upset(&self, item: &Self::Item) -> Option<Self::Item> {
        let _ = item;
        None
    }

    /// Where what happens comes from has ended. With an item, what there is may be had from elsewhere:
    /// the subscriber is told that and everything, anew, or why not. Without, the daemon is ending.
    fn closed(&self) -> Option<Self::Item> {
        None
    }

    /// The daemon is ending.
    fn cancelled(&self) -> Self::Error;
}

/// What there is, and where what happens from then on comes from.
pub(super) struct Subscribed<T> {
    pub(super) snapshot: Lazy<T>,
    /// Whether a subscriber that does not read the snapshot is in the way; `None` if it never is.
    pub(super) is_superseded: Option<IsSuperseded>,
    pub(super) channels: Vec<Receiver<T>>,
}

/// Runs a subscription until one side ends it.
pub(super) async fn run<F: Feed>(
    mut feed: F,
    line: &mut Line,
    statistics: &Statistics,
    end: &mut watch::Receiver<()>,
) -> Result<(), Over> {
    let ended = tokio::select! {
        ended = follow(&mut feed, line, statistics) => Some(ended?),
        _ = end.changed() => None,
    };
    line.connection.fail(&ended.unwrap_or_else(|| feed.cancelled()))?;
    match end.has_changed() {
        Ok(_) => Ok(()),
        Err(_) => {
            // A subscriber that does not read must not delay the end.
            line.write_some()?;
            Err(Over::Gone)
        }
    }
}

/// Sends a subscriber its items. Returns why there are no more.
///
/// Items are taken from the channels only when there is room for them, so a slow subscriber costs
/// a buffer, and what it misses is the channels' to tell. Cancel safe.
async fn follow<F: Feed>(
    feed: &mut F,
    line: &mut Line,
    statistics: &Statistics,
) -> Result<F::Error, Over> {
    let mut mark = None;
    loop {
        let subscribed = line.attended(false, feed.subscribe()).await?;
        let Subscribed { snapshot, is_superseded, mut channels } = match subscribed {
            Ok(subscribed) => subscribed,
            Err(error) => return Ok(error),
        };
        let is_superseded = || is_superseded.as_ref().is_some_and(|is_superseded| is_superseded());
        for item in mark.into_iter().chain(snapshot) {
            let before = line.connection.outgoing().len();
            feed.tell(&mut line.connection, item)?;
            match line.connection.outgoing().len() == before {
                // Much may be passed over that was not asked for.
                true => tokio::task::yield_now().await,
                false => line.make_room_for_list(&is_superseded).await?,
            }
        }
        mark = loop {
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
                Ok(item) => {
                    if let Some(mark) = feed.upset(&item) {
                        break Some(mark);
                    }
                    line.make_room().await?;
                    feed.tell(&mut line.connection, item)?;
                }
                Err(RecvError::Lagged(missed)) => {
                    if let Some(mark) = feed.missed(missed) {
                        Statistics::count(&statistics.resynchronised);
                        break Some(mark);
                    }
                }
                Err(RecvError::Closed) => match feed.closed() {
                    Some(mark) => break Some(mark),
                    None => return Ok(feed.cancelled()),
                },
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

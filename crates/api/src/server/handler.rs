//! What the server loop asks of the program it serves for.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::broadcast;

use crate::{daemon, interface, lease};

/// A subscriber's view: what there is, and what happens from then on, with no gap between.
#[derive(Debug)]
pub struct Subscription {
    /// One event of kind `state` for each client there is.
    pub snapshot: Vec<Arc<lease::Event>>,
    /// Every event after the snapshot, of whatever interface: the server loop picks the ones
    /// asked for. A subscriber that falls behind by more than the channel holds is resynchronised.
    /// The channel's end ends the call with `Cancelled`.
    pub events: broadcast::Receiver<Arc<lease::Event>>,
}

/// A subscriber's view of tables.
#[derive(Debug)]
pub struct TableSubscription {
    /// The rows there are, as added; those asked for.
    pub snapshot: Vec<interface::Change>,
    /// Every change after the snapshot, in batches, on one channel or several: the server loop
    /// picks the ones asked for. A subscriber that falls behind by more than a channel holds is
    /// resynchronised. A channel's end ends the call with `Cancelled`.
    pub changes: Vec<broadcast::Receiver<Arc<[interface::Change]>>>,
}

/// Answers the calls.
///
/// A future is dropped when its caller has left; what the call set going may go on.
pub trait Handler: Send + Sync + 'static {
    /// What is known of a caller, found out once.
    type Peer: Send + Sync;

    /// Finds out who connected: the credentials of a Unix socket do not change. On an error the
    /// connection is closed.
    fn accept(&self, stream: &UnixStream) -> io::Result<Self::Peer>;

    /// Whether the caller may change anything; the error says what would do, such as
    /// `membership of group iphelper`. Asked before every call that changes something.
    fn may_change(&self, peer: &Self::Peer) -> Result<(), String>;

    /// Every client that matches, in the order to show. None is answered with `NotManaged`.
    fn list(
        &self,
        peer: &Self::Peer,
        call: lease::List,
    ) -> impl Future<Output = Result<Vec<lease::Lease>, lease::Error>> + Send;

    /// Obtains a lease.
    fn acquire(
        &self,
        peer: &Self::Peer,
        call: lease::Acquire,
    ) -> impl Future<Output = Result<lease::AcquireReply, lease::Error>> + Send;

    /// Extends a lease.
    fn renew(
        &self,
        peer: &Self::Peer,
        call: lease::Renew,
    ) -> impl Future<Output = Result<lease::RenewReply, lease::Error>> + Send;

    /// Gives a lease back.
    fn release(
        &self,
        peer: &Self::Peer,
        call: lease::Release,
    ) -> impl Future<Output = Result<lease::ReleaseReply, lease::Error>> + Send;

    /// Asks for parameters only.
    fn inform(
        &self,
        peer: &Self::Peer,
        call: lease::Inform,
    ) -> impl Future<Output = Result<lease::InformReply, lease::Error>> + Send;

    /// Subscribes to what happens; asked again when the subscriber was too slow.
    ///
    /// The snapshot may be limited to what `call` asks for; the server loop does so in any case.
    fn subscribe(
        &self,
        peer: &Self::Peer,
        call: &lease::Monitor,
    ) -> impl Future<Output = Result<Subscription, lease::Error>> + Send;

    /// The rows of a table that are asked for, in one state of it.
    fn rows<L: interface::Listing>(
        &self,
        peer: &Self::Peer,
        call: &L,
    ) -> impl Future<Output = Result<Vec<L::Row>, interface::Error>> + Send;

    /// Carries out a call that needs no cache.
    fn carry_out<C: interface::Local>(
        &self,
        peer: &Self::Peer,
        call: C,
    ) -> impl Future<Output = Result<C::Reply, interface::Error>> + Send;

    /// Subscribes to changes of tables; asked again when the subscriber was too slow.
    fn subscribe_to_tables(
        &self,
        peer: &Self::Peer,
        call: &interface::Monitor,
    ) -> impl Future<Output = Result<TableSubscription, interface::Error>> + Send;

    /// How the daemon is doing.
    fn status(
        &self,
        peer: &Self::Peer,
    ) -> impl Future<Output = Result<daemon::StatusReply, daemon::Error>> + Send;

    /// Counts since start.
    fn counters(
        &self,
        peer: &Self::Peer,
    ) -> impl Future<Output = Result<daemon::CountersReply, daemon::Error>> + Send;

    /// Reads the configuration again.
    fn reload(&self, peer: &Self::Peer) -> impl Future<Output = Result<(), daemon::Error>> + Send;
}

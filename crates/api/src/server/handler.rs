//! What the server loop asks of the program it serves for.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::broadcast;

use super::descriptor::Descriptor;
use super::quota::Share;
use crate::{daemon, interface, lease, ports};

/// What is made only when there is room to send it, an item at a time.
pub type Lazy<T> = Box<dyn Iterator<Item = T> + Send>;

/// A subscriber's view: what there is, and what happens from then on, with no gap between.
pub struct Subscription<E> {
    /// What there is: for monitors, one event of kind `state` for each object.
    pub snapshot: Lazy<Arc<E>>,
    /// Every event after the snapshot, whatever it concerns: the server loop picks the ones asked
    /// for. A subscriber that falls behind by more than the channel holds is resynchronised, or
    /// told how much it missed. The channel's end ends the call with `Cancelled`.
    pub events: broadcast::Receiver<Arc<E>>,
}

/// Rows of a table that were asked for.
#[derive(Debug)]
pub struct Listed<R> {
    /// The rows, in one state of the table.
    pub rows: interface::Reading<R>,
    /// Dropped when they are sent. Where there is something, the rows are this reader's alone, and
    /// are not kept long for one that does not read.
    pub place: Option<Place>,
}

/// Whether what a reader has is in the way of what is newer.
pub type IsSuperseded = Box<dyn Fn() -> bool + Send + Sync>;

/// What is held until an answer is sent.
pub type Place = Box<dyn Any + Send>;

/// Objects to be sent one by one.
pub struct Objects<T> {
    /// The objects.
    pub objects: Lazy<T>,
    /// As [`Listed::place`].
    pub place: Option<Place>,
}

/// A subscriber's view of tables.
pub struct TableSubscription {
    /// The rows there are, as added, in parts; those asked for. A part may be empty.
    pub snapshot: Lazy<Vec<interface::Change>>,
    /// Whether a subscriber that does not read the snapshot is in the way.
    pub is_superseded: IsSuperseded,
    /// Every change after the snapshot, in batches, on one channel or several: the server loop
    /// picks the ones asked for. A subscriber that falls behind by more than a channel holds, or whose
    /// channel ends, is resynchronised.
    pub changes: Vec<broadcast::Receiver<Arc<[interface::Change]>>>,
}

impl<T> Objects<T> {
    /// Those, of which others have copies, or which are few.
    pub fn shared(objects: impl IntoIterator<Item = T, IntoIter: Send + 'static>) -> Self {
        Self { objects: Box::new(objects.into_iter()), place: None }
    }
}

impl<E> Subscription<E> {
    /// With what there is.
    pub fn new(
        snapshot: impl IntoIterator<Item = Arc<E>, IntoIter: Send + 'static>,
        events: broadcast::Receiver<Arc<E>>,
    ) -> Self {
        Self { snapshot: Box::new(snapshot.into_iter()), events }
    }
}

impl<T> fmt::Debug for Objects<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Objects").finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Subscription<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl fmt::Debug for TableSubscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TableSubscription").finish_non_exhaustive()
    }
}

/// Answers the calls.
///
/// A future is dropped when its caller has left; what the call set going may go on.
pub trait Handler: Send + Sync + 'static {
    /// What is known of a caller, found out once.
    type Peer: Send + Sync;

    /// What answers the calls of `org.iphelper.PortReservation`.
    type Ports: PortHandler<Self::Peer>;

    /// Finds out who connected: the credentials of a Unix socket do not change. On an error the
    /// connection is closed.
    ///
    /// `place` is the connection's among those of its user. Work that goes on when its caller has
    /// left keeps it until it is done, so that nobody has more done than they have connections.
    fn accept(&self, stream: &UnixStream, place: Arc<Share>) -> io::Result<Self::Peer>;

    /// Whether the caller may change anything; the error says what would do, such as
    /// `membership of group iphelper`. Asked before every call that
    /// [changes](crate::Method::CHANGES) something.
    fn may_change(&self, peer: &Self::Peer) -> impl Future<Output = Result<(), String>> + Send;

    /// What answers the calls of `org.iphelper.PortReservation`.
    fn ports(&self) -> &Self::Ports;

    /// Every client that matches, in the order to show. None is answered with `NotManaged`.
    fn list(
        &self,
        peer: &Self::Peer,
        call: lease::List,
    ) -> impl Future<Output = Result<Objects<Arc<lease::LeaseInfo>>, lease::Error>> + Send;

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
    ) -> impl Future<Output = Result<Subscription<lease::Event>, lease::Error>> + Send;

    /// The rows of a table that are asked for, in one state of it.
    fn rows<L: interface::Listing>(
        &self,
        peer: &Self::Peer,
        call: &L,
    ) -> impl Future<Output = Result<Listed<L::Row>, interface::Error>> + Send;

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

/// Answers the calls of `org.iphelper.PortReservation`; `Peer` is [`Handler::Peer`].
///
/// Create, Delete, Grant and Revoke come from callers who [may change](Handler::may_change) things.
/// Who may associate, acquire and release is decided here.
pub trait PortHandler<Peer>: Send + Sync + 'static {
    /// Reserves a block for good; done when it is enforced and on disk.
    fn create(
        &self,
        peer: &Peer,
        call: ports::Create,
    ) -> impl Future<Output = Result<ports::Reservation, ports::Error>> + Send;

    /// The persistent reservation of exactly this block.
    fn lookup(
        &self,
        peer: &Peer,
        call: ports::Lookup,
    ) -> impl Future<Output = Result<ports::Reservation, ports::Error>> + Send;

    /// Ends the persistent reservation of exactly this block.
    fn delete(
        &self,
        peer: &Peer,
        call: ports::Delete,
    ) -> impl Future<Output = Result<ports::DeleteReply, ports::Error>> + Send;

    /// The reservations asked for, by protocol and port. None is answered with `NotFound`.
    fn list(
        &self,
        peer: &Peer,
        call: ports::List,
    ) -> impl Future<Output = Result<Objects<Arc<ports::Reservation>>, ports::Error>> + Send;

    /// Lets a socket into the block of that token.
    fn associate(
        &self,
        peer: &Peer,
        call: ports::Associate,
        socket: Descriptor,
    ) -> impl Future<Output = Result<ports::Reservation, ports::Error>> + Send;

    /// Reserves a block for the life of a socket, and lets the socket in.
    fn acquire(
        &self,
        peer: &Peer,
        call: ports::Acquire,
        socket: Descriptor,
    ) -> impl Future<Output = Result<ports::Reservation, ports::Error>> + Send;

    /// Ends the runtime reservation of that token.
    fn release(
        &self,
        peer: &Peer,
        call: ports::Release,
    ) -> impl Future<Output = Result<(), ports::Error>> + Send;

    /// Lets programs in without a token.
    fn grant(
        &self,
        peer: &Peer,
        call: ports::Grant,
    ) -> impl Future<Output = Result<ports::Reservation, ports::Error>> + Send;

    /// Takes back what [`grant`](Self::grant) gave.
    fn revoke(
        &self,
        peer: &Peer,
        call: ports::Revoke,
    ) -> impl Future<Output = Result<ports::Reservation, ports::Error>> + Send;

    /// The sockets on the ports asked for, by protocol and port. None is answered with `NotFound`.
    fn holders(
        &self,
        peer: &Peer,
        call: ports::Holders,
    ) -> impl Future<Output = Result<Objects<ports::Holder>, ports::Error>> + Send;

    /// Subscribes to refused binds. The snapshot has at most
    /// [`call.recent()`](ports::Denials::recent) of the past, oldest first.
    fn subscribe_to_denials(
        &self,
        peer: &Peer,
        call: &ports::Denials,
    ) -> impl Future<Output = Result<Subscription<ports::Denial>, ports::Error>> + Send;

    /// Subscribes to changes of reservations; asked again when the subscriber was too slow.
    ///
    /// Everybody gets the same events, so they carry no tokens of runtime reservations.
    fn subscribe(
        &self,
        peer: &Peer,
    ) -> impl Future<Output = Result<Subscription<ports::Event>, ports::Error>> + Send;

    /// How reservations are enforced now.
    fn status(
        &self,
        peer: &Peer,
    ) -> impl Future<Output = Result<ports::StatusReply, ports::Error>> + Send;
}

//! What the server loop asks of the program it serves for.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use tokio::net::UnixStream;
use tokio::sync::broadcast;

use super::descriptor::Descriptor;
use super::quota::Share;
use crate::{InterfaceError, Method, daemon, interface, lease, ports};

/// What is made only when there is room to send it, an item at a time.
pub type Lazy<T> = Box<dyn Iterator<Item = T> + Send>;

/// Whether what a reader has is in the way of what is newer.
pub type IsSuperseded = Box<dyn Fn() -> bool + Send + Sync>;

/// What is held until an answer is sent.
pub type Place = Box<dyn Any + Send>;

/// Who answers calls, and who may make them.
///
/// A future is dropped when its caller has left; what the call set going may go on.
pub trait Service: Send + Sync + 'static {
    /// What is known of a caller, found out once.
    type Peer: Send + Sync;
    /// What answers the calls of `org.iphelper.Daemon`.
    type Daemon: daemon::Handler<Self::Peer>;
    /// What answers the calls of `org.iphelper.Interface`.
    type Tables: interface::Handler<Self::Peer>;
    /// What answers the calls of `org.iphelper.Lease`.
    type Leases: lease::Handler<Self::Peer>;
    /// What answers the calls of `org.iphelper.PortReservation`.
    type Ports: ports::Handler<Self::Peer>;

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

    /// What answers the calls of `org.iphelper.Daemon`.
    fn daemon(&self) -> &Self::Daemon;

    /// What answers the calls of `org.iphelper.Interface`.
    fn tables(&self) -> &Self::Tables;

    /// What answers the calls of `org.iphelper.Lease`.
    fn leases(&self) -> &Self::Leases;

    /// What answers the calls of `org.iphelper.PortReservation`.
    fn ports(&self) -> &Self::Ports;
}

/// Answers one method. What answers an interface answers each of its methods: see
/// [`lease::Handler`] and the others.
pub trait Serves<M: Asked, Peer>: Send + Sync {
    /// Answers a call, and the descriptors that came with it.
    fn serve(
        &self,
        peer: &Peer,
        call: M,
        descriptors: Vec<Descriptor>,
    ) -> impl Future<Output = Result<M::Answer, M::Error>> + Send;

    /// The call as it is meant now, for what is picked by it: an interface goes by several names, and
    /// what is sent has one. Asked before each subscription.
    fn resolve(&self, peer: &Peer, call: M) -> impl Future<Output = M> + Send {
        let _ = peer;
        async { call }
    }
}

/// A method as those who answer it know it.
pub trait Asked: Method<Error: InterfaceError> + Clone {
    /// The reply, [what is listed](Listed), or [what happens](Subscription).
    type Answer: Send;
}

/// A method with replies that go on.
pub trait Monitoring: Method {
    /// What goes through the channels, one for all subscribers.
    type Item: Clone + Send + 'static;

    /// The reply to a caller that is sent an item, if it asked for it. The caller was too slow for
    /// `missed` others since its last reply.
    fn reply<'a>(&self, item: &'a Self::Item, missed: u64) -> Option<impl Serialize + 'a>;

    /// What a caller is sent before everything there is, when that is sent anew; `None` where it is not.
    fn resync(&self) -> Option<Self::Item>;

    /// What a caller is sent after everything there is, where anything is.
    fn complete(&self) -> Option<Self::Item> {
        None
    }

    /// Whether what was sent does not hold after an item, so that everything there is is sent anew.
    fn is_upset_by(&self, item: &Self::Item) -> bool {
        let _ = item;
        false
    }

    /// The daemon is ending.
    fn cancelled(&self) -> Self::Error
    where
        Self::Error: InterfaceError,
    {
        Self::Error::cancelled()
    }

    /// Whether everything there is is sent anew when a channel has ended; otherwise that is the end of
    /// the daemon.
    const OUTLIVES_CHANNELS: bool = false;
}

/// Objects that were asked for.
pub struct Listed<T> {
    /// In parts, each made when there is room for it. A part may be empty: others have their turn then.
    pub parts: Lazy<Part<T>>,
    /// Dropped when they are sent. Where there is something, the objects are this reader's alone, and
    /// are not kept long for one that does not read.
    pub place: Option<Place>,
    /// Whether a reader that does not read is in the way; `None` if it never is.
    pub is_superseded: Option<IsSuperseded>,
}

/// Some of the objects that were asked for.
#[derive(Debug)]
pub enum Part<T> {
    /// This reader's alone.
    Own(Vec<T>),
    /// Those that others may have as well.
    Shared(Vec<Arc<T>>),
}

impl<T> Part<T> {
    pub(super) fn objects(&self) -> impl Iterator<Item = &T> {
        let (own, shared) = match self {
            Self::Own(objects) => (objects.as_slice(), [].as_slice()),
            Self::Shared(objects) => ([].as_slice(), objects.as_slice()),
        };
        own.iter().chain(shared.iter().map(|object| &**object))
    }
}

impl<T: Send + Sync + 'static> Listed<T> {
    /// Objects of which others have copies, or which are few.
    pub fn shared(objects: Vec<Arc<T>>) -> Self {
        Self::of(std::iter::once(Part::Shared(objects)))
    }

    /// A reader's own objects, which keep `place` until they are sent.
    pub fn own(objects: Vec<T>, place: Place) -> Self {
        Self { place: Some(place), ..Self::of(std::iter::once(Part::Own(objects))) }
    }

    /// Objects in parts.
    pub fn of(parts: impl Iterator<Item = Part<T>> + Send + 'static) -> Self {
        Self { parts: Box::new(parts), place: None, is_superseded: None }
    }
}

/// A subscriber's view: what there is, and what happens from then on, with no gap between.
pub struct Subscription<T> {
    /// What there is, which may be limited to what was asked for.
    pub snapshot: Lazy<T>,
    /// Whether a subscriber that does not read the snapshot is in the way; `None` if it never is.
    pub is_superseded: Option<IsSuperseded>,
    /// Everything after the snapshot, on one channel or several, whatever it concerns: the server loop
    /// picks what was asked for. A subscriber that falls behind by more than a channel holds is
    /// [resynchronised](Monitoring::resync), or hears how much it missed.
    pub channels: Vec<broadcast::Receiver<T>>,
}

impl<T> Subscription<T> {
    /// With what there is.
    pub fn new(
        snapshot: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
        events: broadcast::Receiver<T>,
    ) -> Self {
        Self {
            snapshot: Box::new(snapshot.into_iter()),
            is_superseded: None,
            channels: vec![events],
        }
    }
}

impl<T> fmt::Debug for Listed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Listed").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").finish_non_exhaustive()
    }
}

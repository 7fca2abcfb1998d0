//! The socket of one connection.

use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::connection::{Connection, Request};
use super::door::{Door, Limits};
use super::quota::{Excess, Share};
use crate::passing::{self, Received};
use crate::{daemon, protocol};

/// Why a conversation is over.
pub(crate) enum Over {
    /// The client left, or the socket failed: nobody to tell, nothing to do.
    Gone,
    /// The client does not keep the protocol.
    Malformed,
    /// The client holds more than it may.
    Refused(daemon::Error),
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<protocol::Error> for Over {
    fn from(_: protocol::Error) -> Self {
        Self::Malformed
    }
}

/// How long a list that others wait for goes on for a reader that reads nothing of it.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long a client whose descriptors nobody can take waits for room.
const ROOM_WITHIN: Duration = Duration::from_secs(10);

/// The socket and the state of the protocol on it.
pub(super) struct Line {
    stream: Stream,
    pub(super) connection: Connection,
    /// The client sends nothing more; it may still read.
    input_ended: bool,
    /// What the messages that have not been answered take beyond what is free.
    bytes: Share,
    /// Since when they take that, or have descriptors. A client that passed its own end of the
    /// connection and has gone leaves one that never ends by itself.
    unfinished_since: Option<Instant>,
    /// Since when the client has taken nothing of what is to be written.
    untaken_since: Option<Instant>,
}

/// The socket, closed where that holds nobody up.
struct Stream {
    /// `None` only while dropping.
    inner: Option<UnixStream>,
    /// The connection counts until it is closed, and until what it asked for is done.
    place: Arc<Share>,
    door: Arc<Door>,
}

/// A line between two event loops.
pub(super) struct Detached {
    /// `None` only while dropping, or when it goes on.
    stream: Option<std::os::unix::net::UnixStream>,
    place: Arc<Share>,
    door: Arc<Door>,
}

impl Detached {
    /// Goes on in the event loop of the calling task.
    pub(super) fn attach(mut self) -> io::Result<Line> {
        let Some(stream) = self.stream.take() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        // Where it fails it closes a socket that only we have read from; what is in it waits for
        // nobody on this thread.
        let stream = UnixStream::from_std(stream)?;
        Ok(Line::new(stream, self.place.clone(), self.door.clone()))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.door.close_later((stream, self.place.clone()));
        }
    }
}

impl Deref for Stream {
    type Target = UnixStream;

    #[expect(clippy::expect_used, reason = "`None` only while dropping, which has the only borrow")]
    fn deref(&self) -> &UnixStream {
        self.inner.as_ref().expect("an open socket")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(stream) = self.inner.take() {
            self.door.close(stream, Some(self.place.clone()));
        }
    }
}

impl Line {
    pub(super) fn new(stream: UnixStream, place: Arc<Share>, door: Arc<Door>) -> Self {
        let bytes = door.bytes.take_anyway(place.uid(), 0);
        Self {
            stream: Stream { inner: Some(stream), place, door },
            connection: Connection::new(),
            input_ended: false,
            bytes,
            unfinished_since: None,
            untaken_since: None,
        }
    }

    /// Takes it out of the event loop, before anything was said on it.
    pub(super) fn detach(mut self) -> io::Result<Detached> {
        let (place, door) = (self.stream.place.clone(), self.stream.door.clone());
        let stream = self.stream.inner.take().map(UnixStream::into_std).transpose()?;
        Ok(Detached { stream, place, door })
    }

    /// The next call to answer, if one has come to its end.
    pub(super) fn poll_request(&mut self) -> Result<Option<Request>, Over> {
        let request = self.connection.poll_request()?;
        self.account()?;
        Ok(request)
    }

    /// Counts the bytes that are held.
    fn account(&mut self) -> Result<(), Over> {
        let held = self.connection.unhandled().saturating_sub(Limits::FREE_BYTES);
        let more = held.saturating_sub(self.bytes.amount());
        let door = &self.stream.door;
        self.bytes.grow(more).map_err(|excess| Over::Refused(door.too_many_bytes(excess)))?;
        self.bytes.shrink_to(held);
        let is_unfinished = held > 0 || self.connection.waiting_descriptors() > 0;
        self.unfinished_since =
            is_unfinished.then(|| self.unfinished_since.unwrap_or_else(Instant::now));
        Ok(())
    }

    /// Waits for an answer as long as there is a client to take it; for that of a `oneway` call,
    /// until it is there.
    pub(super) async fn attended<T>(
        &mut self,
        oneway: bool,
        answer: impl Future<Output = T>,
    ) -> Result<T, Over> {
        if oneway {
            // What was asked before is not held up, nor is this by a client that does not read.
            self.write_some().ok();
            return Ok(answer.await);
        }
        self.flush().await?;
        tokio::select! {
            // A call that can be answered is, even when the client's end is to be seen already.
            biased;
            answer = answer => Ok(answer),
            () = self.gone() => Err(Over::Gone),
        }
    }

    pub(super) async fn make_room(&mut self) -> Result<(), Over> {
        match self.connection.has_room() {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    /// As [`make_room`](Self::make_room), but a reader that has read nothing for a while is given up
    /// where what it reads `is_wanted` by others, or is kept for it alone.
    pub(super) async fn make_room_for_list(
        &mut self,
        is_wanted: impl Fn() -> bool,
    ) -> Result<(), Over> {
        while !self.connection.has_room() {
            let before = self.connection.outgoing().len();
            match tokio::time::timeout(READ_WITHIN, self.flush()).await {
                Ok(flushed) => return flushed,
                Err(_) if self.connection.outgoing().len() == before && is_wanted() => {
                    return Err(Over::Gone);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Writes all that is queued, then lets the other tasks run.
    ///
    /// A client that reads as fast as it is written to never makes its task wait. Without the
    /// yield that task would keep the thread, and a subscriber next to it would miss events that
    /// it had room for.
    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        if self.connection.outgoing().is_empty() {
            return Ok(());
        }
        loop {
            self.write_some()?;
            if self.connection.outgoing().is_empty() {
                break;
            }
            self.writable().await?;
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Waits until the client has taken something of what was written to it; everybody but uid 0 only
    /// for some time.
    ///
    /// Cancel safe: the time goes on until something is taken, however often the wait begins anew.
    async fn writable(&mut self) -> Result<(), Over> {
        let since = *self.untaken_since.get_or_insert_with(Instant::now);
        let writable = self.stream.writable();
        match self.stream.place.uid() {
            0 => Ok(writable.await?),
            _ => {
                let until = since + self.stream.door.unread;
                let taken = tokio::time::timeout_at(until, writable).await;
                Ok(taken.map_err(|_| Over::Gone)??)
            }
        }
    }

    /// Writes what the socket takes without waiting.
    pub(super) fn write_some(&mut self) -> io::Result<()> {
        match self.stream.try_write(self.connection.outgoing()) {
            Ok(written) => {
                self.connection.sent(written);
                self.untaken_since = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Waits for bytes of the client and takes them. Returns false at their end. Cancel safe.
    pub(super) async fn read(&mut self) -> Result<bool, Over> {
        loop {
            self.readable().await?;
            let mut piece = [0; 8 << 10];
            let (stream, door, uid) = (&self.stream, &self.stream.door, self.stream.place.uid());
            let receive = || match door.descriptors.check(uid, 1) {
                Ok(()) => passing::receive(&**stream, &mut piece).map(Ok),
                // Those who pass none are not held up by those who pass many.
                Err(excess) => {
                    passing::receive_bytes(&**stream, &mut piece).map(|got| got.ok_or(excess))
                }
            };
            match stream.try_io(Interest::READABLE, receive) {
                Ok(Ok(received)) if received.count == 0 => {
                    self.input_ended = true;
                    return Ok(false);
                }
                Ok(Ok(received)) => {
                    self.take(&piece, received)?;
                    return Ok(true);
                }
                Ok(Err(excess)) => {
                    let room = door.descriptors.room(uid, 1);
                    let waited = tokio::time::timeout(ROOM_WITHIN, room).await;
                    waited.map_err(|_| Over::Refused(door.too_many_descriptors(excess)))?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, piece: &[u8], received: Received) -> Result<(), Over> {
        let Received { count, descriptors } = received;
        let (door, uid) = (&self.stream.door, self.stream.place.uid());
        let descriptors = descriptors.into_iter().map(|one| door.receive(one, uid)).collect();
        self.connection.receive(piece.get(..count).unwrap_or_default(), descriptors);
        self.account()
    }

    /// Waits until there is something to read; the end of a message that holds much, or has
    /// descriptors, only for some time.
    async fn readable(&self) -> Result<(), Over> {
        let Some(since) = self.unfinished_since else {
            return Ok(self.stream.readable().await?);
        };
        let readable =
            tokio::time::timeout_at(since + self.stream.door.unfinished, self.stream.readable());
        match readable.await {
            Ok(readable) => Ok(readable?),
            Err(_) => Err(Over::Refused(self.stream.door.too_many_bytes(Excess::Own))),
        }
    }

    /// Waits until the client has closed its end for good. What it sends meanwhile is kept.
    ///
    /// A client that only sends nothing more (shutdown(2), as `socat` and `nc -N` do) is still
    /// there.
    pub(super) async fn gone(&mut self) {
        while !self.input_ended && self.connection.wants_bytes() {
            if self.read().await.is_err() {
                return;
            }
        }
        match self.unfinished_since {
            None => self.hung_up().await,
            // What waits behind the call under way is not kept for ever.
            Some(since) => {
                let until = since + self.stream.door.unfinished;
                tokio::time::timeout_at(until, self.hung_up()).await.ok();
            }
        }
    }

    /// Waits until the client has closed its end, whatever it has sent.
    async fn hung_up(&self) {
        // Only a hang-up matters now, which epoll tells along with readiness to write. That one has
        // to be ignored until it changes; on a registration of its own, so that writing is not
        // misled.
        let Ok(copy) = self.stream.as_fd().try_clone_to_owned() else { return };
        let Ok(copy) = UnixStream::from_std(copy.into()) else { return };
        while let Ok(ready) = copy.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            let unready = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            copy.try_io(Interest::WRITABLE, unready).ok();
        }
    }
}

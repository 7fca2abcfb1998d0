//! The socket of one connection.

use std::io;
use std::os::fd::AsFd;

use serde::Serialize;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::connection::Connection;
use crate::{passing, protocol};

/// Why a conversation is over.
pub(super) enum Over {
    /// The client left, or the socket failed: nobody to tell, nothing to do.
    Gone,
    /// The client does not keep the protocol.
    Malformed,
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

/// The socket and the state of the protocol on it.
pub(super) struct Line {
    stream: UnixStream,
    pub(super) connection: Connection,
    /// The client sends nothing more; it may still read.
    input_ended: bool,
}

impl Line {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, connection: Connection::new(), input_ended: false }
    }

    /// Answers the call with what the handler makes of it.
    pub(super) async fn answer<T, E>(
        &mut self,
        oneway: bool,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<(), Over>
    where
        T: Serialize,
        E: Serialize + std::error::Error,
    {
        match self.attended(oneway, answer).await? {
            Ok(reply) => self.connection.reply(&reply)?,
            Err(error) => self.connection.fail(&error)?,
        }
        Ok(())
    }

    /// Answers a call that not everybody may make: where this caller may not, with what says so,
    /// and nothing is done.
    pub(super) async fn answer_if<T, E, F>(
        &mut self,
        allowed: Result<(), E>,
        oneway: bool,
        answer: impl FnOnce() -> F,
    ) -> Result<(), Over>
    where
        T: Serialize,
        E: Serialize + std::error::Error,
        F: Future<Output = Result<T, E>>,
    {
        let answer = async {
            allowed?;
            answer().await
        };
        self.answer(oneway, answer).await
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

    /// Answers with the objects there are, of which only the first goes to a client that takes one
    /// reply, or with an error when there are none.
    pub(super) async fn list<T, R, E>(
        &mut self,
        more: bool,
        oneway: bool,
        objects: impl Future<Output = Result<Vec<T>, E>>,
        reply: impl Fn(T) -> R,
        nothing: impl FnOnce() -> E,
    ) -> Result<(), Over>
    where
        R: Serialize,
        E: Serialize + std::error::Error,
    {
        let mut objects = match self.attended(oneway, objects).await? {
            Ok(objects) => objects.into_iter(),
            Err(error) => return Ok(self.connection.fail(&error)?),
        };
        let Some(mut object) = objects.next() else {
            return Ok(self.connection.fail(&nothing())?);
        };
        if more {
            for next in objects {
                self.connection.reply_and_continue(&reply(object))?;
                self.make_room().await?;
                object = next;
            }
        }
        Ok(self.connection.reply(&reply(object))?)
    }

    pub(super) async fn make_room(&mut self) -> Result<(), Over> {
        match self.connection.has_room() {
            true => Ok(()),
            false => self.flush().await,
        }
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
            self.stream.writable().await?;
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Writes what the socket takes without waiting.
    pub(super) fn write_some(&mut self) -> io::Result<()> {
        match self.stream.try_write(self.connection.outgoing()) {
            Ok(written) => self.connection.sent(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Waits for bytes of the client and takes them. Returns false at their end.
    pub(super) async fn read(&mut self) -> Result<bool, Over> {
        loop {
            self.stream.readable().await?;
            let mut piece = [0; 8 << 10];
            let stream = &self.stream;
            let receive = || passing::receive(stream, &mut piece);
            match stream.try_io(Interest::READABLE, receive) {
                Ok(received) if received.count == 0 => {
                    self.input_ended = true;
                    return Ok(false);
                }
                Ok(received) => {
                    let bytes = piece.get(..received.count).unwrap_or_default();
                    self.connection.receive(bytes, received.descriptors);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
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

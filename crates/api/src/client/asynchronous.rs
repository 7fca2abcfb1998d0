//! The client for tokio.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::{CallError, Error, Received, decode_reply, encode_call, is_answer, is_closed};
use crate::protocol::{self, Decoder, LONGEST_REPLY};
use crate::{Listing, Method, passing};

/// A connection to the daemon, for a tokio runtime with I/O and time enabled.
///
/// One call at a time. After an error that leaves the answer outstanding, or when a call's future
/// was dropped before its end, the connection is of no further use: connect again.
#[derive(Debug)]
pub struct AsyncClient {
    stream: UnixStream,
    decoder: Decoder,
    timeout: Option<Duration>,
    /// Replies may be outstanding that nobody is going to read.
    broken: bool,
}

impl AsyncClient {
    /// Connects to the socket at `path`.
    ///
    /// `timeout` bounds connecting, and each call from its sending to its last reply, until
    /// [`set_timeout`](Self::set_timeout) says otherwise; `None` waits for ever.
    pub async fn connect(path: impl AsRef<Path>, timeout: Option<Duration>) -> Result<Self, Error> {
        let path = path.as_ref();
        let stream = within(deadline(timeout), UnixStream::connect(path)).await?;
        let mut client = Self::over(stream.map_err(|source| Error::connecting(path, source))?);
        client.timeout = timeout;
        Ok(client)
    }

    /// Speaks over a stream that is connected already.
    pub fn over(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::new(LONGEST_REPLY), timeout: None, broken: false }
    }

    /// Bounds each further call, from its sending to its last reply; `None` waits for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Calls a method and returns its reply.
    pub async fn call<M: Method>(
        &mut self,
        parameters: &M,
    ) -> Result<M::Reply, CallError<M::Error>> {
        self.call_with(parameters, &[]).await
    }

    /// Calls a method with descriptors, whose parameters name them by their index, and returns its
    /// reply.
    ///
    /// At most [`protocol::MOST_DESCRIPTORS`]; they stay open here.
    pub async fn call_with<M: Method>(
        &mut self,
        parameters: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<M::Reply, CallError<M::Error>> {
        let deadline = deadline(self.timeout);
        let call = encode_call(parameters, descriptors, false)?;
        self.begin()?;
        within(deadline, self.send(&call, descriptors)).await??;
        let received = within(deadline, self.read_reply::<M>()).await?;
        self.broken = !is_answer(&received);
        let received = received?;
        if received.continues {
            self.broken = true;
            return Err(Error::from(protocol::Error::Unexpected).into());
        }
        Ok(received.reply)
    }

    /// Calls a method that lists objects, and returns all of them.
    pub async fn list<M>(&mut self, parameters: &M) -> Result<Vec<M::Object>, CallError<M::Error>>
    where
        M: Listing,
    {
        Ok(self.call_more(parameters).await?.into_iter().flat_map(M::objects).collect())
    }

    /// Calls a method with `more` and returns all of its replies.
    pub async fn call_more<M>(
        &mut self,
        parameters: &M,
    ) -> Result<Vec<M::Reply>, CallError<M::Error>>
    where
        M: Method,
    {
        let deadline = deadline(self.timeout);
        let call = encode_call(parameters, &[], true)?;
        self.begin()?;
        within(deadline, self.send(&call, &[])).await??;
        let mut replies = Vec::new();
        loop {
            let received = within(deadline, self.read_reply::<M>()).await?;
            self.broken = !is_answer(&received);
            let received = received?;
            replies.push(received.reply);
            if !received.continues {
                return Ok(replies);
            }
            self.broken = true;
        }
    }

    /// Calls a method with `more` and returns its replies as they come.
    ///
    /// The timeout bounds the sending alone.
    pub async fn stream<M>(mut self, parameters: &M) -> Result<AsyncReplies<M>, CallError<M::Error>>
    where
        M: Method,
    {
        let deadline = deadline(self.timeout);
        let call = encode_call(parameters, &[], true)?;
        self.begin()?;
        within(deadline, self.send(&call, &[])).await??;
        Ok(AsyncReplies { client: self, ended: false, method: PhantomData })
    }

    /// Marks the connection broken until the last reply is there, in case the caller drops the
    /// future.
    fn begin(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.broken, true) {
            true => Err(Error::Broken),
            false => Ok(()),
        }
    }

    async fn send(
        &mut self,
        mut rest: &[u8],
        mut descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        while !rest.is_empty() {
            self.stream.writable().await.map_err(Error::Io)?;
            let send = || passing::send(&self.stream, rest, descriptors);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    descriptors = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The daemon may have said why it closes: that is to be read.
                Err(error) if is_closed(&error) => return Ok(()),
                Err(error) => return Err(Error::talking(error)),
            }
        }
        Ok(())
    }

    /// Cancel safe: what was read stays in the decoder.
    async fn read_reply<M>(&mut self) -> Result<Received<M::Reply>, CallError<M::Error>>
    where
        M: Method,
    {
        loop {
            if let Some(message) = self.decoder.next_message().map_err(Error::from)? {
                return decode_reply::<M>(message);
            }
            self.stream.readable().await.map_err(Error::Io)?;
            let mut piece = [0; 16 << 10];
            match self.stream.try_read(&mut piece) {
                Ok(0) => return Err(Error::Closed.into()),
                Ok(count) => self.decoder.push(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Error::talking(error).into()),
            }
        }
    }
}

/// The replies to one call, as they come.
#[derive(Debug)]
pub struct AsyncReplies<M> {
    client: AsyncClient,
    ended: bool,
    method: PhantomData<fn() -> M>,
}

impl<M: Method> AsyncReplies<M> {
    /// Returns the next reply, or `None` after the last one or an error.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<M::Reply, CallError<M::Error>>> {
        if self.ended {
            return None;
        }
        let received = self.client.read_reply::<M>().await;
        self.ended = !matches!(received, Ok(Received { continues: true, .. }));
        Some(received.map(|received| received.reply))
    }
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

async fn within<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Result<T, Error> {
    match deadline {
        None => Ok(future.await),
        Some(deadline) => timeout_at(deadline, future).await.map_err(|_| Error::TimedOut),
    }
}

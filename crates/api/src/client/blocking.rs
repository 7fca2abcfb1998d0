//! The client that blocks.

use std::io::{self, Read};
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{CallError, Error, Received, decode_reply, encode_call, is_answer, is_closed};
use crate::protocol::{self, Decoder, LONGEST_REPLY};
use crate::{Listing, Method, passing};

/// A connection to the daemon.
///
/// One call at a time. After an error that leaves the answer outstanding, such as
/// [`Error::TimedOut`], the connection is of no further use: connect again.
#[derive(Debug)]
pub struct Client {
    stream: Arc<UnixStream>,
    decoder: Decoder,
    timeout: Option<Duration>,
    /// Replies may be outstanding that nobody is going to read.
    broken: bool,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// `timeout` bounds connecting, and each call from its sending to its last reply, until
    /// [`set_timeout`](Self::set_timeout) says otherwise; `None` waits for ever.
    pub fn connect(path: impl AsRef<Path>, timeout: Option<Duration>) -> Result<Self, Error> {
        let path = path.as_ref();
        let connect = || -> io::Result<UnixStream> {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
            // connect(2) waits for room in the listener's backlog, for SO_SNDTIMEO at most:
            // unix(7), socket(7).
            socket.set_write_timeout(timeout.map(at_least_a_tick))?;
            socket.connect(&socket2::SockAddr::unix(path)?)?;
            Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
        };
        let mut client = Self::over(connect().map_err(|source| Error::connecting(path, source))?);
        client.timeout = timeout;
        Ok(client)
    }

    /// Speaks over a stream that is connected already.
    pub fn over(stream: UnixStream) -> Self {
        let (stream, decoder) = (Arc::new(stream), Decoder::new(LONGEST_REPLY));
        Self { stream, decoder, timeout: None, broken: false }
    }

    /// Bounds each further call, from its sending to its last reply; `None` waits for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Calls a method and returns its reply.
    pub fn call<M: Method>(&mut self, parameters: &M) -> Result<M::Reply, CallError<M::Error>> {
        self.call_with(parameters, &[])
    }

    /// Calls a method with descriptors, whose parameters name them by their index, and returns its
    /// reply.
    ///
    /// At most [`protocol::MOST_DESCRIPTORS`]; they stay open here.
    pub fn call_with<M: Method>(
        &mut self,
        parameters: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<M::Reply, CallError<M::Error>> {
        let deadline = self.deadline();
        self.send(parameters, descriptors, false, deadline)?;
        let received = self.receive::<M>(deadline)?;
        if received.continues {
            self.broken = true;
            return Err(Error::from(protocol::Error::Unexpected).into());
        }
        Ok(received.reply)
    }

    /// Calls a method with `more` and returns all of its replies.
    pub fn call_more<M>(&mut self, parameters: &M) -> Result<Vec<M::Reply>, CallError<M::Error>>
    where
        M: Method,
    {
        let deadline = self.deadline();
        self.send(parameters, &[], true, deadline)?;
        let mut replies = Vec::new();
        loop {
            let received = self.receive::<M>(deadline)?;
            replies.push(received.reply);
            if !received.continues {
                return Ok(replies);
            }
        }
    }

    /// Calls a method that lists objects, and returns all of them.
    pub fn list<M>(&mut self, parameters: &M) -> Result<Vec<M::Object>, CallError<M::Error>>
    where
        M: Listing,
    {
        Ok(self.call_more(parameters)?.into_iter().flat_map(M::objects).collect())
    }

    /// Calls a method with `more` and returns its replies as they come.
    ///
    /// The timeout bounds the sending; from then on there is none until
    /// [`Replies::set_timeout`].
    pub fn stream<M: Method>(mut self, parameters: &M) -> Result<Replies<M>, CallError<M::Error>> {
        self.send(parameters, &[], true, self.deadline())?;
        self.timeout = None;
        let stopped = Arc::new(AtomicBool::new(false));
        Ok(Replies { client: self, stopped, ended: false, method: PhantomData })
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    fn send<M>(
        &mut self,
        parameters: &M,
        descriptors: &[BorrowedFd<'_>],
        more: bool,
        deadline: Option<Instant>,
    ) -> Result<(), Error>
    where
        M: Method,
    {
        if self.broken {
            return Err(Error::Broken);
        }
        let bytes = encode_call(parameters, descriptors, more)?;
        let result = self.write(&bytes, descriptors, deadline);
        self.broken = result.is_err();
        result
    }

    fn write(
        &mut self,
        mut bytes: &[u8],
        mut descriptors: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(remaining(deadline)?).map_err(Error::Io)?;
            match passing::send(&*self.stream, bytes, descriptors) {
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    descriptors = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The daemon may have said why it closes: that is to be read.
                Err(error) if is_closed(&error) => return Ok(()),
                Err(error) => return Err(Error::talking(error)),
            }
        }
        Ok(())
    }

    fn receive<M>(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Received<M::Reply>, CallError<M::Error>>
    where
        M: Method,
    {
        let result = self.read_reply::<M>(deadline);
        self.broken |= !is_answer(&result);
        result
    }

    fn read_reply<M>(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Received<M::Reply>, CallError<M::Error>>
    where
        M: Method,
    {
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(message) = self.decoder.next_message().map_err(Error::from)? {
                return decode_reply::<M>(message);
            }
            self.stream.set_read_timeout(remaining(deadline)?).map_err(Error::Io)?;
            match (&*self.stream).read(&mut piece) {
                Ok(0) => return Err(Error::Closed.into()),
                Ok(count) => self.decoder.push(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::talking(error).into()),
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The replies to one call, as they come.
///
/// Ends after the last reply, after an error, or by a [`Stopper`]. A [`Error::TimedOut`] is not the
/// end: the next call to `next` goes on waiting.
#[derive(Debug)]
pub struct Replies<M> {
    client: Client,
    /// By a [`Stopper`], of which each has this one.
    stopped: Arc<AtomicBool>,
    ended: bool,
    method: PhantomData<fn() -> M>,
}

impl<M> Replies<M> {
    /// Bounds the wait for each further reply; `None` waits for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.client.timeout = timeout;
    }

    /// What ends these replies from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper { stream: self.client.stream.clone(), stopped: self.stopped.clone() }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl<M: Method> Iterator for Replies<M> {
    type Item = Result<M::Reply, CallError<M::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.is_stopped() {
            return None;
        }
        match self.client.read_reply::<M>(self.client.deadline()) {
            Ok(received) => {
                self.ended = !received.continues;
                Some(Ok(received.reply))
            }
            Err(_) if self.is_stopped() => None,
            Err(error) => {
                self.ended = !matches!(error, CallError::Client(Error::TimedOut));
                Some(Err(error))
            }
        }
    }
}

impl<M> AsFd for Replies<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }
}

/// Ends the [`Replies`] it is from: whoever waits for the next has the end.
#[derive(Clone, Debug)]
pub struct Stopper {
    stream: Arc<UnixStream>,
    stopped: Arc<AtomicBool>,
}

impl Stopper {
    /// Ends them, and with them the connection. Again, it changes nothing.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes who waits in recv(2): unix(7) sockets end for both sides. It fails where the daemon
        // has closed the connection, whose end is read then.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What is left until `deadline`, in the form socket timeouts take.
fn remaining(deadline: Option<Instant>) -> Result<Option<Duration>, Error> {
    let Some(deadline) = deadline else { return Ok(None) };
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(Error::TimedOut),
        false => Ok(Some(at_least_a_tick(left))),
    }
}

/// A socket timeout of zero means none, and the kernel counts microseconds: socket(7).
fn at_least_a_tick(timeout: Duration) -> Duration {
    timeout.max(Duration::from_micros(1))
}

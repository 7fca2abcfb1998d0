use std::io;
use std::time::{Duration, Instant};

use super::transport::{Received, Transport};
use crate::dump::{Dump, Progress};
use crate::error::Error;
use crate::kernel::*;
use crate::message::Messages;
use crate::request::Request;
use crate::row::Row;

/// The receive buffer: the kernel fills no dump datagram further, unless a single message is
/// longer; then the buffer grows.
const BUFFER: usize = 32 * 1024;
/// A message of more than this is not believed.
const MAXIMUM_BUFFER: usize = 4 * 1024 * 1024;
/// Requests sent before their acknowledgements are collected. Each acknowledgement takes up to
/// 1 KiB of the socket's queue (212,992 bytes by default), and one too many is lost.
const WINDOW: usize = 64;

/// After how many torn readings [`Connection::gather`] takes what it gets, and how many readings
/// make a table then.
const GATHER_AFTER: u32 = 5;
const GATHERED: u32 = 3;

/// Requests and answers, one thread at a time, waiting for each answer.
///
/// Notifications do not come this way: see [`Monitor`](crate::Monitor).
#[derive(Debug)]
pub struct Connection<T> {
    transport: T,
    buffer: Vec<u8>,
    outgoing: Vec<u8>,
    sequence: u32,
    timeout: Duration,
    attempts: Option<u32>,
}

/// What [`Connection::visit`] shows.
#[derive(Debug)]
pub enum Visit<V> {
    /// A row.
    Row(V),
    /// Forget all rows shown so far: the table is read again, from the start.
    Restart,
}

impl<T: Transport> Connection<T> {
    /// Talks over `transport`, and waits at most ten seconds for any one answer.
    pub fn new(transport: T) -> Self {
        Self {
            transport,
            buffer: vec![0; BUFFER],
            outgoing: Vec::new(),
            sequence: 0,
            timeout: Duration::from_secs(10),
            attempts: None,
        }
    }

    /// Changes how long to wait for the kernel: for each request, and for each reading of a table
    /// as a whole, repetitions included.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Changes how often a table is read before [`Error::Inconsistent`].
    pub fn set_attempts(&mut self, attempts: u32) {
        self.attempts = Some(attempts);
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Has the kernel carry out a request, and waits until it has.
    pub fn request(&mut self, request: &Request) -> Result<(), Error> {
        self.request_all(std::slice::from_ref(request)).pop().unwrap_or(Err(Error::NoAnswer))
    }

    /// Has the kernel carry out requests in order, without waiting in between, and returns the
    /// outcome of each. A refusal does not stop the rest.
    pub fn request_all(&mut self, requests: &[Request]) -> Vec<Result<(), Error>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for window in requests.chunks(WINDOW) {
            self.request_window(window, &mut outcomes);
        }
        outcomes
    }

    /// Asks for one row: an interface by name, the way to a destination.
    ///
    /// Not being there is a refusal: [`Reason::NotFound`](crate::Reason::NotFound).
    pub fn one<R: Row>(&mut self, request: &Request) -> Result<R, Error> {
        self.one_view::<R, R>(request, |view| R::from_view(view))
    }

    /// Asks for one row, as [`one`](Self::one), and makes something of it as it stands in the
    /// datagram.
    pub fn one_view<R: Row, O>(
        &mut self,
        request: &Request,
        make: impl FnOnce(&R::View<'_>) -> O,
    ) -> Result<O, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        self.outgoing.clear();
        // Without asking for an acknowledgement: the row is the answer.
        request.encode(self.sequence, 0, &mut self.outgoing);
        self.transport.send(&self.outgoing)?;
        let deadline_at = deadline(self.timeout);
        loop {
            let Some(length) = self.receive(deadline_at)? else {
                // An interface with hundreds of virtual functions: ask again, with room for it.
                self.transport.send(&self.outgoing)?;
                continue;
            };
            for message in Messages::new(self.buffer.get(..length).unwrap_or_default()) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                if let Some(outcome) = message.outcome() {
                    return outcome.and(Err(Error::NoAnswer));
                }
                if let Some(view) = R::view(&message) {
                    return Ok(make(&view?));
                }
            }
        }
    }

    /// Reads a table: all its rows, in one consistent state.
    pub fn dump<R: Row>(&mut self, request: &Request) -> Result<Vec<R>, Error> {
        let mut rows = Vec::new();
        self.visit::<R>(request, |visit| match visit {
            Visit::Row(view) => rows.push(R::from_view(&view)),
            Visit::Restart => rows.clear(),
        })?;
        Ok(rows)
    }

    /// Reads a table, and shows each row as it stands in the datagram: for tables too large to
    /// copy. Success means that the rows since the last [`Visit::Restart`] are consistent.
    pub fn visit<R: Row>(
        &mut self,
        request: &Request,
        visitor: impl for<'a> FnMut(Visit<R::View<'a>>),
    ) -> Result<(), Error> {
        self.read::<R>(request, visitor, false)
    }

    /// Reads a table that may change faster than it can be read: for callers who apply the
    /// notifications since before this call to what it shows.
    ///
    /// Shows a consistent table if one of a few attempts yields it, as [`visit`](Self::visit) does;
    /// else all rows of several readings, in order. Then a row may stand several times, of which
    /// the last is the newest, and rows may be shown that are gone: the notifications say so. A row
    /// that each of the readings missed would be missing; kernels that go through a table by index
    /// never miss one.
    pub fn gather<R: Row>(
        &mut self,
        request: &Request,
        visitor: impl for<'a> FnMut(Visit<R::View<'a>>),
    ) -> Result<(), Error> {
        self.read::<R>(request, visitor, true)
    }

    fn read<R: Row>(
        &mut self,
        request: &Request,
        mut visitor: impl for<'a> FnMut(Visit<R::View<'a>>),
        gather: bool,
    ) -> Result<(), Error> {
        let mut dump = Dump::new(request.clone(), self.sequence.wrapping_add(1));
        if let Some(attempts) = self.attempts {
            dump = dump.limit(attempts);
        }
        let result = self.run::<R>(&mut dump, &mut visitor, gather);
        if result.is_err() {
            self.drain();
        }
        result
    }

    /// Reads until one reading is good, or enough were gathered.
    fn run<R: Row>(
        &mut self,
        dump: &mut Dump,
        visitor: &mut impl for<'a> FnMut(Visit<R::View<'a>>),
        gather: bool,
    ) -> Result<(), Error> {
        let deadline_at = deadline(self.timeout);
        let mut gathered = 0;
        loop {
            if gather && dump.attempts() == GATHER_AFTER {
                dump.tolerate();
            }
            self.outgoing.clear();
            dump.request(&mut self.outgoing);
            self.sequence = dump.sequence();
            self.transport.send(&self.outgoing)?;
            match self.attempt::<R>(dump, deadline_at, visitor)? {
                Progress::Restart => {
                    gathered = 0;
                    visitor(Visit::Restart);
                }
                Progress::Done | Progress::More => {
                    gathered += u32::from(dump.is_torn());
                    if !dump.is_torn() || gathered == GATHERED {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Throws away the rest of a reading that was given up: the kernel refuses the next one
    /// (`EBUSY`) until this one is received to its end.
    fn drain(&mut self) {
        let deadline_at = deadline(self.timeout.max(Duration::from_secs(1)));
        while self.transport.receive(&mut self.buffer, Some(Duration::ZERO)).is_ok()
            && left(deadline_at).is_ok()
        {}
    }

    /// Receives one reading of a table to its end.
    fn attempt<R: Row>(
        &mut self,
        dump: &mut Dump,
        deadline_at: Option<Instant>,
        visitor: &mut impl for<'a> FnMut(Visit<R::View<'a>>),
    ) -> Result<Progress, Error> {
        loop {
            // The end of a spoiled reading may be lost. The kernel makes each part of a dump while
            // the one before is received, so that nothing to receive means nothing to come.
            let timeout = if dump.is_spoiled() { Duration::ZERO } else { left(deadline_at)? };
            let progress = match self.transport.receive(&mut self.buffer, Some(timeout)) {
                Ok(Received::Datagram(length)) => {
                    let datagram = self.buffer.get(..length).unwrap_or_default();
                    dump.handle(datagram, |message| {
                        if let Some(view) = R::view(&message) {
                            visitor(Visit::Row(view?));
                        }
                        Ok(())
                    })?
                }
                Ok(Received::Truncated(length)) => {
                    self.grow(length)?;
                    dump.lost();
                    Progress::More
                }
                Ok(Received::Overrun) => {
                    dump.lost();
                    Progress::More
                }
                Err(error) if is_timeout(&error) && dump.is_spoiled() => dump.idle()?,
                Err(error) => return Err(failure(error)),
            };
            match progress {
                Progress::More => {}
                Progress::Done => return Ok(progress),
                Progress::Restart => {
                    // Churn may outlast every attempt: the time is bounded as well as the number.
                    left(deadline_at)?;
                    return Ok(progress);
                }
            }
        }
    }

    fn request_window(&mut self, requests: &[Request], outcomes: &mut Vec<Result<(), Error>>) {
        let first = self.sequence.wrapping_add(1);
        self.outgoing.clear();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            request.encode(self.sequence, NLM_F_ACK, &mut self.outgoing);
        }
        let mut answers: Vec<Option<Result<(), Error>>> = requests.iter().map(|_| None).collect();
        let mut failed = match self.transport.send(&self.outgoing) {
            Ok(()) => self.collect(first, &mut answers).err(),
            Err(error) => Some(error.into()),
        };
        outcomes.extend(answers.into_iter().map(|answer| {
            // The first request without an answer carries the cause.
            answer.unwrap_or_else(|| Err(failed.take().unwrap_or(Error::NoAnswer)))
        }));
    }

    /// Receives until every request from the sequence number `first` on has its answer.
    fn collect(
        &mut self,
        first: u32,
        answers: &mut [Option<Result<(), Error>>],
    ) -> Result<(), Error> {
        let deadline_at = deadline(self.timeout);
        let mut outstanding = answers.len();
        while outstanding > 0 {
            let Some(length) = self.receive(deadline_at)? else { continue };
            for message in Messages::new(self.buffer.get(..length).unwrap_or_default()) {
                let message = message?;
                let index = message.sequence.wrapping_sub(first) as usize;
                let Some(outcome) = message.outcome() else { continue };
                if let Some(answer @ None) = answers.get_mut(index) {
                    *answer = Some(outcome);
                    outstanding -= 1;
                }
            }
        }
        Ok(())
    }

    /// Receives one datagram. `None` stands for one that was too long; the next of its size fits.
    fn receive(&mut self, deadline_at: Option<Instant>) -> Result<Option<usize>, Error> {
        loop {
            match self.transport.receive(&mut self.buffer, Some(left(deadline_at)?)) {
                Ok(Received::Datagram(length)) => return Ok(Some(length)),
                Ok(Received::Truncated(length)) => {
                    self.grow(length)?;
                    return Ok(None);
                }
                // Nothing that was asked for is among what broadcasts push out.
                Ok(Received::Overrun) => {}
                Err(error) => return Err(failure(error)),
            }
        }
    }

    fn grow(&mut self, length: usize) -> Result<(), Error> {
        if length > MAXIMUM_BUFFER {
            return Err(Error::Malformed { kind: 0, offset: 0, what: "absurdly long" });
        }
        self.buffer.resize(self.buffer.len().max(length.next_power_of_two()), 0);
        Ok(())
    }
}

/// When a time from now is over; `None` for one that never is.
fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

fn left(deadline_at: Option<Instant>) -> Result<Duration, Error> {
    match deadline_at.map(|at| at.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(Error::TimedOut),
        Some(left) => Ok(left),
        None => Ok(Duration::MAX),
    }
}

fn failure(error: io::Error) -> Error {
    if is_timeout(&error) { Error::TimedOut } else { Error::Io(error) }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

use crate::error::Error;
use crate::kernel::*;
use crate::message::{Message, Messages};
use crate::request::Request;

/// How often a table is read before giving up, unless told otherwise.
///
/// With 2,000 interfaces and 80 changes a second, four of ten readings are torn: all of 50 in a row
/// once in 10^19.
const ATTEMPTS: u32 = 50;

/// Reads a whole table in one consistent state.
///
/// The kernel sends a table in many datagrams, and says (`NLM_F_DUMP_INTR`) if the table changed in
/// between: rows may then be missing, or stand twice. Such a reading is thrown away and done again,
/// a bounded number of times; so is one of which a part was lost.
///
/// The caller sends [`request`](Self::request), feeds what it receives to
/// [`handle`](Self::handle) and the losses to [`lost`](Self::lost), and starts over when told to.
#[derive(Debug)]
pub struct Dump {
    request: Request,
    sequence: u32,
    attempts: u32,
    limit: u32,
    /// This reading is no good, but has to be received to its end: the kernel serves one dump at a
    /// time on a socket.
    spoiled: bool,
    /// The table changed during this reading; see [`tolerate`](Self::tolerate).
    torn: bool,
    tolerant: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Receive more.
    More,
    /// All rows have been handed out, and they are consistent.
    Done,
    /// Forget the rows handed out and send [`Dump::request`] again.
    Restart,
}

impl Dump {
    /// Prepares to read with a dump request. Uses the sequence numbers from `sequence` on, one for
    /// each attempt.
    #[must_use]
    pub fn new(request: Request, sequence: u32) -> Self {
        Self {
            request,
            sequence: sequence.wrapping_sub(1),
            attempts: 0,
            limit: ATTEMPTS,
            spoiled: false,
            torn: false,
            tolerant: false,
        }
    }

    /// Changes how often the table is read before giving up. At least once.
    #[must_use]
    pub fn limit(mut self, attempts: u32) -> Self {
        self.limit = attempts.max(1);
        self
    }

    /// Starts an attempt: appends the request to a datagram, under a new sequence number.
    pub fn request(&mut self, datagram: &mut Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        self.attempts += 1;
        self.spoiled = false;
        self.torn = false;
        self.request.encode(self.sequence, 0, datagram);
    }

    /// From now on hands out the rows of torn readings as well, and takes such a reading for done.
    /// [`is_torn`](Self::is_torn) tells then.
    pub fn tolerate(&mut self) {
        self.tolerant = true;
    }

    /// Whether the table changed during the attempt under way, or just done.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The sequence number of the attempt under way.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// How often the request was made so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Takes a datagram, and hands each message of the table to `row`.
    ///
    /// Messages with other sequence numbers are passed over. Fails if the kernel refuses, if the
    /// datagram is malformed, or with [`Error::Inconsistent`] when the last attempt was spoiled.
    pub fn handle<'a>(
        &mut self,
        datagram: &'a [u8],
        mut row: impl FnMut(Message<'a>) -> Result<(), Error>,
    ) -> Result<Progress, Error> {
        for message in Messages::new(datagram) {
            let message = message?;
            if message.sequence != self.sequence {
                continue;
            }
            self.torn |= message.flags & NLM_F_DUMP_INTR != 0;
            self.spoiled |= self.torn && !self.tolerant;
            match message.kind {
                NLMSG_ERROR | NLMSG_DONE => {
                    message.outcome().transpose()?;
                    if message.kind == NLMSG_DONE {
                        return self.end();
                    }
                }
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => self.spoiled = true,
                _ if self.spoiled => {}
                _ => {
                    row(message)?;
                    // An answer that is not a dump has no end mark.
                    if message.flags & NLM_F_MULTI == 0 {
                        return self.end();
                    }
                }
            }
        }
        Ok(Progress::More)
    }

    /// Takes note that something was lost: a truncated datagram, or `ENOBUFS`.
    ///
    /// The rest still has to be received; its end may be among what was lost, so that the caller
    /// stops waiting as soon as there is nothing to receive, and calls [`idle`](Self::idle).
    pub fn lost(&mut self) {
        self.spoiled = true;
    }

    /// Whether the attempt under way is spoiled already.
    #[must_use]
    pub fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// Takes note that nothing more comes although no end was seen.
    pub fn idle(&mut self) -> Result<Progress, Error> {
        self.spoiled = true;
        self.end()
    }

    fn end(&self) -> Result<Progress, Error> {
        match (self.spoiled, self.attempts >= self.limit) {
            (false, _) => Ok(Progress::Done),
            (true, false) => Ok(Progress::Restart),
            (true, true) => Err(Error::Inconsistent { attempts: self.attempts }),
        }
    }
}

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::transport::{Received, Transport};
use crate::events::{Event, Events};

/// The longest notification datagram: one message, of an interface with many virtual functions at
/// worst.
const BUFFER: usize = 256 * 1024;

/// Notifications of changes, as typed events.
#[derive(Debug)]
pub struct Monitor<T> {
    transport: T,
    events: Events,
    buffer: Vec<u8>,
    absent: Vec<u32>,
    /// What was taken from the kernel and not yet handed out; `None` is a loss.
    kept: VecDeque<Option<Box<[u8]>>>,
    /// Bytes of it.
    kept_bytes: usize,
}

/// How much is kept here: eight times what is kept in the kernel, where small messages take up
/// more room.
const MOST_KEPT: usize = 64 * 1024 * 1024;

impl<T: Transport> Monitor<T> {
    /// Listens on `transport`, which has been subscribed to what is wanted.
    pub fn new(transport: T) -> Self {
        Self {
            transport,
            events: Events::new(),
            buffer: vec![0; BUFFER],
            absent: Vec::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
        }
    }

    /// Takes note that this kernel does not have a group.
    #[must_use]
    pub fn without(mut self, groups: &[u32]) -> Self {
        self.absent.extend_from_slice(groups);
        self
    }

    /// The groups that were asked for and that this kernel does not have: it tells nothing of what
    /// they are about.
    pub fn absent(&self) -> &[u32] {
        &self.absent
    }

    /// The transport, to wait on.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Receives one datagram, waiting until `timeout` is over (`None`: for ever), and hands out its
    /// events. Returns whether there was one: with a timeout of zero, call it until there is none.
    pub fn receive(
        &mut self,
        timeout: Option<Duration>,
        event: impl FnMut(Event<'_>),
    ) -> io::Result<bool> {
        match self.kept.pop_front() {
            Some(Some(datagram)) => {
                self.kept_bytes -= datagram.len();
                self.events.handle(&datagram, event);
                return Ok(true);
            }
            Some(None) => {
                self.events.lost();
                self.events.handle(&[], event);
                return Ok(true);
            }
            None if self.kept.capacity() > 0 => self.kept = VecDeque::new(),
            None => {}
        }
        let length = match self.take(timeout)? {
            Some(Some(length)) => length,
            Some(None) => {
                self.events.lost();
                0
            }
            None => return Ok(false),
        };
        self.events.handle(self.buffer.get(..length).unwrap_or_default(), event);
        Ok(true)
    }

    /// Whether something is kept that has yet to be received: the transport does not show it.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Takes what there is from the kernel, whose queue is bounded, and keeps it for
    /// [`receive`](Self::receive): for callers who are busy for longer than the queue lasts.
    pub fn keep(&mut self) -> io::Result<()> {
        while self.kept_bytes < MOST_KEPT {
            let Some(taken) = self.take(Some(Duration::ZERO))? else { break };
            let datagram: Option<Box<[u8]>> =
                taken.and_then(|length| self.buffer.get(..length)).map(Box::from);
            match &datagram {
                Some(datagram) => self.kept_bytes += datagram.len(),
                // What was before the loss will be read again all the same.
                None => {
                    self.kept.clear();
                    self.kept_bytes = 0;
                }
            }
            self.kept.push_back(datagram);
        }
        Ok(())
    }

    /// Receives one datagram into the buffer: its length, or nothing for a loss. `None` if nothing
    /// came.
    fn take(&mut self, timeout: Option<Duration>) -> io::Result<Option<Option<usize>>> {
        match self.transport.receive(&mut self.buffer, timeout) {
            Ok(Received::Datagram(length)) => Ok(Some(Some(length))),
            Ok(Received::Truncated(_) | Received::Overrun) => Ok(Some(None)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

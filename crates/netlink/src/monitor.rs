use std::io;
use std::time::Duration;

use crate::events::{Event, Events};
use crate::transport::{Received, Transport};

/// The longest notification datagram: one message, of an interface with many virtual functions at
/// worst.
const BUFFER: usize = 256 * 1024;

/// Notifications of changes, as typed events.
#[derive(Debug)]
pub struct Monitor<T> {
    transport: T,
    events: Events,
    buffer: Vec<u8>,
}

impl<T: Transport> Monitor<T> {
    /// Listens on `transport`, which has been subscribed to what is wanted.
    pub fn new(transport: T) -> Self {
        Self { transport, events: Events::new(), buffer: vec![0; BUFFER] }
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
        let length = match self.transport.receive(&mut self.buffer, timeout) {
            Ok(Received::Datagram(length)) => length,
            Ok(Received::Truncated(_) | Received::Overrun) => {
                self.events.lost();
                0
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.events.handle(self.buffer.get(..length).unwrap_or_default(), event);
        Ok(true)
    }
}

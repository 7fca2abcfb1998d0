use std::io;
use std::time::Duration;

/// A way to the kernel, or to something that plays the kernel in a test.
pub trait Transport {
    /// Sends one datagram.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;

    /// Receives one datagram into `buffer`, waiting until `timeout` is over (`None`: for ever).
    ///
    /// Fails with `TimedOut` when nothing came. With a timeout of zero it never waits.
    fn receive(&mut self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<Received>;
}

/// The outcome of a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A datagram of this many bytes is in the buffer.
    Datagram(usize),
    /// The datagram had this many bytes, more than the buffer: its tail is gone.
    Truncated(usize),
    /// Messages were lost before they were received (`ENOBUFS`).
    Overrun,
}

use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sys::frame::Socket;

use crate::error::{Context as _, Error, Result};
use crate::frame::{Counters, Frame, Kind};
use crate::worker::{Wakeups, Worker, now};
use crate::{Namespace, wait};

/// Room for frames that arrive while the thread is busy, in bytes.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Records the DHCP and ARP frames of an interface, in both directions, and counts the others.
/// It stops when this is dropped.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    _worker: Worker,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Recorded>,
    /// Told after every frame recorded.
    recorded: Condvar,
}

#[derive(Debug, Default)]
struct Recorded {
    frames: Vec<Frame>,
    counters: Counters,
}

impl Capture {
    /// Starts recording; what is sent after this returns is recorded.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let what = format!("capture on {interface}");
        let index = namespace.index_of(interface)?;
        let socket = namespace.run(|| Socket::open(index))?.context(what.clone())?;
        socket.set_receive_buffer(RECEIVE_BUFFER).context(what.clone())?;
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let worker = Worker::start("capture", move |wakeups| record(&theirs, &socket, wakeups))
            .context(what)?;
        Ok(Self { shared, _worker: worker })
    }

    /// The frames recorded so far, oldest first.
    pub fn frames(&self) -> Vec<Frame> {
        self.shared.lock().frames.clone()
    }

    /// What was seen so far, of all protocols.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters.clone()
    }

    /// Forgets what was recorded.
    pub fn clear(&self) {
        *self.shared.lock() = Recorded::default();
    }

    /// Waits for a frame, counting those already recorded, and returns the first that matches.
    /// Fails with everything that was recorded instead.
    pub fn wait_for(
        &self,
        what: &str,
        timeout: Duration,
        mut matches: impl FnMut(&Frame) -> bool,
    ) -> Result<Frame> {
        let mut found = None;
        let mut looked_at = 0;
        let seen = self.shared.lock();
        let (seen, _) = self
            .shared
            .recorded
            .wait_timeout_while(seen, timeout, |seen| {
                found = seen.frames.iter().skip(looked_at).find(|frame| matches(frame)).cloned();
                looked_at = seen.frames.len();
                found.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        found.ok_or_else(|| Error::TimedOut {
            what: what.to_owned(),
            waited: timeout,
            details: wait::indented(seen.frames.iter().map(Frame::to_string)),
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        // Frames are only appended: a panic elsewhere leaves nothing half done.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(shared: &Shared, socket: &Socket, mut wakeups: Wakeups) {
    let mut buffer = vec![0; 65_536];
    while wakeups.wait(&[socket.as_fd()], None) {
        while let Ok(received) = socket.receive(&mut buffer) {
            let at = now();
            let bytes = buffer.get(..received.length).unwrap_or_default();
            let Some(kind) = Kind::of(bytes) else { continue };
            let frame = Frame::parse(bytes, received.outgoing, at);
            let mut recorded = shared.lock();
            recorded.counters.add(kind);
            recorded.frames.extend(frame);
            drop(recorded);
            shared.recorded.notify_all();
        }
    }
}

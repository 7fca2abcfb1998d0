//! The thread on which everybody but uid 0 is served.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// By how much it is nicer than the thread of the event loop (nice(2)).
const NICENESS: i32 = 5;

/// A thread with an event loop of its own, where what strangers send is read and what they asked for is
/// encoded: however much that is, the caller's event loop goes on. Ends when this is dropped.
#[derive(Debug)]
pub(super) struct Strangers {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Strangers {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("strangers".into()).spawn(move || {
            // Of this thread alone. One that may not be nicer is no worse.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            let _ = runtime.block_on(ended);
            // Whoever waits for the kernel on a thread is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _end: end })
    }

    /// Its event loop.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

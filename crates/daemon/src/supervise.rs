//! Nothing ends silently: a worker thread that ends before its owner does ends the daemon.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::Notify;

/// Tells the daemon's main task when a worker died.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    died: Arc<Notify>,
}

impl Watched {
    /// For tests that watch nobody.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        Self::default()
    }

    /// Runs a worker to its end. A panic is logged and told.
    pub(crate) fn run(&self, name: &str, work: impl FnOnce()) {
        // The worker's state goes down with it; nobody sees it half changed.
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("the {name} thread panicked");
            self.died.notify_one();
        }
    }

    /// Waits for the first death. Cancel safe.
    pub(crate) async fn death(&self) {
        self.died.notified().await;
    }
}

/// A thread that does what it is asked, in that order.
///
/// Dropping this waits until all of it is done.
#[derive(Debug)]
pub(crate) struct Worker<J> {
    /// `None` only while dropping: hanging up ends the thread.
    jobs: Option<mpsc::Sender<J>>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Worker<J> {
    /// Starts the thread. `work` takes jobs from the queue for as long as there is one.
    pub(crate) fn start(
        name: &'static str,
        watched: Watched,
        work: impl FnOnce(&mpsc::Receiver<J>) + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || watched.run(name, || work(&queue)))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Asks for something, after all that was asked for before.
    pub(crate) fn ask(&self, job: J) {
        if let Some(jobs) = &self.jobs {
            // The thread ends before us only by a panic, which ends the daemon.
            let _ = jobs.send(job);
        }
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

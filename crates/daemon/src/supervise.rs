//! Nothing ends silently: a worker thread that ends before its owner does ends the daemon.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::Notify;

/// Tells the daemon's main task when a worker died.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    died: Arc<Notify>,
}

impl Watched {
    /// For tests that watch nobody.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        Self::default()
    }

    /// Runs a worker to its end. A panic is logged and told.
    pub fn run(&self, name: &str, work: impl FnOnce()) {
        // The worker's state goes down with it; nobody sees it half changed.
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("the {name} thread panicked");
            self.died.notify_one();
        }
    }

    /// Waits for the first death. Cancel safe.
    pub async fn death(&self) {
        self.died.notified().await;
    }
}

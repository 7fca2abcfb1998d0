use std::sync::atomic::{AtomicU64, Ordering};

/// What the server did since it started.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections closed at once because there were too many.
    pub connections_refused: AtomicU64,
    /// Connections closed because the client did not keep the protocol.
    pub connections_malformed: AtomicU64,
    /// Calls handed to the handler.
    pub calls: AtomicU64,
    /// Subscribers that were too slow and were told so.
    pub resynchronised: AtomicU64,
}

impl Statistics {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

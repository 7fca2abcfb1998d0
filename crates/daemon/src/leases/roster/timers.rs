use std::collections::{BTreeMap, BTreeSet};

use engine::Instant;

use super::key::ClientKey;

/// What a roster waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A client's engine wants to be called.
    Client(ClientKey),
    /// A RELEASE has waited for too long.
    Release(ClientKey),
    /// Records that could not be written are tried again.
    StoreRetry,
}

/// Every timer of a roster but the pacer's, whose changes with each exchange.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Instant>,
    order: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets a timer, anew if it was set; `None` stops it.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.at.insert(timer, at),
            None => self.at.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first one that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.set(timer, None);
        Some(timer)
    }
}

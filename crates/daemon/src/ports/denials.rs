//! Binds that were refused: those of the recent past, and who wants to hear of more.

use std::collections::VecDeque;
use std::sync::Arc;

use api::ports::{self, Denial};
use api::server::Subscription;

use crate::subsystem::Events;

/// The last of them, at most [`ports::Denials::MOST`], and their subscribers.
#[derive(Debug)]
pub(super) struct Denials {
    recent: VecDeque<Arc<Denial>>,
    events: Events<Denial>,
}

impl Denials {
    /// None yet. A subscriber may be behind by so many.
    pub(super) fn new(kept: usize) -> Self {
        Self { recent: VecDeque::new(), events: Events::new(kept) }
    }

    /// Notes one, and hands it to all who subscribe.
    pub(super) fn report(&mut self, denial: Denial) {
        let denial = Arc::new(denial);
        if self.recent.len() >= ports::Denials::MOST {
            self.recent.pop_front();
        }
        self.recent.push_back(denial.clone());
        self.events.publish(denial);
    }

    /// Subscribes somebody who is sent the last `recent` first, oldest first.
    pub(super) fn subscribe(&self, recent: usize) -> Subscription<Arc<Denial>> {
        let skipped = self.recent.len().saturating_sub(recent);
        let recent: Vec<_> = self.recent.iter().skip(skipped).cloned().collect();
        self.events.subscribe(Box::new(recent.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use api::ports::{Protocol, Who};

    use super::*;

    fn denial(port: u16) -> Denial {
        Denial::new(Protocol::Tcp, port, Who::user(1_000), 7.into(), 1, u16::MAX)
    }

    #[test]
    fn the_last_ones_come_first_and_then_what_follows() {
        let mut denials = Denials::new(4);
        let many = ports::Denials::MOST as u16 + 5;
        (1..=many).for_each(|port| denials.report(denial(port)));
        let snapshot = |recent| -> Vec<u16> {
            denials.subscribe(recent).snapshot.map(|denial| denial.port).collect()
        };
        assert!(snapshot(0).is_empty());
        assert_eq!(snapshot(2), [many - 1, many]);
        assert!(snapshot(usize::MAX).into_iter().eq(6..=many), "the oldest are forgotten");
        let mut subscription = denials.subscribe(0);
        denials.report(denial(9));
        assert_eq!(subscription.channels[0].try_recv().unwrap().port, 9);
    }
}

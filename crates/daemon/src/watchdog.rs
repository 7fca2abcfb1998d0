//! Telling the service manager that the event loop turns.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Feeds the watchdog that the service manager asked for (sd_watchdog_enabled(3), `WatchdogSec=`).
///
/// It is fed by the loop that serves leases, and by nothing else: a loop that is held up is ended by
/// the service manager and started again, with its leases and reservations in force meanwhile.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// `None` where nobody asked.
    interval: Option<Interval>,
}

impl Watchdog {
    /// The one of the environment, if there is one.
    pub(crate) fn from_environment() -> Self {
        Self::every(sd_notify::watchdog_enabled())
    }

    /// Fed twice within `timeout`, so that one late turn is no reason to end.
    fn every(timeout: Option<Duration>) -> Self {
        let half = timeout.map(|timeout| timeout / 2).filter(|half| !half.is_zero());
        Self {
            interval: half.map(|half| {
                let mut interval = interval(half);
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                interval
            }),
        }
    }

    /// Feeds it each time that is due, for good. Cancel safe.
    pub(crate) async fn feed(&mut self) {
        let Some(interval) = &mut self.interval else { return std::future::pending().await };
        loop {
            interval.tick().await;
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_fed_twice_as_often_as_it_has_to_be() {
        let period = |timeout| Watchdog::every(timeout).interval.map(|it| it.period());
        assert_eq!(period(Some(Duration::from_secs(30))), Some(Duration::from_secs(15)));
        assert_eq!(period(Some(Duration::ZERO)), None);
        assert_eq!(period(None), None);
    }
}

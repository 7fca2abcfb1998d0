//! Closing sockets of others, which somebody may hold up.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use engine::{Reason, Refused};

use crate::refusal::refused;

/// What came of it: how many were closed.
type Outcome = Result<u32, Refused>;

/// Has sockets closed on a thread of its own.
///
/// The kernel waits for whoever has a socket's lock (`tcp_abort`, `udp_abort`), and no signal ends that:
/// somebody who sends from memory that is not there has it for as long as they want. There is one such
/// thread at a time.
#[derive(Debug, Default)]
pub(super) struct Killer {
    /// One that was not waited for to its end.
    late: Option<Receiver<Outcome>>,
}

impl Killer {
    /// Does it, and waits that long.
    pub(super) fn run(
        &mut self,
        within: Duration,
        kill: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Outcome {
        if let Some(late) = &self.late
            && late.try_recv() == Err(TryRecvError::Empty)
        {
            let text = "those of an earlier call are not closed yet: somebody keeps one locked";
            return Err(Refused::new(Reason::TimedOut, text));
        }
        self.late = None;
        let (tell, outcome) = mpsc::channel();
        let work = move || {
            // Nobody may wait any more.
            let _ = tell.send(kill());
        };
        thread::Builder::new()
            .name("killer".into())
            .spawn(work)
            .map_err(|error| refused("no thread for it", &error))?;
        match outcome.recv_timeout(within) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                self.late = Some(outcome);
                let text = format!("not within {} s: somebody keeps one locked", within.as_secs());
                Err(Refused::new(Reason::TimedOut, text))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Refused::other("the thread for it died")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::wait_until;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn one_that_is_held_up_is_not_waited_for_and_stands_alone() {
        let mut killer = Killer::default();
        assert_eq!(killer.run(DEADLINE, || Ok(3)), Ok(3));
        let why = Refused::other("why");
        assert_eq!(killer.run(DEADLINE, || Err(Refused::other("why"))), Err(why));
        let (let_go, held_up) = mpsc::channel::<()>();
        let kill = move || {
            let _ = held_up.recv_timeout(DEADLINE);
            Ok(1)
        };
        let late = killer.run(Duration::from_millis(10), kill).unwrap_err();
        assert_eq!(late.reason, Reason::TimedOut, "{late}");
        let refused = killer.run(DEADLINE, || Ok(2)).unwrap_err();
        assert!(refused.text.contains("earlier"), "{refused}");
        drop(let_go);
        wait_until("the next has its turn", || killer.run(DEADLINE, || Ok(2)) == Ok(2));
    }
}

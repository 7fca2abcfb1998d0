//! What is short now and may be there in a moment: descriptors and memory.
//!
//! Such an error says nothing of what was tried. Whoever gives up something for the life of the
//! daemon, or concludes that a kernel or a file is of no use, looks here first.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use engine::Reason;

use crate::refusal;

/// How long is waited at start, all in all.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_STEP: Duration = Duration::from_millis(5);
const LONGEST_STEP: Duration = Duration::from_millis(100);

/// Whether the error is of this kind.
pub(crate) fn is_one(error: &io::Error) -> bool {
    refusal::reason(error) == Reason::Shortage
}

/// Waits for the end of shortages, for a second over all tries.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// `None` until something was short.
    until: Option<Instant>,
}

impl Patience {
    /// Tries again for as long as something is short.
    pub(crate) fn attempt<T, E>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T, E>,
        is_short: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let mut step = FIRST_STEP;
        loop {
            match attempt() {
                Err(error) if is_short(&error) => {
                    let now = Instant::now();
                    if now >= *self.until.get_or_insert(now + PATIENCE) {
                        return Err(error);
                    }
                    thread::sleep(step);
                    step = (2 * step).min(LONGEST_STEP);
                }
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn what_is_short_is_told_from_what_is_refused() {
        for (number, expected) in
            [(24, true), (23, true), (12, true), (11, true), (1, false), (22, false), (28, false)]
        {
            assert_eq!(is_one(&error(number)), expected, "{number}");
        }
        // A lock that somebody has, as the standard library tells it.
        assert!(!is_one(&io::ErrorKind::WouldBlock.into()));
    }

    #[test]
    fn only_what_is_short_is_tried_again_and_not_for_ever() {
        let mut patience = Patience::default();
        let mut tries = 0;
        let found = patience.attempt(
            || {
                tries += 1;
                if tries < 3 { Err(error(24)) } else { Ok(tries) }
            },
            is_one,
        );
        assert_eq!(found.unwrap(), 3);
        let mut tries = 0;
        let refused: io::Result<()> = patience.attempt(
            || {
                tries += 1;
                Err(error(1))
            },
            is_one,
        );
        assert_eq!((refused.unwrap_err().raw_os_error(), tries), (Some(1), 1));
        let short: io::Result<()> = patience.attempt(|| Err(error(12)), is_one);
        assert_eq!(short.unwrap_err().raw_os_error(), Some(12));
    }
}

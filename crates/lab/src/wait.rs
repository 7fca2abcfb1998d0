//! Waiting for conditions, with deadlines.

use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Waits until `condition` holds, looking every few milliseconds, and fails when it does not within
/// `timeout`.
///
/// For conditions nobody announces: the kernel's tables, files, processes. It sleeps between looks
/// and never instead of one.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_for(what, timeout, || condition().then_some(()))
}

/// Like [`wait_until`], for a condition that yields something.
pub fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        let waited = start.elapsed();
        if waited >= timeout {
            let details = String::new();
            return Err(Error::TimedOut { what: what.to_owned(), waited, details });
        }
        thread::sleep(pause.min(timeout - waited));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Lines for [`Error::TimedOut`]'s details, the last fifty.
pub(crate) fn indented(lines: impl DoubleEndedIterator<Item = String>) -> String {
    let mut last: Vec<String> = lines.rev().take(50).map(|line| format!("\n  {line}")).collect();
    last.reverse();
    last.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_once_more_than_the_clock_allows_and_says_what_was_waited_for() {
        assert!(wait_until("never", Duration::ZERO, || true).is_ok());
        let error = wait_until("the moon", Duration::from_millis(5), || false).unwrap_err();
        assert!(error.to_string().starts_with("the moon: not within"), "{error}");
        let mut looks = 0;
        let third = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(third.unwrap(), 3);
    }
}

//! Conditions an administrator should know of, for as long as they last.

use std::collections::BTreeMap;
use std::time::SystemTime;

use api::daemon::Problem;

/// The problems there are now, by what they concern.
///
/// A problem is raised when something fails and cleared when the same thing works again, so that
/// `Status` shows the present and not a history; the log has the history.
#[derive(Debug, Default)]
pub struct Problems {
    open: BTreeMap<(String, &'static str), Problem>,
}

impl Problems {
    /// Notes a problem of `kind` with `subject`, and logs it unless it is known already in these
    /// words.
    pub fn raise(&mut self, subject: &str, kind: &'static str, text: impl Into<String>) {
        let text = text.into();
        let key = (subject.to_owned(), kind);
        if self.open.get(&key).is_some_and(|known| known.text == text) {
            return;
        }
        tracing::warn!("{subject}: {text}");
        let time = SystemTime::now().into();
        self.open.insert(key, Problem { time, subject: subject.to_owned(), text });
    }

    /// The problem of `kind` with `subject` is over, if there was one.
    pub fn clear(&mut self, subject: &str, kind: &'static str) {
        if self.open.is_empty() {
            return;
        }
        if self.open.remove(&(subject.to_owned(), kind)).is_some() {
            tracing::info!("{subject}: {kind} works again");
        }
    }

    /// The subject is gone, and its problems with it.
    pub fn forget(&mut self, subject: &str) {
        self.open.retain(|(known, _), _| known != subject);
    }

    /// Those there are, by subject.
    pub fn list(&self) -> Vec<Problem> {
        self.open.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_lasts_until_it_is_cleared() {
        let mut problems = Problems::default();
        problems.raise("store", "write", "disk full");
        problems.raise("store", "write", "read-only");
        problems.raise("eth0", "holder", "dhclient");
        assert_eq!(problems.list().len(), 2);
        assert_eq!(problems.list()[1].text, "read-only");
        problems.clear("store", "read");
        assert_eq!(problems.list().len(), 2);
        problems.clear("store", "write");
        problems.forget("eth0");
        assert!(problems.list().is_empty());
    }
}

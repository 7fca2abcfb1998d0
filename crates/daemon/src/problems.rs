//! Conditions an administrator should know of, for as long as they last.

use std::collections::BTreeMap;
use std::time::SystemTime;

use api::daemon::Problem;

/// What fits a status that people read.
const TOLD_AT_ONCE: usize = 4;

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

    /// Notes what was met in one go as one problem of `kind`, if it was anything: the first few, and
    /// how many more there are. The log has them all.
    pub fn raise_all(&mut self, subject: &str, kind: &'static str, texts: &[String]) {
        let (told, rest) = texts.split_at(texts.len().min(TOLD_AT_ONCE));
        for text in rest {
            tracing::warn!("{subject}: {text}");
        }
        match (told, rest.len()) {
            ([], _) => {}
            (_, 0) => self.raise(subject, kind, told.join("; ")),
            (_, more) => self.raise(subject, kind, format!("{}; and {more} more", told.join("; "))),
        }
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

    #[test]
    fn what_came_in_one_go_is_one_problem_with_all_of_it() {
        let mut problems = Problems::default();
        problems.raise_all("store", "read", &[]);
        assert!(problems.list().is_empty());
        let texts: Vec<_> = (0..6).map(|n| format!("eth{n}.json: damaged")).collect();
        problems.raise_all("store", "read", texts.get(..2).unwrap());
        assert_eq!(problems.list()[0].text, "eth0.json: damaged; eth1.json: damaged");
        problems.raise_all("store", "read", &texts);
        let [only] = &problems.list()[..] else { panic!("{problems:?}") };
        assert!(only.text.ends_with("; eth3.json: damaged; and 2 more"), "{}", only.text);
    }
}

//! Conditions an administrator should know of, for as long as they last.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use api::daemon::{Problem, ProblemKind};
use ports::Id;

/// What fits a status that people read.
const SHOWN_AT_ONCE: usize = 4;

/// What a problem concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A part of the daemon.
    Part(&'static str),
    /// An interface, by name.
    Interface(String),
    /// A reservation of ports.
    Reservation(Id),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(name) => f.write_str(name),
            Self::Interface(name) => f.write_str(name),
            Self::Reservation(id) => write!(f, "reservation {id}"),
        }
    }
}

/// The problems there are now, by what they concern.
///
/// A problem is raised when something fails and cleared when the same thing works again, so that
/// `Status` shows the present and not a history; the log has the history.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    open: BTreeMap<(Subject, ProblemKind), Problem>,
}

impl Problems {
    /// Notes a problem, and logs it unless it is known already in these words.
    pub(crate) fn raise(&mut self, subject: Subject, kind: ProblemKind, text: impl Into<String>) {
        let text = text.into();
        let key = (subject, kind);
        if self.open.get(&key).is_some_and(|known| known.text == text) {
            return;
        }
        let (subject, kind) = &key;
        tracing::warn!("{subject}: {text}");
        let time = SystemTime::now().into();
        let mut problem = Problem::new(time, kind.clone(), subject.to_string(), text);
        match subject {
            Subject::Part(_) => {}
            Subject::Interface(name) => problem.interface = Some(name.clone()),
            Subject::Reservation(id) => problem.reservation = Some(id.get().into()),
        }
        self.open.insert(key, problem);
    }

    /// Notes what was met in one go as one problem, if it was anything: the first few, and how many
    /// more there are. The log has them all.
    pub(crate) fn raise_all(&mut self, subject: Subject, kind: ProblemKind, texts: &[String]) {
        let (shown, rest) = texts.split_at(texts.len().min(SHOWN_AT_ONCE));
        for text in rest {
            tracing::warn!("{subject}: {text}");
        }
        match (shown, rest.len()) {
            ([], _) => {}
            (_, 0) => self.raise(subject, kind, shown.join("; ")),
            (_, more) => {
                self.raise(subject, kind, format!("{}; and {more} more", shown.join("; ")))
            }
        }
    }

    /// The problem is over, if there was one.
    pub(crate) fn clear(&mut self, subject: Subject, kind: ProblemKind) {
        if self.open.is_empty() {
            return;
        }
        let key = (subject, kind);
        if self.open.remove(&key).is_some() {
            let (subject, kind) = key;
            tracing::info!("{subject}: {kind} is over");
        }
    }

    /// The subject is gone, and its problems with it.
    pub(crate) fn forget(&mut self, subject: &Subject) {
        self.open.retain(|(known, _), _| known != subject);
    }

    /// Those there are, by subject.
    pub(crate) fn list(&self) -> Vec<Problem> {
        self.open.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Subject = Subject::Part("store");

    #[test]
    fn a_problem_lasts_until_it_is_cleared() {
        let eth0 = Subject::Interface("eth0".into());
        let mut problems = Problems::default();
        problems.raise(STORE, ProblemKind::StoreUnwritable, "disk full");
        problems.raise(STORE, ProblemKind::StoreUnwritable, "read-only");
        problems.raise(eth0.clone(), ProblemKind::AnotherClient, "dhclient");
        let listed = problems.list();
        assert_eq!(listed.len(), 2);
        assert_eq!((listed[0].text.as_str(), &listed[0].interface), ("read-only", &None));
        assert_eq!(listed[1].interface.as_deref(), Some("eth0"));
        assert_eq!(listed[1].kind, ProblemKind::AnotherClient);
        problems.clear(STORE, ProblemKind::RecordDamaged);
        assert_eq!(problems.list().len(), 2);
        problems.clear(STORE, ProblemKind::StoreUnwritable);
        problems.forget(&eth0);
        assert!(problems.list().is_empty());
    }

    #[test]
    fn what_came_in_one_go_is_one_problem_with_all_of_it() {
        let raise_all = |problems: &mut Problems, texts: &[String]| {
            problems.raise_all(STORE, ProblemKind::RecordDamaged, texts);
        };
        let mut problems = Problems::default();
        raise_all(&mut problems, &[]);
        assert!(problems.list().is_empty());
        let texts: Vec<_> = (0..6).map(|n| format!("eth{n}.json: damaged")).collect();
        raise_all(&mut problems, texts.get(..2).unwrap());
        assert_eq!(problems.list()[0].text, "eth0.json: damaged; eth1.json: damaged");
        raise_all(&mut problems, &texts);
        let [only] = &problems.list()[..] else { panic!("{problems:?}") };
        assert!(only.text.ends_with("; eth3.json: damaged; and 2 more"), "{}", only.text);
    }
}

use core::error::Error;
use core::fmt;

/// Why the host would not do something: a reason for programs, and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What a program can act on.
    pub reason: Reason,
    /// What would not be done and why, in lower case and without a full stop.
    pub text: String,
}

/// What an engine, or whoever hears of its failures, can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What was to be made is there.
    AlreadyThere,
    /// What was to be changed or removed is not there.
    NotThere,
    /// The interface is gone.
    NoSuchInterface,
    /// The privilege for it is missing.
    NotPermitted,
    /// This host cannot do it, now or later.
    Unsupported,
    /// Descriptors, memory or threads are short. They may be there in a moment.
    Shortage,
    /// It was not done in time, and may or may not be done yet.
    TimedOut,
    /// Anything else: see the text.
    Other,
}

impl Refused {
    /// A refusal for that reason.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// A refusal that no program can do anything about.
    pub fn other(text: impl Into<String>) -> Self {
        Self::new(Reason::Other, text)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Refused {}

//! How a command ends.

use std::io;
use std::process;

/// What the shell is report. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// The operation failed.
    Failed,
    /// The command line was not understood.
    Usage,
    /// The daemon cannot be reached.
    Unreachable,
    /// The caller may not do that.
    Denied,
    /// That of a command that was run.
    Command(u8),
}

impl From<Exit> for process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Denied => 4,
            Exit::Command(status) => status,
        })
    }
}

/// Why a command came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something a person can read and perhaps mend.
    Error(Box<Report>),
    /// What was to be printed could not be. A closed pipe is no failure: who reads has had enough.
    Output(io::Error),
}

/// An error as it is shown.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) exit: Exit,
    /// Lower case, without a stop.
    pub(crate) message: String,
    /// The message is for JSON's readers: people were given other words.
    pub(crate) said_already: bool,
    /// Sentences that say what to do.
    pub(crate) hints: Vec<String>,
    /// The error as the daemon sent it: an object of `error` and `parameters`.
    pub(crate) object: Option<serde_json::Value>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        let (hints, object) = (Vec::new(), None);
        Self::Error(Box::new(Report { exit, message, said_already: false, hints, object }))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Error(report) = &mut self {
            report.hints.push(hint.into());
        }
        self
    }

    pub(crate) fn said_already(mut self) -> Self {
        if let Self::Error(report) = &mut self {
            report.said_already = true;
        }
        self
    }

    pub(crate) fn object(mut self, object: Option<serde_json::Value>) -> Self {
        if let Self::Error(report) = &mut self {
            report.object = object;
        }
        self
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

use std::io;
use std::time::Duration;

/// What can go wrong in a lab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused something the lab needs.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: String,
        /// The host's answer.
        source: io::Error,
    },
    /// The kernel refused a change to a network of the lab.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        source: netlink::Error,
    },
    /// Something that has to be there is not: a program, a privilege. A test skips.
    #[error("{0}")]
    Unavailable(String),
    /// Something did not happen in time.
    #[error("{what}: not within {:.1} s{details}", waited.as_secs_f64())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// What was seen instead, on lines of its own; empty if nothing.
        details: String,
    },
    /// A process ended that should not have, or with an error.
    #[error("{program}: {ended}\n{log}")]
    Process {
        /// Its name.
        program: String,
        /// How it ended.
        ended: String,
        /// What it printed.
        log: String,
    },
    /// A step of the lab's story came out differently.
    #[error("{0}")]
    Story(String),
}

/// A result of the lab.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was tried when something failed.
pub(crate) trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Host { what: what.into(), source })
    }
}

impl<T> Context<T> for std::result::Result<T, netlink::Error> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Kernel { what: what.into(), source })
    }
}

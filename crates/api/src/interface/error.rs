use serde::{Deserialize, Serialize};

macro_rules! errors {
    ($($(#[$attribute:meta])* $variant:ident = $name:literal,)+) => {
        /// The interface's errors.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
        #[serde(tag = "error", content = "parameters")]
        #[non_exhaustive]
        pub enum Error {
            /// There is no interface of that name, alternative name, index or GUID.
            #[error("there is no interface {interface}")]
            #[serde(rename = "org.iphelper.Interface.NoSuchInterface")]
            NoSuchInterface {
                /// What was asked for.
                interface: String,
            },

            $(
                $(#[$attribute])*
                #[error("{subject}: {problem}")]
                #[serde(rename = $name)]
                $variant {
                    /// What was asked about.
                    subject: String,
                    /// What is wrong, in the kernel's words where it gave any.
                    problem: String,
                },
            )+

            /// The table changed during every attempt to read it. Worth trying again later.
            #[error("the tables changed during each of {attempts} attempts to read them")]
            #[serde(rename = "org.iphelper.Interface.Inconsistent")]
            Inconsistent {
                /// How often it was read.
                attempts: u32,
            },

            /// The table, with those that are kept along with it, has more rows than the daemon keeps
            /// for others. Whoever needs it reads it from the kernel, as `iph` does.
            #[error("the tables have more than {most} rows, which the daemon does not keep")]
            #[serde(rename = "org.iphelper.Interface.TooLarge")]
            TooLarge {
                /// How many it keeps.
                most: u64,
            },

            /// The caller, or the daemon itself, may not do that.
            #[error("access denied: {needed} needed")]
            #[serde(rename = "org.iphelper.Interface.AccessDenied")]
            AccessDenied {
                /// What would do.
                needed: String,
            },

            /// The daemon is ending.
            #[error("the daemon is ending")]
            #[serde(rename = "org.iphelper.Interface.Cancelled")]
            Cancelled,
        }
    };
}

errors! {
    /// What was to be made is there already.
    AlreadyExists = "org.iphelper.Interface.AlreadyExists",
    /// What was asked for is not there.
    NotFound = "org.iphelper.Interface.NotFound",
    /// A value is wrong in itself, or does not fit what it was meant for.
    InvalidValue = "org.iphelper.Interface.InvalidValue",
    /// Linux, this kernel, or this interface has no such thing.
    NotSupported = "org.iphelper.Interface.NotSupported",
    /// Nobody answers for the address, or no route leads there.
    Unreachable = "org.iphelper.Interface.Unreachable",
    /// There was no answer in time.
    TimedOut = "org.iphelper.Interface.TimedOut",
    /// The kernel refused for another reason.
    Host = "org.iphelper.Interface.Host",
}

impl From<tables::Error> for Error {
    fn from(error: tables::Error) -> Self {
        use tables::Error as E;
        let (subject, problem) = match error.failure() {
            Some(failure) => (failure.subject.clone(), failure.problem.clone()),
            None => ("the kernel".to_owned(), error.to_string()),
        };
        match error {
            E::AlreadyExists(_) => Self::AlreadyExists { subject, problem },
            E::NotFound(_) => Self::NotFound { subject, problem },
            E::NoSuchInterface { interface } => Self::NoSuchInterface { interface },
            E::NotPermitted(_) => {
                Self::AccessDenied { needed: format!("CAP_NET_ADMIN ({subject}: {problem})") }
            }
            E::InvalidValue(_) => Self::InvalidValue { subject, problem },
            E::NotSupported(_) => Self::NotSupported { subject, problem },
            E::Unreachable(_) => Self::Unreachable { subject, problem },
            E::TimedOut(_) => Self::TimedOut { subject, problem },
            E::Inconsistent { attempts } => Self::Inconsistent { attempts },
            E::TooLarge { most } => {
                Self::TooLarge { most: u64::try_from(most).unwrap_or(u64::MAX) }
            }
            _ => Self::Host { subject, problem },
        }
    }
}

impl crate::InterfaceError for Error {
    fn access_denied(needed: String) -> Self {
        Self::AccessDenied { needed }
    }

    fn cancelled() -> Self {
        Self::Cancelled
    }
}

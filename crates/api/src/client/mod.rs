//! The calling side.
//!
//! [`Client`] blocks; with feature `async`, `AsyncClient` is the same for tokio.

#[cfg(feature = "async")]
mod asynchronous;
mod blocking;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[cfg(feature = "async")]
pub use asynchronous::{AsyncClient, AsyncReplies};
pub use blocking::{Client, Replies, Stopper};

use crate::protocol::MOST_DESCRIPTORS;
use crate::{Method, daemon, protocol, service};

/// The daemon could not be asked, or its answer not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens there: the daemon does not run, or listens elsewhere.
    #[error("no daemon listens at {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// The socket's or a folder's permissions keep this process out.
    #[error("access to {} denied", path.display())]
    AccessDenied {
        /// The socket.
        path: PathBuf,
    },

    /// The daemon said nothing in time. It may still do what it was asked to.
    #[error("the daemon did not answer in time")]
    TimedOut,

    /// The daemon closed the connection: it ended.
    #[error("the daemon closed the connection")]
    Closed,

    /// An earlier call failed half-way, so that the next answer could be the last one's.
    #[error("the connection failed earlier")]
    Broken,

    /// What the other side sent is no answer to the call.
    #[error("the daemon does not keep the protocol")]
    Protocol(#[from] protocol::Error),

    /// The service refused the call whatever its meaning: it does not serve the method, or not
    /// with these parameters.
    #[error("the service refused the call")]
    Service(#[source] service::Error),

    /// The caller, or all callers together, hold as much of the daemon as they may. The connection is
    /// closed.
    #[error("the daemon takes no more: {0}")]
    Crowded(daemon::Error),

    /// The service answered with an error this version does not know.
    #[error("unknown error {name}: {parameters}")]
    Unknown {
        /// The error's qualified name.
        name: String,
        /// Its parameters, JSON.
        parameters: String,
    },

    /// The kernel refused to read or write.
    #[error("connection failed")]
    Io(#[source] io::Error),
}

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E: std::error::Error + 'static> {
    /// The daemon did what it could and says why it came to nothing.
    #[error(transparent)]
    Method(E),

    /// The daemon could not be asked, or its answer not be had.
    #[error(transparent)]
    Client(#[from] Error),
}

impl Error {
    fn connecting(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::AccessDenied { path: path.to_owned() },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Unreachable { path: path.to_owned(), source },
        }
    }

    /// An error of reading or writing on an open connection.
    fn talking(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ if is_closed(&source) => Self::Closed,
            _ => Self::Io(source),
        }
    }
}

/// Whether the other side closed the connection.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// One reply, and whether others follow.
#[derive(Debug)]
struct Received<T> {
    reply: T,
    continues: bool,
}

/// Whether the connection is as good as before the call: a method's error is an answer like any
/// other, and so are the service's.
fn is_answer<T, E>(received: &Result<T, CallError<E>>) -> bool
where
    E: std::error::Error + 'static,
{
    match received {
        Ok(_) | Err(CallError::Method(_)) => true,
        Err(CallError::Client(error)) => {
            matches!(error, Error::Service(_) | Error::Unknown { .. })
        }
    }
}

fn encode_call<M: Method>(
    parameters: &M,
    descriptors: &[BorrowedFd<'_>],
    more: bool,
) -> Result<Vec<u8>, Error> {
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(protocol::Error::TooManyDescriptors.into());
    }
    let mut bytes = Vec::new();
    protocol::encode(&protocol::CallOut { method: M::NAME, parameters, more }, &mut bytes)?;
    Ok(bytes)
}

fn decode_reply<M>(message: &[u8]) -> Result<Received<M::Reply>, CallError<M::Error>>
where
    M: Method,
{
    let reply: protocol::Reply<'_> = protocol::parse(message).map_err(Error::from)?;
    let parameters = reply.parameters.map_or("{}", RawValue::get);
    if let Some(name) = reply.error {
        return Err(decode_error::<M>(&name, parameters));
    }
    let continues = reply.continues.unwrap_or(false);
    let reply = protocol::parse(parameters.as_bytes()).map_err(Error::from)?;
    Ok(Received { reply, continues })
}

fn decode_error<M: Method>(name: &str, parameters: &str) -> CallError<M::Error> {
    let unknown = || Error::Unknown { name: name.to_owned(), parameters: parameters.to_owned() };
    let Ok(members) = serde_json::from_str(parameters) else { return unknown().into() };
    if let Some(error) = named(name, &members) {
        return CallError::Method(error);
    }
    // It may answer a call of any interface.
    if let Some(error @ daemon::Error::LimitExceeded { .. }) = named(name, &members) {
        return Error::Crowded(error).into();
    }
    match named(name, &members) {
        Some(error) => Error::Service(error).into(),
        None => unknown().into(),
    }
}

/// An error's Rust form is the object of name and parameters. Of an error without members it is the
/// name alone, whether an empty object came with it or not.
fn named<E: DeserializeOwned>(name: &str, parameters: &Map<String, Value>) -> Option<E> {
    let whole = serde_json::json!({ "error": name, "parameters": parameters });
    let bare = || parameters.is_empty().then(|| serde_json::json!({ "error": name }));
    serde_json::from_value(whole).ok().or_else(|| serde_json::from_value(bare()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lease, ports};

    #[test]
    fn an_error_without_parameters_may_have_an_empty_object() {
        for parameters in ["", ",\"parameters\":{}", ",\"parameters\":null"] {
            let name = "org.iphelper.PortReservation.Cancelled";
            let message = format!("{{\"error\":\"{name}\"{parameters}}}");
            match decode_reply::<ports::Status>(message.as_bytes()) {
                Err(CallError::Method(ports::Error::Cancelled)) => {}
                other => panic!("{message}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_error_may_lack_every_member() {
        for parameters in ["", ",\"parameters\":{}", ",\"parameters\":null"] {
            let message = format!("{{\"error\":\"org.iphelper.Lease.Cancelled\"{parameters}}}");
            match decode_reply::<lease::List>(message.as_bytes()) {
                Err(CallError::Method(lease::Error::Cancelled { interface: None })) => {}
                other => panic!("{message}: {other:?}"),
            }
        }
    }
}

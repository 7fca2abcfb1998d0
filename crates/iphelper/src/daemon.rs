//! The daemon, and what it tells of all interfaces.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::client::Client;
use api::lease;

use crate::stream::stream;
use crate::{DEFAULT_SOCKET, Error, Event, LeaseInfo};

/// How long the daemon may take over what it only has to look up.
const LOOKUP: Duration = Duration::from_secs(10);

/// The daemon: where it listens.
///
/// Every call makes a connection of its own, so one value serves any number of threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// The daemon at the socket that the environment variable `IPHELPER_SOCKET` names, or else at
    /// [`DEFAULT_SOCKET`].
    pub fn new() -> Self {
        match std::env::var_os("IPHELPER_SOCKET") {
            Some(socket) if !socket.is_empty() => Self::at(socket),
            _ => Self::at(DEFAULT_SOCKET),
        }
    }

    /// The daemon at that socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every client there is, with the lease it holds, if any.
    pub fn leases(&self) -> Result<Vec<LeaseInfo>, Error> {
        listed(self.client(None)?.call_more(&lease::List::default()).map_err(Error::from))
    }

    /// What happens to leases, from now on.
    ///
    /// `interface` is a name, or a pattern with `*` and `?`; `None` is all. First comes an event
    /// of kind [`EventKind::State`](crate::EventKind::State) for each client there is.
    pub fn watch(&self, interface: Option<&str>) -> Result<Events, Error> {
        let call = lease::Monitor { interface: interface.map(str::to_owned) };
        Ok(Events::new(self.client(None)?.stream(&call)?))
    }

    /// Connects; `None` is for calls that only look something up.
    pub(crate) fn client(&self, patience: Option<Duration>) -> Result<Client, Error> {
        Ok(Client::connect(&self.socket, Some(patience.unwrap_or(LOOKUP)))?)
    }

    #[cfg(feature = "async")]
    pub(crate) async fn client_async(
        &self,
        patience: Option<Duration>,
    ) -> Result<api::client::AsyncClient, Error> {
        let patience = Some(patience.unwrap_or(LOOKUP));
        Ok(api::client::AsyncClient::connect(&self.socket, patience).await?)
    }
}

impl Default for Daemon {
    fn default() -> Self {
        Self::new()
    }
}

/// Every client there is, with the lease it holds, if any; from [`Daemon::new`].
pub fn leases() -> Result<Vec<LeaseInfo>, Error> {
    Daemon::new().leases()
}

/// What happens to leases, from now on; from [`Daemon::new`].
pub fn watch() -> Result<Events, Error> {
    Daemon::new().watch(None)
}

stream! {
    lease::Monitor, |reply| reply.event => Event;

    /// Events as they happen.
    ///
    /// A program that takes them too slowly misses some, and is told by one of kind
    /// [`EventKind::Resync`](crate::EventKind::Resync); what there is then follows anew. Ends after
    /// an error, of which [`Error::Cancelled`] and [`Error::Closed`] mean that the daemon ended.
    pub struct Events;

    /// Events as they happen; as [`Events`].
    pub struct AsyncEvents;
}

/// A list is empty where the daemon says that it manages nothing.
pub(crate) fn listed(
    replies: Result<Vec<lease::ListReply>, Error>,
) -> Result<Vec<LeaseInfo>, Error> {
    match replies {
        Ok(replies) => Ok(replies.into_iter().map(|reply| reply.lease).collect()),
        Err(Error::NotManaged { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

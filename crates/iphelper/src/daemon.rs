//! The daemon, and what it tells of all interfaces.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::client::Client;
use api::lease;

use crate::stream::{OfReplies, stream};
use crate::twins::twins;
use crate::{DEFAULT_SOCKET, Error, LeaseEvent, LeaseInfo};

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

    twins! {
        /// Every client there is, with the lease it holds, if any.
        pub fn leases / leases_async(&self) -> Result<Vec<LeaseInfo>, Error> {
            Ok(wait!(connect!(self, None).list(&lease::List::default()))?)
        }

        /// What happens to leases, from now on.
        ///
        /// `interface` is a name, or a pattern with `*` and `?`; `None` is all. First comes an
        /// event of kind [`LeaseEventKind::State`](crate::LeaseEventKind::State) for each client there is.
        pub fn watch / watch_async(&self, interface: Option<&str>)
            -> Result<Events, Error> => Result<AsyncEvents, Error>
        {
            let call = lease::Monitor { interface: interface.map(str::to_owned) };
            Ok(OfReplies::of(wait!(connect!(self, None).stream(&call))?))
        }
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

twins! {
    /// Every client there is, with the lease it holds, if any; from [`Daemon::new`].
    pub fn leases / leases_async() -> Result<Vec<LeaseInfo>, Error> {
        wait!(Daemon::new(), leases / leases_async, ())
    }

    /// What happens to leases, from now on; from [`Daemon::new`].
    pub fn watch / watch_async() -> Result<Events, Error> => Result<AsyncEvents, Error> {
        wait!(Daemon::new(), watch / watch_async, (None))
    }
}

stream! {
    lease::Monitor, |reply| reply.event => LeaseEvent;

    /// Events as they happen.
    ///
    /// A program that takes them too slowly misses some, and is told by one of kind
    /// [`LeaseEventKind::Resync`](crate::LeaseEventKind::Resync); what there is then follows anew. Ends after
    /// an error, of which [`Error::Cancelled`] and [`Error::Closed`] mean that the daemon ended.
    pub struct Events;

    /// Events as they happen; as [`Events`].
    pub struct AsyncEvents;
}

//! The API: what each call means, and the socket it comes through.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::lease::{self, Error, Family};
use api::server::{Handler, Listed, Objects, Share, Statistics, Subscription, TableSubscription};
use api::{daemon, interface};
use dhcp::v4;

use crate::access::{Access, Caller};
use crate::leases::{Completed, Handle};
use crate::tables::Served;
use crate::{patience, ports, processes};

/// The socket, and what goes with it.
#[derive(Debug)]
pub struct Endpoint {
    /// Where clients connect.
    pub listener: UnixListener,
    /// Held as long as the daemon lives: whoever has it may take the socket's place.
    _lock: Option<File>,
    /// Ours to remove at the end; `None` when the service manager made it.
    path: Option<PathBuf>,
}

impl Endpoint {
    /// The socket handed over by the service manager, or else one at `path`.
    ///
    /// One left behind by a dead daemon is replaced. One that a living daemon serves is not: that
    /// is an error of kind `AddrInUse`, after a second in which it might have been ending. Neither
    /// is a file that is no socket (`AlreadyExists`): a slip on the command line must not cost it.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(listener) = sys::fds::activation()?.into_iter().next() {
            return Ok(Self { listener: listener.into(), _lock: None, path: None });
        }
        if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            let reason = "a file that is no socket is in the way";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        let lock = patience::until_free(|| claim(path))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        // Reads are open to every local user; changes are decided by credentials.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, _lock: Some(lock), path: Some(path.to_owned()) })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Two daemons that start at the same time must not both find the socket stale.
fn claim(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = patience::lock(Path::new(&name))?;
    // Also without the lock's word for it: somebody else's server may listen there.
    let server = UnixStream::connect(path).and_then(sys::credentials::peer);
    match server {
        Ok(server) if !processes::has_ended(server.pid) => {
            Err(io::Error::from(io::ErrorKind::AddrInUse))
        }
        _ => Ok(lock),
    }
}

/// Answers the calls of all connections.
#[derive(Debug)]
pub struct Service {
    leases: Handle,
    ports: ports::Handle,
    tables: Served,
    access: Access,
    statistics: Arc<Statistics>,
}

impl Service {
    /// A service over these leases and port reservations.
    pub fn new(
        leases: Handle,
        ports: ports::Handle,
        access: Access,
        statistics: Arc<Statistics>,
    ) -> Self {
        Self { leases, ports, tables: Served::default(), access, statistics }
    }
}

impl Handler for Service {
    type Peer = Caller;
    type Ports = ports::Handle;

    fn accept(&self, stream: &tokio::net::UnixStream, place: Arc<Share>) -> io::Result<Caller> {
        Caller::of(stream, Some(place))
    }

    async fn may_change(&self, caller: &Caller) -> Result<(), String> {
        self.access.settle(caller).await;
        self.access.may_change(caller)
    }

    fn ports(&self) -> &ports::Handle {
        &self.ports
    }

    async fn list(
        &self,
        caller: &Caller,
        call: lease::List,
    ) -> Result<Objects<Arc<lease::Lease>>, Error> {
        let leases = match call.family {
            Some(Family::Ipv6) => Vec::new(),
            Some(Family::Ipv4) | None => self.leases.list(caller, call.interface).await,
        };
        Ok(Objects::shared(leases))
    }

    async fn acquire(
        &self,
        _: &Caller,
        call: lease::Acquire,
    ) -> Result<lease::AcquireReply, Error> {
        served(call.family)?;
        let wait = Duration::from(call.timeout.unwrap_or_default());
        let Completed { lease, outcome } = self.leases.acquire(&call.interface, wait).await?;
        let already = matches!(outcome, v4::Outcome::Acquired { already: true, .. });
        Ok(lease::AcquireReply { lease, already })
    }

    async fn renew(&self, _: &Caller, call: lease::Renew) -> Result<lease::RenewReply, Error> {
        served(call.family)?;
        let wait = Duration::from(call.timeout.unwrap_or_default());
        let Completed { lease, outcome } = self.leases.renew(&call.interface, wait).await?;
        let via = match outcome {
            v4::Outcome::Renewed { via: v4::Via::Unicast, .. } => lease::Via::Unicast,
            v4::Outcome::Renewed { via: v4::Via::SameNetwork, .. } => lease::Via::SameNetwork,
            _ => lease::Via::Broadcast,
        };
        Ok(lease::RenewReply { lease, via })
    }

    async fn release(
        &self,
        _: &Caller,
        call: lease::Release,
    ) -> Result<lease::ReleaseReply, Error> {
        served(call.family)?;
        let wait = Duration::from(call.timeout.unwrap_or_default());
        let Completed { outcome, .. } = self.leases.release(&call.interface, wait).await?;
        match outcome {
            v4::Outcome::Released { address, server, told } => {
                let (address, server) = (address.into(), server.into());
                let reason = match told {
                    v4::Told::Sent => None,
                    v4::Told::NotSent { reason } => Some(reason),
                };
                let server_told = Some(reason.is_none());
                Ok(lease::ReleaseReply { address, server, server_told, reason })
            }
            _ => Err(Error::NotLeased { interface: call.interface }),
        }
    }

    async fn inform(&self, _: &Caller, call: lease::Inform) -> Result<lease::InformReply, Error> {
        let address = match call.address {
            Some(IpAddr::V6(_)) => return Err(Error::FamilyNotSupported { family: Family::Ipv6 }),
            Some(IpAddr::V4(address)) => Some(address),
            None => None,
        };
        let wait = Duration::from(call.timeout.unwrap_or_default());
        let Completed { lease, .. } = self.leases.inform(&call.interface, address, wait).await?;
        Ok(lease::InformReply { lease })
    }

    async fn subscribe(
        &self,
        caller: &Caller,
        call: &lease::Monitor,
    ) -> Result<Subscription<lease::Event>, Error> {
        let cancelled = || Error::Cancelled { interface: String::new() };
        let subscribed = self.leases.subscribe(caller, call.interface.clone()).await;
        subscribed.ok_or_else(cancelled)
    }

    async fn rows<L: interface::Listing>(
        &self,
        caller: &Caller,
        call: &L,
    ) -> Result<Listed<L::Row>, interface::Error> {
        self.tables.rows(caller, call).await
    }

    async fn carry_out<C: interface::Local>(
        &self,
        caller: &Caller,
        call: C,
    ) -> Result<C::Reply, interface::Error> {
        self.tables.carry_out(caller, call).await
    }

    async fn subscribe_to_tables(
        &self,
        _: &Caller,
        call: &interface::Monitor,
    ) -> Result<TableSubscription, interface::Error> {
        self.tables.subscribe(call).await
    }

    async fn status(&self, _: &Caller) -> Result<daemon::StatusReply, daemon::Error> {
        let mut status = self.leases.status().await.ok_or(daemon::Error::Cancelled)?;
        status.problems.extend(self.ports.health().await.problems);
        Ok(status)
    }

    async fn counters(&self, _: &Caller) -> Result<daemon::CountersReply, daemon::Error> {
        use std::sync::atomic::Ordering::Relaxed;
        let mut counters = self.leases.counters().await;
        counters.extend(self.ports.health().await.counters);
        let ours = &self.statistics;
        for (name, value) in [
            ("api.connections", &ours.connections),
            ("api.connections-refused", &ours.connections_refused),
            ("api.connections-malformed", &ours.connections_malformed),
            ("api.calls", &ours.calls),
            ("api.resynchronised", &ours.resynchronised),
        ] {
            counters.push(daemon::Counter { name: name.to_owned(), value: value.load(Relaxed) });
        }
        counters.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(daemon::CountersReply { counters })
    }

    async fn reload(&self, _: &Caller) -> Result<(), daemon::Error> {
        self.leases.reload().await.map_err(|error| daemon::Error::InvalidConfiguration {
            file: error.file.display().to_string(),
            line: error.line,
            column: error.column,
            message: error.message,
            hint: error.hint,
        })
    }
}

fn served(family: Option<Family>) -> Result<(), Error> {
    match family {
        Some(Family::Ipv6) => Err(Error::FamilyNotSupported { family: Family::Ipv6 }),
        Some(Family::Ipv4) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new("socket");
        let path = folder.path().join("run/iphelper.sock");
        let first = Endpoint::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(Endpoint::open(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());

        // As a killed daemon leaves it: bound, and nobody there.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Endpoint::open(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = Folder::new("socket");
        let path = folder.path().join("iphelper.toml");
        fs::write(&path, "precious").unwrap();
        let error = Endpoint::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn somebody_elses_server_is_left_alone() {
        let folder = Folder::new("socket");
        let path = folder.path().join("other.sock");
        let _other = UnixListener::bind(&path).unwrap();
        assert_eq!(Endpoint::open(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }
}

//! The lease of one interface.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::lease;

use crate::{
    AcquireReply, Daemon, Error, Family, InformReply, LeaseInfo, ReleaseReply, RenewReply,
};

/// Added to what a command may take: connecting, and the answer's way back.
const MARGIN: Duration = Duration::from_secs(5);

/// The lease of one interface: a handle through which it is obtained, extended, given back and
/// shown.
///
/// Making one costs nothing and changes nothing, and dropping it gives nothing back: the lease is
/// the interface's, not the program's.
#[derive(Clone, Debug)]
pub struct Lease {
    interface: String,
    family: Family,
    timeout: Option<Duration>,
    daemon: Daemon,
}

impl Lease {
    /// The IPv4 lease of an interface, which goes by its name, an alternative name, its index or its
    /// GUID (`{GUID}`, or `\DEVICE\TCPIP_{GUID}` in any case).
    ///
    /// Asks nobody yet. Fails with [`Error::NoSuchInterface`] for what no interface can go by:
    /// names have 1 to 127 bytes (`ALTIFNAMSIZ`), and neither `/`, `:`, white space, `*` nor `?`.
    pub fn of(interface: impl Into<String>) -> Result<Self, Error> {
        let interface = interface.into();
        let odd = |character: char| character.is_whitespace() || "/:*?\0".contains(character);
        if interface.is_empty() || interface.len() > 127 || interface.contains(odd) {
            return Err(Error::NoSuchInterface { interface });
        }
        Ok(Self { interface, family: Family::Ipv4, timeout: None, daemon: Daemon::new() })
    }

    /// The lease of another family.
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// How long [`acquire`](Self::acquire), [`renew`](Self::renew), [`release`](Self::release) and
    /// [`inform`](Self::inform) wait for the outcome: more than nothing, at most ten minutes, and
    /// 30 seconds when not said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Asks the daemon that listens at that socket.
    pub fn at(mut self, socket: impl Into<PathBuf>) -> Self {
        self.daemon = Daemon::at(socket);
        self
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The daemon that is asked.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Shows the client of this interface and the lease it holds, if any.
    pub fn show(&self) -> Result<LeaseInfo, Error> {
        Ok(self.daemon.client(None)?.call(&self.list_call())?.lease)
    }

    /// Obtains a lease; the daemon manages the interface from now on.
    ///
    /// Answers when the lease is applied and on disk; with one in use, at once with that one.
    pub fn acquire(&self) -> Result<AcquireReply, Error> {
        Ok(self.client()?.call(&self.acquire_call()?)?)
    }

    /// Extends the lease now.
    ///
    /// The issuing server is asked alone until T2, any server after it. Without a lease, as after
    /// [`release`](Self::release), any server is asked for one.
    pub fn renew(&self) -> Result<RenewReply, Error> {
        Ok(self.client()?.call(&self.renew_call()?)?)
    }

    /// Gives the lease back to the issuing server, and removes address, routes and name servers.
    ///
    /// The interface then stays without a lease until [`acquire`](Self::acquire) or
    /// [`renew`](Self::renew), or the next boot.
    pub fn release(&self) -> Result<ReleaseReply, Error> {
        Ok(self.client()?.call(&self.release_call()?)?)
    }

    /// Asks the servers for parameters only, for an interface whose address was configured by hand
    /// (DHCPINFORM).
    ///
    /// `address` is that address; the interface's first when `None`.
    pub fn inform(&self, address: Option<IpAddr>) -> Result<InformReply, Error> {
        Ok(self.client()?.call(&self.inform_call(address)?)?)
    }

    /// How long a command may take until the daemon cannot be believed to answer.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout.unwrap_or(api::Timeout::DEFAULT.into()).saturating_add(MARGIN)
    }

    pub(crate) fn list_call(&self) -> lease::List {
        lease::List { interface: Some(self.interface.clone()), family: Some(self.family) }
    }

    pub(crate) fn acquire_call(&self) -> Result<lease::Acquire, Error> {
        let (interface, family) = (self.interface.clone(), Some(self.family));
        Ok(lease::Acquire { interface, family, timeout: self.checked_timeout()? })
    }

    pub(crate) fn renew_call(&self) -> Result<lease::Renew, Error> {
        let (interface, family) = (self.interface.clone(), Some(self.family));
        Ok(lease::Renew { interface, family, timeout: self.checked_timeout()? })
    }

    pub(crate) fn release_call(&self) -> Result<lease::Release, Error> {
        let (interface, family) = (self.interface.clone(), Some(self.family));
        Ok(lease::Release { interface, family, timeout: self.checked_timeout()? })
    }

    pub(crate) fn inform_call(&self, address: Option<IpAddr>) -> Result<lease::Inform, Error> {
        let (interface, family) = (self.interface.clone(), Some(self.family));
        Ok(lease::Inform { interface, family, address, timeout: self.checked_timeout()? })
    }

    fn client(&self) -> Result<api::client::Client, Error> {
        self.daemon.client(Some(self.patience()))
    }

    fn checked_timeout(&self) -> Result<Option<api::Timeout>, Error> {
        let check = |timeout: Duration| {
            api::Timeout::try_from(timeout).map_err(|_| Error::InvalidTimeout(timeout))
        };
        self.timeout.map(check).transpose()
    }
}

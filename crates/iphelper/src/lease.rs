//! The lease of one interface.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::lease;

use crate::twins::twins;
use crate::{
    AcquireReply, Daemon, Error, InformReply, LeaseFamily, LeaseInfo, ReleaseReply, RenewReply,
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
    family: LeaseFamily,
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
        Ok(Self { interface, family: LeaseFamily::Ipv4, timeout: None, daemon: Daemon::new() })
    }

    /// The lease of another family.
    pub fn family(mut self, family: LeaseFamily) -> Self {
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

    twins! {
        /// Shows the client of this interface and the lease it holds, if any.
        pub fn show / show_async(&self) -> Result<LeaseInfo, Error> {
            let call =
                lease::List { interface: Some(self.interface.clone()), family: Some(self.family) };
            let leases = wait!(connect!(self.daemon, None).list(&call))?;
            let not_managed =
                || Error::NotManaged { interface: self.interface.clone(), holder: None };
            leases.into_iter().next().ok_or_else(not_managed)
        }

        /// Obtains a lease; the daemon manages the interface from now on.
        ///
        /// Answers when the lease is applied and on disk; with one in use, at once with that one.
        pub fn acquire / acquire_async(&self) -> Result<AcquireReply, Error> {
            let (interface, family) = (self.interface.clone(), Some(self.family));
            let call = lease::Acquire { interface, family, timeout: self.checked_timeout()? };
            Ok(wait!(connect!(self.daemon, self.patience()).call(&call))?)
        }

        /// Extends the lease now.
        ///
        /// The issuing server is asked alone until T2, any server after it. Without a lease, as
        /// after [`release`](Self::release), any server is asked for one.
        pub fn renew / renew_async(&self) -> Result<RenewReply, Error> {
            let (interface, family) = (self.interface.clone(), Some(self.family));
            let call = lease::Renew { interface, family, timeout: self.checked_timeout()? };
            Ok(wait!(connect!(self.daemon, self.patience()).call(&call))?)
        }

        /// Gives the lease back to the issuing server, and removes address, routes and name
        /// servers.
        ///
        /// The interface then stays without a lease until [`acquire`](Self::acquire) or
        /// [`renew`](Self::renew), or the next boot.
        pub fn release / release_async(&self) -> Result<ReleaseReply, Error> {
            let (interface, family) = (self.interface.clone(), Some(self.family));
            let call = lease::Release { interface, family, timeout: self.checked_timeout()? };
            Ok(wait!(connect!(self.daemon, self.patience()).call(&call))?)
        }

        /// Asks the servers for parameters only, for an interface whose address was configured by
        /// hand (DHCPINFORM).
        ///
        /// `address` is that address; the interface's first when `None`.
        pub fn inform / inform_async(&self, address: Option<IpAddr>) -> Result<InformReply, Error> {
            let (interface, family) = (self.interface.clone(), Some(self.family));
            let timeout = self.checked_timeout()?;
            let call = lease::Inform { interface, family, address, timeout };
            Ok(wait!(connect!(self.daemon, self.patience()).call(&call))?)
        }
    }

    /// How long a command may take until the daemon cannot be believed to answer.
    fn patience(&self) -> Option<Duration> {
        let timeout = self.timeout.unwrap_or(api::Timeout::DEFAULT.into());
        Some(timeout.saturating_add(MARGIN))
    }

    fn checked_timeout(&self) -> Result<Option<api::Timeout>, Error> {
        let check = |timeout: Duration| {
            api::Timeout::try_from(timeout).map_err(|_| Error::InvalidTimeout(timeout))
        };
        self.timeout.map(check).transpose()
    }
}

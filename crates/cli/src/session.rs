//! What every command works with: the printer, the options, the way to the daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::client::{CallError, Client, Replies};
use api::lease::LeaseInfo;
use api::{Listing, Method, Timeout, daemon, lease, ports};
use serde::Serialize;

use crate::arguments::Global;
use crate::exit::Failure;
use crate::hints::Explained;
use crate::printer::Printer;
use crate::terminal::Style;

/// What the daemon gets beyond the deadline it was given, to say that it passed.
const GRACE: Duration = Duration::from_secs(5);

/// How long anything may take that waits for no server.
const PROMPT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) printer: Printer,
    socket: PathBuf,
    timeout: Option<Timeout>,
}

impl Session {
    pub(crate) fn new(mut printer: Printer, global: Global) -> Self {
        printer.set_json(global.json);
        let socket = global.socket.unwrap_or_else(|| api::DEFAULT_SOCKET.into());
        Self { printer, socket, timeout: global.timeout }
    }

    /// The daemon's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The deadline that was asked for, to be handed to the daemon.
    pub(crate) fn timeout(&self) -> Option<Timeout> {
        self.timeout
    }

    /// Calls a method that waits for no DHCP server.
    pub(crate) fn ask<M: Method>(&self, call: &M) -> Result<M::Reply, CallError<M::Error>> {
        self.connection()?.call(call)
    }

    /// Calls a method of which the daemon knows the deadline.
    pub(crate) fn wait<M: Method>(&self, call: &M) -> Result<M::Reply, CallError<M::Error>> {
        let deadline = Duration::from(self.timeout.unwrap_or_default()) + GRACE;
        self.connect(deadline)?.call(call)
    }

    /// Calls a method whose replies go on.
    pub(crate) fn follow<M: Method>(&self, call: &M) -> Result<Replies<M>, CallError<M::Error>> {
        self.connection()?.stream(call)
    }

    /// All objects that a method lists; none is no error.
    pub(crate) fn list<M: Listing>(&self, call: &M) -> Result<Vec<M::Object>, CallError<M::Error>> {
        self.connection()?.list(call)
    }

    /// The clients that are asked for. None of those asked for, where any were, is an error; and so is
    /// to ask for IPv6, which there are no leases of yet.
    pub(crate) fn leases(
        &self,
        call: &lease::List,
    ) -> Result<Vec<LeaseInfo>, CallError<lease::Error>> {
        let leases = self.list(call)?;
        match &call.interface {
            _ if leases.is_empty() && call.family == Some(lease::Family::Ipv6) => {
                let family = lease::Family::Ipv6;
                Err(CallError::Method(lease::Error::FamilyNotSupported { family }))
            }
            Some(interface) if leases.is_empty() => {
                let interface = interface.clone();
                Err(CallError::Method(lease::Error::NotManaged { interface, holder: None }))
            }
            _ => Ok(leases),
        }
    }

    /// How reservations are enforced; `None` from a daemon that knows none.
    pub(crate) fn ports(&self) -> Result<Option<ports::StatusReply>, CallError<ports::Error>> {
        match self.ask(&ports::Status {}) {
            Ok(status) => Ok(Some(status)),
            Err(CallError::Client(api::client::Error::Service(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How the daemon is doing.
    pub(crate) fn status(&self) -> Result<daemon::StatusReply, CallError<daemon::Error>> {
        self.ask(&daemon::Status {})
    }

    /// Prints an outcome: as JSON if that was asked for, else as the text that is made of it.
    pub(crate) fn tell<T: Serialize>(
        &mut self,
        outcome: &T,
        text: impl FnOnce(Style) -> String,
    ) -> Result<(), Failure> {
        match self.printer.is_json() {
            true => Ok(self.printer.json(outcome)?),
            false => Ok(self.printer.print(&text(self.printer.style()))?),
        }
    }

    /// A connection for several calls, each as prompt as [`ask`](Self::ask).
    pub(crate) fn connection(&self) -> Result<Client, api::client::Error> {
        self.connect(self.promptness())
    }

    fn promptness(&self) -> Duration {
        self.timeout.map_or(PROMPT, Duration::from)
    }

    fn connect(&self, timeout: Duration) -> Result<Client, api::client::Error> {
        Client::connect(&self.socket, Some(timeout))
    }
}

impl<E: Explained> From<CallError<E>> for Failure {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Method(error) => crate::hints::method(&error),
            CallError::Client(error) => crate::hints::client(&error),
        }
    }
}

//! What others ask of the leases: the calls of the API, and a few of the daemon's own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use api::Timeout;
use api::lease::{self as asked, Binding, Error, Family, Server};
use api::server::{Descriptor, Listed, Serves, Subscription};
use dhcp::v4::{Outcome, Told};
use engine::CommandId;
use tokio::sync::oneshot;

use super::roster::Operation;
use super::view;
use crate::access::Caller;
use crate::subsystem::{Number, Requests};

/// A command that was carried out.
#[derive(Debug)]
pub(crate) struct Completed {
    /// The client afterwards.
    pub lease: asked::LeaseInfo,
    /// How it ended.
    pub outcome: Outcome,
}

/// A request to [`Leases`].
#[derive(Debug)]
pub(crate) enum Request {
    Command {
        id: CommandId,
        interface: String,
        command: Operation,
        timeout: Duration,
        answer: oneshot::Sender<Result<Completed, Error>>,
    },
    /// To be answered when it is its caller's turn.
    Read(Caller, Read),
    /// What is the interface called that goes by this reference?
    Resolve {
        reference: String,
        answer: oneshot::Sender<Option<String>>,
    },
    Summary(oneshot::Sender<Summary>),
}

/// How the leases are doing.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Where name servers go.
    pub resolver: String,
    /// Interfaces that have a client.
    pub interfaces: usize,
    /// Those of them that have a lease.
    pub leases: usize,
}

/// What looks at every lease.
#[derive(Debug)]
pub(crate) enum Read {
    List { pattern: Option<String>, answer: oneshot::Sender<Vec<Arc<asked::LeaseInfo>>> },
    Subscribe { pattern: Option<String>, answer: oneshot::Sender<Subscription<Arc<asked::Event>>> },
}

/// The way to the leases, for any number of holders.
#[derive(Debug, Clone)]
pub(crate) struct Handle(Requests<Request>);

impl Handle {
    /// Asks through these.
    pub(crate) fn new(requests: Requests<Request>) -> Self {
        Self(requests)
    }

    async fn command(
        &self,
        interface: &str,
        family: Option<Family>,
        timeout: Option<Timeout>,
        command: Operation,
    ) -> Result<Completed, Error> {
        if let Some(family @ Family::Ipv6) = family {
            return Err(Error::FamilyNotSupported { family });
        }
        let asked = |number: Number, answer| Request::Command {
            id: CommandId(number.0),
            interface: interface.to_owned(),
            command,
            timeout: Duration::from(timeout.unwrap_or_default()),
            answer,
        };
        let cancelled = || Error::Cancelled { interface: Some(interface.to_owned()) };
        self.0.ask(asked).await.unwrap_or_else(|| Err(cancelled()))
    }

    async fn read<T>(
        &self,
        caller: &Caller,
        read: impl FnOnce(oneshot::Sender<T>) -> Read,
    ) -> Result<T, Error> {
        let asked = self.0.ask(|_, answer| Request::Read(caller.clone(), read(answer)));
        asked.await.ok_or(Error::Cancelled { interface: None })
    }

    /// How the leases are doing. `None` when the daemon is ending.
    pub(crate) async fn summary(&self) -> Option<Summary> {
        self.0.ask(|_, answer| Request::Summary(answer)).await
    }
}

impl Serves<asked::List, Caller> for Handle {
    async fn serve(
        &self,
        caller: &Caller,
        call: asked::List,
        _: Vec<Descriptor>,
    ) -> Result<Listed<asked::LeaseInfo>, Error> {
        if call.family == Some(Family::Ipv6) {
            return Ok(Listed::shared(Vec::new()));
        }
        let pattern = call.interface;
        let leases = self.read(caller, |answer| Read::List { pattern, answer }).await?;
        Ok(Listed::shared(leases))
    }
}

impl Serves<asked::Monitor, Caller> for Handle {
    async fn serve(
        &self,
        caller: &Caller,
        call: asked::Monitor,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<asked::Event>>, Error> {
        let pattern = call.interface;
        self.read(caller, |answer| Read::Subscribe { pattern, answer }).await
    }

    async fn resolve(&self, _: &Caller, call: asked::Monitor) -> asked::Monitor {
        let Some(reference) = call.interface else { return call };
        let unresolved = reference.clone();
        let name = self.0.ask(|_, answer| Request::Resolve { reference, answer }).await;
        asked::Monitor { interface: Some(name.flatten().unwrap_or(unresolved)) }
    }
}

impl Serves<asked::Acquire, Caller> for Handle {
    async fn serve(
        &self,
        _: &Caller,
        call: asked::Acquire,
        _: Vec<Descriptor>,
    ) -> Result<asked::AcquireReply, Error> {
        let asked::Acquire { interface, family, timeout } = call;
        let Completed { lease, outcome } =
            self.command(&interface, family, timeout, Operation::Acquire).await?;
        let already = matches!(outcome, Outcome::Acquired { already: true, .. });
        Ok(asked::AcquireReply::new(lease, already))
    }
}

impl Serves<asked::Renew, Caller> for Handle {
    async fn serve(
        &self,
        _: &Caller,
        call: asked::Renew,
        _: Vec<Descriptor>,
    ) -> Result<asked::RenewReply, Error> {
        let asked::Renew { interface, family, timeout } = call;
        let Completed { lease, outcome } =
            self.command(&interface, family, timeout, Operation::Renew).await?;
        let via = match outcome {
            Outcome::Renewed { via, .. } => view::via(via),
            _ => asked::Via::Broadcast,
        };
        Ok(asked::RenewReply::new(lease, via))
    }
}

impl Serves<asked::Release, Caller> for Handle {
    async fn serve(
        &self,
        _: &Caller,
        call: asked::Release,
        _: Vec<Descriptor>,
    ) -> Result<asked::ReleaseReply, Error> {
        let asked::Release { interface, family, timeout } = call;
        let Completed { outcome, .. } =
            self.command(&interface, family, timeout, Operation::Release).await?;
        let Outcome::Released { address, prefix_length, server, told } = outcome else {
            return Err(Error::NotLeased { interface });
        };
        let bindings = vec![Binding::of_address(address, prefix_length)];
        let server = Server::at(server);
        Ok(match told {
            Told::Sent => asked::ReleaseReply::sent(bindings, server),
            Told::NotSent { reason } => asked::ReleaseReply::not_sent(bindings, server, reason),
        })
    }
}

impl Serves<asked::Inform, Caller> for Handle {
    async fn serve(
        &self,
        _: &Caller,
        call: asked::Inform,
        _: Vec<Descriptor>,
    ) -> Result<asked::InformReply, Error> {
        let asked::Inform { interface, family, address, timeout } = call;
        let (family, address): (_, Option<Ipv4Addr>) = match address {
            Some(IpAddr::V6(_)) => (Some(Family::Ipv6), None),
            Some(IpAddr::V4(address)) => (family, Some(address)),
            None => (family, None),
        };
        let Completed { lease, outcome } =
            self.command(&interface, family, timeout, Operation::Inform(address)).await?;
        let address = match outcome {
            Outcome::Informed { lease } => Some(lease.address.into()),
            _ => None,
        };
        Ok(asked::InformReply::new(lease, address))
    }
}

//! The API: what each call means, and the status that is composed of everybody's.

mod endpoint;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::lease::{self, Binding, Error, Family, Server};
use api::server::{Handler, Listed, Objects, Share, Statistics, Subscription, TableSubscription};
use api::{daemon, interface};
use dhcp::v4;

pub use endpoint::Endpoint;

use crate::access::{Access, Caller};
use crate::configuration::Configuration;
use crate::leases::{self, Completed, Handle};
use crate::ports;
use crate::subsystem::{Answer, Tenant};
use crate::supervise::Watched;
use crate::tables::Served;
use crate::turns::Slots;
use crate::work::Work;

/// Counting goes over every client, on the event loop.
const COUNTING: Slots = Slots { each: 1, all: 1, root: 1 };

/// Answers the calls of all connections.
pub(crate) struct Service {
    configuration: Configuration,
    state_dir: PathBuf,
    /// When the daemon began to serve.
    since: SystemTime,
    leases: Handle,
    ports: ports::Handle,
    tables: Served,
    /// All of them, for how they do.
    tenants: Vec<Arc<dyn Tenant>>,
    access: Access,
    statistics: Arc<Statistics>,
    /// Turns of those for whom tenants count.
    counting: Work,
}

impl Service {
    /// A service over these leases and port reservations.
    pub(crate) fn new(
        configuration: Configuration,
        state_dir: PathBuf,
        leases: Handle,
        ports: ports::Handle,
        tenants: Vec<Arc<dyn Tenant>>,
        access: Access,
        watched: Watched,
    ) -> Self {
        Self {
            configuration,
            state_dir,
            since: SystemTime::now(),
            leases,
            ports,
            tables: Served::new(watched),
            tenants,
            access,
            statistics: Arc::default(),
            counting: Work::new(COUNTING),
        }
    }

    /// What all tenants say. Without one of them it would say that there is nothing where that is not
    /// known.
    async fn of_all<T>(
        &self,
        ask: impl Fn(&dyn Tenant) -> Answer<Vec<T>>,
    ) -> Result<Vec<T>, daemon::Error> {
        let mut all = Vec::new();
        for tenant in &self.tenants {
            all.extend(ask(&**tenant).await.ok_or(daemon::Error::Cancelled)?);
        }
        Ok(all)
    }

    /// What the server counts.
    pub(crate) fn statistics(&self) -> Arc<Statistics> {
        self.statistics.clone()
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
    ) -> Result<Objects<Arc<lease::LeaseInfo>>, Error> {
        let leases = match call.family {
            Some(Family::Ipv6) => Vec::new(),
            Some(Family::Ipv4) | None => {
                let listed = self.leases.list(caller, call.interface).await;
                listed.ok_or(Error::Cancelled { interface: None })?
            }
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
        Ok(lease::AcquireReply::new(lease, already))
    }

    async fn renew(&self, _: &Caller, call: lease::Renew) -> Result<lease::RenewReply, Error> {
        served(call.family)?;
        let wait = Duration::from(call.timeout.unwrap_or_default());
        let Completed { lease, outcome } = self.leases.renew(&call.interface, wait).await?;
        let via = match outcome {
            v4::Outcome::Renewed { via, .. } => leases::via(via),
            _ => lease::Via::Broadcast,
        };
        Ok(lease::RenewReply::new(lease, via))
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
            v4::Outcome::Released { address, prefix_length, server, told } => {
                let bindings = vec![Binding::of_address(address, prefix_length)];
                let server = Server::at(server);
                Ok(match told {
                    v4::Told::Sent => lease::ReleaseReply::sent(bindings, server),
                    v4::Told::NotSent { reason } => {
                        lease::ReleaseReply::not_sent(bindings, server, reason)
                    }
                })
            }
            _ => Err(Error::NotLeased { interface: call.interface }),
        }
    }

    async fn inform(&self, _: &Caller, call: lease::Inform) -> Result<lease::InformReply, Error> {
        served(call.family)?;
        let address = match call.address {
            Some(IpAddr::V6(_)) => return Err(Error::FamilyNotSupported { family: Family::Ipv6 }),
            Some(IpAddr::V4(address)) => Some(address),
            None => None,
        };
        let wait = Duration::from(call.timeout.unwrap_or_default());
        let completed = self.leases.inform(&call.interface, address, wait).await?;
        let address = match completed.outcome {
            v4::Outcome::Informed { lease } => Some(lease.address.into()),
            _ => None,
        };
        Ok(lease::InformReply::new(completed.lease, address))
    }

    async fn subscribe(
        &self,
        caller: &Caller,
        call: &lease::Monitor,
    ) -> Result<Subscription<lease::Event>, Error> {
        let cancelled = || Error::Cancelled { interface: None };
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
        let leases = self.leases.summary().await.ok_or(daemon::Error::Cancelled)?;
        let mut problems = self.configuration.problems();
        problems.extend(self.of_all(|tenant| tenant.problems()).await?);
        Ok(daemon::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since.into(),
            config_file: self.configuration.file().display().to_string(),
            state_dir: self.state_dir.display().to_string(),
            resolver: leases.resolver,
            interfaces: leases.interfaces.try_into().unwrap_or(u32::MAX),
            leases: leases.leases.try_into().unwrap_or(u32::MAX),
            problems,
        })
    }

    async fn counters(&self, caller: &Caller) -> Result<daemon::CountersReply, daemon::Error> {
        use std::sync::atomic::Ordering::Relaxed;
        let _turn = self.counting.place(caller).await.ok_or(daemon::Error::Cancelled)?;
        let mut counters = self.of_all(|tenant| tenant.counters()).await?;
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
        self.configuration.reload().await.map_err(|error| daemon::Error::InvalidConfiguration {
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

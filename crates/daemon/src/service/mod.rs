//! The API: what each call means, and the status that is composed of everybody's.

mod endpoint;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use api::server::{self, Descriptor, Listed, Serves, Share, Statistics};
use api::{Empty, daemon};

pub(crate) use endpoint::Endpoint;

use crate::access::{Access, Caller};
use crate::configuration::Configuration;
use crate::leases;
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
    leases: leases::Handle,
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
        leases: leases::Handle,
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

impl server::Service for Service {
    type Peer = Caller;
    type Daemon = Self;
    type Tables = Served;
    type Leases = leases::Handle;
    type Ports = ports::Handle;

    fn accept(&self, stream: &tokio::net::UnixStream, place: Arc<Share>) -> io::Result<Caller> {
        Caller::of(stream, Some(place))
    }

    async fn may_change(&self, caller: &Caller) -> Result<(), String> {
        self.access.settle(caller).await;
        self.access.may_change(caller)
    }

    fn daemon(&self) -> &Self {
        self
    }

    fn tables(&self) -> &Served {
        &self.tables
    }

    fn leases(&self) -> &leases::Handle {
        &self.leases
    }

    fn ports(&self) -> &ports::Handle {
        &self.ports
    }
}

impl Serves<daemon::Status, Caller> for Service {
    async fn serve(
        &self,
        _: &Caller,
        _: daemon::Status,
        _: Vec<Descriptor>,
    ) -> Result<daemon::StatusReply, daemon::Error> {
        let leases = self.leases.summary().await.ok_or(daemon::Error::Cancelled)?;
        let mut problems = self.configuration.problems();
        problems.extend(self.of_all(|tenant| tenant.problems()).await?);
        let version = env!("CARGO_PKG_VERSION");
        let mut reply = daemon::StatusReply::new(version, std::process::id(), self.since.into());
        reply.config_file = self.configuration.file().display().to_string();
        reply.state_dir = self.state_dir.display().to_string();
        reply.resolver = leases.resolver;
        reply.interfaces = leases.interfaces.try_into().unwrap_or(u32::MAX);
        reply.leases = leases.leases.try_into().unwrap_or(u32::MAX);
        reply.problems = problems;
        Ok(reply)
    }
}

impl Serves<daemon::Counters, Caller> for Service {
    async fn serve(
        &self,
        caller: &Caller,
        call: daemon::Counters,
        _: Vec<Descriptor>,
    ) -> Result<Listed<daemon::Counter>, daemon::Error> {
        use std::sync::atomic::Ordering::Relaxed;
        let turn = self.counting.place(caller).await.ok_or(daemon::Error::Cancelled)?;
        let per_interface = call.per_interface.unwrap_or(false);
        let mut counters = self.of_all(|tenant| tenant.counters(per_interface)).await?;
        let ours = &self.statistics;
        for (name, value) in [
            ("api_connections", &ours.connections),
            ("api_connections_refused", &ours.connections_refused),
            ("api_connections_malformed", &ours.connections_malformed),
            ("api_calls", &ours.calls),
            ("api_subscribers_resynchronised", &ours.resynchronised),
        ] {
            let kind = daemon::CounterKind::Counter;
            counters.push(daemon::Counter::new(name, kind, value.load(Relaxed)));
        }
        counters.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
        Ok(Listed::own(counters, Box::new(turn)))
    }
}

impl Serves<daemon::Reload, Caller> for Service {
    async fn serve(
        &self,
        _: &Caller,
        _: daemon::Reload,
        _: Vec<Descriptor>,
    ) -> Result<Empty, daemon::Error> {
        let reloaded = self.configuration.reload().await;
        reloaded.map(|()| Empty {}).map_err(|error| daemon::Error::InvalidConfiguration {
            file: error.file.display().to_string(),
            line: error.line,
            column: error.column,
            message: error.message,
            hint: error.hint,
        })
    }
}

//! A server with canned data, made with the server loop under test.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod ports;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use iphelper_api::client::{Client, Replies};
use iphelper_api::interface::tables::StackEntry;
use iphelper_api::interface::{Filter, Snapshot, TableListing, TableRow};
use iphelper_api::lease::{Binding, DhcpOption, LeaseInfo};
use iphelper_api::server::{
    Descriptor, Limits, Listed, Part, Serves, Service, Share, Statistics, Subscription, serve,
};
use iphelper_api::{Empty, Method, Time, daemon, interface, lease};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, oneshot};

use ports::CannedPorts;

/// Longer than anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the canned daemon knows.
pub(crate) struct Canned {
    pub(crate) leases: Mutex<Vec<LeaseInfo>>,
    /// Senders are dropped to end every subscription.
    pub(crate) events: Mutex<Option<broadcast::Sender<Arc<lease::Event>>>>,
    pub(crate) may_change: bool,
    pub(crate) ports: CannedPorts,
    /// Rows by table.
    pub(crate) tables: Mutex<BTreeMap<String, Vec<serde_json::Value>>>,
    /// Where changes of tables come from.
    pub(crate) changes: Mutex<Vec<broadcast::Sender<Arc<[interface::Change]>>>>,
    /// Calls of Acquire on "slow" that wait now.
    pub(crate) waiting: AtomicUsize,
    /// Calls of Acquire on "brief" that ended.
    pub(crate) finished: AtomicUsize,
}

impl Default for Canned {
    fn default() -> Self {
        Self {
            leases: Mutex::new(vec![bound("eth0", 2), bound("eth1", 3), bound("wlan0", 4)]),
            events: Mutex::new(Some(broadcast::channel(64).0)),
            may_change: true,
            ports: CannedPorts::default(),
            tables: Mutex::default(),
            changes: Mutex::new(vec![broadcast::channel(4).0, broadcast::channel(4).0]),
            waiting: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
        }
    }
}

impl Canned {
    pub(crate) fn publish(&self, event: lease::Event) {
        if let Some(events) = &*self.events.lock().unwrap() {
            // Nobody may listen.
            events.send(Arc::new(event)).ok();
        }
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.events.lock().unwrap().as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    pub(crate) fn end_subscriptions(&self) {
        self.events.lock().unwrap().take();
    }

    fn find(&self, interface: &str) -> Result<LeaseInfo, lease::Error> {
        let leases = self.leases.lock().unwrap();
        let found = leases.iter().find(|lease| lease.interface == interface);
        found.cloned().ok_or_else(|| lease::Error::NoSuchInterface { interface: interface.into() })
    }
}

/// A lease with every field present.
pub(crate) fn bound(interface: &str, ifindex: u32) -> LeaseInfo {
    let time = |seconds| Time::from(std::time::UNIX_EPOCH + Duration::from_secs(seconds));
    let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let mut binding = Binding::of_address(address((ifindex % 100) as u8 + 100), 24);
    binding.broadcast = Some(address(255));
    binding.preferred_until = Some(time(1_800_003_600));
    binding.expires_at = binding.preferred_until;
    let mut option = DhcpOption::new(66, "70:78:65");
    option.name = Some("tftp-server-name".into());
    option.text = Some("pxe".into());
    let mut lease = LeaseInfo::new(interface, ifindex, lease::Family::Ipv4, lease::State::Bound);
    lease.link_up = true;
    lease.hardware_address = Some("02:00:00:00:00:01".into());
    lease.bindings = vec![binding];
    lease.server = Some(lease::Server::at(address(1)));
    lease.obtained_at = Some(time(1_800_000_000));
    lease.renew_at = Some(time(1_800_001_800));
    lease.rebind_at = Some(time(1_800_003_150));
    lease.routes = vec![
        lease::Route::new("0.0.0.0/0".parse().unwrap(), Some(address(1))),
        lease::Route::new("198.51.100.0/24".parse().unwrap(), None),
    ];
    lease.dns = vec![address(53)];
    lease.domain_name = Some("example.org".into());
    lease.domain_search = vec!["example.org".into(), "example.net".into()];
    lease.ntp = vec![address(123)];
    lease.mtu = Some(1400);
    lease.host_name = Some("host".into());
    lease.captive_portal = Some("https://portal.example.org/".into());
    lease.options = vec![option];
    lease.link_local = Some(Ipv4Addr::new(169, 254, 1, 2).into());
    lease.metric = Some(1026);
    lease.client_identifier = Some("ff:00:00:00:01".into());
    lease
}

pub(crate) fn event(kind: lease::EventKind, lease: LeaseInfo) -> lease::Event {
    let text = format!("Something happened on {}.", lease.interface);
    lease::Event::new(kind, text).after(lease)
}

impl Service for Canned {
    type Peer = u32;
    type Daemon = Self;
    type Tables = Self;
    type Leases = Self;
    type Ports = CannedPorts;

    fn accept(&self, stream: &UnixStream, _: Arc<Share>) -> io::Result<u32> {
        stream.peer_cred().map(|credentials| credentials.uid())
    }

    async fn may_change(&self, _peer: &u32) -> Result<(), String> {
        match self.may_change {
            true => Ok(()),
            false => Err("membership of group iphelper".into()),
        }
    }

    fn daemon(&self) -> &Self {
        self
    }

    fn tables(&self) -> &Self {
        self
    }

    fn leases(&self) -> &Self {
        self
    }

    fn ports(&self) -> &CannedPorts {
        &self.ports
    }
}

impl Serves<lease::List, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        call: lease::List,
        _: Vec<Descriptor>,
    ) -> Result<Listed<LeaseInfo>, lease::Error> {
        let pattern = call.interface.as_deref().unwrap_or("*");
        let leases = self.leases.lock().unwrap();
        let wanted = |lease: &&LeaseInfo| iphelper_api::matches(pattern, &lease.interface);
        let wanted: Vec<_> = leases.iter().filter(wanted).cloned().map(Arc::new).collect();
        Ok(Listed::shared(wanted))
    }
}

impl Serves<lease::Acquire, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        call: lease::Acquire,
        _: Vec<Descriptor>,
    ) -> Result<lease::AcquireReply, lease::Error> {
        match call.interface.as_str() {
            "slow" => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let _gone = OnDrop(|| {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                });
                std::future::pending().await
            }
            "brief" => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.finished.fetch_add(1, Ordering::SeqCst);
                Ok(lease::AcquireReply::new(bound("brief", 9), false))
            }
            "panic" => panic!("a fault in the handler"),
            name => Ok(lease::AcquireReply::new(self.find(name)?, true)),
        }
    }
}

impl Serves<lease::Renew, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        call: lease::Renew,
        _: Vec<Descriptor>,
    ) -> Result<lease::RenewReply, lease::Error> {
        match call.interface.as_str() {
            interface @ "eth1" => {
                Err(lease::Error::NoAnswer { interface: interface.into(), waited: 4.5, tries: 3 })
            }
            interface @ "wlan0" => Err(lease::Error::Refused {
                interface: interface.into(),
                server: lease::Server::at(Ipv4Addr::new(192, 0, 2, 1)),
                message: Some("wrong network".into()),
            }),
            name => Ok(lease::RenewReply::new(self.find(name)?, lease::Via::Unicast)),
        }
    }
}

impl Serves<lease::Release, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        call: lease::Release,
        _: Vec<Descriptor>,
    ) -> Result<lease::ReleaseReply, lease::Error> {
        let lease = self.find(&call.interface)?;
        let not_leased = || lease::Error::NotLeased { interface: call.interface.clone() };
        let binding = lease.bindings.first().ok_or_else(not_leased)?;
        let bindings = binding.address.map(|one| Binding::of_address(one, binding.prefix_length));
        let server = lease.server.ok_or_else(not_leased)?;
        Ok(lease::ReleaseReply::sent(bindings.into_iter().collect(), server))
    }
}

impl Serves<lease::Inform, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        call: lease::Inform,
        _: Vec<Descriptor>,
    ) -> Result<lease::InformReply, lease::Error> {
        let mut lease = self.find(&call.interface)?;
        let asked = lease.bindings.drain(..).find_map(|binding| binding.address);
        Ok(lease::InformReply::new(lease, call.address.or(asked)))
    }
}

impl Serves<lease::Monitor, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        _: lease::Monitor,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<lease::Event>>, lease::Error> {
        let leases = self.leases.lock().unwrap();
        let state = |lease: &LeaseInfo| event(lease::EventKind::State, lease.clone());
        let cancelled = || lease::Error::Cancelled { interface: None };
        let events = self.events.lock().unwrap().as_ref().ok_or_else(cancelled)?.subscribe();
        let snapshot: Vec<_> = leases.iter().map(|lease| Arc::new(state(lease))).collect();
        Ok(Subscription::new(snapshot, events))
    }
}

impl Canned {
    fn snapshot<R: TableRow>(&self) -> Snapshot<R> {
        let tables = self.tables.lock().unwrap();
        // Rows are of many types here, and JSON is what they have in common.
        let rows = tables.get(&format!("{:?}", R::TABLE)).into_iter().flatten();
        let rows = rows.map(|row| serde_json::from_value(row.clone()).unwrap());
        Snapshot::from_rows(rows.collect())
    }
}

macro_rules! rows {
    ($($call:ident),+ $(,)?) => { $(
        impl Serves<interface::$call, u32> for Canned {
            async fn serve(
                &self,
                _: &u32,
                call: interface::$call,
                _: Vec<Descriptor>,
            ) -> Result<Listed<<interface::$call as TableListing>::Row>, interface::Error> {
                let mut reading = self.snapshot().read(call.filter());
                Ok(Listed::of(std::iter::from_fn(move || reading.step(64)).map(Part::Own)))
            }
        }
    )+ };
}

/// Calls that are answered with their names.
macro_rules! refused {
    ($($call:ident),+ $(,)?) => { $(
        impl Serves<interface::$call, u32> for Canned {
            async fn serve(
                &self,
                _: &u32,
                _: interface::$call,
                _: Vec<Descriptor>,
            ) -> Result<<interface::$call as Method>::Reply, interface::Error> {
                let interface = interface::$call::NAME.to_owned();
                Err(interface::Error::NoSuchInterface { interface })
            }
        }
    )+ };
}

rows!(
    ListInterfaces,
    ListIpInterfaces,
    ListUnicastAddresses,
    ListMulticastAddresses,
    ListAnycastAddresses,
    ListRoutes,
    ListNeighbors,
    ListStack,
);

refused!(
    GetInterface,
    GetIpInterface,
    Set,
    AddAddress,
    SetAddress,
    DeleteAddress,
    AddRoute,
    SetRoute,
    DeleteRoute,
    AddNeighbor,
    SetNeighbor,
    DeleteNeighbor,
    FlushNeighbors,
    ResolveNeighbor,
    BestRoute,
);

impl Serves<interface::Monitor, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        _: interface::Monitor,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<[interface::Change]>>, interface::Error> {
        let mut rows = self.snapshot::<StackEntry>().read(Filter::default());
        let channels = self.changes.lock().unwrap();
        if channels.is_empty() {
            return Err(interface::Error::Cancelled);
        }
        Ok(Subscription {
            snapshot: Box::new(std::iter::from_fn(move || rows.added(64)).map(Arc::from)),
            is_superseded: Some(Box::new(|| false)),
            channels: channels.iter().map(broadcast::Sender::subscribe).collect(),
        })
    }
}

impl Serves<daemon::Status, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        _: daemon::Status,
        _: Vec<Descriptor>,
    ) -> Result<daemon::StatusReply, daemon::Error> {
        let mut status = daemon::StatusReply::new("0.1.0", std::process::id(), Time::now());
        status.config_file = "/etc/iphelper/iphelper.toml".into();
        status.state_dir = "/var/lib/iphelper".into();
        status.resolver = "none".into();
        (status.interfaces, status.leases) = (3, 3);
        let kind = daemon::ProblemKind::StoreUnwritable;
        status.problems =
            vec![daemon::Problem::new(Time::now(), kind, "store", "The disk is full.")];
        Ok(status)
    }
}

impl Serves<daemon::Counters, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        _: daemon::Counters,
        _: Vec<Descriptor>,
    ) -> Result<Listed<daemon::Counter>, daemon::Error> {
        let kind = daemon::CounterKind::Counter;
        Ok(Listed::shared(vec![Arc::new(daemon::Counter::new("dhcp_sent", kind, 7))]))
    }
}

impl Serves<daemon::Reload, u32> for Canned {
    async fn serve(
        &self,
        _: &u32,
        _: daemon::Reload,
        _: Vec<Descriptor>,
    ) -> Result<Empty, daemon::Error> {
        Err(daemon::Error::InvalidConfiguration {
            file: "/etc/iphelper/iphelper.toml".into(),
            line: Some(3),
            column: None,
            message: "unknown key `colour`".into(),
            hint: None,
        })
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The server on a thread of its own, with one thread for all its clients as in the daemon.
pub(crate) struct Server {
    pub(crate) canned: Arc<Canned>,
    pub(crate) statistics: Arc<Statistics>,
    directory: tempfile::TempDir,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Canned::default(), Limits::default())
    }

    pub(crate) fn with(canned: Canned, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let canned = Arc::new(canned);
        let statistics = Arc::new(Statistics::default());
        let (shutdown, asked) = oneshot::channel::<()>();
        let (handler, counting) = (canned.clone(), statistics.clone());
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            let asked = async { asked.await.unwrap_or(()) };
            runtime.block_on(serve(listener, handler, limits, counting, asked)).unwrap();
        });
        Self { canned, statistics, directory, shutdown: Some(shutdown), thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.path(), Some(DEADLINE)).unwrap()
    }

    pub(crate) fn raw(&self) -> std::os::unix::net::UnixStream {
        let stream = std::os::unix::net::UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub(crate) fn monitor(&self, interface: Option<&str>) -> Replies<lease::Monitor> {
        let call = lease::Monitor { interface: interface.map(str::to_owned) };
        let mut replies = self.client().stream(&call).unwrap();
        replies.set_timeout(Some(DEADLINE));
        replies
    }

    /// Asks the server to end, and returns once it has.
    pub(crate) fn stop(&mut self) {
        self.shutdown.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Waits until the condition holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

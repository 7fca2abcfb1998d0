//! How reservations come up: as little as possible happens where there are none.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use ::ports::{Input, Manager};
use api::daemon::ProblemKind;
use engine::Rng;
use tokio::sync::{mpsc, oneshot};

use super::admission::Admission;
use super::denials::Denials;
use super::enforcer::Enforcer;
use super::guard::{self, Guard, Places, Search};
use super::handle::{Handle, Request};
use super::holders::Holders;
use super::host::Host;
use super::owners::Owners;
use super::store::Records;
use super::sysctl::Rechecks;
use super::units::Units;
use super::{COMMANDS, EVENTS, Ports};
use crate::access::Access;
use crate::clock::Clock;
use crate::config;
use crate::configuration;
use crate::counters::Counters;
use crate::listed::Listed;
use crate::problems::Problems;
use crate::processes::Processes;
use crate::readable::Readable;
use crate::shortage::Patience;
use crate::subsystem::{Alarm, Events, Inbox, Ready, Requests, Subsystem};
use crate::supervise::Watched;
use crate::turns::Turns;

/// What reservations are made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The configuration, and when it changes.
    pub configured: configuration::Watch,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Identifies the boot.
    pub boot_id: String,
    /// Who may change things.
    pub access: Access,
}

/// What has to be found out while the daemon has all its privileges.
#[derive(Debug)]
pub(crate) struct Prepared {
    parts: Parts,
    bpf: Option<PathBuf>,
    places: oneshot::Receiver<Result<Places, guard::Unavailable>>,
    network: u64,
    processes: Option<Processes>,
}

/// The task of all reservations, before it knows where a guard can be.
#[derive(Debug)]
pub(crate) struct Starting {
    prepared: Prepared,
    watched: Watched,
    rng: Rng,
}

impl Prepared {
    /// Finds out where a guard could be. `processes` tells whose sockets are in the way.
    ///
    /// Fails for lack of descriptors or memory alone: without the privileges it cannot be found out
    /// later, and a weaker guard for as long as the daemon runs is no answer to that.
    pub(crate) fn new(parts: Parts, processes: Option<Processes>) -> io::Result<Self> {
        let network = sys::namespace::network_cookie().unwrap_or_else(|error| {
            tracing::debug!("the network namespace has no cookie: {error}");
            0
        });
        let search = Patience::default().attempt(Search::begin, guard::Unavailable::is_passing);
        let bpf = search.as_ref().ok().and_then(Search::bpf).map(Path::to_owned);
        let places = finish(lasting(search)?, network, processes.clone())?;
        Ok(Self { parts, bpf, places, network, processes })
    }

    /// The file system that the guard's pins are in.
    pub(crate) fn bpf(&self) -> Option<&Path> {
        self.bpf.as_deref()
    }

    /// The task, which puts the reservations on record in force before it serves, and what others
    /// ask it through.
    pub(crate) fn start(
        self,
        requests: Requests<Request>,
        watched: &Watched,
    ) -> io::Result<(Starting, Handle)> {
        let mut seed = [0; 32];
        sys::random::fill(&mut seed)?;
        let handle = Handle::new(requests, self.parts.access.clone(), self.processes.clone());
        let starting =
            Starting { prepared: self, watched: watched.clone(), rng: Rng::from_seed(seed) };
        Ok((starting, handle))
    }
}

/// What was found, or why there is nothing to be found; the error is what was short.
fn lasting<T>(found: Result<T, guard::Unavailable>) -> io::Result<Result<T, Vec<String>>> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(guard::Unavailable::NotHere(reasons)) => Ok(Err(reasons)),
        Err(guard::Unavailable::NotNow(reason)) => Err(io::Error::other(reason)),
    }
}

/// Finishes the search on a thread of its own, so that no lease waits for it. The thread has the
/// privileges of the caller and ends with what it found.
fn finish(
    search: Result<Search, Vec<String>>,
    network: u64,
    processes: Option<Processes>,
) -> io::Result<oneshot::Receiver<Result<Places, guard::Unavailable>>> {
    let (tell, places) = oneshot::channel();
    let work = move || {
        let places = search.map_err(guard::Unavailable::NotHere).and_then(|search| {
            let finish = || search.finish();
            Patience::default().attempt(finish, guard::Unavailable::is_passing)
        });
        if let Ok(places) = &places
            && let Err(error) = guard::remove_dead(places, network, || alive(processes.as_ref()))
        {
            tracing::debug!("guards of dead namespaces stay: {error}");
        }
        // The daemon may have ended meanwhile.
        let _ = tell.send(places);
    };
    thread::Builder::new().name("places".into()).spawn(work)?;
    Ok(places)
}

/// The network namespaces that have threads.
fn alive(processes: Option<&Processes>) -> io::Result<HashMap<PathBuf, PathBuf>> {
    let found = processes.and_then(|processes| processes.networks().blocking_recv().ok().flatten());
    found.ok_or_else(|| io::Error::other("not all processes can be looked into"))
}

impl Subsystem for Starting {
    const NAME: &'static str = "reservations";
    type Request = Request;

    async fn run(self, inbox: Inbox<Request>, ready: Ready) -> io::Result<()> {
        // Now, while there are descriptors: whoever uses them up later must not end this.
        let alarm = Readable::new(Alarm::new()?)?;
        let Self { mut prepared, watched, rng } = self;
        let places = (&mut prepared.places).await.unwrap_or_else(|_| {
            let reason = "nobody could look for control groups and the BPF file system";
            Err(guard::Unavailable::NotNow(reason.to_owned()))
        });
        let prepared = Restored { prepared, watched, rng, inbox, ready, alarm };
        prepared.ports(lasting(places)?)?.run().await
    }
}

/// What the task is made of when it is known where a guard can be.
struct Restored {
    prepared: Prepared,
    watched: Watched,
    rng: Rng,
    inbox: Inbox<Request>,
    ready: Ready,
    alarm: Readable<Alarm>,
}

impl Restored {
    /// Reads the records.
    fn ports(self, places: Result<Places, Vec<String>>) -> io::Result<Ports> {
        let Self { prepared, watched, rng, inbox, ready, alarm } = self;
        let Prepared { parts, network, processes, .. } = prepared;
        let mut records = Records::new(&parts.state_dir, &parts.boot_id);
        let found = records.load(Clock::read());
        let mut problems = Problems::default();
        problems.raise_all(super::PORTS, ProblemKind::RecordDamaged, &found.damaged);
        let cgroups = places.as_ref().ok().map(Places::cgroup_root).transpose()?;
        let is_pinned = places.as_ref().is_ok_and(|places| Guard::is_pinned(places, network));
        let has_written = records.reserved_ports().exists();

        let mut configured = parts.configured;
        let config = configured.borrow_and_update().ports.clone();
        let mut manager = Manager::new(limits(&config), rng);
        let mut ready = Some(ready);
        if found.reservations.is_empty() && !is_pinned && !has_written {
            ready.take().map(|ready| ready.send(()));
        } else {
            engine::Engine::handle(
                &mut manager,
                Input::Restore(found.reservations),
                crate::clock::now(),
            );
        }
        let host = Host::new(places, network, records)?;
        let (reporter, reports) = mpsc::unbounded_channel();
        Ok(Ports {
            manager,
            access: parts.access,
            watched,
            network,
            enforcer: Some(Enforcer::new(host, config.guard, found.unread)),
            worker: None,
            enforcement: None,
            guard: None,
            holders: Holders::new(processes, cgroups.map(Units::new)),
            pending: HashMap::new(),
            last_command: 0,
            turns: Turns::new(COMMANDS),
            clock: Clock::read(),
            listed: Listed::default(),
            admission: Admission::new(ready.is_none()),
            results: VecDeque::new(),
            in_the_way: None,
            owners: Owners::default(),
            denials: Denials::new(EVENTS),
            events: Events::new(EVENTS),
            problems,
            counters: Counters::default(),
            configured,
            choice: config.guard,
            inbox,
            reports,
            reporter,
            guard_events: None,
            guard_watch: None,
            watch_again_at: None,
            writes: None,
            rechecks: Rechecks::default(),
            cgroup_watch: None,
            alarm,
            ready,
            is_stopping: false,
        })
    }
}

/// The ledger's limits.
pub(super) fn limits(config: &config::Ports) -> ::ports::Config {
    let base = ::ports::Config::default();
    ::ports::Config {
        runtime_ports: config.runtime_ports,
        runtime_reservations: config.runtime_reservations,
        dynamic_ports: dynamic_ports().unwrap_or(base.dynamic_ports),
    }
}

/// The ports that the kernel picks from (ip-sysctl.rst).
fn dynamic_ports() -> Option<std::ops::RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next()?, numbers.next()?) {
        (Ok(first), Ok(last)) => Some(first..=last),
        _ => None,
    }
}

//! How leases come up: as little as possible happens before the first packet leaves.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;

use api::daemon::ProblemKind;
use engine::Rng;
use netlink::Connection;
use sys::bpf::Filter;
use sys::netlink::Socket;
use sys::packet::{self, Reaper};
use tokio::sync::mpsc;

use super::holder::Finder;
use super::poller::Poller;
use super::receive::BUFFER;
use super::roster::{Input, Network, Roster, Start};
use super::store::{Folder, Found, Store};
use super::{Done, EVENTS, Leases, READS, Threads};
use crate::clock::Clock;
use crate::configuration;
use crate::counters::Counters;
use crate::host::{self, Kernel, Notices};
use crate::leases::Identity;
use crate::leases::resolver::{Choice, Resolver};
use crate::listed::Listed;
use crate::problems::{Problems, Subject};
use crate::processes::Processes;
use crate::subsystem::{Alarm, Events};
use crate::supervise::Watched;
use crate::turns::Turns;

/// What leases are made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The configuration, and when it changes.
    pub configured: configuration::Watch,
    /// Who the host is.
    pub identity: Identity,
    /// What was found on disk.
    pub found: Found,
    /// Problems met on the way here.
    pub problems: Problems,
    /// Where name servers go.
    pub choice: Choice,
    /// The file for them, unless another one is configured.
    pub own_resolver_file: PathBuf,
}

/// What the threads need to start.
#[derive(Debug)]
pub(crate) struct Workers {
    connection: Connection<Socket>,
    done: mpsc::UnboundedSender<Done>,
}

impl Leases {
    /// Opens what is needed, reads the interfaces, and starts the clients of those managed: the
    /// first packets are out when this returns. Effects wait for
    /// [`start_workers`](Self::start_workers).
    pub(crate) fn start(parts: Parts) -> io::Result<(Self, Workers)> {
        let mut connection = Connection::open()?;
        // Subscribed before the table is read: nothing falls in between.
        let notices = Notices::open(connection.transport().port())?;
        let links = host::links(&mut connection).map_err(io::Error::other)?;
        let (done_sender, done) = mpsc::unbounded_channel();
        let Parts { found, mut problems, mut configured, .. } = parts;
        let config = configured.borrow_and_update().clone();
        problems.raise_all(Subject::Part("store"), ProblemKind::RecordDamaged, &found.damaged);
        let network = Network(sys::namespace::network_cookie().unwrap_or_default());
        let mut seed = [0; 32];
        if let Err(error) = sys::random::fill(&mut seed) {
            // Only kernels before 3.17 get here; identifiers would be foreseeable, and no worse.
            tracing::error!("no random numbers: {error}");
        }
        let roster = Roster::new(Start {
            network,
            config,
            identity: parts.identity,
            entries: found.entries,
            rng: Rng::from_seed(seed),
        });
        let mut leases = Self {
            roster,
            network,
            configured,
            choice: parts.choice,
            own_resolver_file: parts.own_resolver_file,
            clock: Clock::read(),
            pending: HashMap::new(),
            turns: Turns::new(READS),
            listed: Listed::default(),
            problems,
            counters: Counters::default(),
            events: Events::new(EVENTS),
            poller: Poller::new()?,
            alarm: Alarm::new()?,
            notices,
            // Bound to no protocol, it receives nothing and costs no packet anything.
            sender: packet::Socket::open(0, 0, &Filter::drop_all())?,
            sockets: HashMap::new(),
            leaving: HashMap::new(),
            buffer: vec![0; BUFFER],
            reaper: None,
            threads: None,
            finder: None,
            early: Vec::new(),
            results: VecDeque::new(),
            done,
        };
        leases.tell(Input::Links(links));
        Ok((leases, Workers { connection, done: done_sender }))
    }

    /// Starts the threads and hands them what has been waiting. Other DHCP clients are named by
    /// looking at `processes`.
    pub(crate) fn start_workers(
        &mut self,
        workers: Workers,
        folder: Folder,
        processes: Option<Processes>,
        watched: &Watched,
    ) -> io::Result<()> {
        let Workers { connection, done } = workers;
        let (stored, resolved) = (done.clone(), done.clone());
        if let Some(processes) = &processes {
            let done = done.clone();
            processes.on_trouble(move |trouble| {
                let _ = done.send(Done::Processes(trouble));
            });
        }
        self.finder = Some(Finder::new(processes, done.clone()));
        // The receiver lives as long as the threads do; what is sent to its end is not missed.
        let kernel = Kernel::start(connection, watched.clone(), move |answer| {
            let _ = done.send(Done::Kernel(answer));
        })?;
        let store = Store::start(folder, watched.clone(), move |tag, result| {
            let _ = stored.send(Done::Stored(tag, result));
        })?;
        let choice = self.choice.clone();
        let resolver = Resolver::start(choice, watched.clone(), move |tag, result| {
            let _ = resolved.send(Done::Resolved(tag, result));
        })?;
        self.threads = Some(Threads { kernel, store, resolver });
        self.reaper.get_or_insert(Reaper::start()?);
        self.hand_over_early();
        // Addresses: ours from before, and other clients'.
        self.tell(Input::ReadTables);
        Ok(())
    }
}

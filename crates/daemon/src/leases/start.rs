//! How leases come up: as little as possible happens before the first packet leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;

use netlink::Connection;
use sys::bpf::Filter;
use sys::netlink::Socket;
use sys::packet::{self, Reaper};
use sys::timer::BootTimer;
use tokio::sync::mpsc;

use super::command::{Handle, events};
use super::holder::Finder;
use super::pacer::Pacer;
use super::poller::Poller;
use super::receive::BUFFER;
use super::{Done, Leases, READS};
use crate::clock::Clock;
use crate::configuration;
use crate::counters::Counters;
use crate::identity::Identity;
use crate::kernel::{self, Kernel, LinkRow, Notices};
use crate::problems::Problems;
use crate::processes::Processes;
use crate::resolver::{Choice, Resolver};
use crate::store::{Folder, Found, Store};
use crate::supervise::Watched;
use crate::turns::Turns;

/// What leases are made of.
#[derive(Debug)]
pub struct Parts {
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
pub struct Workers {
    connection: Connection<Socket>,
    done: mpsc::UnboundedSender<Done>,
}

impl Leases {
    /// Opens what is needed, reads the interfaces, and starts the clients of those managed: the
    /// first packets are out when this returns. Effects wait for
    /// [`start_workers`](Self::start_workers).
    pub fn start(parts: Parts) -> io::Result<(Self, Handle, Workers)> {
        let mut connection = Connection::open()?;
        // Subscribed before the table is read: nothing falls in between.
        let notices = Notices::open(connection.transport().port())?;
        let links = kernel::links(&mut connection).map_err(io::Error::other)?;
        let (handle, requests) = Handle::new();
        let (done_sender, done) = mpsc::unbounded_channel();
        let Parts { found, mut problems, mut configured, .. } = parts;
        let config = configured.borrow_and_update().clone();
        problems.raise_all("store", "read", &found.damaged);
        let mut leases = Self {
            choice: parts.choice,
            own_resolver_file: parts.own_resolver_file,
            config,
            configured,
            identity: parts.identity,
            clock: Clock::read(),
            links: BTreeMap::new(),
            own_hardware: HashMap::new(),
            interfaces: BTreeMap::new(),
            entries: found.entries,
            pruned_at: None,
            foreign: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pacer: Pacer::default(),
            releases: BTreeSet::new(),
            armed: None,
            store_retry_at: None,
            reading_tables: false,
            knows_tables: false,
            expected: BTreeMap::new(),
            clients: 0,
            pending: HashMap::new(),
            turns: Turns::new(READS),
            last_own_command: u64::MAX,
            stopping: None,
            problems,
            counters: Counters::default(),
            events: events(),
            poller: Poller::new()?,
            timer: BootTimer::new()?,
            notices,
            // Bound to no protocol, it receives nothing and costs no packet anything.
            sender: packet::Socket::open(0, 0, &Filter::drop_all())?,
            buffer: vec![0; BUFFER],
            reaper: None,
            kernel: None,
            store: None,
            resolver: None,
            finder: None,
            early: Vec::new(),
            requests,
            answers: done_sender.clone(),
            done,
        };
        leases.adopt(links);
        leases.admit();
        Ok((leases, handle, Workers { connection, done: done_sender }))
    }

    /// Starts the threads and hands them what has been waiting. Other DHCP clients are named by
    /// looking at `processes`.
    pub fn start_workers(
        &mut self,
        workers: Workers,
        folder: Folder,
        boot_id: String,
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
        self.kernel = Some(Kernel::start(connection, watched.clone(), move |answer| {
            let _ = done.send(Done::Kernel(answer));
        })?);
        self.store = Some(Store::start(folder, boot_id, watched.clone(), move |tag, result| {
            let _ = stored.send(Done::Stored(tag, result));
        })?);
        let choice = self.choice.clone();
        self.resolver = Some(Resolver::start(choice, watched.clone(), move |tag, result| {
            let _ = resolved.send(Done::Resolved(tag, result));
        })?);
        self.reaper.get_or_insert(Reaper::start()?);
        self.hand_over_early();
        // Addresses: ours from before, and other clients'.
        self.read_tables();
        Ok(())
    }

    fn adopt(&mut self, links: Vec<LinkRow>) {
        for link in links {
            self.on_link(link);
        }
    }
}

//! The one owner of all leases.
//!
//! # Tasks and owners
//!
//! - `Leases::run` is one task of the event loop. It owns the `roster`, which is
//!   the engine that decides, every DHCP and ARP socket, the alarm and the notifications socket;
//!   nobody else touches them.
//! - The threads of `Kernel`, `Store` and `Resolver` carry out effects, in order, and answer
//!   through one channel. They own their connection, files and back end.
//! - API handlers hold a `Handle`: commands go through a channel, answers come back through a
//!   oneshot each, events through a bounded broadcast.
//!
//! # Cancel safety
//!
//! `run` waits only on channel receptions and on the readiness of one descriptor, all cancel safe;
//! between two waits it never awaits. Dropping it loses no state: what was asked of the threads is
//! finished by their own drops.
//!
//! # Rules
//!
//! Every input to the roster is followed by a full drain of its outputs (`drain`) before anything
//! else happens to it. Results of effects are inputs like any other, and never handed in from inside
//! a drain.

mod command;
mod effects;
mod handle;
mod holder;
mod identity;
mod poller;
mod receive;
mod release;
pub(crate) mod resolver;
mod roster;
mod sockets;
mod start;
mod store;
mod view;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;

use api::lease::LeaseInfo;
use engine::{CommandId, Engine as _, Refused};
use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketType, socket};
use sys::packet::{self, Reaper};
use sys::udp;
use tokio::sync::mpsc;

pub(crate) use identity::Identity;

pub(crate) use handle::Handle;
pub(crate) use start::Parts;
pub(crate) use store::Folder;

use crate::access::Caller;
use crate::clock::{self, Clock};
use crate::configuration;
use crate::counters::Counters;
use crate::host::{Answer, Kernel, Notice, Notices};
use crate::leases::resolver::{Choice, Resolver};
use crate::listed::Listed;
use crate::problems::Problems;
use crate::subsystem::{Alarm, Events, Inbox, Ready, Subsystem};
use crate::turns::{Slots, Turns};
use command::Pending;
use effects::Work;
use handle::{Read, Request};
use holder::Finder;
use poller::Poller;
use roster::{ClientKey, Input, Network, Roster, Tag};
use sockets::Sockets;
use store::Store;

/// Events kept for a subscriber that is behind.
const EVENTS: usize = 1_024;
/// Of what is answered at once, one is under way at a time.
const READS: Slots = Slots { each: 1, all: 1, root: 1 };
/// Notification datagrams taken before others have their turn.
const NOTICES: usize = 64;

/// What the threads answer.
#[derive(Debug)]
enum Done {
    /// The kernel.
    Kernel(Answer<Tag>),
    /// The store.
    Stored(Tag, Result<(), Refused>),
    /// The resolver.
    Resolved(Tag, Result<(), Refused>),
    /// Somebody else seems to manage the interface of this client.
    Holder(ClientKey, String),
    /// Whoever looks into processes cannot; or can again.
    Processes(Option<String>),
}

/// The threads that carry out what may wait.
#[derive(Debug)]
struct Threads {
    kernel: Kernel<Tag>,
    store: Store<Tag>,
    resolver: Resolver<Tag>,
}

/// All leases, and what it takes to hold them.
#[derive(Debug)]
pub(crate) struct Leases {
    roster: Roster,
    /// The namespace that all of it is in.
    network: Network,
    configured: configuration::Watch,
    /// Where name servers go.
    choice: Choice,
    /// The file for them, unless another one is configured.
    own_resolver_file: PathBuf,
    /// By which leases are shown: the same times as long as the wall clock is not set.
    clock: Clock,

    /// Callers that wait for the answer to a command.
    pending: HashMap<CommandId, Pending>,
    /// Callers that wait for their turn to read.
    turns: Turns<(Caller, Read)>,
    /// Leases as they were listed.
    listed: Listed<ClientKey, LeaseInfo>,
    problems: Problems,
    counters: Counters,
    events: Events<api::lease::Event>,

    poller: Poller,
    alarm: Alarm,
    notices: Notices,
    /// Sends on any interface and receives nothing.
    sender: packet::Socket,
    sockets: HashMap<ClientKey, Sockets>,
    /// RELEASEs that have not left.
    leaving: HashMap<ClientKey, udp::Socket>,
    buffer: Vec<u8>,
    reaper: Option<Reaper>,
    /// `None` until the first packets are out.
    threads: Option<Threads>,
    finder: Option<Finder>,
    /// Work from before the threads were started.
    early: Vec<Work>,
    /// Results of what needed no thread.
    results: VecDeque<Input<'static>>,

    done: mpsc::UnboundedReceiver<Done>,
}

impl Subsystem for Leases {
    const NAME: &'static str = "leases";
    type Request = Request;

    async fn run(mut self, mut inbox: Inbox<Request>, ready: Ready) -> io::Result<()> {
        let watch = self.poller.watch()?;
        self.poller.add(&self.alarm, poller::Ready::Alarm)?;
        self.poller.add(&self.notices, poller::Ready::Notices)?;
        self.set_alarm()?;
        // Every client there is a record of was made before the first packet.
        let _ = ready.send(());
        loop {
            tokio::select! {
                biased;
                Some(done) = self.done.recv() => {
                    self.on_done(done);
                    while let Ok(done) = self.done.try_recv() {
                        self.on_done(done);
                    }
                }
                guard = watch.readable() => {
                    let mut guard = guard?;
                    self.on_ready(&mut guard)?;
                }
                Ok(()) = self.configured.changed() => self.use_configuration(),
                // Until the first reading, who has which address is not known.
                message = inbox.receive(), if self.roster.knows_tables() => {
                    self.on_message(message);
                }
                // One at a time: a list of a thousand interfaces holds up timers no longer than that.
                () = tokio::task::yield_now(), if self.turns.has_next() => self.serve_turn(),
            }
            if self.roster.has_ended() {
                return Ok(());
            }
            self.set_alarm()?;
        }
    }
}

impl Leases {
    fn on_ready(
        &mut self,
        guard: &mut tokio::io::unix::AsyncFdReadyGuard<'_, std::os::fd::OwnedFd>,
    ) -> io::Result<()> {
        let ready = self.poller.ready()?;
        if ready.is_empty() {
            guard.clear_ready();
        }
        for ready in ready {
            match ready {
                poller::Ready::Alarm => self.on_alarm()?,
                poller::Ready::Notices => self.on_notices()?,
                poller::Ready::Packet(ifindex) => self.on_packet(self.client(ifindex)),
                poller::Ready::Udp(ifindex) => self.on_udp(self.client(ifindex)),
                poller::Ready::Arp(ifindex) => self.on_arp(self.client(ifindex)),
                poller::Ready::Release(ifindex) => self.on_release(self.client(ifindex)),
            }
        }
        Ok(())
    }

    fn client(&self, ifindex: u32) -> ClientKey {
        ClientKey::ipv4(self.network, ifindex)
    }

    fn on_alarm(&mut self) -> io::Result<()> {
        self.alarm.acknowledge()?;
        self.roster.handle_timeout(clock::now());
        self.drain();
        Ok(())
    }

    fn on_notices(&mut self) -> io::Result<()> {
        let mut notices = Vec::new();
        self.notices.receive(NOTICES, |notice| notices.push(notice))?;
        // An interface takes along what is on it; that was not removed by anybody.
        let gone: BTreeSet<u32> = notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::LinkGone(ifindex) => Some(*ifindex),
                _ => None,
            })
            .collect();
        for notice in notices {
            let notice = match notice {
                Notice::AddressGone(row)
                    if gone.contains(&row.interface)
                        || (self.roster.is_missed(&row) && !exists(row.interface)) =>
                {
                    Notice::AddressTakenAlong(row)
                }
                Notice::RouteGone(row)
                    if self.roster.is_missed_route(&row) && !exists(row.interface) =>
                {
                    continue;
                }
                other => other,
            };
            self.tell(Input::Notice(notice));
        }
        Ok(())
    }

    fn use_configuration(&mut self) {
        let config = self.configured.borrow_and_update().clone();
        let choice = Choice::new(&config.daemon, &self.own_resolver_file);
        if choice != self.choice {
            if let Some(threads) = &self.threads {
                threads.resolver.switch(choice.clone());
            }
            self.choice = choice;
        }
        self.tell(Input::Configure(config));
    }

    fn set_alarm(&mut self) -> io::Result<()> {
        self.alarm.set(self.roster.poll_timeout())
    }
}

/// Whether there is an interface of this index, as the kernel knows it at this moment: one that goes,
/// be it to another namespace, is out of its list before its addresses go.
fn exists(ifindex: u32) -> bool {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    // Without an answer it is taken for there.
    !socket.is_ok_and(|socket| index_to_name(&socket, ifindex) == Err(Errno::NODEV))
}

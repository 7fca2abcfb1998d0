//! The one owner of all leases.
//!
//! # Tasks and owners
//!
//! - [`Leases::run`] is one future, polled by the daemon's main task. It owns every engine, every
//!   DHCP and ARP socket, the timer and the notifications socket; nobody else touches them.
//! - The threads of [`Kernel`], [`Store`] and [`Resolver`] carry out effects, in order, and answer
//!   through one channel. They own their connection, files and back end.
//! - API handlers hold a [`Handle`]: commands go through a channel, answers come back through a
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
//! Every input to an engine is followed by a full drain of its outputs (`drain`) before
//! anything else happens to it. Results of effects are inputs like any other, and never handed in
//! from inside a drain.

mod command;
mod effects;
mod holder;
mod interface;
mod links;
mod pacer;
mod poller;
mod receive;
mod release;
mod sockets;
mod start;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use dhcp::v4::{CommandId, Output};
use engine::{Engine as _, Instant};
use sys::packet::{self, Reaper};
use sys::timer::BootTimer;
use tokio::sync::{broadcast, mpsc};
use wire::HardwareAddress;

pub use command::{Completed, Handle, Summary};
pub use start::{Parts, Workers};

use crate::access::Caller;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::configuration;
use crate::counters::Counters;
use crate::identity::Identity;
use crate::kernel::{AddressRow, Answer, Kernel, LinkRow, Notices};
use crate::problems::Problems;
use crate::resolver::{Choice, Resolver};
use crate::store::{Entry, Store};
use crate::turns::{Slots, Turns};
use command::{Pending, Read, Request};
use holder::Finder;
use interface::{Installed, Interface};
use pacer::Pacer;
use poller::{Poller, Ready};

/// Events kept for a subscriber that is behind.
const EVENTS: usize = 1_024;
/// Of what is answered at once, one is under way at a time.
const READS: Slots = Slots { each: 1, all: 1, root: 1 };
/// After a write failed, when everything unwritten is tried again.
const STORE_RETRY: std::time::Duration = std::time::Duration::from_secs(30);

/// Which effect of which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    interface: u32,
    /// Tells clients of one index apart: indices are used again.
    client: u64,
    /// `None` for what no engine asked for.
    effect: Option<dhcp::v4::EffectId>,
}

/// What the threads answer.
#[derive(Debug)]
pub enum Done {
    /// The kernel.
    Kernel(Answer<Tag>),
    /// The store.
    Stored(Tag, Result<(), String>),
    /// The resolver.
    Resolved(Tag, Result<(), String>),
    /// What had its result without them.
    Settled(Tag, Result<(), String>),
    /// Somebody else seems to manage the interface with this index.
    Holder(u32, String),
    /// Whoever looks into processes cannot; or can again.
    Processes(Option<String>),
}

/// All leases, and what it takes to hold them.
#[derive(Debug)]
pub struct Leases {
    config: Arc<Config>,
    configured: configuration::Watch,
    identity: Identity,
    /// Where name servers go.
    choice: Choice,
    /// The file for them, unless another one is configured.
    own_resolver_file: PathBuf,
    /// By which leases are shown: the same times as long as the wall clock is not set.
    clock: Clock,

    links: BTreeMap<u32, LinkRow>,
    /// How many interfaces have each link-layer address.
    own_hardware: HashMap<HardwareAddress, usize>,
    interfaces: BTreeMap<u32, Interface>,
    /// Records of interfaces that are not there, or not managed.
    entries: BTreeMap<String, Entry>,
    pruned_at: Option<Instant>,
    /// Addresses of others, by interface.
    foreign: BTreeMap<u32, Vec<AddressRow>>,
    /// Deadlines of engines.
    deadlines: BTreeSet<(Instant, u32)>,
    pacer: Pacer,
    /// Deadlines of RELEASEs that have not left, with their interfaces.
    releases: BTreeSet<(Instant, u32)>,
    /// What the timer is set to.
    armed: Option<Instant>,
    store_retry_at: Option<Instant>,
    reading_tables: bool,
    /// They have been read at least once, or could not be.
    knows_tables: bool,
    /// What was ours when that reading was asked for: the tables cannot know of anything later.
    expected: BTreeMap<u32, Installed>,
    clients: u64,

    pending: HashMap<CommandId, Pending>,
    /// Callers that wait for their turn to read.
    turns: Turns<(Caller, Read)>,
    last_own_command: u64,
    /// The daemon ends when these are answered.
    stopping: Option<BTreeSet<CommandId>>,
    problems: Problems,
    counters: Counters,
    events: broadcast::Sender<Arc<api::lease::Event>>,

    poller: Poller,
    timer: BootTimer,
    notices: Notices,
    /// Sends on any interface and receives nothing.
    sender: packet::Socket,
    buffer: Vec<u8>,
    reaper: Option<Reaper>,
    kernel: Option<Kernel<Tag>>,
    store: Option<Store<Tag>>,
    resolver: Option<Resolver<Tag>>,
    finder: Option<Finder>,
    /// Effects from before the threads were started.
    early: Vec<effects::Early>,

    requests: mpsc::UnboundedReceiver<Request>,
    /// The other end of `done`.
    answers: mpsc::UnboundedSender<Done>,
    done: mpsc::UnboundedReceiver<Done>,
}

impl Leases {
    /// Serves until `stop` is asked for through the [`Handle`], or something fails that the daemon
    /// cannot live without.
    pub async fn run(&mut self) -> io::Result<()> {
        let watch = self.poller.watch()?;
        self.poller.add(&self.timer, Ready::Timer)?;
        self.poller.add(&self.notices, Ready::Notices)?;
        self.arm()?;
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
                request = self.requests.recv(), if self.knows_tables => {
                    // Without a handle nobody could ask for the end either.
                    self.on_request(request.unwrap_or(Request::Stop));
                }
                // One at a time: a list of a thousand interfaces holds up timers no longer than that.
                () = tokio::task::yield_now(), if self.turns.has_next() => self.serve_turn(),
            }
            if self.stopping.as_ref().is_some_and(BTreeSet::is_empty) {
                return Ok(());
            }
            self.admit();
            self.arm()?;
        }
    }

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
                Ready::Timer => self.on_timer()?,
                Ready::Notices => self.on_notices()?,
                Ready::Packet(index) => self.on_packet(index),
                Ready::Udp(index) => self.on_udp(index),
                Ready::Arp(index) => self.on_arp(index),
                Ready::Release(index) => self.on_release(index),
            }
        }
        Ok(())
    }

    fn on_timer(&mut self) -> io::Result<()> {
        self.timer.acknowledge()?;
        self.armed = None;
        let now = clock::now();
        while let Some((at, index)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            if let Some(interface) = self.interfaces.get_mut(&index) {
                interface.deadline_at = None;
                interface.client.handle_timeout(now);
                self.drain(index);
            }
        }
        if self.store_retry_at.is_some_and(|at| at <= now) {
            self.store_retry_at = None;
            self.write_unsaved();
        }
        self.give_up_releases(now);
        Ok(())
    }

    /// Carries out what the engine wants, and notes when it wants to be called next.
    fn drain(&mut self, index: u32) {
        while let Some(interface) = self.interfaces.get_mut(&index) {
            let Some(output) = interface.client.poll_output() else { break };
            match output {
                Output::Send(transmit) => self.send(index, transmit),
                Output::Listen(listen) => self.listen(index, listen),
                Output::Effect { id, effect } => self.carry_out(index, id, effect),
                Output::Event(event) => self.on_event(index, &event),
                Output::Reply { id, result } => self.on_reply(index, id, result),
            }
        }
        let Some(interface) = self.interfaces.get_mut(&index) else { return };
        if self.pacer.is_under_way(index) && !interface.is_asking() {
            let completed = interface.client.state().has_lease();
            self.pacer.done(index, completed, clock::now());
        }
        let at = interface.client.poll_timeout();
        if at != interface.deadline_at {
            if let Some(before) = interface.deadline_at {
                self.deadlines.remove(&(before, index));
            }
            if let Some(at) = at {
                self.deadlines.insert((at, index));
            }
            interface.deadline_at = at;
        }
    }

    /// Starts the interfaces whose turn it is.
    fn admit(&mut self) {
        while let Some(index) = self.pacer.next(clock::now()) {
            self.tell_link(index);
        }
    }

    /// Sets the timer to the next deadline of anything.
    fn arm(&mut self) -> io::Result<()> {
        let engines = self.deadlines.first().map(|(at, _)| *at);
        let releases = self.release_due_at();
        let next = [engines, self.pacer.next_at(), self.store_retry_at, releases]
            .into_iter()
            .flatten()
            .min();
        if next != self.armed {
            self.timer.arm(next.map(Instant::as_nanos))?;
            self.armed = next;
        }
        Ok(())
    }
}

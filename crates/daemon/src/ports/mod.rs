//! The one owner of all port reservations.
//!
//! # Tasks and owners
//!
//! - `Starting::run` waits for the thread that finds where a guard can be, which
//!   may take long and concerns no lease, and reads the records.
//! - `Ports::run` is that task of the event loop. It owns the ledger ([`ports::Manager`]), gives
//!   sockets their grants, and tells subscribers. An association needs nothing else.
//! - The thread of `worker` changes the host, in order: the guard's maps, the kernel's list of
//!   reserved ports, the records on disk. Which steps that takes is decided by `enforcer`, and each
//!   step is made by `host`. The thread is started for the first reservation, and so is all
//!   that is loaded into the kernel: a daemon without reservations has nothing of this.
//! - API handlers hold a `Handle`. Their calls are served in turn, user by user, a few at a time;
//!   lists of sockets are work of its own kind: see the module `work`.
//!
//! # Cancel safety
//!
//! `run` waits on channel receptions, on the readiness of descriptors and on time alone, and never
//! between two of them. What was asked of the thread is finished by its own drop; what was not is
//! found by the next daemon, which [puts in force what is on record](ports::Effect::Enforce).

mod admission;
mod associate;
mod calls;
mod cgroups;
mod command;
mod denials;
mod effects;
mod enforcer;
pub mod guard;
mod handle;
mod holders;
mod host;
mod killer;
mod occupy;
mod owners;
mod purge;
mod scan;
mod start;
mod store;
mod sysctl;
mod units;
mod view;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use ::ports::{EffectResult, Input, Manager};
use api::daemon::ProblemKind;
use engine::{CommandId, EffectId, Engine as _};
use tokio::sync::mpsc;

pub(crate) use handle::Handle;
pub use purge::{Purged, purge};
pub(crate) use start::{Parts, Prepared};

use crate::access::Access;
use crate::clock::{self, Clock};
use crate::config;
use crate::configuration;
use crate::counters::Counters;
use crate::listed::Listed;
use crate::problems::{Problems, Subject};
use crate::readable::Readable;
use crate::subsystem::{Alarm, Events, Inbox, Message, Ready};
use crate::supervise::{Watched, Worker};
use crate::turns::{Slots, Turns};
use admission::Admission;
use cgroups::CgroupWatch;
use command::Pending;
use denials::Denials;
use enforcer::{Enforcement, Enforcer};
use guard::{Guard, PinWatch};
use handle::{Request, Waiting};
use holders::Holders;
use host::Host;
use owners::Owners;
use sysctl::{ListWatch, Rechecks};
use worker::{Job, Report};

/// What problems of all reservations concern.
const PORTS: Subject = Subject::Part("ports");
/// Commands under way at a time.
const COMMANDS: Slots = Slots { each: 2, all: 4, root: 16 };
/// Events and refused binds kept for a subscriber that is behind.
const EVENTS: usize = 1_024;

/// All reservations, and what it takes to enforce them.
#[derive(Debug)]
pub(crate) struct Ports {
    manager: Manager,
    access: Access,
    watched: Watched,
    /// Cookie of the daemon's network namespace.
    network: u64,
    /// What the thread is made of, until it is started.
    enforcer: Option<Enforcer<Host>>,
    worker: Option<Worker<Job>>,
    /// How reservations are enforced; `None` until it is known.
    enforcement: Option<Enforcement>,
    guard: Option<Arc<Guard>>,
    holders: Holders,

    pending: HashMap<CommandId, Pending>,
    last_command: u64,
    /// Calls that wait for their turn.
    turns: Turns<Waiting>,
    /// By which reservations are shown: the same times as long as the wall clock is not set.
    clock: Clock,
    /// With their tokens, or without.
    listed: Listed<(api::ports::Id, bool), api::ports::Reservation>,
    admission: Admission<Request>,
    /// Results of effects that needed no thread.
    results: VecDeque<(EffectId, EffectResult)>,
    /// The socket that the last scan found.
    in_the_way: Option<Box<api::ports::Holder>>,
    owners: Owners,

    denials: Denials,
    events: Events<api::ports::Event>,
    problems: Problems,
    counters: Counters,

    configured: configuration::Watch,
    /// What the configuration said at start.
    choice: config::GuardChoice,
    inbox: Inbox<Request>,
    reports: mpsc::UnboundedReceiver<Report>,
    reporter: mpsc::UnboundedSender<Report>,
    /// What the guard sees.
    guard_events: Option<Readable<guard::Events>>,
    /// Whether somebody removes the guard.
    guard_watch: Option<Readable<PinWatch>>,
    /// When to try again what could not be watched.
    watch_again_at: Option<tokio::time::Instant>,
    /// Writes to the kernel's list of reserved ports, where the guard does not see them.
    writes: Option<Readable<ListWatch>>,
    rechecks: Rechecks,
    /// Control groups that came or went where a reservation names one.
    cgroup_watch: Option<Readable<Arc<CgroupWatch>>>,
    alarm: Readable<Alarm>,
    /// Until everything on record is in force.
    ready: Option<Ready>,
    is_stopping: bool,
}

/// What the task waited for.
enum Woken {
    Report(Report),
    Message(Message<Request>),
    Turn,
    GuardEvents,
    GuardRemoved,
    CgroupsChanged,
    Writes,
    Alarm,
    Recheck,
    WatchAgain,
    Configured,
}

impl Ports {
    /// Serves until it is stopped and idle.
    async fn run(&mut self) -> io::Result<()> {
        self.drain();
        self.set_alarm()?;
        loop {
            let recheck_at = self.rechecks.next_at().map(tokio::time::Instant::from_std);
            let woken = tokio::select! {
                biased;
                Some(report) = self.reports.recv() => Woken::Report(report),
                () = self.alarm.readable() => Woken::Alarm,
                () = readable(self.guard_events.as_ref()) => Woken::GuardEvents,
                () = readable(self.guard_watch.as_ref()) => Woken::GuardRemoved,
                () = readable(self.cgroup_watch.as_ref()) => Woken::CgroupsChanged,
                () = readable(self.writes.as_ref()) => Woken::Writes,
                () = sleep_until(recheck_at) => Woken::Recheck,
                () = sleep_until(self.watch_again_at) => Woken::WatchAgain,
                Ok(()) = self.configured.changed() => Woken::Configured,
                message = self.inbox.receive() => Woken::Message(message),
                // One at a time: others that run on this thread have their turn, too.
                () = tokio::task::yield_now(), if self.turns.has_next() => Woken::Turn,
            };
            match woken {
                Woken::Report(report) => self.on_report(report),
                Woken::Message(message) => self.on_message(message),
                Woken::Turn => self.serve_turn(),
                Woken::WatchAgain => self.watch_guard(),
                Woken::Configured => self.configure(),
                Woken::GuardEvents => self.on_guard_events(),
                Woken::GuardRemoved => self.on_guard_removed(),
                Woken::CgroupsChanged => self.on_cgroups_changed(),
                Woken::Writes => self.on_writes(),
                Woken::Alarm => {
                    self.alarm.source_mut().acknowledge()?;
                    self.manager.handle_timeout(clock::now());
                }
                Woken::Recheck => {
                    if self.rechecks.take_due(std::time::Instant::now()) {
                        self.ask(Job::Merge);
                    }
                }
            }
            self.drain();
            if self.is_stopping && self.manager.is_idle() {
                return self.end().await;
            }
            self.set_alarm()?;
        }
    }

    /// Lets go of what is not needed any more, and leaves in force what is.
    async fn end(&mut self) -> io::Result<()> {
        // What still has to be taken back of one that ended is no reason to guard.
        if self.worker.is_none() || self.manager.reservations().next().is_some() {
            return Ok(());
        }
        self.guard_events = None;
        self.guard_watch = None;
        // The thread takes the guard apart, and nobody else may hold on to it.
        self.guard = None;
        self.ask(Job::Detach);
        while let Some(report) = self.reports.recv().await {
            if let Report::Detached(result) = report {
                if let Err(reason) = result {
                    tracing::warn!("{reason}");
                }
                break;
            }
        }
        Ok(())
    }

    /// Goes by the configuration, as it is now.
    fn configure(&mut self) {
        let config = self.configured.borrow_and_update().ports.clone();
        if config.guard != self.choice {
            tracing::warn!("the guard in the configuration takes effect at the next start");
        }
        self.tell(Input::Configure(start::limits(&config)));
    }

    fn tell(&mut self, input: Input) {
        self.manager.handle(input, clock::now());
    }

    /// Hands work to the thread, starting it if need be.
    fn ask(&mut self, job: Job) {
        if let Some(enforcer) = self.enforcer.take() {
            let reports = self.reporter.clone();
            let started = worker::start(
                enforcer,
                self.holders.clone(),
                self.watched.clone(),
                move |report| {
                    // The receiver lives as long as the thread does.
                    let _ = reports.send(report);
                },
            );
            match started {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => {
                    self.problems.raise(PORTS, ProblemKind::ThreadFailed, error.to_string());
                }
            }
        }
        if let Some(worker) = &self.worker {
            worker.ask(job);
        }
    }

    fn set_alarm(&mut self) -> io::Result<()> {
        self.alarm.source_mut().set(self.manager.poll_timeout())
    }
}

/// Waits until it is readable, for good if there is none.
async fn readable<T: AsFd>(source: Option<&Readable<T>>) {
    match source {
        Some(source) => source.readable().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

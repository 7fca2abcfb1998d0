//! The tables of the host's network, for whoever asks.
//!
//! # Threads and owners
//!
//! - A `Follower` is a thread that keeps some of the tables and follows the kernel's
//!   notifications. It is started by the first call that needs one of its tables, and ends when
//!   nobody has asked or subscribed for a while: a daemon that nobody asks keeps no tables. Routes
//!   and neighbours have followers of their own, because there may be very many of them.
//! - Calls that need no cache, above all those that change something, are `Work`, each with a
//!   connection of its own.
//!
//! The thread of the leases does neither. It encodes what is sent, a buffer at a time.
//!
//! # Memory
//!
//! All readers of a table in one state share its rows with the cache. What a reader has to itself
//! (counters, which no cache has) is work under way until it is sent, and so bounded in number. Tables
//! of more rows than `MOST_ROWS` are not kept at all: a router may have a million routes, and anybody
//! may ask for them.

mod follower;

use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::Method;
use api::interface::{
    self, Change, Error, Filter, Local, Monitor, Snapshot, Table, TableListing, TableRow,
};
use api::server::{Descriptor, IsSuperseded, Lazy, Listed, Part, Place, Serves, Subscription};
use tables::Tables;
use tokio::sync::{broadcast, oneshot};

use crate::access::Caller;
use crate::supervise::Watched;
use crate::turns::Slots;
use crate::work::Work;
use follower::{Follower, Request, View};

/// How long a subscriber waits for tables that cannot be caught at rest: the kernel is busy for a
/// minute with ten thousand interfaces that were just made.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which tables are followed together.
const GROUPS: [&[Table]; 3] = [
    &[
        Table::Interface,
        Table::IpInterface,
        Table::Stack,
        Table::UnicastAddress,
        Table::MulticastAddress,
        Table::AnycastAddress,
    ],
    &[Table::Route],
    &[Table::Neighbor],
];

/// The most rows of tables that are followed together: far more than any host has but a router.
const MOST_ROWS: usize = 1 << 18;
/// How long tables that were too large are not read again for whoever asks.
const TOO_LARGE_FOR: Duration = Duration::from_secs(10);
/// Rows that are copied out of a table at a time.
const PART: usize = 64;
/// What asks little of the kernel; some of it waits for a neighbour to answer.
const CALLS: Slots = Slots { each: 4, all: 16, root: 16 };
/// What reads a table for one reader.
const READS: Slots = Slots { each: 1, all: 4, root: 4 };

/// Answers calls about tables.
#[derive(Debug)]
pub(crate) struct Served {
    /// One for each group.
    groups: [Mutex<Group>; GROUPS.len()],
    calls: Work,
    reads: Work,
    watched: Watched,
}

/// Tables that are followed together.
#[derive(Debug, Default)]
struct Group {
    /// `None` until somebody asks.
    follower: Option<Follower>,
    /// They were too large then.
    refused: Option<(Instant, Error)>,
}

impl Served {
    /// Tables that nobody has asked for yet.
    pub(crate) fn new(watched: Watched) -> Self {
        let (calls, reads) = (Work::new(CALLS), Work::new(READS));
        Self { groups: Default::default(), calls, reads, watched }
    }

    /// The rows that are asked for, in one state of the table.
    async fn rows<L: TableListing>(
        &self,
        caller: &Caller,
        call: &L,
    ) -> Result<Listed<L::Row>, Error> {
        let mut filter = call.filter();
        filter.interface = self.resolve_interface(caller, filter.interface).await;
        if filter.statistics {
            return self.read(caller, filter).await;
        }
        let kept = self.look(group_of(L::Row::TABLE), Duration::ZERO, |view| {
            view.cache.follows(L::Row::TABLE).then(|| view.snapshot::<L::Row>())
        });
        match kept.await {
            Ok(Some(snapshot)) => {
                let snapshot = snapshot?;
                let shared = snapshot.downgrade();
                let is_superseded: IsSuperseded = Box::new(move || shared.is_superseded());
                Ok(Listed { is_superseded: Some(is_superseded), ..parts(snapshot, filter) })
            }
            // One table by itself is easier to catch than several together; and this kernel may not
            // tell of the table's changes.
            Ok(None) | Err(Error::Inconsistent { .. }) => self.read(caller, filter).await,
            Err(error) => Err(error),
        }
    }

    /// Carries out a call that needs no cache.
    async fn carry_out<C: Local>(&self, caller: &Caller, call: C) -> Result<C::Reply, Error> {
        let work = move || call.carry_out(&mut Tables::open()?);
        let (result, _) = self.calls.run(caller, work).await.ok_or(Error::Cancelled)?;
        result
    }

    /// The name of what the caller named, if it is one interface that goes by another name.
    async fn resolve_interface(
        &self,
        caller: &Caller,
        interface: Option<String>,
    ) -> Option<String> {
        if interface.as_ref().is_none_or(|interface| interface.contains(['*', '?'])) {
            return interface;
        }
        let mut filter = Filter { interface: interface.clone(), ..Filter::default() };
        let work = move || {
            if let Ok(mut tables) = Tables::open() {
                filter.resolve(&mut tables);
            }
            filter.interface
        };
        self.calls.run(caller, work).await.map_or(interface, |(resolved, _)| resolved)
    }

    /// The rows there are, and their changes from then on.
    async fn subscribe(&self, call: &Monitor) -> Result<Subscription<Arc<[Change]>>, Error> {
        let mut parts: Vec<Added> = Vec::new();
        let mut channels = Vec::new();
        for (group, tables) in GROUPS.iter().enumerate() {
            let asked: Vec<Table> =
                tables.iter().copied().filter(|table| call.includes(*table)).collect();
            if asked.is_empty() {
                continue;
            }
            let filter = call.filter();
            let (snapshots, changes) = self
                .look(group, PATIENCE, move |view| {
                    let of = |table: &Table| added(*table, view, filter.clone());
                    let snapshots: Result<Vec<_>, Error> = asked.iter().map(of).collect();
                    (snapshots, view.changes.subscribe())
                })
                .await?;
            parts.extend(snapshots?);
            channels.push(changes);
        }
        let (snapshots, superseded): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let is_superseded = move || superseded.iter().any(|is_superseded| is_superseded());
        Ok(Subscription {
            snapshot: Box::new(snapshots.into_iter().flatten().map(Arc::from)),
            is_superseded: Some(Box::new(is_superseded)),
            channels,
        })
    }

    /// Reads a table from the kernel, for one reader.
    async fn read<R: TableRow>(&self, caller: &Caller, filter: Filter) -> Result<Listed<R>, Error> {
        let family = filter.family();
        let read = move || Ok(Snapshot::from_rows(R::read(&mut Tables::open()?, family)?));
        let (result, place) = self.reads.run(caller, read).await.ok_or(Error::Cancelled)?;
        let rows: Snapshot<R> = result.map_err(|error: tables::Error| Error::from(error))?;
        let place: Place = Box::new(place);
        Ok(Listed { place: Some(place), ..parts(rows, filter) })
    }

    /// Has the follower of a group look at its tables, starting it if need be. Waits that long for
    /// tables that cannot be caught at rest.
    async fn look<T, F>(&self, group: usize, patience: Duration, look: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut View<'_>) -> T + Clone + Send + 'static,
    {
        let until = Instant::now() + patience;
        // One that was about to end when it was asked does not answer; the next one does.
        for _ in 0..2 {
            let (answer, answered) = oneshot::channel();
            let look = look.clone();
            self.ask(group, until, move |view| {
                // The caller may have left.
                let _ = answer.send(view.map(|mut view| look(&mut view)));
            })?;
            if let Ok(outcome) = answered.await {
                if let Err(error @ Error::TooLarge { .. }) = &outcome {
                    self.group(group).refused = Some((Instant::now(), error.clone()));
                }
                return outcome;
            }
        }
        Err(Error::Cancelled)
    }

    fn ask(
        &self,
        group: usize,
        until: Instant,
        work: impl FnOnce(Result<View<'_>, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let tables = GROUPS.get(group).copied().unwrap_or_default();
        let mut group = self.group(group);
        match &group.refused {
            Some((since, error)) if since.elapsed() < TOO_LARGE_FOR => return Err(error.clone()),
            _ => group.refused = None,
        }
        let mut request = Request { work: Box::new(work), until };
        if let Some(follower) = &group.follower {
            match follower.ask(request) {
                Ok(()) => return Ok(()),
                Err(returned) => request = returned,
            }
        }
        let subscription = tables::Subscription::to(tables.iter().copied()).at_most(MOST_ROWS);
        let follower = Follower::start(subscription, self.watched.clone()).map_err(host)?;
        // A thread just started takes requests.
        let _ = follower.ask(request);
        group.follower = Some(follower);
        Ok(())
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "there is one for each group, which `group_of` counts"
    )]
    fn group(&self, group: usize) -> MutexGuard<'_, Group> {
        self.groups[group].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers calls for a table.
macro_rules! rows {
    ($($call:ident),+ $(,)?) => { $(
        impl Serves<interface::$call, Caller> for Served {
            async fn serve(
                &self,
                caller: &Caller,
                call: interface::$call,
                _: Vec<Descriptor>,
            ) -> Result<Listed<<interface::$call as TableListing>::Row>, Error> {
                self.rows(caller, &call).await
            }
        }
    )+ };
}

/// Answers calls that need no cache.
macro_rules! local {
    ($($call:ident),+ $(,)?) => { $(
        impl Serves<interface::$call, Caller> for Served {
            async fn serve(
                &self,
                caller: &Caller,
                call: interface::$call,
                _: Vec<Descriptor>,
            ) -> Result<<interface::$call as Method>::Reply, Error> {
                self.carry_out(caller, call).await
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

local!(
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

impl Serves<Monitor, Caller> for Served {
    async fn serve(
        &self,
        _: &Caller,
        call: Monitor,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<[Change]>>, Error> {
        self.subscribe(&call).await
    }

    async fn resolve(&self, caller: &Caller, call: Monitor) -> Monitor {
        let interface = self.resolve_interface(caller, call.interface).await;
        Monitor { interface, ..call }
    }
}

/// The rows that are asked for, in parts, each made when there is room for it.
fn parts<R: TableRow>(snapshot: Snapshot<R>, filter: Filter) -> Listed<R> {
    let mut reading = snapshot.read(filter);
    Listed::of(iter::from_fn(move || reading.step(PART)).map(Part::Own))
}

fn group_of(table: Table) -> usize {
    GROUPS.iter().position(|tables| tables.contains(&table)).unwrap_or(0)
}

/// The rows of a table as changes, made a part at a time, and whether they are in the way.
type Added = (Lazy<Vec<Change>>, IsSuperseded);

fn added(table: Table, view: &mut View<'_>, filter: Filter) -> Result<Added, Error> {
    fn of<R: TableRow>(view: &mut View<'_>, filter: Filter) -> Result<Added, Error> {
        let snapshot = view.snapshot::<R>()?;
        let shared = snapshot.downgrade();
        let mut reading = snapshot.read(filter);
        let parts = iter::from_fn(move || reading.added(PART));
        Ok((Box::new(parts), Box::new(move || shared.is_superseded())))
    }
    match table {
        Table::Interface => of::<tables::Interface>(view, filter),
        Table::IpInterface => of::<tables::IpInterface>(view, filter),
        Table::UnicastAddress => of::<tables::UnicastAddress>(view, filter),
        Table::MulticastAddress => of::<tables::MulticastAddress>(view, filter),
        Table::AnycastAddress => of::<tables::AnycastAddress>(view, filter),
        Table::Route => of::<tables::Route>(view, filter),
        Table::Neighbor => of::<tables::Neighbor>(view, filter),
        Table::Stack => of::<tables::StackEntry>(view, filter),
    }
}

fn host(error: std::io::Error) -> Error {
    Error::Host { subject: "the daemon".to_owned(), problem: error.to_string() }
}

/// Batches of changes, in the order they happened.
type Changes = broadcast::Sender<Arc<[Change]>>;

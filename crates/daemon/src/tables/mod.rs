//! The tables of the host's network, for whoever asks.
//!
//! # Threads and owners
//!
//! - A `Follower` is a thread that keeps some of the tables and follows the kernel's
//!   notifications. It is started by the first call that needs one of its tables, and ends when
//!   nobody has asked or subscribed for a while: a daemon that nobody asks keeps no tables. Routes
//!   and neighbours have followers of their own, because there may be very many of them.
//! - Calls that need no cache, above all those that change something, run on the runtime's threads
//!   for blocking work, each with a connection of its own.
//!
//! The thread of the leases does neither. It encodes what is sent, a buffer at a time.

mod follower;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::interface::{Change, Error, Filter, Listing, Local, Monitor, Table, TableRow, tables};
use api::server::TableSubscription;
use tables::{Cache, Subscription, Tables};
use tokio::sync::{broadcast, oneshot};

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

/// Answers calls about tables.
#[derive(Debug, Default)]
pub struct Served {
    /// One for each group; `None` until somebody asks.
    followers: [Mutex<Option<Follower>>; GROUPS.len()],
}

impl Served {
    /// The rows that are asked for, in one state of the table.
    pub async fn rows<L: Listing>(&self, call: &L) -> Result<Vec<L::Row>, Error> {
        let filter = call.filter();
        if filter.statistics {
            return read(filter).await;
        }
        let wanted = filter.clone();
        let kept = self.look(group_of(L::Row::TABLE), Duration::ZERO, move |view| {
            let is_kept = view.cache.follows(L::Row::TABLE);
            let rows = L::Row::cached(view.cache).filter(|row| row.is_wanted(&wanted));
            is_kept.then(|| rows.map(|row| stripped(row, view.cache)).collect())
        });
        match kept.await {
            Ok(Some(rows)) => Ok(rows),
            // One table by itself is easier to catch than several together; and this kernel may not
            // tell of the table's changes.
            Ok(None) | Err(Error::Inconsistent { .. }) => read(filter).await,
            Err(error) => Err(error),
        }
    }

    /// Carries out a call that needs no cache.
    pub async fn carry_out<C: Local>(&self, call: C) -> Result<C::Reply, Error> {
        blocking(move |tables| call.carry_out(tables)).await
    }

    /// The rows there are, and their changes from then on.
    pub async fn subscribe(&self, call: &Monitor) -> Result<TableSubscription, Error> {
        let mut subscription = TableSubscription { snapshot: Vec::new(), changes: Vec::new() };
        for (group, tables) in GROUPS.iter().enumerate() {
            let asked: Vec<Table> =
                tables.iter().copied().filter(|table| call.includes(*table)).collect();
            if asked.is_empty() {
                continue;
            }
            let filter = call.filter();
            let (snapshot, changes) = self
                .look(group, PATIENCE, move |view| {
                    let mut snapshot = Vec::new();
                    for table in &asked {
                        snapshot_of(*table, view, &filter, &mut snapshot);
                    }
                    (snapshot, view.changes.subscribe())
                })
                .await?;
            subscription.snapshot.extend(snapshot);
            subscription.changes.push(changes);
        }
        Ok(subscription)
    }

    /// Has the follower of a group look at its tables, starting it if need be. Waits that long for
    /// tables that cannot be caught at rest.
    async fn look<T, F>(&self, group: usize, patience: Duration, look: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&View<'_>) -> T + Clone + Send + 'static,
    {
        let until = Instant::now() + patience;
        // One that was about to end when it was asked does not answer; the next one does.
        for _ in 0..2 {
            let (answer, answered) = oneshot::channel();
            let look = look.clone();
            self.ask(group, until, move |view| {
                // The caller may have left.
                let _ = answer.send(view.map(|view| look(&view)));
            })?;
            if let Ok(outcome) = answered.await {
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
        let (Some(slot), Some(tables)) = (self.followers.get(group), GROUPS.get(group)) else {
            return Err(Error::Cancelled);
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let mut request = Request { work: Box::new(work), until };
        if let Some(follower) = &*slot {
            match follower.ask(request) {
                Ok(()) => return Ok(()),
                Err(returned) => request = returned,
            }
        }
        let subscription = Subscription::to(tables.iter().copied());
        let follower = Follower::start(subscription).map_err(host)?;
        // A thread just started takes requests.
        let _ = follower.ask(request);
        *slot = Some(follower);
        Ok(())
    }
}

fn group_of(table: Table) -> usize {
    GROUPS.iter().position(|tables| tables.contains(&table)).unwrap_or(0)
}

/// Reads a table from the kernel.
async fn read<R: TableRow>(filter: Filter) -> Result<Vec<R>, Error> {
    blocking(move |tables| {
        let mut rows = R::read(tables, filter.family())?;
        rows.retain(|row| row.is_wanted(&filter));
        if !filter.statistics {
            rows.iter_mut().for_each(R::strip);
        }
        Ok(rows)
    })
    .await
}

/// What a list says of a row that is kept.
fn stripped<R: TableRow>(row: &R, cache: &Cache) -> R {
    let mut row = row.clone();
    row.strip();
    row.complete(cache);
    row
}

fn snapshot_of(table: Table, view: &View<'_>, filter: &Filter, snapshot: &mut Vec<Change>) {
    fn add<R: TableRow>(view: &View<'_>, filter: &Filter, snapshot: &mut Vec<Change>) {
        let wanted = R::cached(view.cache).filter(|row| row.is_wanted(filter));
        snapshot.extend(wanted.cloned().map(Change::added));
    }
    match table {
        Table::Interface => add::<tables::Interface>(view, filter, snapshot),
        Table::IpInterface => add::<tables::IpInterface>(view, filter, snapshot),
        Table::UnicastAddress => add::<tables::UnicastAddress>(view, filter, snapshot),
        Table::MulticastAddress => add::<tables::MulticastAddress>(view, filter, snapshot),
        Table::AnycastAddress => add::<tables::AnycastAddress>(view, filter, snapshot),
        Table::Route => add::<tables::Route>(view, filter, snapshot),
        Table::Neighbor => add::<tables::Neighbor>(view, filter, snapshot),
        Table::Stack => add::<tables::StackEntry>(view, filter, snapshot),
    }
}

/// Does something that waits for the kernel, with a connection of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&mut Tables) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let work = move || work(&mut Tables::open()?);
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Cancelled))
}

fn host(error: std::io::Error) -> Error {
    Error::Host { subject: "the daemon".to_owned(), problem: error.to_string() }
}

/// Batches of changes, in the order they happened.
type Changes = broadcast::Sender<Arc<[Change]>>;

//! A thread that keeps tables.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use api::interface::{Change, Error, Shared, Snapshot, Table, TableRow};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tables::{Cache, Subscription, Watch};

use super::Changes;
use crate::supervise::Watched;

/// How long tables are kept that nobody asks for.
const LINGER: Duration = Duration::from_secs(300);
/// When to read again after the tables could not be read.
const RETRY: Duration = Duration::from_millis(200);
/// The most changes of one batch.
const BATCH: usize = 64;
/// States of a table that readers may have. Of those that are more, readers that do not read are
/// given up.
const STATES: usize = 4;
/// Rows of all states together, from which on those that are more have to wait.
const STATES_ROWS: usize = 1 << 20;
/// Batches kept for a subscriber that is behind.
const BATCHES: usize = 512;

/// What a follower shows: everything the kernel told until now.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) cache: &'a Cache,
    snapshots: &'a mut Snapshots,
    /// Whoever subscribes while looking misses nothing and is told nothing twice.
    pub(super) changes: &'a Changes,
}

impl View<'_> {
    /// The rows of a table, shared with all who read them in this state.
    pub(super) fn snapshot<R: TableRow>(&mut self) -> Result<Snapshot<R>, Error> {
        self.snapshots.of(self.cache)
    }
}

/// What readers still have of the tables, in which states.
#[derive(Debug, Default)]
struct Snapshots(Vec<Kept>);

/// A snapshot of a table in some state.
#[derive(Debug)]
struct Kept {
    table: Table,
    generation: u64,
    /// A [`Shared`] of the table's row type.
    shared: Box<dyn Any + Send>,
    rows: usize,
}

impl Snapshots {
    /// Of a table that changes all the time, readers that do not read would keep as many states as
    /// there are of them: those of older ones are given up, and until they are, there is no newer one.
    fn of<R: TableRow>(&mut self, cache: &Cache) -> Result<Snapshot<R>, Error> {
        let generation = cache.generation(R::TABLE);
        self.0.retain(|kept| kept.table != R::TABLE || kept.shared::<R>().is_some());
        let of_table = |kept: &&Kept| kept.table == R::TABLE;
        let current = self.0.iter().filter(of_table).find(|kept| kept.generation == generation);
        if let Some(snapshot) = current.and_then(Kept::shared) {
            return Ok(snapshot);
        }
        let older = self.0.iter().filter(of_table).count();
        let surplus = (older + 1).saturating_sub(STATES);
        for kept in self.0.iter().filter(of_table).take(surplus) {
            if let Some(shared) = kept.shared.downcast_ref::<Shared<R>>() {
                shared.supersede();
            }
        }
        let rows: usize = self.0.iter().map(|kept| kept.rows).sum();
        if surplus > 0 && rows > STATES_ROWS {
            let problem = format!("readers keep {older} older states of them");
            return Err(Error::TimedOut { subject: "the tables".to_owned(), problem });
        }
        let snapshot = Snapshot::of(cache);
        let (rows, shared) = (snapshot.len(), Box::new(snapshot.downgrade()));
        self.0.push(Kept { table: R::TABLE, generation, shared, rows });
        Ok(snapshot)
    }
}

impl Kept {
    fn shared<R: TableRow>(&self) -> Option<Snapshot<R>> {
        self.shared.downcast_ref::<Shared<R>>()?.upgrade()
    }
}

/// Something to do with the tables, or with why there are none.
pub(super) type Work = Box<dyn FnOnce(Result<View<'_>, Error>) + Send>;

/// Work, and for how long it waits for tables that cannot be caught at rest.
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) until: Instant,
}

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    requests: Option<Sender<Request>>,
    wake: Arc<OwnedFd>,
}

impl Follower {
    /// Starts the thread, in this thread's network namespace.
    pub(super) fn start(subscription: Subscription, watched: Watched) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (requests, asked) = mpsc::channel();
        let woken = wake.clone();
        let work = move || match Watch::subscribe(subscription) {
            Ok(watch) => follow(watch, &asked, &woken),
            Err(error) => refuse(error, &asked),
        };
        thread::Builder::new()
            .name("tables".to_owned())
            .spawn(move || watched.run("tables", work))?;
        Ok(Self { requests: Some(requests), wake })
    }

    /// Has the thread carry out a request; gives it back if the thread has ended.
    pub(super) fn ask(&self, request: Request) -> Result<(), Request> {
        let Some(requests) = &self.requests else { return Err(request) };
        requests.send(request).map_err(|mpsc::SendError(request)| request)?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // Full only if it was woken very often already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.requests = None;
        self.wake();
    }
}

/// Tells those who wait already why there are no tables. Whoever comes next starts a new thread.
fn refuse(error: tables::Error, asked: &Receiver<Request>) {
    tracing::warn!("the tables cannot be followed: {error}");
    let error = Error::from(error);
    // The request that this thread was started for is on its way.
    while let Ok(request) = asked.recv_timeout(RETRY) {
        (request.work)(Err(error.clone()));
    }
}

fn follow(mut watch: Watch, asked: &Receiver<Request>, wake: &OwnedFd) {
    let changes: Changes = tokio::sync::broadcast::channel(BATCHES).0;
    let mut used_at = Instant::now();
    let mut waiting: Vec<Request> = Vec::new();
    let mut snapshots = Snapshots::default();
    let mut is_troubled = false;
    loop {
        // Before looking: what the kernel acknowledged before somebody asked is in the answer.
        if !collect(asked, &mut waiting) {
            return;
        }
        let outcome = watch.process();
        if let Err(error) = &outcome
            && !is_troubled
        {
            tracing::warn!("the tables cannot be followed for now: {error}");
        }
        is_troubled = outcome.is_err();
        let outcome = outcome.map_err(Error::from);
        publish(&mut watch, &changes);
        let now = Instant::now();
        if !waiting.is_empty() {
            used_at = now;
        }
        let is_due = |request: &mut Request| match &outcome {
            Err(Error::Inconsistent { .. } | Error::TimedOut { .. }) => request.until <= now,
            _ => true,
        };
        for request in waiting.extract_if(.., is_due) {
            let snapshots = &mut snapshots;
            let view = View { cache: watch.cache(), snapshots, changes: &changes };
            (request.work)(outcome.clone().map(|_| view));
        }
        let subscribed = changes.receiver_count() > 0;
        if !subscribed && used_at.elapsed() >= LINGER {
            // Somebody may have asked while the kernel was.
            if collect(asked, &mut waiting) && !waiting.is_empty() {
                continue;
            }
            tracing::debug!("nobody asks for tables any longer");
            return;
        }
        if let Err(Error::TooLarge { .. }) = outcome {
            // Those who subscribed ask again, and are told why there is nothing.
            return;
        }
        let patience = match outcome {
            // There is more to be told at once.
            Ok(false) => Some(Duration::ZERO),
            Ok(true) => (!subscribed).then(|| LINGER.saturating_sub(used_at.elapsed())),
            Err(_) => Some(RETRY),
        };
        if let Err(error) = wait(&watch, wake, patience) {
            tracing::error!("the tables cannot be followed: {error}");
            return;
        }
    }
}

/// Takes the requests that are there. Returns whether there can be more.
fn collect(asked: &Receiver<Request>, waiting: &mut Vec<Request>) -> bool {
    loop {
        match asked.try_recv() {
            Ok(request) => waiting.push(request),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

/// Hands changes to the subscribers, in batches.
fn publish(watch: &mut Watch, changes: &Changes) {
    if changes.receiver_count() == 0 {
        watch.forget_changes();
        return;
    }
    let mut batch = Vec::new();
    while let Some(change) = watch.poll_change() {
        // One of a table that nobody can ask for has no subscriber.
        batch.extend(Change::try_from(change).ok());
        if batch.len() >= BATCH {
            // The last subscriber may just have left.
            let _ = changes.send(std::mem::take(&mut batch).into());
        }
    }
    if !batch.is_empty() {
        let _ = changes.send(batch.into());
    }
}

/// Waits until there is something to do, at most that long.
fn wait(watch: &Watch, wake: &OwnedFd, patience: Option<Duration>) -> io::Result<()> {
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    let mut waiting =
        [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
    match poll(&mut waiting, patience.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::io::read(wake, &mut [0_u8; 8]) {
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The follower's own rows against what the kernel says now.
    #[test]
    fn a_follower_answers_and_ends() {
        let follower =
            Follower::start(Subscription::to([Table::Interface]), Watched::alone()).unwrap();
        for _ in 0..2 {
            let (answer, answered) = mpsc::channel();
            let work: Work = Box::new(move |view| {
                let names = view
                    .map(|view| view.cache.interfaces().map(|row| row.ifindex).collect::<Vec<_>>());
                answer.send(names).unwrap();
            });
            assert!(follower.ask(Request { work, until: Instant::now() }).is_ok());
            let indices = answered.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
            assert!(indices.is_sorted() && !indices.is_empty(), "{indices:?}");
        }
        let wake = Arc::downgrade(&follower.wake);
        drop(follower);
        let deadline_at = Instant::now() + Duration::from_secs(20);
        while wake.strong_count() > 0 {
            assert!(Instant::now() < deadline_at, "the thread goes on");
            thread::yield_now();
        }
    }
}

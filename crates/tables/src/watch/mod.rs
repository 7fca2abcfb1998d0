//! Changes of tables.

mod apply;
mod cache;
mod change;
mod kept;
mod stop;
mod subscription;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink::address::Address;
use netlink::link::Link;
use netlink::neighbor::Neighbor;
use netlink::route::Route;
use netlink::{
    Change as Presence, Connection, Event, Family, Monitor, Reason, Socket, Transport, Visit, link,
};

pub use cache::{Cache, Read};
pub use change::{Change, Delta};
use stop::Stop;
pub use stop::{Next, WatchStopper};
pub use subscription::{Subscription, Table};

use crate::{Error, Machine};

/// How often tables are read as a whole before giving up, when notifications are lost each time.
const ATTEMPTS: u32 = 50;
/// How many readings are done before the changes get their turn, should the kernel never pause.
const ROUNDS: u32 = 256;
/// After how many rows of a reading the queue of notifications is emptied.
const ROWS_BETWEEN: usize = 64;
/// How many datagrams are taken before the changes get their turn, should the kernel never pause.
const BATCH: usize = 100_000;

/// Several tables as they were at one moment, however fast they change: no address without its interface, no route over one
/// that is gone. In the calling thread's network namespace.
///
/// Each table alone is read faster by [`Tables`](crate::Tables), and is consistent in itself; but
/// it has to rest for as long as that takes.
pub fn snapshot(subscription: Subscription) -> Result<Cache, Error> {
    Ok(Watch::open(subscription)?.into_cache())
}

/// Tables and their changes: first all rows as added, then each change, without a gap.
///
/// It subscribes first, reads the tables then, and applies what was told meanwhile. When
/// notifications are lost, because the program was too slow, the tables are read again and the
/// changes are exactly the difference. With `CAP_NET_ADMIN` the queue holds 32 MiB, which is enough
/// for the making of thousands of interfaces at once; otherwise what the system allows
/// (`net.core.rmem_max`).
///
/// Changes that mean nothing are left out: counters, ages, and refreshed lifetimes unless asked
/// for. Settings that the kernel does not notify (such as DAD transmits, or IPv6 turned on where it
/// has no carrier) show with the interface's next change.
///
/// ```no_run
/// use iphelper_tables::{Change, Error, Next, Subscription, Table, Watch};
///
/// # fn main() -> Result<(), Error> {
/// let mut watch = Watch::open(Subscription::to([Table::Interface, Table::UnicastAddress]))?;
/// while let Next::Item(change) = watch.wait(None)? {
///     println!("{change:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// In an event loop, wait until the descriptor ([`AsFd`]) is readable, call
/// [`process`](Self::process), and take the changes with [`poll_change`](Self::poll_change) until
/// there is none. [`cache`](Self::cache) has the tables themselves.
#[derive(Debug)]
pub struct Watch<T = Socket> {
    monitor: Monitor<T>,
    connection: Connection<T>,
    cache: Cache,
    /// `None` until somebody asks for a stopper.
    stop: Option<Stop>,
}

impl Watch {
    /// Subscribes and reads, in the calling thread's network namespace.
    pub fn open(subscription: Subscription) -> Result<Self, Error> {
        let mut watch = Self::subscribe(subscription)?;
        watch.process()?;
        Ok(watch)
    }

    /// Subscribes, in the calling thread's network namespace. Nothing is read before
    /// [`process`](Self::process).
    pub fn subscribe(subscription: Subscription) -> Result<Self, Error> {
        let monitor = Monitor::open(&subscription.groups())?;
        let cache = Cache::new(subscription, Machine::local()).without_groups(monitor.absent());
        Ok(Self { monitor, connection: Connection::open()?, cache, stop: None })
    }

    /// The next change, waiting for it until `timeout` is over (`None`: for ever).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Next<Change>, Error> {
        let deadline_at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if self.stop.as_ref().is_some_and(Stop::is_stopped) {
                return Ok(Next::Ended);
            }
            if let Some(change) = self.cache.poll_change() {
                return Ok(Next::Item(change));
            }
            let is_over = || deadline_at.is_some_and(|at| at <= Instant::now());
            if !self.cache.is_current() && (self.process()? || !is_over()) {
                continue;
            }
            // What is kept does not show at the socket.
            if !self.monitor.is_behind()
                && !stop::readable(self.monitor.as_fd(), self.stop.as_ref(), deadline_at)?
            {
                return Ok(Next::TimedOut);
            }
            self.process()?;
        }
    }

    /// What ends the watch from another thread.
    pub fn stopper(&mut self) -> Result<WatchStopper, Error> {
        let stop = match self.stop.take() {
            Some(stop) => stop,
            None => Stop::new()?,
        };
        Ok(self.stop.insert(stop).stopper())
    }
}

impl<T: Transport> Watch<T> {
    /// Watches by way of a monitor, which must be subscribed to the tables' groups already, and of
    /// a connection of the same network namespace. Nothing is read before
    /// [`process`](Self::process).
    pub fn new(monitor: Monitor<T>, connection: Connection<T>, cache: Cache) -> Self {
        Self { monitor, connection, cache, stop: None }
    }

    /// Takes what the kernel told since the last call, and reads what it did not tell. Does not
    /// wait for anything to happen.
    ///
    /// Returns whether that was all. `false` asks for another call without waiting: the kernel's
    /// tables change faster than they can be read, and the changes known so far should not wait
    /// for the rest.
    ///
    /// Fails if the tables cannot be read; what there was before remains, and the next call tries
    /// again. Nothing remains of tables that are [too large](Error::TooLarge).
    pub fn process(&mut self) -> Result<bool, Error> {
        self.drain()?;
        let (mut readings, mut rounds) = (0, 0);
        while rounds < ROUNDS || self.cache.is_reading() {
            let Some(read) = self.cache.poll_read() else { break };
            rounds += 1;
            if matches!(read, Read::Links | Read::Routes) {
                // Not a third time only because more moved meanwhile.
                readings += 1;
                rounds += ROUNDS / 2;
            }
            if readings > ATTEMPTS {
                return Err(Error::Inconsistent { attempts: ATTEMPTS });
            }
            self.read(read)?;
            // What was told meanwhile is newer than what was read, and may demand more reading.
            self.drain()?;
            if self.cache.is_too_large() {
                break;
            }
        }
        if self.cache.is_too_large() {
            self.cache.forget();
            return Err(Error::TooLarge { most: self.cache.subscription.most() });
        }
        self.cache.settle();
        Ok(self.cache.is_current() && !self.monitor.is_behind())
    }

    /// The next change, if there is one already.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.cache.poll_change()
    }

    /// Forgets the changes there are already: nobody wants to know them.
    pub fn forget_changes(&mut self) {
        self.cache.forget_changes();
    }

    /// The tables as they are now.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The tables as they are now, which nothing changes any more.
    #[must_use]
    pub fn into_cache(self) -> Cache {
        self.cache
    }

    /// Takes all notifications there are.
    fn drain(&mut self) -> io::Result<()> {
        self.cache.set_time(Instant::now());
        let cache = &mut self.cache;
        for _ in 0..BATCH {
            if !self.monitor.receive(Some(Duration::ZERO), |event| cache.handle(event))? {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, read: Read) -> Result<(), Error> {
        let request = read.request();
        let (cache, connection) = (&mut self.cache, &mut self.connection);
        let (monitor, mut kept) = (&mut self.monitor, Ok(()));
        let here = Presence::Present;
        let mut rows = 0_usize;
        macro_rules! visit {
            ($row:ty, $event:expr) => {
                connection.gather::<$row>(&request, |visit| match visit {
                    Visit::Row(view) => {
                        cache.read(read, $event(view));
                        rows += 1;
                        if rows % ROWS_BETWEEN == 0 && kept.is_ok() {
                            kept = monitor.keep();
                        }
                    }
                    Visit::Restart => cache.restart_read(read),
                })
            };
        }
        if matches!(read, Read::Routes | Read::RoutesOf(_)) {
            // The kernel tells of an address, or of a next-hop object, before it does to routes what
            // follows, and reads routes out beside it. Not so interfaces: it is done when it answers.
            let _ = connection.one_view::<Link, ()>(&link::by_index(1), |_| ());
        }
        let outcome = match read {
            Read::Link(_) => connection.one_view::<Link, ()>(&request, |view| {
                cache.read(read, Event::Link(here, view.clone()));
            }),
            Read::Links => visit!(Link, |view| Event::Link(here, view)),
            Read::Addresses | Read::Groups(_) | Read::Anycasts => {
                visit!(Address, |row| Event::Address(here, row))
            }
            Read::Routes | Read::RoutesOf(_) => visit!(Route, |view| Event::Route(here, view)),
            Read::Neighbors => visit!(Neighbor, |row| Event::Neighbor(here, row)),
        };
        kept?;
        let found = match outcome {
            Ok(()) => true,
            Err(error) if absent(read, &error) => {
                if read == Read::Groups(Family::Ipv4) {
                    for (ifindex, group) in crate::parameter::ipv4_groups()? {
                        cache.ipv4_group(ifindex, group);
                    }
                }
                false
            }
            Err(error) => return Err(Error::reading(error)),
        };
        cache.end_read(read, found);
        Ok(())
    }
}

impl AsFd for Watch<Socket> {
    /// Readable when there is something to [`process`](Watch::process).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }
}

/// Whether the kernel's "no" is an answer: an interface is gone; this kernel has no such table.
fn absent(read: Read, error: &netlink::Error) -> bool {
    match read {
        Read::Link(_) | Read::RoutesOf(_) => error.reason() == Some(Reason::NotFound),
        Read::Groups(_) | Read::Anycasts => error.reason() == Some(Reason::NotSupported),
        _ => false,
    }
}

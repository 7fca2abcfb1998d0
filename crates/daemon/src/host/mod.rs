//! What the daemon asks of the kernel, and what the kernel tells.
//!
//! Requests go through a thread with a blocking netlink connection: the lock behind them (RTNL) may
//! be held by somebody else for seconds, and the event loop must not wait for it. The thread takes
//! everything that is queued and sends it in one datagram; the kernel keeps the order.
//!
//! Notifications arrive on a socket of their own ([`Notices`]), read by the event loop. Those that
//! our own requests caused carry the port of our request socket, which tells them from other
//! people's changes.

mod change;
mod notices;
mod reference;
mod tables;

use std::io;
use std::sync::mpsc;

use engine::Refused;
use netlink::{Connection, Request};
use sys::netlink::Socket;

pub(crate) use change::{Address, Change, RouteEntry};
pub(crate) use notices::{Notice, Notices};
pub(crate) use reference::resolve;
pub(crate) use tables::{AddressRow, LinkRow, Route, RouteRow, Tables, links};

use crate::clock;
use crate::refusal::{self, refused, refused_by_kernel};
use crate::supervise::{Watched, Worker};

/// What our addresses are tagged with (`IFA_PROTO`). The kernel defines 1 to 3 and leaves the rest
/// to programs; nobody else uses this one, so that a tagged address is ours for certain.
pub(crate) const ADDRESS_TAG: u8 = 0x69;

/// What the thread answers.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    /// How a change ended.
    Changed(T, Result<(), Refused>),
    /// Everything there is, read anew.
    Tables(Result<Tables, Refused>),
}

#[derive(Debug)]
enum Job<T> {
    Change(T, Change),
    Read,
}

/// The thread that talks to the kernel. Dropping it waits until everything asked for is done.
#[derive(Debug)]
pub(crate) struct Kernel<T>(Worker<Job<T>>);

impl<T: Send + 'static> Kernel<T> {
    /// Starts the thread, which takes the connection over. `answer` is called there.
    pub(crate) fn start(
        connection: Connection<Socket>,
        watched: Watched,
        answer: impl FnMut(Answer<T>) + Send + 'static,
    ) -> io::Result<Self> {
        Worker::start("kernel", watched, move |queue| work(connection, queue, answer)).map(Self)
    }

    /// Has a change made, after all those asked for before.
    pub(crate) fn change(&self, tag: T, change: Change) {
        self.0.ask(Job::Change(tag, change));
    }

    /// Has the tables read.
    pub(crate) fn read(&self) {
        self.0.ask(Job::Read);
    }
}

fn work<T>(
    mut connection: Connection<Socket>,
    queue: &mpsc::Receiver<Job<T>>,
    mut answer: impl FnMut(Answer<T>),
) {
    while let Ok(first) = queue.recv() {
        let mut batch = Batch::default();
        for job in std::iter::once(first).chain(queue.try_iter()) {
            match job {
                Job::Change(tag, Change::SetHostName(name)) => {
                    batch.make(&mut connection, &mut answer);
                    answer(Answer::Changed(tag, set_host_name(&name)));
                }
                Job::Change(tag, change) => batch.add(tag, change),
                Job::Read => {
                    batch.make(&mut connection, &mut answer);
                    let tables = Tables::read(&mut connection);
                    let what = "the network's state cannot be read";
                    let tables = tables.map_err(|error| refused_by_kernel(what, &error));
                    answer(Answer::Tables(tables));
                }
            }
        }
        batch.make(&mut connection, &mut answer);
    }
}

/// Changes that go to the kernel together.
struct Batch<T> {
    changes: Vec<(T, Change)>,
    requests: Vec<Request>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { changes: Vec::new(), requests: Vec::new() }
    }
}

impl<T> Batch<T> {
    fn add(&mut self, tag: T, change: Change) {
        if let Some(request) = change.request(clock::now()) {
            self.requests.push(request);
            self.changes.push((tag, change));
        }
    }

    /// Makes the changes and answers each.
    fn make(&mut self, connection: &mut Connection<Socket>, answer: &mut impl FnMut(Answer<T>)) {
        if self.changes.is_empty() {
            return;
        }
        let results = connection.request_all(&std::mem::take(&mut self.requests));
        for ((tag, change), result) in self.changes.drain(..).zip(results) {
            let outcome = match result {
                Ok(()) => Ok(()),
                Err(error) if change.is_fine(refusal::of_netlink(&error)) => Ok(()),
                Err(error) => {
                    Err(refused_by_kernel(format_args!("the kernel would not {change}"), &error))
                }
            };
            answer(Answer::Changed(tag, outcome));
        }
    }
}

/// Sets the host's name, unless it is called that already.
fn set_host_name(name: &str) -> Result<(), Refused> {
    if sys::hostname::read().is_ok_and(|present| present.to_str() == Some(name)) {
        return Ok(());
    }
    sys::hostname::set(name.as_bytes())
        .map_err(|error| refused("the host's name cannot be set", &error))
}

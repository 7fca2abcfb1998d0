//! The daemon's end of the connection, and what happens when the other end is gone.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sys::fork::Forked;

use super::message::{Channel, Record, Request};
use super::{Finder, SEARCH_WITHIN, serve};
use crate::sandbox;
use crate::shortage::{self, Patience};

/// How long an answer may take: a search, and on a busy host as long again to be heard of.
const ANSWER_WITHIN: Duration = Duration::from_secs(2 * SEARCH_WITHIN.as_secs());

/// The connection, whether there is one now or not.
#[derive(Debug)]
pub(super) struct Link {
    channel: Option<Channel>,
    /// Where to connect again.
    service: Option<PathBuf>,
    /// An answer is on its way that nobody waits for any more.
    is_late: bool,
    troubles: Troubles,
}

/// Why nothing is found, and who is reported.
#[derive(Clone, Default)]
pub(super) struct Troubles(Arc<Mutex<Reported>>);

#[derive(Default)]
struct Reported {
    trouble: Option<String>,
    report: Option<Box<dyn Fn(Option<String>) + Send>>,
}

/// The other end.
#[derive(Debug)]
pub(super) enum Other {
    /// A child, or why there is none.
    Child(io::Result<(Channel, Forked)>),
    /// A service behind this socket.
    Service(PathBuf),
}

impl Other {
    /// Starts a child with the capabilities of the calling thread: it cannot be started later, when
    /// these are given up. A service is not connected to yet.
    pub(super) fn prepare(finder: Finder) -> Self {
        match finder {
            Finder::Service(path) => Self::Service(path),
            Finder::Child => {
                Self::Child(Patience::default().attempt(start_child, shortage::is_one))
            }
        }
    }
}

impl Link {
    /// Gives up the capabilities of the calling thread, and connects to a service: whether that
    /// works is to be known before somebody asks.
    pub(super) fn open(other: Other, troubles: Troubles) -> Self {
        let (started, service) = match other {
            Other::Service(path) => (None, Some(path)),
            Other::Child(started) => (Some(started), None),
        };
        // Now this thread needs nothing, and what it receives cannot make it use anything.
        sandbox::drop_capabilities(&[]);
        sandbox::deny_foreign_calls();
        let channel = started.and_then(|started| match started {
            Ok((channel, child)) => {
                watch(child, troubles.clone());
                Some(channel)
            }
            Err(error) => {
                troubles.raise(format!("the process that looks into others: {error}"));
                None
            }
        });
        let mut link = Self { channel, service, is_late: false, troubles };
        link.reconnect();
        link
    }

    #[cfg(test)]
    pub(super) fn over(stream: UnixStream, troubles: Troubles) -> Self {
        Self { channel: Some(Channel::new(stream)), service: None, is_late: false, troubles }
    }

    /// Asks, and hands each record of the answer out but the last. `take` says whether the record
    /// belongs there; one that does not ends the connection. Returns whether the answer is complete.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        with: Option<BorrowedFd<'_>>,
        mut take: impl FnMut(Record) -> bool,
    ) -> bool {
        match self.exchange(request, with, &mut take) {
            Ok(is_complete) => {
                self.troubles.clear();
                is_complete
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tracing::debug!("processes are looked up too slowly");
                self.is_late = true;
                false
            }
            Err(error) => {
                tracing::debug!("the process that looks into others: {error}");
                self.channel = None;
                // That there is no connection is reported already, and so is the end of a child.
                if let Some(path) = &self.service
                    && error.kind() != io::ErrorKind::NotConnected
                {
                    self.troubles.raise(format!("{}: {error}", path.display()));
                }
                false
            }
        }
    }

    /// Connects to a service, unless the connection is there. One that has ended is started again by
    /// that.
    fn reconnect(&mut self) {
        let Some(path) = &self.service else { return };
        if self.channel.as_ref().is_some_and(Channel::is_open) {
            return;
        }
        self.is_late = false;
        self.channel = match connect(path) {
            Ok(stream) => Some(Channel::new(stream)),
            Err(error) => {
                self.troubles.raise(format!("{}: {error}", path.display()));
                None
            }
        };
    }

    fn exchange(
        &mut self,
        request: &Request,
        with: Option<BorrowedFd<'_>>,
        take: &mut impl FnMut(Record) -> bool,
    ) -> io::Result<bool> {
        let until = Instant::now() + ANSWER_WITHIN;
        self.reconnect();
        let Some(channel) = &mut self.channel else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        while self.is_late {
            self.is_late = !matches!(channel.receive_record(until)?, Record::End { .. });
        }
        channel.ask(request, with)?;
        loop {
            match channel.receive_record(until)? {
                Record::End { complete } => return Ok(complete),
                record => {
                    if !take(record) {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                }
            }
        }
    }
}

fn start_child() -> io::Result<(Channel, Forked)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_write_timeout(Some(ANSWER_WITHIN))?;
    let child = sys::fork::fork(c"iph-processes", theirs.into(), serve::main)?;
    Ok((Channel::new(ours), child))
}

/// Waits for the end of the child, which comes before the daemon's only if something is wrong.
fn watch(child: Forked, troubles: Troubles) {
    let wait = move || match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => troubles.raise(format!(
            "the process that looks into others has ended ({status}); holders of ports are named \
             by user alone until the daemon is started anew"
        )),
        Err(error) => tracing::warn!("the process that looks into others: {error}"),
    };
    if let Err(error) = thread::Builder::new().name("processes-end".into()).spawn(wait) {
        tracing::warn!("no thread to wait for the process that looks into others: {error}");
    }
}

/// Connects to the service, which root or this user must have made.
fn connect(path: &std::path::Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let server = sys::credentials::peer(&stream)?.user;
    match server == 0 || server == sys::process::effective_user() {
        true => Ok(stream),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

impl Troubles {
    pub(super) fn subscribe(&self, report: impl Fn(Option<String>) + Send + 'static) {
        let mut reported = self.lock();
        if reported.trouble.is_some() {
            report(reported.trouble.clone());
        }
        reported.report = Some(Box::new(report));
    }

    fn raise(&self, trouble: String) {
        self.change(Some(trouble));
    }

    fn clear(&self) {
        self.change(None);
    }

    fn change(&self, trouble: Option<String>) {
        let mut reported = self.lock();
        if reported.trouble != trouble {
            reported.trouble.clone_from(&trouble);
            if let Some(report) = &reported.report {
                report(trouble);
            }
        }
    }

    /// A panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Reported> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Troubles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Troubles").field(&self.lock().trouble).finish()
    }
}

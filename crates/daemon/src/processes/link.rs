//! The daemon's end of the connection, and what happens when the other end is gone.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sys::process::CommandExt as _;

use super::message::{Channel, Record, Request};
use super::{Finder, SEARCH_WITHIN};
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

/// Why nothing is found, and who is told.
#[derive(Clone, Default)]
pub(super) struct Troubles(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    trouble: Option<String>,
    tell: Option<Box<dyn Fn(Option<String>) + Send>>,
}

impl Link {
    /// Starts a child with the capabilities of the calling thread, which then gives them up; or
    /// connects to a service. Whether that works is to be known before somebody asks.
    pub(super) fn open(finder: Finder, troubles: Troubles) -> Self {
        let (started, service) = match finder {
            Finder::Service(path) => (None, Some(path)),
            Finder::Child(arguments) => {
                // Without the capabilities it cannot be started later.
                let start = || start(&arguments);
                (Some(Patience::default().attempt(start, shortage::is_one)), None)
            }
        };
        // Now this thread needs nothing, and what it is told cannot make it use anything.
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
                // That there is no connection is told already, and so is the end of a child.
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
            self.is_late = !matches!(channel.told(until)?, Record::End { .. });
        }
        channel.ask(request, with)?;
        loop {
            match channel.told(until)? {
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

/// Starts this program anew. Not by its path, which may be another program's by now.
fn start(arguments: &[OsString]) -> io::Result<(Channel, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).env_clear();
    // Nobody reads what it might say; a terminal's Ctrl-C is for the daemon.
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.die_with_parent().own_process_group().inherit_nothing().spawn()?;
    Ok((Channel::new(ours), child))
}

/// Waits for the end of the child, which comes before the daemon's only if something is wrong.
fn watch(mut child: Child, troubles: Troubles) {
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
    pub(super) fn subscribe(&self, tell: impl Fn(Option<String>) + Send + 'static) {
        let mut told = self.lock();
        if told.trouble.is_some() {
            tell(told.trouble.clone());
        }
        told.tell = Some(Box::new(tell));
    }

    fn raise(&self, trouble: String) {
        self.change(Some(trouble));
    }

    fn clear(&self) {
        self.change(None);
    }

    fn change(&self, trouble: Option<String>) {
        let mut told = self.lock();
        if told.trouble != trouble {
            told.trouble.clone_from(&trouble);
            if let Some(tell) = &told.tell {
                tell(trouble);
            }
        }
    }

    /// A panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Troubles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Troubles").field(&self.lock().trouble).finish()
    }
}

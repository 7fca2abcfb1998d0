//! `net.ipv4.ip_local_reserved_ports`: the ports that the kernel never picks by itself, for sockets
//! that bind to port 0 or connect without binding.
//!
//! The list belongs to everybody, and the last writer wins. What others want there is never lost
//! and never taken out; of what is ours everything can be taken out again, also by a daemon that
//! starts after this one was killed.
//!
//! # How the file behaves
//!
//! - Only the first read(2) gives data, as much as its buffer takes (`proc_do_large_bitmap` of the
//!   kernel's `kernel/sysctl.c`).
//! - A write at offset 0 replaces the set; one at any other offset adds to it. So ports are added
//!   without touching what is there, and nobody else's write can fall in between.
//! - One write takes less than a page. What is longer goes in pieces, and while they are written the
//!   list is incomplete. That concerns removals alone, of lists of more than 4,000 bytes.

mod files;
mod port_set;
mod record;
mod watch;

use std::io;
use std::path::PathBuf;

pub(super) use files::{FILE, Files};
pub(super) use port_set::PortSet;
pub(super) use record::Found;
pub(super) use watch::{ListWatch, Rechecks};

/// Where the list is, and what is kept of it for the next daemon.
pub(super) trait Storage: std::fmt::Debug {
    /// The list.
    fn read(&self) -> io::Result<PortSet>;
    /// Adds ports to the list, and touches no others.
    fn add(&self, ports: &PortSet) -> io::Result<()>;
    /// Makes the list these ports.
    fn replace(&self, ports: &PortSet) -> io::Result<()>;

    /// What an earlier daemon wrote; `None` if nothing in the list can be ours.
    ///
    /// Fails for lack of descriptors or memory alone; a record that cannot be used is none.
    fn recall(&self) -> io::Result<Option<Found>>;
    /// Replaces the record.
    fn remember(&self, found: &Found) -> io::Result<()>;
    /// Removes the record, if there is one.
    fn forget(&self) -> io::Result<()>;
}

/// The list, and what is known of its authors.
///
/// Whose a port is: the last list that somebody else wrote is theirs. One that contains all of ours
/// was read from here and added to, so that ours stay ours; one that lacks some was written afresh,
/// and all of it is theirs, also where it names ports of ours.
#[derive(Debug)]
pub(super) struct ReservedPorts<S = Files> {
    storage: S,
    /// What we believe others want there.
    foreign: PortSet,
    /// What we want there, as last written.
    ours: PortSet,
    /// What we were about to want when the daemon was killed: it may be there, or part of it.
    pending: Option<PortSet>,
}

impl ReservedPorts {
    /// Knows what an earlier daemon put there, if `record` is of this boot and of the network
    /// namespace with this cookie, which is that of the calling thread. Changes nothing.
    ///
    /// Fails for lack of descriptors or memory alone; a record that cannot be used is none.
    pub(super) fn open(record: PathBuf, boot_id: &str, network: u64) -> io::Result<Self> {
        Self::over(Files::new(record, boot_id, network))
    }
}

impl<S: Storage> ReservedPorts<S> {
    /// Knows what an earlier daemon put there. Changes nothing.
    pub(super) fn over(storage: S) -> io::Result<Self> {
        let Found { foreign, ours, pending } = storage.recall()?.unwrap_or_default();
        Ok(Self { storage, foreign, ours, pending })
    }

    /// Makes exactly these ours, beside what others want.
    ///
    /// An error before the kernel's list was touched leaves everything as it was; ports may be
    /// there too many after one later, but never too few.
    pub(super) fn set(&mut self, wanted: &PortSet) -> io::Result<()> {
        let current = self.storage.read()?;
        self.observe(&current);
        let surplus = self.contribution().difference(wanted);
        if self.pending.is_none() && *wanted == self.ours && wanted.is_subset(&current) {
            return Ok(());
        }
        let before = self.pending.clone();
        let both = before.as_ref().map_or_else(|| wanted.clone(), |before| before.union(wanted));
        self.pending = Some(both);
        if let Err(error) = self.remember() {
            if !wanted.is_subset(&current) {
                self.pending = before;
                return Err(error);
            }
            // Nothing is added: what the record does not know can only be gone already.
            warn(&error);
        }
        let missing = wanted.difference(&current);
        if !surplus.is_empty() {
            self.storage.replace(&current.difference(&surplus).union(wanted))?;
        } else if !missing.is_empty() {
            self.storage.add(&missing)?;
        }
        self.ours = wanted.clone();
        self.pending = None;
        self.remember().unwrap_or_else(|error| warn(&error));
        Ok(())
    }

    /// Puts ours back if somebody else's write has removed them, and remembers what others want.
    /// Returns whether it had to.
    pub(super) fn merge(&mut self) -> io::Result<bool> {
        let current = self.storage.read()?;
        let before = self.foreign.clone();
        self.observe(&current);
        let missing = self.ours.difference(&current);
        if self.foreign != before {
            self.remember().unwrap_or_else(|error| warn(&error));
        }
        if !missing.is_empty() {
            self.storage.add(&missing)?;
        }
        Ok(!missing.is_empty())
    }

    /// What others want there, as of the last look.
    pub(super) fn foreign(&self) -> &PortSet {
        &self.foreign
    }

    /// What we want there.
    pub(super) fn ours(&self) -> &PortSet {
        &self.ours
    }

    /// What is there because of us alone.
    fn contribution(&self) -> PortSet {
        let ours = self.pending.iter().fold(self.ours.clone(), |ours, more| ours.union(more));
        ours.difference(&self.foreign)
    }

    /// Finds out from the list as it is what others want.
    fn observe(&mut self, current: &PortSet) {
        let contribution = self.contribution();
        let all = self.foreign.union(&contribution);
        let untouched = *current == self.foreign.union(&self.ours)
            // A write of ours that was cut short: all or part of it is there.
            || self.pending.is_some() && current.is_subset(&all);
        if untouched {
            return;
        }
        let was_read_here = !contribution.is_empty() && contribution.is_subset(current);
        self.foreign = match was_read_here {
            true => current.difference(&contribution),
            false => current.clone(),
        };
    }

    fn remember(&self) -> io::Result<()> {
        if self.ours.is_empty() && self.pending.as_ref().is_none_or(PortSet::is_empty) {
            return self.storage.forget();
        }
        let (foreign, ours, pending) =
            (self.foreign.clone(), self.ours.clone(), self.pending.clone());
        self.storage.remember(&Found { foreign, ours, pending })
    }
}

/// The next daemon may take something of ours for somebody else's, which nobody notices but who reads
/// the list.
fn warn(error: &io::Error) {
    tracing::warn!("{error}");
}

#[cfg(test)]
mod tests;

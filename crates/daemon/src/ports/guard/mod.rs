//! The guard, in the kernel: loading, attaching and pinning its programs, and what is in its maps.
//!
//! One guard serves one network namespace, named by its cookie. Its programs are attached to the root
//! of the control groups, so they run for every process that has a socket in the namespace; all is
//! pinned in a BPF file system, so it goes on when the daemon does not:
//!
//! ```text
//! BPFFS/iphelper/COOKIE/            locked by the daemon that owns it (flock(2))
//!     namespace -> net:[INODE]      whose it is, for those who clean up
//!     v1/owners v1/reservations …   maps
//!     v1/bind4 v1/bind6 …           links; removing one takes its program off
//! ```
//!
//! Removing the folder with `rm -r` removes the guard: nothing else keeps the programs attached. A
//! daemon that runs [notices](Guard::watch_pins), and puts them back. Everything is built under another
//! name and renamed, so the folder `v1` is complete or absent.
//!
//! All calls block, for less than a millisecond but for [`Guard::open`], which has the kernel check
//! the programs and takes some ten.

mod dead;
mod events;
mod grants;
mod installation;
mod kernel;
mod latecomers;
mod load;
mod pin_watch;
mod pins;
mod places;
mod release;
mod unavailable;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use ports::guard::{Features, Map as Name, Row, Socket, index};
use ports::{Block, Id, Protocol};

pub use dead::remove_dead;
pub use events::Events;
pub use grants::Entries;
pub use installation::{Installation, Site};
pub use kernel::{Installed, Sockets};
pub use pin_watch::PinWatch;
pub use places::{Places, Search};
pub use unavailable::Unavailable;

use grants::Grants;

/// The programs and maps of one network namespace.
///
/// Dropping it leaves everything in force; [`detach`](Self::detach) ends it. What is written to the
/// maps, and in which order, is decided here; `I` is where it is written.
#[derive(Debug)]
pub struct Guard<I: Installation = Installed> {
    features: Features,
    limits: Vec<String>,
    site: Site,
    users: Grants<I::Entries>,
    cgroups: Grants<I::Entries>,
    installed: I,
}

impl<I: Installation> Guard<I> {
    /// Reads what is installed, and frees what reservations had that ended by themselves.
    pub(in crate::ports) fn over(
        installed: I,
        users: I::Entries,
        cgroups: I::Entries,
        features: Features,
        limits: Vec<String>,
        site: Site,
    ) -> io::Result<Self> {
        let in_force = reservations(&installed)?;
        let in_force: HashSet<Id> = in_force.into_iter().map(|(id, _)| id).collect();
        sweep(&installed, &in_force);
        Ok(Self {
            features,
            limits,
            site,
            users: Grants::open(users, |id| in_force.contains(&id))?,
            cgroups: Grants::open(cgroups, |id| in_force.contains(&id))?,
            installed,
        })
    }

    /// Whether its programs are pinned, as they were. Unpinned ones are off.
    pub fn is_whole(&self) -> bool {
        self.installed.is_whole()
    }

    /// What the programs can do.
    pub fn features(&self) -> Features {
        self.features
    }

    /// What this guard cannot do, a sentence each; empty when nothing is missing.
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// Where it is attached and pinned.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The reservations in force, by id. Those that ended by themselves are not among them.
    pub fn reservations(&self) -> io::Result<Vec<(Id, Row)>> {
        reservations(&self.installed)
    }

    /// A reservation in force; `None` when it is not.
    pub fn row(&self, id: Id) -> io::Result<Option<Row>> {
        self.installed.row(id)
    }

    /// Puts a reservation in force, or changes one but for its block. The count of denials goes on.
    ///
    /// The caller makes sure that no other has a port of it, and looks for sockets on its ports
    /// afterwards: from now on no other gets there.
    pub fn insert(&self, id: Id, row: &Row) -> io::Result<()> {
        if !self.is_whole() {
            let reason = format!("somebody removed it from {}", self.site.folder.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        }
        let present = self.row(id)?;
        if present.is_none() {
            self.installed.stop_latecomers()?;
        }
        if row.dry_run || row.users || row.cgroups {
            self.installed.watch_sockets()?;
        }
        self.write(id, row, present)?;
        for port in row.block.ports() {
            self.installed.set_owner(index(row.protocol, port) as usize, id.get());
        }
        Ok(())
    }

    /// Ends a reservation. One that has ended by itself is tidied up.
    ///
    /// Its grants are void from now on; its sockets stay bound.
    pub fn remove(&self, id: Id, protocol: Protocol, block: Block) -> io::Result<()> {
        self.installed.delete(&key(id))?;
        for port in block.ports() {
            let index = index(protocol, port) as usize;
            if self.installed.owner(index) == Some(id.get()) {
                self.installed.set_owner(index, 0);
            }
        }
        self.users.set(id, &BTreeSet::new())?;
        self.cgroups.set(id, &BTreeSet::new())
    }

    /// Lets these users' processes, and no other users', bind the ports of a reservation.
    ///
    /// Fails with `NotFound` if it is not in force.
    pub fn set_users(&self, id: Id, users: &[u32]) -> io::Result<()> {
        let row = self.row(id)?.ok_or(io::ErrorKind::NotFound)?;
        if !users.is_empty() {
            self.installed.watch_sockets()?;
        }
        let users: BTreeSet<u64> = users.iter().map(|user| u64::from(*user)).collect();
        self.users.set(id, &users).map_err(full(Name::Users))?;
        self.write(id, &Row { users: !users.is_empty(), ..row }, Some(row))
    }

    /// Lets the processes of these control groups, and of those below them, and no others', bind the
    /// ports of a reservation. A control group is named by the inode of its folder.
    ///
    /// Fails with `NotFound` if the reservation is not in force, and with `Unsupported` if the
    /// kernel cannot tell.
    pub fn set_cgroups(&self, id: Id, cgroups: &[u64]) -> io::Result<()> {
        if !cgroups.is_empty() && !self.features.contains(Features::CGROUPS) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let row = self.row(id)?.ok_or(io::ErrorKind::NotFound)?;
        if !cgroups.is_empty() {
            self.installed.watch_sockets()?;
        }
        let groups = cgroups.iter().copied().collect();
        self.cgroups.set(id, &groups).map_err(full(Name::Cgroups))?;
        self.write(id, &Row { cgroups: !cgroups.is_empty(), ..row }, Some(row))
    }

    /// The users and the control groups that are let in to a reservation without a token.
    pub fn admitted(&self, id: Id) -> (BTreeSet<u64>, BTreeSet<u64>) {
        (self.users.of(id), self.cgroups.of(id))
    }

    /// How many binds were refused because of a reservation, or would have been; 0 when it is not in
    /// force.
    pub fn denials(&self, id: Id) -> io::Result<u64> {
        Ok(self.row(id)?.map_or(0, |row| row.denials))
    }

    /// What a socket's state becomes when it is let in to a reservation: see [`grant`](Self::grant).
    fn granted(&self, state: Socket, id: Id, owned: bool) -> io::Result<Socket> {
        let mut state = Socket { granted: Some(id), ..state };
        if owned {
            if let Some(other) = state.owned.filter(|other| *other != id)
                && self.row(other)?.is_some()
            {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.owned = Some(id);
        }
        Ok(state)
    }

    /// Makes the row what it is to be, where it is not: a write would begin the search for a free
    /// port and the limit of reports anew.
    fn write(&self, id: Id, row: &Row, present: Option<Row>) -> io::Result<()> {
        let row = Row { denials: present.map_or(0, |present| present.denials), ..*row };
        match present == Some(row) {
            true => Ok(()),
            false => self.installed.write(id, &row).map_err(full(Name::Reservations)),
        }
    }
}

fn reservations(installed: &impl Installation) -> io::Result<Vec<(Id, Row)>> {
    // While one ends, others may be listed twice.
    let mut found = BTreeMap::new();
    for key in installed.keys()? {
        let id = key.as_array().and_then(|key| Id::new(u64::from_ne_bytes(*key)));
        match id {
            Some(id) => found.extend(installed.row(id)?.map(|row| (id, row))),
            None => installed.delete(&key)?,
        }
    }
    Ok(found.into_iter().collect())
}

/// Says which map it is that has no room, where that is so: the kernel calls it `E2BIG`.
fn full(map: Name) -> impl FnOnce(io::Error) -> io::Error {
    move |error| match error.kind() {
        io::ErrorKind::ArgumentListTooLong => {
            let (name, room) = (map.name(), map.spec().entries);
            let text = format!("its map of {name} is full: it has room for {room}");
            io::Error::new(io::ErrorKind::StorageFull, text)
        }
        _ => error,
    }
}

/// Frees the ports of reservations that ended by themselves.
fn sweep(installed: &impl Installation, in_force: &HashSet<Id>) {
    for index in 0..installed.owners() {
        let owner = installed.owner(index).and_then(Id::new);
        if owner.is_some_and(|owner| !in_force.contains(&owner)) {
            installed.set_owner(index, 0);
        }
    }
}

fn key(id: Id) -> [u8; 8] {
    id.get().to_ne_bytes()
}

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
//! daemon that runs [notices](Guard::losses), and puts them back. Everything is built under another
//! name and renamed, so the folder `v1` is complete or absent.
//!
//! All calls block, for less than a millisecond but for [`Guard::open`], which has the kernel check
//! the programs and takes some ten.

mod dead;
mod events;
mod grants;
mod latecomers;
mod load;
mod losses;
mod pins;
mod places;
mod release;
mod unavailable;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use ports::guard::{Features, Hook, Map as Name, Presence, Row, Socket, index};
use ports::{Block, Id, Protocol};
use sys::ebpf::{Map, Table};
use sys::inet;

pub use dead::remove_dead;
pub use events::Events;
pub use losses::Losses;
pub use places::{Places, Search};
pub use unavailable::Unavailable;

use grants::Grants;
use latecomers::Latecomers;
use load::Loaded;
use pins::Pins;
use release::Release;

/// Tries of loading what somebody else removes meanwhile.
const TRIES: usize = 10;

/// The programs and maps of one network namespace.
///
/// Dropping it leaves everything in force; [`detach`](Self::detach) ends it.
#[derive(Debug)]
pub struct Guard {
    features: Features,
    limits: Vec<String>,
    owners: Table,
    reservations: Map,
    users: Grants,
    cgroups: Grants,
    sockets: Map,
    /// `None` where the kernel cannot tell.
    events: Option<Map>,
    latecomers: Latecomers,
    release: Release,
    pins: Pins,
}

impl Guard {
    /// Takes over the guard that is pinned for the network namespace with this cookie, with the
    /// programs of this version in place of its own, or makes a new one without reservations.
    ///
    /// The calling thread must be in that namespace. When there can be no guard
    /// ([`NotHere`](Unavailable::NotHere)), nothing is enforced any more; after a shortage what was
    /// enforced before is.
    pub fn open(places: &Places, cookie: u64) -> Result<Self, Unavailable> {
        Self::open_with(places, cookie, Features::ALL)
    }

    /// [`open`](Self::open) with no more than these features.
    pub fn open_with(places: &Places, cookie: u64, wanted: Features) -> Result<Self, Unavailable> {
        if cookie == 0 {
            // The programs would wait for a namespace that does not exist.
            let reason = "the kernel does not name network namespaces; Linux 5.14 does";
            return Err(Unavailable::NotHere(vec![reason.to_owned()]));
        }
        let mut tries = 0..TRIES;
        loop {
            let pins = Pins::make(places.pins(), cookie)?;
            let unavailable = match load::load(places, &pins, cookie, wanted) {
                Ok(loaded) => {
                    return Self::of(places, pins, loaded)
                        .map_err(|error| Unavailable::because("the guard's maps", &error));
                }
                Err(Unavailable::NotNow(reason)) => {
                    pins.remove_new();
                    return Err(Unavailable::NotNow(reason));
                }
                Err(unavailable) => unavailable,
            };
            // Whoever removes the guard before this one may not have finished.
            if pins.is_disturbed() && tries.next().is_some() {
                continue;
            }
            // What an earlier daemon left would refuse what nobody can let in any more.
            if let Err(error) = pins.remove() {
                tracing::warn!("an earlier guard could not be removed: {error}");
            }
            return Err(unavailable);
        }
    }

    fn of(places: &Places, pins: Pins, loaded: Loaded) -> io::Result<Self> {
        let Loaded { features, maps, waiting } = loaded;
        let mut limits = places.limits().to_vec();
        limits.extend(load::limits(features));
        let cgroup = || places.cgroup().try_clone_to_owned();
        let pin = pins.current().join(Hook::Release.name());
        let owners = Table::new(maps.owners)?;
        let in_force = reservations(&maps.reservations)?;
        let in_force: HashSet<Id> = in_force.into_iter().map(|(id, _)| id).collect();
        sweep(&owners, &in_force);
        Ok(Self {
            features,
            limits,
            owners,
            reservations: maps.reservations,
            users: Grants::open(maps.users, |id| in_force.contains(&id))?,
            cgroups: Grants::open(maps.cgroups, |id| in_force.contains(&id))?,
            sockets: maps.sockets,
            events: features.contains(Features::EVENTS).then_some(maps.events),
            latecomers: Latecomers::new(waiting.after_bind, cgroup()?),
            release: Release::new(waiting.release, cgroup()?, pin),
            pins,
        })
    }

    /// Whether its programs are pinned, as they were. Unpinned ones are off.
    pub fn is_whole(&self) -> bool {
        let lasting = Hook::all(self.features).filter(|hook| hook.presence() == Presence::Reserved);
        let folder = self.pins.current();
        lasting.map(|hook| folder.join(hook.name())).all(|pin| pin.exists())
            && self.release.is_whole()
    }

    /// Tells when it may not be [whole](Self::is_whole) any more.
    pub fn losses(&self) -> io::Result<Losses> {
        Losses::new(&self.pins.current())
    }

    /// Whether a guard is pinned for the network namespace with this cookie.
    pub fn is_pinned(places: &Places, cookie: u64) -> bool {
        places.pins().join(cookie.to_string()).exists()
    }

    /// Removes the guard that is pinned for the network namespace with this cookie, whatever state it
    /// is in; nothing if there is none.
    pub fn remove_pinned(places: &Places, cookie: u64) -> io::Result<()> {
        let folder = places.pins().join(cookie.to_string());
        Pins::lock(&folder)?.map_or(Ok(()), Pins::remove)
    }

    /// What the programs can do.
    pub fn features(&self) -> Features {
        self.features
    }

    /// What this guard cannot do, a sentence each; empty when nothing is missing.
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// The folder of its pins.
    pub fn folder(&self) -> &std::path::Path {
        self.pins.folder()
    }

    /// The reservations in force, by id. Those that ended by themselves are not among them.
    pub fn reservations(&self) -> io::Result<Vec<(Id, Row)>> {
        reservations(&self.reservations)
    }

    /// A reservation in force; `None` when it is not.
    pub fn row(&self, id: Id) -> io::Result<Option<Row>> {
        row(&self.reservations, id)
    }

    /// Puts a reservation in force, or changes one but for its block. The count of denials goes on.
    ///
    /// The caller makes sure that no other has a port of it, and looks for sockets on its ports
    /// afterwards: from now on no other gets there.
    pub fn insert(&self, id: Id, row: &Row) -> io::Result<()> {
        if !self.is_whole() {
            let reason = format!("somebody removed it from {}", self.folder().display());
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        }
        let present = self.row(id)?;
        if present.is_none() {
            self.latecomers.stop()?;
        }
        if row.dry_run || row.users || row.cgroups {
            self.release.attach()?;
        }
        self.write(id, row, present)?;
        for port in row.block.ports() {
            self.owners.store(index(row.protocol, port) as usize, id.get());
        }
        Ok(())
    }

    /// Ends a reservation. One that has ended by itself is tidied up.
    ///
    /// Its grants are void from now on; its sockets stay bound.
    pub fn remove(&self, id: Id, protocol: Protocol, block: Block) -> io::Result<()> {
        self.reservations.delete(&key(id))?;
        for port in block.ports() {
            let index = index(protocol, port) as usize;
            if self.owners.load(index) == Some(id.get()) {
                self.owners.store(index, 0);
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
            self.release.attach()?;
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
            self.release.attach()?;
        }
        let groups = cgroups.iter().copied().collect();
        self.cgroups.set(id, &groups).map_err(full(Name::Cgroups))?;
        self.write(id, &Row { cgroups: !cgroups.is_empty(), ..row }, Some(row))
    }

    /// The users and the control groups that are let in to a reservation without a token.
    pub fn admitted(&self, id: Id) -> (BTreeSet<u64>, BTreeSet<u64>) {
        (self.users.of(id), self.cgroups.of(id))
    }

    /// Lets a socket bind the ports of a reservation, in place of those of another. With `owned` the
    /// reservation ends when the socket's last descriptor is closed.
    ///
    /// The caller has checked that the socket is of TCP or UDP, of the guard's network namespace, and
    /// not bound. Fails with `AlreadyExists` if the socket owns another reservation that is in force,
    /// and with `Unsupported` for one of MPTCP if the kernel cannot tell its grants.
    pub fn grant(&self, socket: BorrowedFd<'_>, id: Id, owned: bool) -> io::Result<()> {
        let is_mptcp = || io::Result::Ok(inet::kind(socket)?.protocol == inet::IPPROTO_MPTCP);
        if !self.features.contains(Features::MPTCP) && is_mptcp()? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut state = self.state(socket)?;
        state.granted = Some(id);
        if owned {
            if let Some(other) = state.owned.filter(|other| *other != id)
                && self.row(other)?.is_some()
            {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.owned = Some(id);
        }
        self.release.attach()?;
        self.sockets.update(&socket.as_raw_fd().to_ne_bytes(), &state.to_bytes())
    }

    /// What the programs know of a socket.
    pub fn state(&self, socket: BorrowedFd<'_>) -> io::Result<Socket> {
        state(&self.sockets, socket)
    }

    /// What the programs know of sockets, to be looked at from elsewhere. It does not keep the guard
    /// from being taken off.
    pub fn sockets(&self) -> io::Result<Sockets> {
        self.sockets.try_clone().map(Sockets)
    }

    /// How many binds were refused because of a reservation, or would have been; 0 when it is not in
    /// force.
    pub fn denials(&self, id: Id) -> io::Result<u64> {
        Ok(self.row(id)?.map_or(0, |row| row.denials))
    }

    /// What the programs see; `None` where the kernel cannot tell. For one reader at a time: two
    /// would take each other's events.
    pub fn events(&self) -> io::Result<Option<Events>> {
        let events = self.events.as_ref();
        events.map(|events| events.try_clone().and_then(Events::new)).transpose()
    }

    /// Takes the programs off and removes all pins: no port is reserved any more.
    pub fn detach(self) -> io::Result<()> {
        self.pins.remove()
    }

    /// Makes the row what it is to be, where it is not: a write would begin the search for a free
    /// port and the limit of reports anew.
    fn write(&self, id: Id, row: &Row, present: Option<Row>) -> io::Result<()> {
        let row = Row { denials: present.map_or(0, |present| present.denials), ..*row };
        match present == Some(row) {
            true => Ok(()),
            false => self
                .reservations
                .update(&key(id), &row.to_bytes())
                .map_err(full(Name::Reservations)),
        }
    }
}

/// What the programs know of sockets.
#[derive(Debug)]
pub struct Sockets(Map);

impl Sockets {
    /// What they know of one.
    pub fn state(&self, socket: BorrowedFd<'_>) -> io::Result<Socket> {
        state(&self.0, socket)
    }
}

impl AsFd for Sockets {
    /// The map, whose values the kernel adds to its lists of sockets.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn state(sockets: &Map, socket: BorrowedFd<'_>) -> io::Result<Socket> {
    let mut bytes = [0; Socket::LENGTH];
    sockets.lookup(&socket.as_raw_fd().to_ne_bytes(), &mut bytes)?;
    Ok(Socket::from_bytes(&bytes).unwrap_or_default())
}

fn reservations(map: &Map) -> io::Result<Vec<(Id, Row)>> {
    // While one ends, others may be told twice.
    let mut found = BTreeMap::new();
    for key in map.keys()? {
        let id = key.as_array().and_then(|key| Id::new(u64::from_ne_bytes(*key)));
        match id {
            Some(id) => found.extend(row(map, id)?.map(|row| (id, row))),
            None => _ = map.delete(&key)?,
        }
    }
    Ok(found.into_iter().collect())
}

fn row(map: &Map, id: Id) -> io::Result<Option<Row>> {
    let mut bytes = [0; Row::LENGTH];
    let found = map.lookup(&key(id), &mut bytes)?;
    Ok(if found { Row::from_bytes(&bytes) } else { None })
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
fn sweep(owners: &Table, in_force: &HashSet<Id>) {
    for index in 0..owners.length() {
        let owner = owners.load(index).and_then(Id::new);
        if owner.is_some_and(|owner| !in_force.contains(&owner)) {
            owners.store(index, 0);
        }
    }
}

fn key(id: Id) -> [u8; 8] {
    id.get().to_ne_bytes()
}

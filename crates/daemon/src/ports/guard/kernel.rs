use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::Path;

use ports::Id;
use ports::guard::{Features, Hook, Presence, Row, Socket};
use sys::ebpf::{Map, Table};
use sys::inet;

use super::latecomers::Latecomers;
use super::load::{self, Loaded};
use super::pins::Pins;
use super::release::Release;
use super::{Events, Guard, Installation, PinWatch, Places, Site, Unavailable, key};

/// Tries of loading what somebody else removes meanwhile.
const TRIES: usize = 10;

/// Programs and maps in the kernel, all of them pinned.
#[derive(Debug)]
pub struct Installed {
    features: Features,
    owners: Table,
    reservations: Map,
    sockets: Map,
    /// `None` where the kernel cannot report.
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
        let site = Site {
            folder: pins.folder().to_owned(),
            cgroup: places.cgroup_path().map(Path::to_owned),
            covers_all: places.covers_all(),
        };
        let installed = Installed {
            features,
            owners: Table::new(maps.owners)?,
            reservations: maps.reservations,
            sockets: maps.sockets,
            events: features.contains(Features::EVENTS).then_some(maps.events),
            latecomers: Latecomers::new(waiting.after_bind, cgroup()?),
            release: Release::new(waiting.release, cgroup()?, pin),
            pins,
        };
        Self::over(installed, maps.users, maps.cgroups, features, limits, site)
    }

    /// Becomes readable when it may not be [whole](Self::is_whole) any more.
    pub fn watch_pins(&self) -> io::Result<PinWatch> {
        PinWatch::new(&self.installed.pins.current())
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
        let state = self.granted(self.state(socket)?, id, owned)?;
        self.installed.release.attach()?;
        self.installed.sockets.update(&socket.as_raw_fd().to_ne_bytes(), &state.to_bytes())
    }

    /// What the programs know of a socket.
    pub fn state(&self, socket: BorrowedFd<'_>) -> io::Result<Socket> {
        state(&self.installed.sockets, socket)
    }

    /// What the programs know of sockets, to be looked at from elsewhere. It does not keep the guard
    /// from being taken off.
    pub fn sockets(&self) -> io::Result<Sockets> {
        self.installed.sockets.try_clone().map(Sockets)
    }

    /// What the programs see; `None` where the kernel cannot report. For one reader at a time: two
    /// would take each other's events.
    pub fn events(&self) -> io::Result<Option<Events>> {
        let events = self.installed.events.as_ref();
        events.map(|events| events.try_clone().and_then(Events::new)).transpose()
    }

    /// Takes the programs off and removes all pins: no port is reserved any more.
    pub fn detach(self) -> io::Result<()> {
        self.installed.pins.remove()
    }
}

impl Installation for Installed {
    type Entries = Map;

    fn is_whole(&self) -> bool {
        let lasting = Hook::all(self.features).filter(|hook| hook.presence() == Presence::Reserved);
        let folder = self.pins.current();
        lasting.map(|hook| folder.join(hook.name())).all(|pin| pin.exists())
            && self.release.is_whole()
    }

    fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        self.reservations.keys()
    }

    fn row(&self, id: Id) -> io::Result<Option<Row>> {
        let mut bytes = [0; Row::LENGTH];
        let found = self.reservations.lookup(&key(id), &mut bytes)?;
        Ok(if found { Row::from_bytes(&bytes) } else { None })
    }

    fn write(&self, id: Id, row: &Row) -> io::Result<()> {
        self.reservations.update(&key(id), &row.to_bytes())
    }

    fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.reservations.delete(key).map(drop)
    }

    fn owners(&self) -> usize {
        self.owners.length()
    }

    fn owner(&self, index: usize) -> Option<u64> {
        self.owners.load(index)
    }

    fn set_owner(&self, index: usize, id: u64) {
        self.owners.store(index, id);
    }

    fn stop_latecomers(&self) -> io::Result<()> {
        self.latecomers.stop()
    }

    fn watch_sockets(&self) -> io::Result<()> {
        self.release.attach()
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

//! Who sits on which port.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::ports::{Block, Id, Protocol};
use api::ports::{Error, Holder};

use super::processes::{Process, Processes};
use super::scan::{self, Scanner};
use super::units::{Units, unit_of};
use super::view;

/// Looks at the host's sockets, on the threads for blocking work.
#[derive(Debug, Clone)]
pub(super) struct Holders {
    /// `None` until somebody asks.
    scanner: Arc<Mutex<Option<Scanner>>>,
    processes: Option<Processes>,
    /// `None` where there are no control groups.
    units: Option<Arc<Mutex<Units>>>,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) protocol: Option<Protocol>,
    pub(super) ports: std::ops::RangeInclusive<u16>,
    /// On reserved ports only.
    pub(super) is_reserved: bool,
    /// Reservations by protocol and last port.
    pub(super) reservations: BTreeMap<(Protocol, u16), (Block, Id)>,
    /// The guard's map of sockets.
    pub(super) sockets: Option<OwnedFd>,
}

impl Holders {
    pub(super) fn new(processes: Option<Processes>, units: Option<Units>) -> Self {
        let units = units.map(|units| Arc::new(Mutex::new(units)));
        Self { scanner: Arc::default(), processes, units }
    }

    /// Lists them, by port.
    pub(super) fn list(&self, wanted: &Wanted) -> Result<Vec<Holder>, Error> {
        let found = self.scan(wanted)?;
        // Connections have their port from a socket that listens, and what lets that in lets them in.
        let let_in: HashSet<(Protocol, u16, Id)> = found
            .iter()
            .filter_map(|found| Some((found.protocol, found.port(), passed(found)?)))
            .collect();
        let mut units = self.units.as_deref().map(lock);
        if let Some(units) = &mut units {
            units.look_up(found.iter().filter_map(|found| found.socket.cgroup));
        }
        let mut holders: Vec<Holder> = Vec::with_capacity(found.len());
        for found in &found {
            let port = found.port();
            let mut from = wanted.reservations.range((found.protocol, port)..);
            let reservation = from.next().filter(|((protocol, _), (block, _))| {
                *protocol == found.protocol && block.contains(port)
            });
            if wanted.is_reserved && reservation.is_none() {
                continue;
            }
            let mut holder = view::holder(found);
            if let Some((_, (_, id))) = reservation {
                holder.reservation = Some(id.get().into());
                holder.granted = passed(found) == Some(*id)
                    || found.is_connection() && let_in.contains(&(found.protocol, port, *id));
            }
            if let (Some(who), Some(units)) = (&mut holder.who, &units) {
                // Where it was made; whoever has it open now is looked up below.
                let cgroup = found.socket.cgroup.and_then(|id| units.path(id));
                who.cgroup = cgroup.map(str::to_owned);
            }
            holders.push(holder);
        }
        drop(units);
        self.name(&mut holders);
        Ok(holders)
    }

    fn scan(&self, wanted: &Wanted) -> Result<Vec<scan::Holder>, Error> {
        let host = |reason: String| Error::Host { reason };
        let mut scanner = lock(&self.scanner);
        let scanner = match &mut *scanner {
            Some(scanner) => scanner,
            none => none.insert(Scanner::open().map_err(|error| host(error.to_string()))?),
        };
        let mut list = |sockets| scanner.holders(wanted.protocol, wanted.ports.clone(), sockets);
        let found = match wanted.sockets.as_ref().map(|sockets| list(Some(sockets.as_fd()))) {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                tracing::debug!("sockets are listed without their grants: {error}");
                list(None)
            }
            None => list(None),
        };
        found.map_err(|error| host(format!("the list of sockets: {error}")))
    }

    /// Adds processes, units and the names of users.
    pub(super) fn name(&self, holders: &mut [Holder]) {
        let inodes: HashSet<u32> = holders.iter().filter_map(inode).collect();
        let found = match &self.processes {
            Some(processes) if !inodes.is_empty() => {
                processes.of_sockets(inodes).blocking_recv().unwrap_or_default()
            }
            _ => HashMap::new(),
        };
        let mut names: HashMap<u32, Option<String>> = HashMap::new();
        for holder in holders {
            let process = inode(holder).and_then(|inode| found.get(&inode));
            let Some(who) = &mut holder.who else { continue };
            let look_up = || sys::credentials::user_name(who.uid).ok().flatten();
            who.user = names.entry(who.uid).or_insert_with(look_up).clone();
            if let Some(Process { pid, program, cgroup }) = process {
                who.pid = Some(*pid);
                who.program = Some(program.clone());
                if cgroup.is_some() {
                    who.cgroup.clone_from(cgroup);
                }
            }
            who.unit = who.cgroup.as_deref().and_then(unit_of).map(str::to_owned);
        }
    }
}

/// The reservation that let a socket in.
fn passed(found: &scan::Holder) -> Option<Id> {
    found.guarded()?.passed
}

/// A panic elsewhere leaves nothing half done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inode(holder: &Holder) -> Option<u32> {
    holder.inode.and_then(|inode| u32::try_from(inode).ok())
}

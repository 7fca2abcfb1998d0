//! Who sits on which port.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use ::ports::{Block, Id, Protocol};
use api::ports::{Error, Holder};

use super::processes::{Process, Processes};
use super::scan::Scanner;
use super::view;

/// Looks at the host's sockets, on the threads for blocking work.
#[derive(Debug, Clone)]
pub(super) struct Holders {
    /// `None` until somebody asks.
    scanner: Arc<Mutex<Option<Scanner>>>,
    processes: Option<Processes>,
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
}

impl Holders {
    pub(super) fn new(processes: Option<Processes>) -> Self {
        Self { scanner: Arc::default(), processes }
    }

    /// Lists them, by port.
    pub(super) fn list(&self, wanted: &Wanted) -> Result<Vec<Holder>, Error> {
        let host = |reason: String| Error::Host { reason };
        let found = {
            let mut scanner = self.scanner.lock().unwrap_or_else(PoisonError::into_inner);
            let scanner = match &mut *scanner {
                Some(scanner) => scanner,
                none => none.insert(Scanner::open().map_err(|error| host(error.to_string()))?),
            };
            let found = scanner.holders(wanted.protocol, wanted.ports.clone());
            found.map_err(|error| host(format!("the list of sockets: {error}")))?
        };
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
            holder.reservation = reservation.map(|(_, (_, id))| id.get().into());
            holders.push(holder);
        }
        self.name(&mut holders);
        Ok(holders)
    }

    /// Adds processes and the names of users.
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
                who.cgroup.clone_from(cgroup);
            }
        }
    }
}

fn inode(holder: &Holder) -> Option<u32> {
    holder.inode.and_then(|inode| u32::try_from(inode).ok())
}

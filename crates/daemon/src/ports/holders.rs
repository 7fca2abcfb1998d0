//! Who sits on which port.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::ports::guard::Socket;
use ::ports::{Block, Id, Protocol};
use api::ports::{Error, Holder};

use super::guard::Sockets;
use super::scan::{self, Scanner};
use super::units::{Units, unit_of};
use super::view;
use crate::processes::{Answer, Opener, Process, Processes};
use crate::users::Users;

/// How long the names of all users of a list may take: who waits for it waits for no other list.
const LIST_NAMED_WITHIN: Duration = Duration::from_millis(500);
/// How long those of a holder in the way, or of denials, may: other work waits meanwhile.
pub(super) const NAMED_WITHIN: Duration = Duration::from_millis(100);

/// Looks at the host's sockets, on the threads for blocking work.
#[derive(Debug, Clone)]
pub(super) struct Holders {
    /// `None` until somebody asks.
    scanner: Arc<Mutex<Option<Scanner>>>,
    processes: Option<Processes>,
    /// `None` where there are no control groups.
    units: Option<Arc<Mutex<Units>>>,
    users: Users,
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
    /// What the guard knows of sockets.
    pub(super) sockets: Option<Arc<Sockets>>,
}

impl Holders {
    pub(super) fn new(processes: Option<Processes>, units: Option<Units>) -> Self {
        let units = units.map(|units| Arc::new(Mutex::new(units)));
        Self { scanner: Arc::default(), processes, units, users: Users::default() }
    }

    /// Lists them, by port.
    pub(super) fn list(&self, wanted: &Wanted) -> Result<Vec<Holder>, Error> {
        let mut found = self.scan(wanted)?;
        if wanted.is_reserved {
            found.retain(|found| wanted.reservation(found).is_some());
        }
        // The kernel lists what the guard knows of sockets that listen, and of no others.
        let is_asked = |found: &&scan::Holder| !found.is_connection() && found.guarded().is_none();
        let asked: HashSet<u32> = match wanted.sockets {
            None => HashSet::new(),
            Some(_) => found
                .iter()
                .filter(is_asked)
                .filter(|found| wanted.reservation(found).is_some())
                .filter_map(scan::Holder::inode)
                .collect(),
        };
        let openers = self.openers(
            found.iter().filter_map(scan::Holder::inode).collect(),
            asked,
            wanted.sockets.clone(),
        );
        let let_in = |found: &scan::Holder| {
            let passed = match found.guarded() {
                Some(state) => state.passed,
                None => let_in(openers.get(&found.inode()?)?.answer.as_ref()?),
            };
            Some((found.protocol, found.port(), passed?))
        };
        let let_in: Vec<_> = found.iter().map(let_in).collect();
        // Connections have their port from a socket that listens, and what lets that in lets them in.
        let ports: HashSet<_> = let_in.iter().flatten().copied().collect();

        let mut units = self.units.as_deref().map(lock);
        if let Some(units) = &mut units {
            units.look_up(found.iter().filter_map(|found| found.socket.cgroup));
        }
        let mut names = self.names(LIST_NAMED_WITHIN);
        let shown = found.iter().zip(let_in).map(|(found, let_in)| {
            let mut holder = view::holder(found);
            if let Some(id) = wanted.reservation(found) {
                let wanted = (found.protocol, found.port(), id);
                holder.reservation = Some(id.get().into());
                holder.granted =
                    let_in == Some(wanted) || found.is_connection() && ports.contains(&wanted);
            }
            if let (Some(who), Some(units)) = (&mut holder.who, &units) {
                // Where it was made, unless somebody else has it open now.
                let cgroup = found.socket.cgroup.and_then(|id| units.path(id));
                who.cgroup = cgroup.map(str::to_owned);
            }
            name(&mut holder, &openers, &mut names);
            holder
        });
        Ok(shown.collect())
    }

    /// Adds process, unit and the name of the user.
    pub(super) fn name(&self, holder: &mut Holder) {
        let openers = self.openers(inode(holder).into_iter().collect(), HashSet::new(), None);
        name(holder, &openers, &mut self.names(NAMED_WITHIN));
    }

    /// What users are called, for as long as the name service may take altogether.
    pub(super) fn names(&self, within: Duration) -> Names<'_> {
        Names { users: &self.users, until: Instant::now() + within, known: HashMap::new() }
    }

    /// What users are called.
    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    fn openers(
        &self,
        inodes: HashSet<u32>,
        asked: HashSet<u32>,
        sockets: Option<Arc<Sockets>>,
    ) -> Openers {
        match &self.processes {
            Some(processes) if !inodes.is_empty() => {
                processes.of_sockets(inodes, asked, sockets).blocking_recv().unwrap_or_default()
            }
            _ => Openers::new(),
        }
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
}

impl Wanted {
    /// The reservation that a socket's port belongs to.
    fn reservation(&self, found: &scan::Holder) -> Option<Id> {
        let (protocol, port) = (found.protocol, found.port());
        let ((of, _), (block, id)) = self.reservations.range((protocol, port)..).next()?;
        (*of == protocol && block.contains(port)).then_some(*id)
    }
}

/// The reservation that let a socket in, by the socket itself.
fn let_in(answer: &Answer) -> Option<Id> {
    let state = Socket::from_bytes(&answer.value)?;
    // What is bound for a socket of MPTCP is a subflow, which no program has a descriptor of.
    if answer.protocol == sys::inet::IPPROTO_MPTCP { state.granted } else { state.passed }
}

/// Who has which sockets open, and what let those in that were asked.
type Openers = HashMap<u32, Opener>;

/// Names of users, as far as they are known in time.
#[derive(Debug)]
pub(super) struct Names<'a> {
    users: &'a Users,
    until: Instant,
    known: HashMap<u32, Option<String>>,
}

impl Names<'_> {
    pub(super) fn of(&mut self, uid: u32) -> Option<String> {
        let look_up = || self.users.name(uid, self.until);
        self.known.entry(uid).or_insert_with(look_up).clone()
    }
}

fn name(holder: &mut Holder, openers: &Openers, names: &mut Names<'_>) {
    let opener = inode(holder).and_then(|inode| openers.get(&inode));
    let Some(who) = &mut holder.who else { return };
    who.user = names.of(who.uid);
    if let Some(Process { pid, program, cgroup }) = opener.map(|opener| &opener.process) {
        who.pid = Some(*pid);
        who.program = Some(program.clone());
        if cgroup.is_some() {
            who.cgroup.clone_from(cgroup);
        }
    }
    who.unit = who.cgroup.as_deref().and_then(unit_of).map(str::to_owned);
}

/// A panic elsewhere leaves nothing half done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inode(holder: &Holder) -> Option<u32> {
    holder.inode.and_then(|inode| u32::try_from(inode).ok())
}

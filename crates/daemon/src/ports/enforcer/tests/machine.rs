//! A kernel and a disk made of values. They outlive the daemon, which can be killed before any step.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use ::ports::guard::{Features, Row, Socket, index};
use ::ports::{Block, Id, Kind, Protocol, Reservation};
use engine::{CommandId, Refused};

use crate::ports::enforcer::Kernel;
use crate::ports::guard::{Entries, Guard, Installation, Site, Unavailable};
use crate::ports::scan::Holder;
use crate::ports::sysctl::{Found, PortSet, Storage};
use crate::refusal::refused;

/// What somebody who removed the daemon would still find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) is_pinned: bool,
    pub(crate) rows: BTreeMap<Id, Row>,
    pub(crate) owners: BTreeMap<usize, u64>,
    pub(crate) users: BTreeSet<Vec<u8>>,
    pub(crate) cgroups: BTreeSet<Vec<u8>>,
    pub(crate) list: PortSet,
    pub(crate) disk: BTreeMap<Id, Reservation>,
}

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) left: Left,
    /// What others want in the list of reserved ports.
    pub(crate) others: PortSet,
    record: Option<Found>,
    pub(crate) unreadable: BTreeSet<Id>,
    pub(crate) in_use: BTreeSet<(Protocol, u16)>,
    /// Control groups that are there, by name.
    pub(crate) groups: BTreeMap<String, u64>,
    /// Sockets that came with commands.
    pub(crate) sockets: BTreeMap<CommandId, Socket>,
    /// Why there can be no guard.
    pub(crate) no_guard: Option<&'static str>,
    /// Which guard it is: one that is made anew has maps of its own.
    generation: u32,

    /// What the daemon did.
    pub(crate) steps: Vec<&'static str>,
    pub(crate) kill_before: Option<usize>,
    pub(crate) fail: Option<(usize, i32)>,
    pub(crate) is_killed: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Machine(Rc<RefCell<State>>);

impl Machine {
    pub(crate) fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }

    pub(crate) fn state_mut(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// The daemon does something, unless it is killed before, or it fails.
    pub(crate) fn step(&self, name: &'static str) -> io::Result<RefMut<'_, State>> {
        let mut state = self.state_mut();
        let number = state.steps.len();
        if !state.is_killed {
            state.steps.push(name);
        }
        state.is_killed |= state.kill_before == Some(number);
        match state.fail {
            _ if state.is_killed => Err(io::Error::from_raw_os_error(5)),
            Some((failing, errno)) if failing == number => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(state),
        }
    }

    fn refused(&self, name: &'static str) -> Result<RefMut<'_, State>, Refused> {
        self.step(name).map_err(|error| refused(name, &error))
    }

    /// Somebody removes the pinned guard, and with it what is in its maps.
    pub(crate) fn remove_guard(&self) {
        let mut state = self.state_mut();
        state.generation += 1;
        let Left { list, disk, .. } = std::mem::take(&mut state.left);
        state.left = Left { list, disk, ..Left::default() };
    }

    /// The last descriptor of a socket is closed: the kernel ends what it owns, daemon or not.
    /// Returns what was ended.
    pub(crate) fn close(&self, socket: CommandId) -> Option<Id> {
        let mut state = self.state_mut();
        let owned = state.sockets.remove(&socket)?.owned?;
        state.left.rows.remove(&owned).map(|_| owned)
    }

    /// Somebody writes the list of reserved ports.
    pub(crate) fn write_list(&self, text: &str) {
        let mut state = self.state_mut();
        state.left.list = text.parse().unwrap();
        state.others = state.left.list.clone();
    }
}

/// One guard, as a daemon has it open.
#[derive(Debug)]
pub(crate) struct Installed {
    machine: Machine,
    generation: u32,
}

impl Installed {
    fn step(&self, name: &'static str) -> io::Result<Option<RefMut<'_, State>>> {
        let state = self.machine.step(name)?;
        // Maps that nobody has pinned any more can be written all the same.
        Ok((state.generation == self.generation).then_some(state))
    }
}

impl Installation for Installed {
    type Entries = Map;

    fn is_whole(&self) -> bool {
        let state = self.machine.state();
        state.left.is_pinned && state.generation == self.generation
    }

    fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        let state = self.machine.state();
        Ok(state.left.rows.keys().map(|id| id.get().to_ne_bytes().to_vec()).collect())
    }

    fn row(&self, id: Id) -> io::Result<Option<Row>> {
        Ok(self.machine.state().left.rows.get(&id).copied())
    }

    fn write(&self, id: Id, row: &Row) -> io::Result<()> {
        if let Some(mut state) = self.step("write row")? {
            state.left.rows.insert(id, *row);
        }
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> io::Result<()> {
        let id = Id::new(u64::from_ne_bytes(key.try_into().unwrap())).unwrap();
        if let Some(mut state) = self.step("delete row")? {
            state.left.rows.remove(&id);
        }
        Ok(())
    }

    fn owners(&self) -> usize {
        // Of TCP, as far as the tests reserve any.
        1 << 13
    }

    fn owner(&self, index: usize) -> Option<u64> {
        Some(self.machine.state().left.owners.get(&index).copied().unwrap_or(0))
    }

    fn set_owner(&self, index: usize, id: u64) {
        // A store to memory does not fail.
        let fail = self.machine.state_mut().fail.take();
        if let Ok(Some(mut state)) = self.step("set owner") {
            match id {
                0 => state.left.owners.remove(&index),
                id => state.left.owners.insert(index, id),
            };
        }
        self.machine.state_mut().fail = fail;
    }

    fn stop_latecomers(&self) -> io::Result<()> {
        self.step("stop latecomers").map(drop)
    }

    fn watch_sockets(&self) -> io::Result<()> {
        self.step("watch sockets").map(drop)
    }
}

/// A map of who needs no token.
#[derive(Debug)]
pub(crate) struct Map {
    installed: Installed,
    which: fn(&mut Left) -> &mut BTreeSet<Vec<u8>>,
}

impl Entries for Map {
    fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut state = self.installed.machine.state_mut();
        Ok((self.which)(&mut state.left).iter().cloned().collect())
    }

    fn add(&self, key: &[u8; 16]) -> io::Result<()> {
        if let Some(mut state) = self.installed.step("add entry")? {
            (self.which)(&mut state.left).insert(key.to_vec());
        }
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> io::Result<bool> {
        let state = self.installed.step("delete entry")?;
        Ok(state.is_some_and(|mut state| (self.which)(&mut state.left).remove(key)))
    }
}

impl Storage for Machine {
    fn read(&self) -> io::Result<PortSet> {
        Ok(self.state().left.list.clone())
    }

    fn add(&self, ports: &PortSet) -> io::Result<()> {
        let mut state = self.step("add to list")?;
        state.left.list = state.left.list.union(ports);
        Ok(())
    }

    fn replace(&self, ports: &PortSet) -> io::Result<()> {
        self.step("replace list")?.left.list = ports.clone();
        Ok(())
    }

    fn recall(&self) -> io::Result<Option<Found>> {
        Ok(self.step("recall list")?.record.clone())
    }

    fn remember(&self, found: &Found) -> io::Result<()> {
        self.step("remember list")?.record = Some(found.clone());
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        self.step("forget list")?.record = None;
        Ok(())
    }
}

impl Kernel for Machine {
    type Installation = Installed;
    type List = Self;
    type Placeholder = ();

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn open_guard(&mut self) -> Result<Guard<Installed>, Unavailable> {
        let mut state =
            self.step("open guard").map_err(|error| Unavailable::because("", &error))?;
        if let Some(reason) = state.no_guard {
            state.left.is_pinned = false;
            return Err(Unavailable::NotHere(vec![reason.to_owned()]));
        }
        state.left.is_pinned = true;
        let generation = state.generation;
        drop(state);
        let installed = || Installed { machine: self.clone(), generation };
        let users = Map { installed: installed(), which: |left| &mut left.users };
        let cgroups = Map { installed: installed(), which: |left| &mut left.cgroups };
        let site = Site { folder: PathBuf::from("/pins"), cgroup: None, covers_all: true };
        Guard::over(installed(), users, cgroups, Features::ALL, Vec::new(), site)
            .map_err(|error| Unavailable::because("the guard's maps", &error))
    }

    fn is_guard_pinned(&self) -> bool {
        self.state().left.is_pinned
    }

    fn remove_pinned_guard(&mut self) -> io::Result<()> {
        self.step("remove guard").map(drop)?;
        self.remove_guard();
        Ok(())
    }

    fn detach(&mut self, _: Guard<Installed>) -> io::Result<()> {
        self.remove_pinned_guard()
    }

    fn list(&mut self) -> Self {
        self.clone()
    }

    fn first_conflict(
        &mut self,
        protocol: Protocol,
        block: Block,
        _: Option<(&Guard<Installed>, Id)>,
    ) -> Result<Option<(u16, Option<Holder>)>, Refused> {
        let state = self.refused("scan")?;
        let found = block.ports().find(|port| state.in_use.contains(&(protocol, *port)));
        Ok(found.map(|port| (port, None)))
    }

    fn ports_in_use(&mut self, protocol: Protocol) -> Result<PortSet, Refused> {
        let state = self.refused("survey")?;
        let ports = state.in_use.iter().filter(|(of, _)| *of == protocol);
        Ok(ports.map(|(_, port)| *port..=*port).collect())
    }

    fn kill(&mut self, protocol: Protocol, block: Block) -> Result<u32, Refused> {
        let mut state = self.refused("kill")?;
        let before = state.in_use.len();
        state.in_use.retain(|(of, port)| *of != protocol || !block.contains(*port));
        Ok(u32::try_from(before - state.in_use.len()).unwrap())
    }

    fn occupy(&mut self, protocol: Protocol, port: u16) -> io::Result<()> {
        match self.step("occupy")?.in_use.contains(&(protocol, port)) {
            true => Err(io::ErrorKind::AddrInUse.into()),
            false => Ok(()),
        }
    }

    fn cgroups(&mut self, reservation: &Reservation) -> Vec<u64> {
        let state = self.state();
        let names = reservation.admitted.cgroups.iter();
        names.filter_map(|name| state.groups.get(name).copied()).collect()
    }

    fn cgroup_paths(&mut self, inodes: &[u64]) -> Vec<Option<String>> {
        let state = self.state();
        let path = |inode: &u64| {
            let found = state.groups.iter().find(|(_, group)| *group == inode);
            found.map(|(name, _)| name.clone())
        };
        inodes.iter().map(path).collect()
    }

    fn make_folder(&mut self) -> Result<(), Refused> {
        self.refused("make folder").map(drop)
    }

    fn write_record(&mut self, reservation: &Reservation) -> Result<(), Refused> {
        let mut state = self.refused("write record")?;
        state.left.disk.insert(reservation.id, reservation.clone());
        Ok(())
    }

    fn forget_record(&mut self, id: Id, _: Kind) -> Result<(), Refused> {
        let mut state = self.refused("forget record")?;
        state.left.disk.remove(&id);
        state.unreadable.remove(&id);
        Ok(())
    }
}

/// The ports that the table of owners names.
pub(crate) fn owned(
    protocol: Protocol,
    block: Block,
    id: Id,
) -> impl Iterator<Item = (usize, u64)> {
    block.ports().map(move |port| (index(protocol, port) as usize, id.get()))
}

//! The kernel and the disk, as the enforcer asks them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::Refused;
use ports::{Block, Id, Kind, Protocol, Reservation};

use super::cgroups::{CgroupWatch, Cgroups};
use super::enforcer::Kernel;
use super::guard::{Guard, Installed, Places, Unavailable};
use super::killer::Killer;
use super::occupy::occupy;
use super::scan::{Holder, Scanner};
use super::store::Records;
use super::sysctl::{Files, PortSet};
use crate::refusal::{refused, refused_by_kernel};

/// How long closing the sockets of a block is waited for; nothing else is changed meanwhile.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// What errors of sock_diag(7) are of.
const LIST: &str = "the list of sockets";

/// The host's kernel, from the thread that changes it.
#[derive(Debug)]
pub(super) struct Host {
    /// Or why there are none.
    places: Result<Places, Vec<String>>,
    /// Cookie of the network namespace.
    network: u64,
    records: Records,
    /// `None` until first needed.
    scanner: Option<Scanner>,
    killer: Killer,
    /// `None` where there are no control groups.
    cgroups: Option<Cgroups>,
}

impl Host {
    pub(super) fn new(
        places: Result<Places, Vec<String>>,
        network: u64,
        records: Records,
    ) -> io::Result<Self> {
        let cgroups = places.as_ref().ok().map(|places| Cgroups::new(places.cgroup_root()?));
        let (scanner, killer) = (None, Killer::default());
        Ok(Self { network, records, scanner, killer, cgroups: cgroups.transpose()?, places })
    }

    /// Becomes readable when control groups come and go, once a reservation names one.
    pub(super) fn cgroup_watch(&self) -> Option<Arc<CgroupWatch>> {
        self.cgroups.as_ref()?.watch()
    }

    fn scanner(&mut self) -> Result<&mut Scanner, Refused> {
        match &mut self.scanner {
            Some(scanner) => Ok(scanner),
            none => {
                let opened = Scanner::open();
                Ok(none.insert(opened.map_err(|error| refused(LIST, &error))?))
            }
        }
    }
}

impl Kernel for Host {
    type Installation = Installed;
    type List = Files;
    type Placeholder = OwnedFd;

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn open_guard(&mut self) -> Result<Guard, Unavailable> {
        match &self.places {
            Ok(places) => Guard::open(places, self.network),
            Err(reasons) => Err(Unavailable::NotHere(reasons.clone())),
        }
    }

    fn is_guard_pinned(&self) -> bool {
        self.places.as_ref().is_ok_and(|places| Guard::is_pinned(places, self.network))
    }

    fn remove_pinned_guard(&mut self) -> io::Result<()> {
        match &self.places {
            Ok(places) => Guard::remove_pinned(places, self.network),
            // Without these places nothing is pinned.
            Err(_) => Ok(()),
        }
    }

    fn detach(&mut self, guard: Guard) -> io::Result<()> {
        guard.detach()
    }

    fn list(&mut self) -> Files {
        Files::new(self.records.reserved_ports(), self.records.boot_id(), self.network)
    }

    fn first_conflict(
        &mut self,
        protocol: Protocol,
        block: Block,
        let_in: Option<(&Guard, Id)>,
    ) -> Result<Option<(u16, Option<Holder>)>, Refused> {
        let found = self.scanner()?.first_conflict(protocol, block, |socket| match let_in {
            Some((guard, id)) => guard.grant(socket, id, false),
            None => Ok(()),
        });
        let found = found.map_err(|error| refused_by_kernel(LIST, &error))?;
        Ok(found.map(|conflict| (conflict.port, conflict.holder)))
    }

    fn ports_in_use(&mut self, protocol: Protocol) -> Result<PortSet, Refused> {
        self.scanner()?.ports_in_use(protocol).map_err(|error| refused_by_kernel(LIST, &error))
    }

    fn kill(&mut self, protocol: Protocol, block: Block) -> Result<u32, Refused> {
        let kill = move || {
            let killed = Scanner::open()
                .map_err(netlink::Error::from)
                .and_then(|mut scanner| scanner.kill(protocol, block));
            killed.map_err(|error| refused_by_kernel("SOCK_DESTROY", &error))
        };
        self.killer.run(KILL_WITHIN, kill).map_err(|refused| {
            let text = format!("the sockets cannot be closed: {refused}");
            Refused::new(refused.reason, text)
        })
    }

    fn occupy(&mut self, protocol: Protocol, port: u16) -> io::Result<OwnedFd> {
        Ok(occupy(protocol, port)?)
    }

    fn cgroups(&mut self, reservation: &Reservation) -> Vec<u64> {
        self.cgroups.as_mut().map(|cgroups| cgroups.ids(reservation)).unwrap_or_default()
    }

    fn cgroup_paths(&mut self, inodes: &[u64]) -> Vec<Option<String>> {
        match &mut self.cgroups {
            Some(cgroups) => cgroups.paths(inodes),
            None => vec![None; inodes.len()],
        }
    }

    fn make_folder(&mut self) -> Result<(), Refused> {
        self.records.make_folder()
    }

    fn write_record(&mut self, reservation: &Reservation) -> Result<(), Refused> {
        self.records.write(reservation)
    }

    fn forget_record(&mut self, id: Id, kind: Kind) -> Result<(), Refused> {
        self.records.forget(id, kind)
    }
}

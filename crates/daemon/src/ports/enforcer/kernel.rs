use std::fmt::Debug;
use std::io;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use engine::Refused;
use ports::{Block, Id, Kind, Protocol, Reservation};

use crate::ports::guard::{Guard, Installation, Unavailable};
use crate::ports::scan::Holder;
use crate::ports::sysctl::{PortSet, Storage};

/// What is asked of the kernel and the disk, a step at a time. Whatever a step changes is changed
/// when it returns; a daemon may be killed between any two.
pub(in crate::ports) trait Kernel: Debug {
    /// The guard's programs and maps.
    type Installation: Installation;
    /// The list of ports that the kernel does not pick by itself, with its record.
    type List: Storage;
    /// A socket that sits on a reserved port.
    type Placeholder: Debug;

    /// The time by the wall clock.
    fn now(&self) -> SystemTime;

    /// Takes over the guard that is pinned for the daemon's network namespace, or makes one.
    fn open_guard(&mut self) -> Result<Guard<Self::Installation>, Unavailable>;
    /// Whether a guard is pinned there.
    fn is_guard_pinned(&self) -> bool;
    /// Removes the guard that is pinned there, if there is one.
    fn remove_pinned_guard(&mut self) -> io::Result<()>;
    /// Takes a guard off.
    fn detach(&mut self, guard: Guard<Self::Installation>) -> io::Result<()>;

    /// Where the list of reserved ports is.
    fn list(&mut self) -> Self::List;

    /// The lowest port of the block that a socket sits on, and that socket where it is known. Binds
    /// of the kernel's own making are let in to the reservation `id`.
    fn first_conflict(
        &mut self,
        protocol: Protocol,
        block: Block,
        let_in: Option<(&Guard<Self::Installation>, Id)>,
    ) -> Result<Option<(u16, Option<Holder>)>, Refused>;
    /// All ports that sockets sit on.
    fn ports_in_use(&mut self, protocol: Protocol) -> Result<PortSet, Refused>;
    /// Closes the sockets on ports of the block, and returns how many there were.
    fn kill(&mut self, protocol: Protocol, block: Block) -> Result<u32, Refused>;
    /// Binds a socket to a port, on all addresses.
    fn occupy(&mut self, protocol: Protocol, port: u16) -> io::Result<Self::Placeholder>;

    /// The inodes of a reservation's control groups, of those that are there.
    fn cgroups(&mut self, reservation: &Reservation) -> Vec<u64>;
    /// The paths of control groups by inode; `None` for those that are gone.
    fn cgroup_paths(&mut self, inodes: &[u64]) -> Vec<Option<String>>;

    /// Makes the folder of the records, unless it is there.
    fn make_folder(&mut self) -> Result<(), Refused>;
    /// Puts a record on disk.
    fn write_record(&mut self, reservation: &Reservation) -> Result<(), Refused>;
    /// Takes a record off the disk, if there is one.
    fn forget_record(&mut self, id: Id, kind: Kind) -> Result<(), Refused>;
}

/// The blocks that make up a set; port 0 is in none.
pub(super) fn blocks(ports: &PortSet) -> Vec<Block> {
    let block = |ports: RangeInclusive<u16>| {
        let (start, last) = (u32::from(*ports.start()).max(1), u32::from(*ports.end()));
        Block::new(start, (last + 1).saturating_sub(start)).ok()
    };
    ports.ranges().filter_map(block).collect()
}

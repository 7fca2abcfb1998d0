use std::io;
use std::path::PathBuf;

use ports::Id;
use ports::guard::Row;

use super::Entries;

/// What a guard consists of: programs that are attached, and the maps that they read.
///
/// Writes take effect at once, each for itself. A daemon may be killed between any two.
pub trait Installation: std::fmt::Debug {
    /// A map of who is let in without a token.
    type Entries: Entries;

    /// Whether the programs are attached and pinned, as they were.
    fn is_whole(&self) -> bool;

    /// The keys of the map of reservations; not all of them need be identifiers.
    fn keys(&self) -> io::Result<Vec<Vec<u8>>>;
    /// A reservation's row. One that has ended by itself has none.
    fn row(&self, id: Id) -> io::Result<Option<Row>>;
    /// Puts a reservation's row in place.
    fn write(&self, id: Id, row: &Row) -> io::Result<()>;
    /// Deletes a row, if there is one.
    fn delete(&self, key: &[u8]) -> io::Result<()>;

    /// How many ports the table of owners has, of both protocols: see [`ports::guard::index`].
    fn owners(&self) -> usize;
    /// Whose a port is: an identifier, or 0.
    fn owner(&self, index: usize) -> Option<u64>;
    /// Makes a port a reservation's, or with 0 nobody's.
    fn set_owner(&self, index: usize, id: u64);

    /// Stops binds that are on their way past the programs while a port comes to be reserved.
    fn stop_latecomers(&self) -> io::Result<()>;
    /// Attaches the program that frees what a closed socket had, unless it is attached.
    fn watch_sockets(&self) -> io::Result<()>;
}

/// Where a guard is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The folder of its pins.
    pub folder: PathBuf,
    /// The control group that its programs are attached to, where that is mounted.
    pub cgroup: Option<PathBuf>,
    /// Whether every process of the host is below that control group.
    pub covers_all: bool,
}

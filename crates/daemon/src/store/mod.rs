//! What survives a restart: one small file an interface, in `STATE_DIR/leases`.
//!
//! A thread of its own owns the files while the daemon runs, because fsync(2) may take as long as
//! the disk likes. It takes everything that waits at once: of several writes for one interface
//! only the last is made, files are flushed together, then renamed into place, and the directory is
//! flushed once. A write is answered only when it would survive a power failure.

pub(crate) mod envelope;
pub(crate) mod file;
mod record;
mod told;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use engine::Refused;

pub use record::{Entry, InstalledWith};
pub(crate) use told::{refused, told};

use crate::clock::Clock;
use crate::patience;
use crate::supervise::{Watched, Worker};

/// Files are flushed one by one up to this many, and all with one syncfs(2) beyond.
const FLUSHED_ALONE: usize = 8;

/// The folder that holds the state of one daemon.
#[derive(Debug)]
pub struct Folder {
    leases: PathBuf,
    /// Held as long as the daemon lives: two daemons would overwrite each other's leases.
    _lock: Option<File>,
}

/// Why the state directory cannot be used as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another daemon uses it.
    #[error("another daemon uses {}", .0.display())]
    InUse(PathBuf),
    /// It cannot be made or written.
    #[error("{}: leases will not survive a restart", told(path, error))]
    Unusable {
        /// What could not be made.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Found {
    /// By name of the interface.
    pub entries: BTreeMap<String, Entry>,
    /// Files that could not be used, and what became of them, in words.
    pub damaged: Vec<String>,
}

impl Folder {
    /// Opens the folder, making it if need be, and locks it. Waits up to a second for a daemon that
    /// is just ending.
    ///
    /// [`StoreError::Unusable`] comes with a folder all the same: it may be readable, or become
    /// writable again.
    pub fn open(state_dir: &Path) -> (Self, Option<StoreError>) {
        let leases = state_dir.join("leases");
        let unusable = |path: &Path, error| StoreError::Unusable { path: path.to_owned(), error };
        if let Err(error) = fs::create_dir_all(&leases) {
            let error = unusable(&leases, error);
            return (Self { leases, _lock: None }, Some(error));
        }
        let path = state_dir.join("lock");
        match patience::until_free(|| patience::lock(&path)) {
            Ok(file) => (Self { leases, _lock: Some(file) }, None),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                (Self { leases, _lock: None }, Some(StoreError::InUse(state_dir.to_owned())))
            }
            Err(error) => (Self { leases, _lock: None }, Some(unusable(&path, error))),
        }
    }

    /// Reads everything. A file that cannot be used is set aside under a name of its own, and
    /// never stands in the way of the rest; one whose lease ended long ago is removed.
    pub fn load(&self, boot_id: &str, clock: Clock) -> Found {
        let restore = |interface: String, bytes: &[u8]| {
            let stored = record::parse(bytes, &interface)?;
            if stored.is_obsolete(boot_id, clock) {
                tracing::debug!("{interface}: its lease ended long ago; forgotten");
                return Ok(None);
            }
            Ok(Some((interface, stored.restore(boot_id, clock)?)))
        };
        match file::load(&self.leases, file::interface_of, restore) {
            Ok((entries, damaged)) => Found {
                entries: entries.into_iter().collect(),
                damaged: damaged.into_iter().map(|damaged| damaged.text).collect(),
            },
            Err(error) => {
                let damaged = vec![told(&self.leases, &error)];
                Found { damaged, ..Found::default() }
            }
        }
    }
}

/// What the thread is asked to do.
#[derive(Debug)]
enum Job<T> {
    Write { tag: T, entry: Box<Entry> },
    Rename { from: String, to: String },
    Remove { interface: String },
}

/// The thread that writes. Dropping it waits until everything is on disk.
#[derive(Debug)]
pub struct Store<T>(Worker<Job<T>>);

impl<T: Send + 'static> Store<T> {
    /// Starts the thread. `done` is called there with the tag and outcome of each write.
    pub fn start(
        folder: Folder,
        boot_id: String,
        watched: Watched,
        done: impl FnMut(T, Result<(), Refused>) + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |queue: &_| write_all(&folder, &boot_id, queue, done);
        Worker::start("store", watched, work).map(Self)
    }

    /// Puts the entry on disk, in place of the interface's last one.
    pub fn write(&self, tag: T, entry: Entry) {
        self.0.ask(Job::Write { tag, entry: Box::new(entry) });
    }

    /// The interface has a new name: its file follows.
    pub fn rename(&self, from: &str, to: &str) {
        self.0.ask(Job::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    /// Takes the interface's entry off the disk.
    pub fn remove(&self, interface: &str) {
        self.0.ask(Job::Remove { interface: interface.to_owned() });
    }
}

/// Writes until the store hangs up.
fn write_all<T>(
    folder: &Folder,
    boot_id: &str,
    queue: &mpsc::Receiver<Job<T>>,
    mut done: impl FnMut(T, Result<(), Refused>),
) {
    while let Ok(first) = queue.recv() {
        let mut batch = Batch::default();
        for job in std::iter::once(first).chain(queue.try_iter()) {
            match job {
                Job::Write { tag, entry } => batch.add(tag, *entry),
                Job::Rename { from, to } => {
                    batch.commit(folder, boot_id, &mut done);
                    if let Err(reason) = folder.rename(&from, &to) {
                        tracing::warn!("the record of {from} did not follow it to {to}: {reason}");
                    }
                }
                Job::Remove { interface } => {
                    batch.commit(folder, boot_id, &mut done);
                    let path = folder.path(&interface);
                    if let Err(error) = file::remove(&path, false) {
                        tracing::debug!("{} is still there: {error}", path.display());
                    }
                }
            }
        }
        batch.commit(folder, boot_id, &mut done);
    }
}

impl Folder {
    fn path(&self, interface: &str) -> PathBuf {
        self.leases.join(file::name_of(interface))
    }

    /// The record of an interface, if there is one, follows it to its new name. It says the name
    /// itself, too.
    fn rename(&self, from: &str, to: &str) -> Result<(), String> {
        let (old, new) = (self.path(from), self.path(to));
        let bytes = match fs::read(&old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(|error| error.to_string())?,
        };
        let bytes = record::renamed(&bytes, from, to)?;
        let moved = file::replace(&new, &bytes, true).and_then(|()| file::remove(&old, true));
        moved.map_err(|error| error.to_string())
    }
}

/// Writes that share their flushes.
#[derive(Debug)]
struct Batch<T> {
    /// The latest entry of each interface, and everyone who waits for it or an earlier one.
    entries: BTreeMap<String, (Entry, Vec<T>)>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<T> Batch<T> {
    fn add(&mut self, tag: T, entry: Entry) {
        match self.entries.get_mut(&entry.interface) {
            Some((latest, tags)) => {
                *latest = entry;
                tags.push(tag);
            }
            None => _ = self.entries.insert(entry.interface.clone(), (entry, vec![tag])),
        }
    }

    fn commit(
        &mut self,
        folder: &Folder,
        boot_id: &str,
        done: &mut impl FnMut(T, Result<(), Refused>),
    ) {
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return;
        }
        let alone = entries.len() <= FLUSHED_ALONE;
        let clock = Clock::read();
        // The folder may have been missing at start, or removed since.
        let mut shared =
            fs::create_dir_all(&folder.leases).and_then(|()| File::open(&folder.leases));
        let mut written = Vec::with_capacity(entries.len());
        for (interface, (entry, tags)) in entries {
            let path = folder.path(&interface);
            let bytes = record::encode(&entry, boot_id, clock);
            let result = file::write_new(&path, &bytes, alone);
            written.push((path, tags, result));
        }
        if !alone && let Ok(directory) = &shared {
            let flushed = rustix::fs::syncfs(directory).map_err(io::Error::from);
            shared = flushed.and(shared);
        }
        for (path, _, result) in &mut written {
            if shared.is_ok() && result.is_ok() {
                *result = file::put_in_place(path);
            }
        }
        let flushed = shared.and_then(|directory| directory.sync_all());
        for (path, tags, result) in written {
            let outcome = match (result, &flushed) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(error), _) => Err(refused(&path, &error)),
                (Ok(()), Err(error)) => Err(refused(&folder.leases, error)),
            };
            for tag in tags {
                done(tag, outcome.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::record::tests::entry;
    use super::*;
    use crate::testing;

    type Outcome = (u32, Result<(), Refused>);

    fn open(folder: &testing::Folder) -> Folder {
        let (opened, error) = Folder::open(folder.path());
        assert!(error.is_none(), "{error:?}");
        opened
    }

    fn start(folder: Folder) -> (Store<u32>, mpsc::Receiver<Outcome>) {
        let (sender, outcomes) = mpsc::channel();
        let done = move |tag, result| sender.send((tag, result)).unwrap();
        (Store::start(folder, "boot".into(), Watched::alone(), done).unwrap(), outcomes)
    }

    fn load(folder: &testing::Folder) -> Found {
        open(folder).load("boot", Clock::read())
    }

    #[test]
    fn a_burst_is_written_and_found_again() {
        let folder = testing::Folder::new("store");
        let (store, outcomes) = start(open(&folder));
        for number in 0..300 {
            store.write(number, entry(&format!("eth{}", number % 100)));
        }
        drop(store);
        let mut outcomes: Vec<Outcome> = outcomes.iter().collect();
        outcomes.sort_by_key(|(tag, _)| *tag);
        assert!(outcomes.iter().map(|(tag, _)| *tag).eq(0..300));
        assert!(outcomes.iter().all(|(_, result)| result.is_ok()));
        let found = load(&folder);
        assert!(found.damaged.is_empty());
        assert_eq!(found.entries.len(), 100);
        assert_eq!(found.entries["eth42"].record, entry("eth42").record);
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let folder = testing::Folder::new("store");
        drop(start(open(&folder)));
        let fifo = folder.path().join("leases/eth0.json");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        std::fs::create_dir(folder.path().join("leases/eth1.json")).unwrap();
        let found = load(&folder);
        assert!(found.entries.is_empty());
        assert_eq!(found.damaged.len(), 2, "{:?}", found.damaged);
        assert!(fifo.exists());
    }

    #[test]
    fn damaged_files_are_set_aside_and_the_rest_is_kept() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        for name in ["good", "cut", "changed", "future", "swapped"] {
            store.write(0, entry(name));
        }
        drop(store);
        let leases = folder.path().join("leases");
        let path = |name: &str| leases.join(format!("{name}.json"));
        let text = |name: &str| fs::read_to_string(path(name)).unwrap();
        fs::write(path("cut"), &text("cut").as_bytes()[..100]).unwrap();
        fs::write(path("changed"), text("changed").replace("10.0.0.5", "10.0.0.6")).unwrap();
        fs::write(path("future"), text("future").replacen("\"schema\": 1", "\"schema\": 9", 1))
            .unwrap();
        fs::write(path("swapped"), text("good")).unwrap();
        fs::write(path("binary"), [0xff, 0, 1]).unwrap();
        fs::write(path("empty"), "").unwrap();
        fs::write(leases.join("left.json.new"), "half").unwrap();
        fs::write(leases.join("README"), "not ours").unwrap();
        fs::create_dir(path("folder")).unwrap();

        let found = load(&folder);
        assert_eq!(found.entries.keys().collect::<Vec<_>>(), ["good"]);
        assert_eq!(found.damaged.len(), 7, "{:#?}", found.damaged);
        assert!(leases.join("cut.json.damaged").exists());
        assert!(!path("cut").exists());
        assert!(!leases.join("left.json.new").exists());
        assert!(leases.join("README").exists());
        // Said once: the second time only the folder is left to complain about.
        assert_eq!(load(&folder).damaged.len(), 1);
    }

    #[test]
    fn a_failing_disk_is_told_and_recovers() {
        let folder = testing::Folder::new("store");
        let opened = open(&folder);
        let leases = folder.path().join("leases");
        fs::remove_dir(&leases).unwrap();
        fs::write(&leases, "in the way").unwrap();
        let (store, outcomes) = start(opened);
        store.write(1, entry("eth0"));
        let within = Duration::from_secs(20);
        let (tag, result) = outcomes.recv_timeout(within).unwrap();
        assert_eq!(tag, 1);
        assert!(result.unwrap_err().text.contains("leases"));
        fs::remove_file(&leases).unwrap();
        store.write(2, entry("eth0"));
        assert_eq!(outcomes.recv_timeout(within).unwrap(), (2, Ok(())));
        drop(store);
        assert_eq!(load(&folder).entries.len(), 1);
    }

    #[test]
    fn what_ended_long_ago_is_removed() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        let random = Entry { on_command: false, mtu_before: None, ..entry("veth12") };
        store.write(1, random);
        store.write(2, entry("eth0"));
        drop(store);
        let mut later = Clock::read();
        later.wall += Duration::from_secs(30 * 86_400);
        let found = open(&folder).load("another boot", later);
        assert_eq!(found.entries.keys().collect::<Vec<_>>(), ["eth0"]);
        assert!(found.damaged.is_empty());
        let leases = folder.path().join("leases");
        assert!(!leases.join("veth12.json").exists());
        assert!(leases.join("eth0.json").exists());
    }

    #[test]
    fn an_unusable_folder_is_told_and_no_obstacle() {
        let folder = testing::Folder::new("store");
        fs::write(folder.path().join("leases"), "in the way").unwrap();
        let (opened, error) = Folder::open(folder.path());
        assert!(matches!(error, Some(StoreError::Unusable { .. })), "{error:?}");
        assert!(opened.load("boot", Clock::read()).entries.is_empty());
    }

    #[test]
    fn two_daemons_do_not_share_a_folder() {
        let folder = testing::Folder::new("store");
        let first = open(&folder);
        let (_, error) = Folder::open(folder.path());
        assert!(matches!(error, Some(StoreError::InUse(_))), "{error:?}");
        drop(first);
        open(&folder);
    }

    #[test]
    fn the_file_follows_its_interface() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        store.write(1, entry("eth0"));
        store.rename("eth0", "lan0");
        store.write(2, entry("lan0"));
        drop(store);
        let found = load(&folder);
        assert_eq!(found.entries.keys().collect::<Vec<_>>(), ["lan0"]);
        assert!(found.damaged.is_empty());
    }

    #[test]
    fn a_file_says_its_interfaces_new_name_without_being_written_again() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        let renewed = Entry { on_command: true, ..entry("eth1") };
        store.write(1, Entry { on_command: false, ..entry("eth0") });
        store.write(2, renewed);
        // Two that change their names, by a third.
        for (from, to) in [("eth0", "tmp"), ("eth1", "eth0"), ("tmp", "eth1"), ("lo", "lo1")] {
            store.rename(from, to);
        }
        drop(store);
        let found = load(&folder);
        assert!(found.damaged.is_empty(), "{:?}", found.damaged);
        let commanded = found.entries.iter().map(|(name, entry)| (&name[..], entry.on_command));
        assert_eq!(commanded.collect::<Vec<_>>(), [("eth0", true), ("eth1", false)]);
    }

    #[test]
    fn what_is_not_needed_any_more_is_removed_meanwhile() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        store.write(1, entry("veth12"));
        store.write(2, entry("eth0"));
        store.remove("veth12");
        store.remove("never-there");
        drop(store);
        assert_eq!(load(&folder).entries.keys().collect::<Vec<_>>(), ["eth0"]);
    }
}

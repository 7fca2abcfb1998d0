//! What survives a restart: one small file an interface, in `STATE_DIR/leases/ipv4`.
//!
//! A thread of its own owns the files while the daemon runs, because fsync(2) may take as long as
//! the disk likes. It takes everything that waits at once: of several writes for one interface
//! only the last is made, and those of all interfaces share their flushes. A write is answered only
//! when it would survive a power failure.

mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc;

use engine::Refused;

pub(super) use record::{Entry, InstalledWith};

use crate::clock::Clock;
use crate::store::Records;
use crate::supervise::{Watched, Worker};

/// The folder of one daemon's leases.
#[derive(Debug)]
pub(crate) struct Folder(Records<Entry>);

/// What was found at start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By name of the interface.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Files that could not be used, and what became of them, in words.
    pub(crate) damaged: Vec<String>,
}

impl Folder {
    /// The folder in this state directory, of this boot.
    pub(crate) fn new(state_dir: &Path, boot_id: &str) -> Self {
        // An interface may be called `eth0.6`: families have folders, not endings. The first daemons
        // knew one family, and had its records one folder up.
        let leases = state_dir.join("leases");
        Self(Records::new(leases.join("ipv4"), boot_id).moved_from(leases))
    }

    /// Reads everything that counts.
    pub(crate) fn load(&mut self, clock: Clock) -> Found {
        let found = self.0.load(clock);
        let entries = found.records.into_iter().map(|entry| (entry.interface.clone(), entry));
        let damaged = found.damaged.into_iter().map(|damaged| damaged.text);
        Found { entries: entries.collect(), damaged: damaged.collect() }
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
pub(super) struct Store<T>(Worker<Job<T>>);

impl<T: Send + 'static> Store<T> {
    /// Starts the thread. `done` is called there with the tag and outcome of each write.
    pub(super) fn start(
        folder: Folder,
        watched: Watched,
        done: impl FnMut(T, Result<(), Refused>) + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |queue: &_| write_all(&folder.0, queue, done);
        Worker::start("store", watched, work).map(Self)
    }

    /// Puts the entry on disk, in place of the interface's last one.
    pub(super) fn write(&self, tag: T, entry: Entry) {
        self.0.ask(Job::Write { tag, entry: Box::new(entry) });
    }

    /// The interface has a new name: its file follows.
    pub(super) fn rename(&self, from: &str, to: &str) {
        self.0.ask(Job::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    /// Takes the interface's entry off the disk.
    pub(super) fn remove(&self, interface: &str) {
        self.0.ask(Job::Remove { interface: interface.to_owned() });
    }
}

/// Writes until the store hangs up.
fn write_all<T>(
    records: &Records<Entry>,
    queue: &mpsc::Receiver<Job<T>>,
    mut done: impl FnMut(T, Result<(), Refused>),
) {
    while let Ok(first) = queue.recv() {
        let mut batch = Batch::default();
        for job in std::iter::once(first).chain(queue.try_iter()) {
            match job {
                Job::Write { tag, entry } => batch.add(tag, *entry),
                Job::Rename { from, to } => {
                    batch.commit(records, &mut done);
                    if let Err(reason) = records.rename(&from, &to, |stored| stored.renamed(&to)) {
                        tracing::warn!("the record of {from} did not follow it to {to}: {reason}");
                    }
                }
                Job::Remove { interface } => {
                    batch.commit(records, &mut done);
                    if let Err(refused) = records.remove(&interface, false) {
                        tracing::debug!("the record of {interface} is still there: {refused}");
                    }
                }
            }
        }
        batch.commit(records, &mut done);
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

    fn commit(&mut self, records: &Records<Entry>, done: &mut impl FnMut(T, Result<(), Refused>)) {
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return;
        }
        let outcomes = records.write_all(entries.values().map(|(entry, _)| entry));
        for ((_, tags), outcome) in entries.into_values().zip(outcomes) {
            for tag in tags {
                done(tag, outcome.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::record::tests::entry;
    use super::*;
    use crate::testing;

    type Outcome = (u32, Result<(), Refused>);

    fn open(folder: &testing::Folder) -> Folder {
        Folder::new(folder.path(), "boot")
    }

    fn start(folder: Folder) -> (Store<u32>, mpsc::Receiver<Outcome>) {
        let (sender, outcomes) = mpsc::channel();
        let done = move |tag, result| sender.send((tag, result)).unwrap();
        (Store::start(folder, Watched::alone(), done).unwrap(), outcomes)
    }

    fn load(folder: &testing::Folder) -> Found {
        open(folder).load(Clock::read())
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
        let leases = folder.path().join("leases/ipv4");
        fs::create_dir_all(&leases).unwrap();
        let fifo = leases.join("eth0.json");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        fs::create_dir(leases.join("eth1.json")).unwrap();
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
        let leases = folder.path().join("leases/ipv4");
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
        for name in ["README", "%4.json", "%zz.json", "%41.json", "a b.json", "eth0"] {
            fs::write(leases.join(name), "not ours").unwrap();
        }
        fs::create_dir(path("folder")).unwrap();

        let found = load(&folder);
        assert_eq!(found.entries.keys().collect::<Vec<_>>(), ["good"]);
        assert_eq!(found.damaged.len(), 7, "{:#?}", found.damaged);
        assert!(leases.join("cut.json.damaged").exists());
        assert!(!path("cut").exists());
        assert!(!leases.join("left.json.new").exists());
        for name in ["README", "%4.json", "%zz.json", "%41.json", "a b.json", "eth0"] {
            assert!(leases.join(name).exists());
        }
        // Said once: the second time only the folder is left to complain about.
        assert_eq!(load(&folder).damaged.len(), 1);
    }

    #[test]
    fn a_failing_disk_is_told_and_recovers() {
        let folder = testing::Folder::new("store");
        let opened = open(&folder);
        let leases = folder.path().join("leases");
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
        let found = Folder::new(folder.path(), "another boot").load(later);
        assert_eq!(found.entries.keys().collect::<Vec<_>>(), ["eth0"]);
        assert!(found.damaged.is_empty());
        let leases = folder.path().join("leases/ipv4");
        assert!(!leases.join("veth12.json").exists());
        assert!(leases.join("eth0.json").exists());
    }

    #[test]
    fn an_unusable_folder_is_told_and_no_obstacle() {
        let folder = testing::Folder::new("store");
        fs::write(folder.path().join("leases"), "in the way").unwrap();
        let found = load(&folder);
        assert!(found.entries.is_empty());
        assert!(!found.damaged.is_empty());
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

    /// Moves the records to where the first daemons had them.
    fn as_the_first_daemons_left_it(folder: &testing::Folder) {
        let leases = folder.path().join("leases");
        for file in fs::read_dir(leases.join("ipv4")).unwrap() {
            let file = file.unwrap();
            fs::rename(file.path(), leases.join(file.file_name())).unwrap();
        }
    }

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn records_of_the_earlier_layout_are_moved() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        // Names that look like something else.
        let names = ["eth0", "eth0.6", "ipv4", "ipv6", "..", "lock"];
        for name in names {
            store.write(0, entry(name));
        }
        drop(store);
        as_the_first_daemons_left_it(&folder);
        let leases = folder.path().join("leases");
        fs::write(leases.join("eth9.json.new"), "half").unwrap();
        fs::write(leases.join("README"), "not ours").unwrap();
        fs::write(leases.join("eth1.json"), "damaged").unwrap();
        let found = load(&folder);
        assert_eq!(found.entries.len(), names.len());
        for name in names {
            assert_eq!(found.entries[name].record, entry(name).record);
        }
        assert_eq!(found.damaged.len(), 1, "{:?}", found.damaged);
        assert_eq!(files(&leases), ["README", "ipv4"]);
        assert!(leases.join("ipv4/eth1.json.damaged").exists());
        assert_eq!(load(&folder).entries.len(), names.len());
    }

    /// An older daemon ran in between: what it wrote counts.
    #[test]
    fn of_two_records_the_one_of_the_earlier_layout_is_newer() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        store.write(0, Entry { on_command: true, ..entry("eth0") });
        drop(store);
        as_the_first_daemons_left_it(&folder);
        let (store, _outcomes) = start(open(&folder));
        store.write(0, Entry { on_command: false, ..entry("eth1") });
        drop(store);
        let leases = folder.path().join("leases");
        fs::write(leases.join("ipv4/eth0.json"), "older").unwrap();
        let found = load(&folder);
        assert!(found.damaged.is_empty(), "{:?}", found.damaged);
        assert!(found.entries["eth0"].on_command);
        assert_eq!(found.entries.len(), 2);
    }

    #[test]
    fn what_cannot_be_moved_counts_and_is_not_taken_for_newer_later() {
        let folder = testing::Folder::new("store");
        let (store, _outcomes) = start(open(&folder));
        store.write(0, Entry { on_command: true, ..entry("eth0") });
        drop(store);
        as_the_first_daemons_left_it(&folder);
        let leases = folder.path().join("leases");
        fs::remove_dir(leases.join("ipv4")).unwrap();
        fs::write(leases.join("ipv4"), "in the way").unwrap();
        let mut opened = open(&folder);
        let found = opened.load(Clock::read());
        // The folder that should be there cannot be read, which is told.
        assert_eq!(found.damaged.len(), 1, "{:?}", found.damaged);
        assert!(found.entries["eth0"].on_command);
        let (store, outcomes) = start(opened);
        let within = Duration::from_secs(20);
        store.write(1, Entry { on_command: false, ..entry("eth0") });
        assert!(outcomes.recv_timeout(within).unwrap().1.is_err());
        fs::remove_file(leases.join("ipv4")).unwrap();
        store.write(2, Entry { on_command: false, ..entry("eth0") });
        assert_eq!(outcomes.recv_timeout(within).unwrap(), (2, Ok(())));
        drop(store);
        let found = load(&folder);
        assert!(!found.entries["eth0"].on_command);
        assert_eq!(files(&leases), ["ipv4"]);
    }
}

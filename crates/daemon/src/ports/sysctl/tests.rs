//! Against the kernel's own list, in new network namespaces.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::testing::Folder;

const RECORD: &str = "reserved-ports.json";

/// Runs a test in a new network namespace, with a folder for the record.
fn in_namespace(test: &str, work: impl FnOnce(PathBuf) + Send) {
    if !sys::process::is_root() {
        eprintln!("SKIPPED: {test}: needs root");
        return;
    }
    let folder = Folder::new(test);
    let record = folder.path().join(RECORD);
    sys::namespace::in_new_network(|| work(record)).unwrap();
}

fn set(text: &str) -> PortSet {
    text.parse().unwrap()
}

/// Another program, which writes the list with one write(2).
fn somebody_writes(text: &str) {
    let mut file = OpenOptions::new().write(true).open(FILE).unwrap();
    assert_eq!(file.write(text.as_bytes()).unwrap(), text.len());
}

fn listed() -> String {
    files::read(Path::new(FILE)).unwrap().to_string()
}

fn open(record: &Path) -> ReservedPorts {
    ReservedPorts::open(record.to_owned(), "this boot", 7).unwrap()
}

/// Every second port: as long as a list can be.
fn longest() -> PortSet {
    (0..=32_767_u16).map(|half| half * 2 + 1..=half * 2 + 1).collect()
}

#[test]
fn ours_come_and_go_and_those_of_others_stay() {
    in_namespace("ours_come_and_go_and_those_of_others_stay", |record| {
        somebody_writes("8000-8100,9000\n");
        let mut list = open(&record);
        list.set(&set("5000-5019,8090-8110")).unwrap();
        assert_eq!(listed(), "5000-5019,8000-8110,9000");
        assert_eq!(list.foreign(), &set("8000-8100,9000"));
        list.set(&set("5000-5009")).unwrap();
        assert_eq!(listed(), "5000-5009,8000-8100,9000");
        list.set(&PortSet::new()).unwrap();
        assert_eq!(listed(), "8000-8100,9000");
        assert!(!record.exists(), "nothing is ours, and nothing to remember");
    });
}

#[test]
fn the_last_of_all_ports_goes_as_well() {
    in_namespace("the_last_of_all_ports_goes_as_well", |record| {
        let mut list = open(&record);
        list.set(&set("0-65535")).unwrap();
        assert_eq!(listed(), "0-65535");
        list.set(&PortSet::new()).unwrap();
        assert_eq!(listed(), "");
    });
}

#[test]
fn lists_of_any_length_are_written_and_read_whole() {
    in_namespace("lists_of_any_length_are_written_and_read_whole", |record| {
        let longest = longest();
        assert!(longest.to_string().len() > 180_000, "{}", longest.to_string().len());
        let foreign = set("10-20,60000-60500");
        somebody_writes(&foreign.to_string());
        let mut list = open(&record);
        list.set(&longest).unwrap();
        assert_eq!(files::read(Path::new(FILE)).unwrap(), longest.union(&foreign));
        // Replaced in pieces.
        let fewer = longest.difference(&set("30000-30010"));
        list.set(&fewer).unwrap();
        assert_eq!(files::read(Path::new(FILE)).unwrap(), fewer.union(&foreign));
        let mut list = open(&record);
        assert!(!list.merge().unwrap());
        list.set(&PortSet::new()).unwrap();
        assert_eq!(listed(), foreign.to_string());
    });
}

#[test]
fn a_killed_daemons_ports_are_known_to_the_next() {
    in_namespace("a_killed_daemons_ports_are_known_to_the_next", |record| {
        somebody_writes("8000");
        open(&record).set(&set("5000-5019")).unwrap();
        // While nobody watches.
        somebody_writes("5000-5019,8000,8200");
        let mut list = open(&record);
        list.set(&set("5000")).unwrap();
        assert_eq!(listed(), "5000,8000,8200");
        // After a reboot, or in another namespace, all there is belongs to others.
        let mut other = ReservedPorts::open(record.clone(), "another boot", 7).unwrap();
        other.set(&PortSet::new()).unwrap();
        assert_eq!(listed(), "5000,8000,8200");
    });
}

#[test]
fn a_daemon_killed_while_writing_leaves_nothing_behind() {
    in_namespace("a_daemon_killed_while_writing_leaves_nothing_behind", |record| {
        somebody_writes("8000");
        let mut list = open(&record);
        list.set(&set("5000-5019")).unwrap();
        // Killed between the record and the kernel's list, and after part of that.
        for there in ["5000-5019,8000", "5000-5019,6000-6003,8000", "8000", "6000,8000"] {
            list.pending = Some(set("5000-5019,6000-6009"));
            list.remember().unwrap();
            somebody_writes(there);
            let mut next = open(&record);
            next.set(&set("5000-5019")).unwrap();
            assert_eq!(listed(), "5000-5019,8000", "after {there}");
            assert_eq!(next.foreign(), &set("8000"));
        }
        open(&record).set(&PortSet::new()).unwrap();
        assert_eq!(listed(), "8000");
    });
}

#[test]
fn what_others_write_is_merged_and_remembered() {
    in_namespace("what_others_write_is_merged_and_remembered", |record| {
        let mut list = open(&record);
        list.set(&set("5000-5019")).unwrap();
        assert!(!list.merge().unwrap());
        for (written, merged, foreign) in [
            ("9000\n", "5000-5019,9000", "9000"),
            // Read, added to, and written back.
            ("5000-5019,9000,9100", "5000-5019,9000,9100", "9000,9100"),
            // Written afresh, with some of ours in it.
            ("5010-5030", "5000-5030", "5010-5030"),
            // Ours and theirs, with what was theirs already.
            ("5000-5030", "5000-5030", "5010-5030"),
            ("\n", "5000-5019", ""),
        ] {
            somebody_writes(written);
            let lacks_ours = !set("5000-5019").is_subset(&set(written));
            assert_eq!(list.merge().unwrap(), lacks_ours, "{written}");
            assert_eq!((listed().as_str(), list.foreign()), (merged, &set(foreign)), "{written}");
            assert!(!list.merge().unwrap(), "our own write is not another's");
        }
        somebody_writes("5010-5030");
        list.merge().unwrap();
        drop(list);
        // What they wrote outlives the daemon too.
        open(&record).set(&PortSet::new()).unwrap();
        assert_eq!(listed(), "5010-5030");
    });
}

#[test]
fn a_write_is_noticed() {
    in_namespace("a_write_is_noticed", |_| {
        let watch = ListWatch::open().unwrap();
        assert!(!watch.drain());
        somebody_writes("9000");
        assert!(watch.drain());
        assert!(!watch.drain());
        sys::namespace::in_new_network(|| somebody_writes("9001")).unwrap();
        assert!(!watch.drain(), "another namespace's list");
    });
}

#[test]
fn without_a_record_nothing_is_added() {
    in_namespace("without_a_record_nothing_is_added", |record| {
        let mut list = open(&record.join("no such folder").join(RECORD));
        assert!(list.set(&set("5000")).is_err());
        assert_eq!(listed(), "", "it could not be taken out again");
        assert_eq!(list.ours(), &PortSet::new());
        somebody_writes("8000");
        assert!(!list.merge().unwrap());
    });
}

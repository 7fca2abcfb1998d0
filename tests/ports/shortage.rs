//! The daemon is short of descriptors for a while: calls fail meanwhile, it says what is not as it
//! should be, and nothing is weaker afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iphelper_tests::eventually;
use iphelper_tests::ports::{Protocol, Site, block};
use iphelper_tests::varlink::Connection;
use lab::or_skip;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

const START: u16 = 5000;
const COUNT: u16 = 20;

/// More descriptors than the first reservation takes.
const MOST: u64 = 128;

/// The limit of a daemon's open files.
struct Limit {
    daemon: Pid,
    usual: Rlimit,
    /// The number of the next file it opens.
    next: u64,
    /// The least number among the guard's programs and maps.
    guard: u64,
}

impl Limit {
    fn of(site: &mut Site) -> Self {
        let daemon = site.host.daemon().process().id();
        let open = || -> BTreeMap<u64, PathBuf> {
            let files = std::fs::read_dir(format!("/proc/{daemon}/fd")).unwrap();
            let files = files.map(|file| file.unwrap());
            files
                .map(|file| {
                    let number = file.file_name().to_str().unwrap().parse().unwrap();
                    (number, std::fs::read_link(file.path()).unwrap_or_default())
                })
                .collect()
        };
        // Connections that ended are closed on another thread: there is room until they are.
        let mut files = open();
        eventually("the descriptors stay the same", || {
            std::thread::sleep(Duration::from_millis(100));
            let before = std::mem::replace(&mut files, open());
            files == before
        });
        let next = (0..).find(|number| !files.contains_key(number)).unwrap();
        let is_of_guard = |file: &Path| file.to_string_lossy().contains("bpf");
        let guard =
            files.iter().find(|(_, file)| is_of_guard(file)).map_or(next, |(number, _)| *number);
        let limits = std::fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        let usual = Rlimit { current: numbers.next().unwrap(), maximum: numbers.next().unwrap() };
        let daemon = Pid::from_raw(daemon.try_into().unwrap()).unwrap();
        Self { daemon, usual, next, guard }
    }

    /// Leaves room for that many files, from the number on that was free at first.
    fn leave(&self, room: u64) {
        self.set(Rlimit { current: Some(self.next + room), ..self.usual });
    }

    /// Leaves no room, not even where the guard has its files once it lets go of them.
    fn leave_nothing_of_the_guard(&self) {
        self.set(Rlimit { current: Some(self.next.min(self.guard)), ..self.usual });
    }

    fn lift(&self) {
        self.set(self.usual);
    }

    fn set(&self, limit: Rlimit) {
        prlimit(Some(self.daemon), Resource::Nofile, limit).unwrap();
    }
}

fn guard(connection: &mut Connection) -> Value {
    connection.call("PortReservation.Status", json!({})).unwrap()["guard"].clone()
}

fn problems(connection: &mut Connection) -> String {
    connection.call("Daemon.Status", json!({})).unwrap()["problems"].to_string()
}

/// What the guard is where nothing is short.
fn usual_guard() -> lab::Result<Value> {
    let site = Site::started()?;
    site.create(Protocol::Tcp, START, COUNT);
    Ok(site.guard())
}

#[test]
fn the_first_reservation_fails_and_the_guard_is_what_it_would_have_been() {
    let usual = or_skip!(usual_guard());
    let mut site = or_skip!(Site::started());
    let mut connection = site.host.connect();
    guard(&mut connection);
    let limit = Limit::of(&mut site);
    let mut failed = 0;
    // Each time of other ports: what was half done and could not be taken back is held meanwhile.
    let start = |room: u64| START + COUNT * room as u16;
    let made = (0..MOST).find(|room| {
        limit.leave(*room);
        let wanted = block(Protocol::Tcp, start(*room), COUNT);
        let made = connection.call("PortReservation.Create", wanted);
        if let Err(error) = &made {
            assert_eq!(error.name, "Host", "with room for {room}: {error:?}");
            failed += 1;
        }
        let level = guard(&mut connection)["level"].clone();
        assert!(level == usual["level"] || level == "none", "with room for {room}: {level}");
        made.is_ok()
    });
    limit.lift();
    assert!(failed > 7, "{failed}");
    let start = start(made.unwrap());
    for of in ["level", "limits", "covers_all"] {
        assert_eq!(site.guard()[of], usual[of], "{of}");
    }
    assert_eq!(site.reservations().len(), 1);
    // What the guard tells may not have been to be had with it: it is with the next reservation.
    site.create(Protocol::Udp, START, 1);
    eventually("the end of what could not be taken back", || site.host.problems().is_empty());
    assert_eq!(site.left_out().len(), usize::from(COUNT) + 1);
    let mut stranger = site.stranger();
    assert_eq!(stranger.try_bind("tcp4", start), "EACCES");
    assert_eq!(stranger.try_bind("tcp4", start - 1), format!("ok {}", start - 1));
    let reports = || site.host.iph(&["port", "denials"]).out;
    eventually("the report", || reports().contains(&start.to_string()));
}

/// Somebody removes the guard while it cannot be made anew: that is said, and made good.
#[test]
fn a_guard_that_is_lost_meanwhile_comes_back() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    let usual = site.guard();
    let mut connection = site.host.connect();
    guard(&mut connection);
    let limit = Limit::of(&mut site);
    limit.leave_nothing_of_the_guard();
    site.unpin();
    eventually("the loss", || guard(&mut connection)["level"] == "none");
    eventually("the problem", || problems(&mut connection).contains("it will be tried again"));
    limit.lift();
    eventually("the guard", || guard(&mut connection) == usual);
    eventually("its end", || problems(&mut connection) == "[]");
    assert_eq!(site.stranger().try_bind("tcp4", START), "EACCES");
}

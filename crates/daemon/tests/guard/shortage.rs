//! Descriptors run short while a guard is opened: it is there whole when they are back.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use iphelper_daemon::ports::guard::{Guard, Places, Unavailable};
use lab::or_skip;
use ports::Protocol;
use ports::guard::Features;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::site::{EACCES, Site, Sort, id, row, stranger};

/// More descriptors than a guard takes.
const MOST: u64 = 64;

#[test]
fn a_guard_is_whole_or_not_there_yet() {
    let site = or_skip!(Site::new());
    site.run(|_| {
        // The limit is a process's, and other tests are in this one.
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "shortage::child", "--ignored", "--nocapture"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
#[ignore = "run by other tests as a process of its own"]
fn child() {
    let places = Places::find().unwrap();
    let cookie = sys::namespace::network_cookie().unwrap();
    let guard = Guard::open(&places, cookie).unwrap();
    let features = guard.features();
    guard.detach().unwrap();

    // One that is made: nothing of it is left behind by the tries.
    let made = grown(&places, cookie, features, || {
        let folder = places.pins().join(cookie.to_string());
        let names = fs::read_dir(folder).into_iter().flatten();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name == "namespace"), "{names:?}");
    });
    made.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
    made.set_users(id(1), &[12345]).unwrap();
    drop(made);

    // One that is taken over: it refuses on, whatever is short.
    let taken_over = grown(&places, cookie, features, || {
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES));
    });
    assert!(taken_over.row(id(1)).unwrap().unwrap().users);
    assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES));
    taken_over.detach().unwrap();
}

/// Opens a guard with no descriptor to spare, then with one, and so on until it opens. Every rung of
/// the ladder of variants is tried short of something.
fn grown(places: &Places, cookie: u64, features: Features, after_failure: impl Fn()) -> Guard {
    let usual = getrlimit(Resource::Nofile);
    let next = fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    for room in 0..MOST {
        let limit = Rlimit { current: Some(next + room), ..usual };
        setrlimit(Resource::Nofile, limit).unwrap();
        let opened = Guard::open(places, cookie);
        setrlimit(Resource::Nofile, usual).unwrap();
        match opened {
            Ok(guard) => {
                assert!(room > 7, "each of the maps takes one");
                assert_eq!(guard.features(), features, "with room for {room}");
                return guard;
            }
            Err(Unavailable::NotNow(_)) => after_failure(),
            Err(Unavailable::NotHere(reasons)) => panic!("with room for {room}: {reasons:?}"),
        }
    }
    panic!("it takes more than {MOST} descriptors");
}

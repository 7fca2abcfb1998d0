//! Guards outlive their daemon, and go when they should.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use iphelper_daemon::networks;
use iphelper_daemon::ports::guard::{Guard, Places, remove_dead};
use lab::or_skip;
use ports::guard::{Features, Hook, Map, Presence};
use ports::{Block, Protocol};
use sys::capability::Capability;

use crate::site::{EACCES, EPERM, Inside, Site, Sort, bind, granted, id, row, stranger};

const NONE: [u64; 0] = [];

fn folder(inside: &Inside) -> PathBuf {
    inside.places.pins().join(inside.cookie.to_string())
}

#[test]
fn everything_is_pinned_and_nothing_is_left() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        assert!(!inside.places.pins().exists());
        let guard = inside.guard();
        let names = || {
            let entries = fs::read_dir(folder(inside).join("v1")).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<BTreeSet<String>>()
        };
        let expected = |presence: &[Presence]| -> BTreeSet<String> {
            let hooks = Hook::all(Features::ALL).filter(|hook| presence.contains(&hook.presence()));
            hooks.map(Hook::name).chain(Map::ALL.map(Map::name)).map(str::to_owned).collect()
        };
        assert_eq!(names(), expected(&[Presence::Reserved]));
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        assert_eq!(names(), expected(&[Presence::Reserved]));
        granted(&guard, Sort::Tcp4, 1);
        assert_eq!(names(), expected(&[Presence::Reserved, Presence::Granted]));
        let namespace = fs::read_link(folder(inside).join("namespace")).unwrap();
        assert_eq!(namespace, fs::read_link("/proc/thread-self/ns/net").unwrap());
        guard.detach().unwrap();
        assert!(!inside.places.pins().exists());
    });
}

#[test]
fn the_next_daemon_takes_over_what_is_pinned() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let tcp = row(Protocol::Tcp, 5000, 10);
        let udp = row(Protocol::Udp, 6000, 10);
        guard.insert(id(1), &tcp).unwrap();
        guard.insert(id(2), &udp).unwrap();
        guard.set_users(id(2), &[1000]).unwrap();
        let socket = granted(&guard, Sort::Tcp4, 1);
        let any = granted(&guard, Sort::Tcp4, 1);
        drop(guard);
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES), "without a daemon");
        assert_eq!(bind(&socket, Sort::Tcp4.any(), 5000), Ok(5000));

        let guard = inside.guard();
        let found = guard.reservations().unwrap();
        let counted = ports::guard::Row { denials: 1, ..tcp };
        let with_users = ports::guard::Row { users: true, ..udp };
        assert_eq!(found, [(id(1), counted), (id(2), with_users)]);
        assert_eq!(stranger(Sort::Tcp4, 5001), Err(EACCES));
        assert_eq!(bind(&any, Sort::Tcp4.any(), 0), Ok(5001), "grants and counts go on");
        guard.detach().unwrap();
    });
}

#[test]
fn another_version_s_programs_are_replaced_where_they_are() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let newest = inside.guard();
        let has = newest.features();
        newest.detach().unwrap();
        let refusal = if has.contains(Features::REFUSAL) { EACCES } else { EPERM };
        let guard = inside.guard_with(Features::NONE);
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EPERM));
        drop(guard);
        // Whoever binds meanwhile is refused by the one or by the other.
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let binds = scope.spawn(|| {
                let mut results = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    results.push(stranger(Sort::Tcp4, 5000));
                }
                results
            });
            // A panic before the thread is told to stop would wait for it for ever.
            let guard = Guard::open(&inside.places, inside.cookie);
            let done = stranger(Sort::Tcp4, 5000);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let (guard, results) = (guard.unwrap(), binds.join().unwrap());
            assert_eq!((guard.features(), done), (has, Err(refusal)));
            assert!(results.iter().all(|result| matches!(result, Err(EACCES | EPERM))));
            // The one that only reports was added.
            assert_eq!(folder(inside).join("v1/sysctl").exists(), has.contains(Features::EVENTS));
            guard.detach().unwrap();
        });
    });
}

#[test]
fn one_daemon_at_a_time() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let refused = Guard::open(&inside.places, inside.cookie).unwrap_err();
        assert!(refused.to_string().contains("another daemon"), "{refused}");
        assert!(Guard::remove_pinned(&inside.places, inside.cookie).is_err());
        drop(guard);
        inside.guard().detach().unwrap();
    });
}

#[test]
fn what_is_half_built_or_damaged_is_built_anew() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        drop(guard);
        // As if the daemon had been killed while building.
        fs::rename(folder(inside).join("v1"), folder(inside).join("new")).unwrap();
        let guard = inside.guard();
        assert_eq!(guard.reservations().unwrap(), []);
        assert_eq!(stranger(Sort::Tcp4, 5000), Ok(5000), "nothing of it is left");
        guard.insert(id(2), &row(Protocol::Tcp, 6000, 10)).unwrap();
        drop(guard);
        fs::remove_file(folder(inside).join("v1/users")).unwrap();
        let guard = inside.guard();
        assert_eq!(guard.reservations().unwrap(), []);
        assert_eq!(stranger(Sort::Tcp4, 6000), Ok(6000));
        drop(guard);
        // A link that somebody removed is put back.
        fs::remove_file(folder(inside).join("v1/bind4")).unwrap();
        let guard = inside.guard();
        guard.insert(id(3), &row(Protocol::Tcp, 6000, 10)).unwrap();
        assert_eq!(stranger(Sort::Tcp4, 6000), Err(EACCES));
        guard.detach().unwrap();
    });
}

#[test]
fn owners_without_a_row_are_swept() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let wanted = row(Protocol::Tcp, 5000, 10);
        guard.insert(id(1), &ports::guard::Row { runtime: true, ..wanted }).unwrap();
        guard.set_users(id(1), &[1000]).unwrap();
        let socket = Sort::Tcp4.socket();
        guard.grant(socket.as_fd(), id(1), true).unwrap();
        drop(guard);
        drop(socket);
        let guard = inside.guard();
        // The same id would be in force again if its owners had stayed.
        guard.insert(id(1), &row(Protocol::Tcp, 6000, 1)).unwrap();
        assert_eq!(stranger(Sort::Tcp4, 5000), Ok(5000));
        guard.remove(id(1), Protocol::Tcp, Block::new(6000, 1).unwrap()).unwrap();
        guard.detach().unwrap();
    });
}

#[test]
fn removing_the_folder_by_hand_removes_the_guard() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        assert!(stranger(Sort::Tcp4, 5000).is_err());
        // With a daemon that runs.
        fs::remove_dir_all(inside.places.pins()).unwrap();
        let is_free = || stranger(Sort::Tcp4, 5000).is_ok();
        lab::wait_until("the port", std::time::Duration::from_secs(5), is_free).unwrap();
    });
}

/// Removes what this thread sees to be dead.
fn removed(inside: &Inside) -> Vec<u64> {
    let until = Instant::now() + Duration::from_secs(10);
    remove_dead(&inside.places, inside.cookie, || networks(until)).unwrap()
}

#[test]
fn guards_of_namespaces_that_are_gone_are_removed() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let own = inside.guard();
        let gone = sys::namespace::in_new_network(|| {
            let cookie = sys::namespace::network_cookie().unwrap();
            let guard = Guard::open(&inside.places, cookie).unwrap();
            // While somebody is there, or has it, it stays.
            assert_eq!(removed(inside), NONE);
            drop(guard);
            assert_eq!(removed(inside), NONE);
            assert!(Guard::is_pinned(&inside.places, cookie));
            cookie
        })
        .unwrap();
        // Who has not seen all does not judge.
        let nobody = || Err(io::ErrorKind::TimedOut.into());
        assert!(remove_dead(&inside.places, inside.cookie, nobody).is_err());
        assert!(Guard::is_pinned(&inside.places, gone));
        assert_eq!(removed(inside), [gone]);
        assert!(!Guard::is_pinned(&inside.places, gone));
        assert!(Guard::is_pinned(&inside.places, inside.cookie));
        own.detach().unwrap();
        // Nothing at all is as good.
        assert_eq!(removed(inside), NONE);
    });
}

#[test]
fn places_are_found_where_sys_hides_them() {
    let mounts = or_skip!(lab::Mounts::hidden());
    let namespace = or_skip!(lab::Namespace::new());
    let work = || {
        let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let before = mounts();
        assert!(Places::present().is_err());
        assert_eq!(mounts(), before, "looking mounts nothing");
        let places = Places::find().unwrap_or_else(|error| panic!("{error}"));
        let cookie = sys::namespace::network_cookie().unwrap();
        let guard = Guard::open(&places, cookie).unwrap_or_else(|error| panic!("{error}"));
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        let refused = stranger(Sort::Tcp4, 5000);
        guard.detach().unwrap();
        (places.covers_all(), places.cgroup_path().is_none(), refused)
    };
    let found = mounts.run(|| namespace.run(work).unwrap()).unwrap();
    assert_eq!(found, (true, true, Err(EACCES)));
}

#[test]
fn a_namespace_without_a_cookie_has_no_guard() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let refused = Guard::open(&inside.places, 0).unwrap_err();
        assert!(refused.to_string().contains("Linux 5.14"), "{refused}");
        assert!(!inside.places.pins().exists());
    });
}

/// Another daemon looks for a moment whether the namespace is gone.
#[test]
fn a_folder_that_is_locked_for_a_moment_is_waited_for() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.guard();
        let lock = fs::File::open(folder(inside)).unwrap();
        lock.lock().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(200));
                drop(lock);
            });
            inside.guard().detach().unwrap();
        });
    });
}

#[test]
fn another_layout_gives_way() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        drop(guard);
        fs::rename(folder(inside).join("v1"), folder(inside).join("v0")).unwrap();
        let guard = inside.guard();
        assert!(!folder(inside).join("v0").exists());
        let is_free = || stranger(Sort::Tcp4, 5000).is_ok();
        lab::wait_until("the port", std::time::Duration::from_secs(5), is_free).unwrap();
        guard.detach().unwrap();
    });
}

/// What a thread with these capabilities alone can open.
fn open_with_capabilities(inside: &Inside, keep: &[Capability]) -> Result<Features, String> {
    std::thread::scope(|scope| {
        let open = || {
            sys::capability::drop_to(keep).unwrap();
            let guard = Guard::open(&inside.places, inside.cookie);
            let guard = guard.map_err(|error| error.to_string())?;
            guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
            let socket = granted(&guard, Sort::Tcp4, 1);
            assert!(bind(&socket, Sort::Tcp4.any(), 0).is_ok());
            let features = guard.features();
            guard.detach().unwrap();
            Ok(features)
        };
        scope.spawn(open).join().unwrap()
    })
}

#[test]
fn three_capabilities_are_enough_and_two_nearly() {
    use Capability::{Bpf, NetAdmin, Perfmon};
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let all = inside.guard();
        let features = all.features();
        all.detach().unwrap();
        assert_eq!(open_with_capabilities(inside, &[Bpf, NetAdmin, Perfmon]), Ok(features));
        match open_with_capabilities(inside, &[Bpf, NetAdmin]) {
            // What else a kernel gives up on without CAP_PERFMON differs.
            Ok(two) => assert!(features.without(Features::MPTCP).contains(two), "{two}"),
            // Linux 6.1.
            Err(refused) if refused.contains("too complex") => {
                let test = "three_capabilities_are_enough_and_two_nearly";
                eprintln!("SKIPPED: {test}: in part: {refused}");
            }
            Err(refused) => panic!("{refused}"),
        }
        let left = inside.guard();
        left.insert(id(2), &row(Protocol::Tcp, 6000, 10)).unwrap();
        drop(left);
        for keep in [&[Bpf][..], &[NetAdmin], &[]] {
            let refused = open_with_capabilities(inside, keep).unwrap_err();
            assert!(refused.contains("CAP_BPF and CAP_NET_ADMIN"), "{refused}");
            assert!(!Guard::is_pinned(&inside.places, inside.cookie), "nothing unknown is left");
        }
        let is_free = || stranger(Sort::Tcp4, 6000).is_ok();
        lab::wait_until("the port", std::time::Duration::from_secs(5), is_free).unwrap();
    });
}

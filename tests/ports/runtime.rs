//! Runtime reservations: a block for as long as a socket lives, for anybody, within a quota.

use std::collections::BTreeSet;
use std::path::Path;

use iphelper_tests::ports::{Protocol, SOMEBODY, Site, Stranger};
use iphelper_tests::{eventually, varlink};
use lab::or_skip;
use serde_json::{Value, json};

const START: u16 = 5000;
const COUNT: u16 = 8;

fn acquire(
    stranger: &mut Stranger,
    daemon: &Path,
    name: &str,
    start: u16,
    count: u16,
) -> Result<Value, varlink::Error> {
    let mut parameters = json!({"socket": 0, "number_of_ports": count});
    if start != 0 {
        parameters["start_port"] = json!(start);
    }
    let reply = stranger.call(daemon, name, "Acquire", parameters)?;
    Ok(reply["reservation"].clone())
}

/// A host, and somebody without privilege who has a socket with a block.
fn acquired(kind: &str) -> lab::Result<(Site, Stranger, Value)> {
    let site = Site::started()?;
    let mut owner = site.stranger();
    owner.become_user(SOMEBODY);
    owner.socket("owner", kind);
    let reservation = acquire(&mut owner, &site.socket(), "owner", START, COUNT).unwrap();
    Ok((site, owner, reservation))
}

fn kill(site: &mut Site) {
    site.host.kill();
}

fn stop(site: &mut Site) {
    assert!(site.host.stop().success());
}

#[track_caller]
fn is_free(site: &Site) -> bool {
    let answers = answers(site);
    assert_eq!(answers.len(), 1, "some ports of the block and not others");
    answers.contains(&true)
}

/// Whether a stranger gets the ports of the block: all, none, or some if that just changes.
fn answers(site: &Site) -> BTreeSet<bool> {
    let mut stranger = site.stranger();
    (START..START + COUNT)
        .map(|port| stranger.try_bind("tcp4", port) == format!("ok {port}"))
        .collect()
}

#[track_caller]
fn eventually_free(site: &Site) {
    eventually("the end in the kernel", || answers(site) == BTreeSet::from([true]));
}

/// The kernel lets go at once; the daemon hears of it and takes back what it told the kernel.
#[track_caller]
fn wait_free(site: &Site) {
    eventually_free(site);
    eventually("the end in the books", || site.reservations().is_empty());
    eventually("the end of what is left out", || site.left_out().is_empty());
}

#[test]
fn somebody_without_privilege() {
    let (site, mut owner, reservation) = or_skip!(acquired("tcp4"));
    assert_eq!(reservation["kind"], "runtime");
    assert_eq!(reservation["start_port"], START);
    assert_eq!(reservation["number_of_ports"], COUNT);
    assert_eq!(reservation["protocol"], "tcp");
    assert_eq!(reservation["owner"]["uid"], SOMEBODY);
    assert!(!is_free(&site));
    assert_eq!(site.left_out(), (START..START + COUNT).collect());
    // The socket itself is let in, and others of its owner's by the token.
    assert_eq!(owner.bind("owner", "tcp4", 0), format!("ok {START}"));
    owner.socket("second", "tcp6");
    let token = reservation["token"].as_str().unwrap();
    owner.associate(&site.socket(), "second", token).unwrap();
    assert_eq!(owner.bind("second", "tcp6", START + 1), format!("ok {}", START + 1));
    owner.ok("close second");
    assert!(!is_free(&site), "that was not the socket that acquired it");
    owner.ok("close owner");
    wait_free(&site);
    owner.socket("late", "tcp4");
    let late = owner.associate(&site.socket(), "late", token);
    assert_eq!(late.unwrap_err().name, "InvalidToken");
}

#[test]
fn closed_by_its_owner() {
    for kind in ["tcp4", "tcp6", "mptcp4", "mptcp6"] {
        let (site, mut owner, _) = or_skip!(acquired(kind));
        assert!(!is_free(&site), "{kind}");
        owner.ok("close owner");
        wait_free(&site);
    }
}

#[test]
fn a_copy_keeps_it() {
    let (site, mut owner, _) = or_skip!(acquired("tcp4"));
    owner.ok("dup owner copy");
    owner.ok("close owner");
    assert!(!is_free(&site));
    owner.ok("close copy");
    wait_free(&site);
}

#[test]
fn a_forked_child_keeps_it() {
    let (site, mut owner, _) = or_skip!(acquired("tcp4"));
    let child = owner.number("fork");
    owner.ok("close owner");
    assert!(!is_free(&site));
    owner.ok(&format!("end {child}"));
    wait_free(&site);
}

#[test]
fn its_owner_is_killed() {
    let (site, owner, _) = or_skip!(acquired("tcp4"));
    owner.kill();
    wait_free(&site);
}

/// What was accepted lives on; the block does not.
#[test]
fn a_connection_does_not_keep_it() {
    let (site, mut owner, _) = or_skip!(acquired("tcp4"));
    assert_eq!(owner.bind("owner", "tcp4", START), format!("ok {START}"));
    owner.ok("listen owner");
    let mut peer = site.stranger();
    peer.socket("peer", "tcp4");
    peer.ok(&format!("connect peer 127.0.0.1 {START}"));
    owner.ok("accept owner connection");
    owner.ok("close owner");
    eventually("the end in the books", || site.reservations().is_empty());
    let mut stranger = site.stranger();
    eventually("the end", || stranger.try_bind("tcp4", START + 1) == format!("ok {}", START + 1));
    assert_eq!(owner.number("port connection"), u32::from(START));
}

/// The kernel ends it by itself, and the next daemon does not bring it back.
#[test]
fn closed_while_no_daemon_is_there() {
    let (mut site, mut owner, reservation) = or_skip!(acquired("tcp4"));
    site.host.kill();
    assert!(!is_free(&site));
    owner.ok("close owner");
    eventually_free(&site);
    site.start();
    assert_eq!(site.reservations(), [] as [Value; 0]);
    assert!(is_free(&site));
    assert!(site.left_out().is_empty());
    owner.socket("late", "tcp4");
    let token = reservation["token"].as_str().unwrap();
    assert_eq!(owner.associate(&site.socket(), "late", token).unwrap_err().name, "InvalidToken");
}

/// A restart takes nothing away: the token goes on, and so does the end of the socket.
#[test]
fn over_a_restart() {
    let (mut site, mut owner, reservation) = or_skip!(acquired("tcp4"));
    for end in [kill as fn(&mut Site), stop] {
        end(&mut site);
        assert!(!is_free(&site));
        site.start();
        assert!(!is_free(&site));
        owner.socket("more", "tcp4");
        owner.associate(&site.socket(), "more", reservation["token"].as_str().unwrap()).unwrap();
        assert_eq!(owner.bind("more", "tcp4", START), format!("ok {START}"));
        owner.ok("close more");
    }
    owner.ok("close owner");
    wait_free(&site);
}

#[test]
fn released_by_its_token() {
    let (site, mut owner, reservation) = or_skip!(acquired("tcp4"));
    let token = json!({"token": reservation["token"]});
    owner.call(&site.socket(), "-", "Release", token.clone()).unwrap();
    wait_free(&site);
    let again = owner.call(&site.socket(), "-", "Release", token);
    assert_eq!(again.unwrap_err().name, "InvalidToken");
    assert_eq!(owner.bind("owner", "tcp4", 0), "EACCES", "no port outside the block instead");
}

/// The socket of a reservation that was released may be closed any time later: what has its ports
/// by then is another's.
#[test]
fn closing_late_ends_nothing_else() {
    let (site, mut owner, reservation) = or_skip!(acquired("tcp4"));
    let token = json!({"token": reservation["token"]});
    owner.call(&site.socket(), "-", "Release", token).unwrap();
    site.create(Protocol::Tcp, START, COUNT);
    owner.ok("close owner");
    assert!(!is_free(&site));
    owner.socket("next", "tcp4");
    acquire(&mut owner, &site.socket(), "next", 6000, COUNT).unwrap();
    owner.ok("close next");
    eventually("the end of the second", || site.reservations().len() == 1);
    assert!(!is_free(&site));
    let left_out = (START..START + COUNT).collect();
    eventually("the end of what is left out for the second", || site.left_out() == left_out);
}

/// Read again, the configuration counts from then on.
#[test]
fn another_quota() {
    let mut site = or_skip!(Site::started());
    let mut owner = site.stranger();
    owner.become_user(SOMEBODY);
    for name in ["a", "b"] {
        owner.socket(name, "tcp4");
    }
    acquire(&mut owner, &site.socket(), "a", 5000, 6).unwrap();
    site.host.reload("[ports]\nruntime_ports = 10\n");
    // Whether it was read by then is seen by what it does.
    eventually("the quota", || match acquire(&mut owner, &site.socket(), "b", 6000, 5) {
        Err(error) => error.name == "QuotaExceeded",
        Ok(reservation) => {
            let token = json!({"token": reservation["token"]});
            owner.call(&site.socket(), "-", "Release", token).unwrap();
            false
        }
    });
    assert_eq!(site.reservations().len(), 1, "what there is stays");
}

#[test]
fn udp() {
    let site = or_skip!(Site::started());
    let mut owner = site.stranger();
    owner.socket("owner", "udp6");
    let reservation = acquire(&mut owner, &site.socket(), "owner", START, COUNT).unwrap();
    assert_eq!(reservation["protocol"], "udp");
    assert_eq!(site.stranger().try_bind("udp4", START), "EACCES");
    assert_eq!(site.stranger().try_bind("tcp4", START), format!("ok {START}"));
    let wrong = json!({"socket": 0, "protocol": "tcp", "number_of_ports": 1});
    owner.socket("other", "udp4");
    let error = owner.call(&site.socket(), "other", "Acquire", wrong).unwrap_err();
    assert_eq!(error.name, "SocketNotSupported");
    owner.ok("close owner");
    eventually("the end", || site.reservations().is_empty());
}

/// Any free block: none that is reserved, used, or kept from automatic assignment by others.
#[test]
fn any_block() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 40_000, 1000);
    let mut owner = site.stranger();
    let mut blocks = Vec::new();
    for number in 0..20 {
        let name = format!("s{number}");
        owner.socket(&name, "tcp4");
        let reservation = acquire(&mut owner, &site.socket(), &name, 0, 4).unwrap();
        let start = reservation["start_port"].as_u64().unwrap() as u16;
        assert!(start >= 1024, "{reservation}");
        let port = owner.number(&format!("bind {name} 0.0.0.0 0"));
        assert!((start..start + 4).contains(&(port as u16)), "{port}: {reservation}");
        blocks.push(start);
    }
    let ports: BTreeSet<u16> = blocks.iter().flat_map(|start| *start..start + 4).collect();
    assert_eq!(ports.len(), 80, "they overlap: {blocks:?}");
    assert!(ports.iter().all(|port| !(40_000..41_000).contains(port)), "{blocks:?}");
    assert!(site.left_out().is_superset(&ports));
}

#[test]
fn no_block_of_that_many_ports() {
    let site = or_skip!(Site::started());
    // Every tenth thousand is taken: no free block is longer than that.
    for start in [1024, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000] {
        site.create(Protocol::Tcp, start, 1000);
    }
    let mut owner = site.stranger();
    owner.socket("owner", "tcp4");
    let error = acquire(&mut owner, &site.socket(), "owner", 0, 9_500).unwrap_err();
    assert_eq!(error.name, "NoFreeBlock", "{error:?}");
    let reservation = acquire(&mut owner, &site.socket(), "owner", 0, 8_000).unwrap();
    let start = reservation["start_port"].as_u64().unwrap();
    assert!(
        [11_000, 21_000, 31_000, 41_000, 51_000]
            .iter()
            .any(|low| { (*low..=low + 1000).contains(&start) }),
        "{start}"
    );
}

#[test]
fn what_is_taken_is_not_acquired() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    let mut holder = site.stranger();
    assert_eq!(holder.hold("holder", "tcp4", 6003), "ok 6003");
    let mut owner = site.stranger();
    owner.become_user(SOMEBODY);
    owner.socket("owner", "tcp4");
    for (start, what) in [(START + COUNT - 1, "reservation"), (6000, "holder")] {
        let error = acquire(&mut owner, &site.socket(), "owner", start, COUNT).unwrap_err();
        assert_eq!(error.name, "SharingViolation", "{error:?}");
        assert!(error.parameters[what].is_object(), "{error:?}");
    }
    holder.ok("close holder");
    acquire(&mut owner, &site.socket(), "owner", 6000, COUNT).unwrap();
    // A socket has one block.
    assert!(acquire(&mut owner, &site.socket(), "owner", 7000, COUNT).is_err());
}

#[test]
fn a_quota_of_ports() {
    let mut site = or_skip!(Site::new());
    site.sections = "[ports]\nruntime_ports = 10\n".into();
    site.start();
    let mut owner = site.stranger();
    owner.become_user(SOMEBODY);
    for name in ["a", "b", "c"] {
        owner.socket(name, "tcp4");
    }
    acquire(&mut owner, &site.socket(), "a", 5000, 6).unwrap();
    let error = acquire(&mut owner, &site.socket(), "b", 6000, 5).unwrap_err();
    assert_eq!(error.name, "QuotaExceeded");
    assert_eq!((&error.parameters["limit"], &error.parameters["held"]), (&json!(10), &json!(6)));
    assert_eq!(site.stranger().try_bind("tcp4", 6000), "ok 6000", "nothing is left of it");
    acquire(&mut owner, &site.socket(), "b", 6000, 4).unwrap();
    // Another user has a quota of its own, and who has privilege none.
    let mut other = site.stranger();
    other.become_user(SOMEBODY + 1);
    other.socket("a", "tcp4");
    acquire(&mut other, &site.socket(), "a", 7000, 10).unwrap();
    let mut root = site.stranger();
    root.socket("a", "tcp4");
    acquire(&mut root, &site.socket(), "a", 8000, 100).unwrap();
    // What ended is counted no more.
    owner.ok("close a");
    eventually("the end", || site.reservations().iter().all(|r| r["start_port"] != 5000));
    acquire(&mut owner, &site.socket(), "c", 5000, 6).unwrap();
}

/// One person may be many users, and leaves ports to be picked for others all the same.
#[test]
fn many_users_leave_half_of_the_automatic_ports() {
    let mut site = or_skip!(Site::new());
    site.set_range(40_000, 40_099);
    site.start();
    let mut root = site.stranger();
    root.socket("a", "tcp4");
    acquire(&mut root, &site.socket(), "a", 8000, 100).unwrap();
    let mut users = Vec::new();
    for number in 0..6 {
        let mut user = site.stranger();
        user.become_user(SOMEBODY + number);
        user.socket("a", "tcp4");
        let got = acquire(&mut user, &site.socket(), "a", 0, 10);
        match number {
            0..5 => drop(got.unwrap()),
            _ => {
                let error = got.unwrap_err();
                assert_eq!(error.name, "QuotaExceeded");
                let numbers = (&error.parameters["limit"], &error.parameters["held"]);
                assert_eq!(numbers, (&json!(50), &json!(50)), "root's are not among them");
            }
        }
        users.push(user);
    }
    let status = site.call("Status", json!({})).unwrap();
    assert_eq!(
        (&status["runtime_ports"], &status["runtime_ports_limit"]),
        (&json!(50), &json!(50))
    );
    assert!(site.stranger().try_bind("tcp4", 0).starts_with("ok 40"), "some are left");
}

#[test]
fn a_quota_of_reservations() {
    let mut site = or_skip!(Site::new());
    site.sections = "[ports]\nruntime_reservations = 3\n".into();
    site.start();
    let mut owner = site.stranger();
    owner.become_user(SOMEBODY);
    for number in 0..4 {
        let name = format!("s{number}");
        owner.socket(&name, "udp4");
        let got = acquire(&mut owner, &site.socket(), &name, 0, 1);
        match number {
            0..3 => drop(got.unwrap()),
            _ => assert_eq!(got.unwrap_err().name, "QuotaExceeded"),
        }
    }
}

/// Whoever has a runtime token binds in the block: it is its owner's secret.
#[test]
fn its_token_is_its_owners() {
    let (site, _owner, reservation) = or_skip!(acquired("tcp4"));
    let token = reservation["token"].as_str().unwrap();
    let mut other = site.stranger();
    other.become_user(SOMEBODY + 1);
    let listed = other.call(&site.socket(), "-", "List", json!({})).unwrap();
    assert_eq!(listed["reservations"][0]["id"], reservation["id"]);
    assert_eq!(listed["reservations"][0]["token"], Value::Null);
    assert_eq!(site.reservations()[0]["token"], token, "root sees it");
    other.socket("s", "tcp4");
    let error = other.associate(&site.socket(), "s", token).unwrap_err();
    assert!(["AccessDenied", "InvalidToken"].contains(&error.name.as_str()), "{error:?}");
    let release = other.call(&site.socket(), "-", "Release", json!({"token": token}));
    assert!(["AccessDenied", "InvalidToken"].contains(&release.unwrap_err().name.as_str()));
    assert_eq!(other.bind("s", "tcp4", START), "EACCES");
}

/// The end of one finds no room among what the daemon has not read yet.
#[test]
fn an_end_that_could_not_be_told() {
    const SIGCONT: i32 = 18;
    const SIGSTOP: i32 = 19;
    let (mut site, mut owner, _) = or_skip!(acquired("tcp4"));
    // The daemon must not have the last descriptor while it is stopped.
    owner.bind("owner", "tcp4", START);
    let holders = site.holders(json!({"protocol": "tcp", "start_port": START}));
    let socket = format!("socket:[{}]", holders[0]["inode"]);
    let folder = format!("/proc/{}/fd", site.host.daemon().process().id());
    let links = || std::fs::read_dir(&folder).unwrap().flatten();
    eventually("no copy in the daemon", || {
        let mut files = links().filter_map(|link| std::fs::read_link(link.path()).ok());
        !files.any(|file| file.as_os_str() == socket.as_str())
    });
    site.host.signal(SIGSTOP);
    for _ in 0..2_000 {
        site.leave_out("9");
    }
    owner.ok("close owner");
    assert!(is_free(&site));
    site.host.signal(SIGCONT);
    eventually("the end in the books", || site.reservations().is_empty());
    eventually("the end of what is left out", || site.left_out() == [9].into());
}

#[test]
fn one_socket_owns_one_reservation() {
    let (site, mut owner, reservation) = or_skip!(acquired("tcp4"));
    let daemon = site.socket();
    let error = acquire(&mut owner, &daemon, "owner", 0, 1).unwrap_err();
    assert_eq!(error.name, "SocketNotSupported", "{error:?}");
    assert_eq!(site.reservations().len(), 1);
    owner.call(&daemon, "owner", "Release", json!({"token": reservation["token"]})).unwrap();
    acquire(&mut owner, &daemon, "owner", 0, 1).unwrap();
    owner.ok("close owner");
    wait_free(&site);
}

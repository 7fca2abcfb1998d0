//! Reservations outlive the daemon, however it ends, and the machine's restarts; and nothing
//! outlives the reservations.

use std::fs;

use iphelper_tests::ports::{Protocol, Site};
use iphelper_tests::varlink::Connection;
use iphelper_tests::{eventually, eventually_some};
use lab::or_skip;
use serde_json::{Value, json};

const START: u16 = 5000;
const COUNT: u16 = 20;

/// Without what changes by itself.
fn settled(mut reservation: Value) -> Value {
    reservation.as_object_mut().unwrap().remove("denials");
    reservation
}

fn created(site: &Site) -> Vec<Value> {
    let more = json!({
        "purpose": "media relay", "owner": 1000, "lifetime": 3600, "refusal": "not_permitted",
        "users": [1001, 1002], "low_ports": true,
    });
    site.create_with(Protocol::Tcp, START, COUNT, more);
    site.create(Protocol::Udp, 7000, 1);
    listed(site)
}

fn listed(site: &Site) -> Vec<Value> {
    let mut rows: Vec<Value> = site.reservations().into_iter().map(settled).collect();
    rows.sort_by_key(|row| row["start_port"].as_u64());
    rows
}

fn is_enforced(site: &Site) -> bool {
    let mut stranger = site.stranger();
    stranger.try_bind("tcp6", START) == "EPERM" && stranger.try_bind("udp4", 7000) == "EACCES"
}

fn kill(site: &mut Site) {
    site.host.kill();
}

fn stop(site: &mut Site) {
    assert!(site.host.stop().success());
}

#[test]
fn over_restarts_of_the_daemon() {
    let mut site = or_skip!(Site::started());
    let before = created(&site);
    assert_eq!(before[0]["purpose"], "media relay");
    assert_eq!(before[0]["owner"]["uid"], 1000);
    assert!(before[0]["expires_at"].is_string());
    let pins = site.pins();
    assert!(!pins.is_empty());
    for end in [kill as fn(&mut Site), stop] {
        end(&mut site);
        assert!(is_enforced(&site), "while no daemon is there");
        site.start();
        assert!(is_enforced(&site));
        assert_eq!(listed(&site), before);
    }
}

/// Programs are replaced at a start, and there is no moment without one.
#[test]
fn not_a_moment_without_a_guard() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    let mut strangers = ["tcp4", "tcp6"].map(|kind| (kind, site.stranger()));
    for end in [kill as fn(&mut Site), stop, kill] {
        std::thread::scope(|scope| {
            let tries = strangers.each_mut().map(|(kind, stranger)| {
                scope.spawn(move || stranger.ok(&format!("insist {kind} {START} 0 400")))
            });
            end(&mut site);
            site.start();
            for each in tries {
                let answer = each.join().unwrap();
                assert!(answer.starts_with("never"), "{answer}");
            }
        });
    }
}

/// Who asks while the daemon starts is not told that nobody is refused.
#[test]
fn status_waits_for_what_is_on_record() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    let before = site.guard();
    site.host.kill();
    let socket = site.socket();
    let after = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut connection = eventually_some("the socket", || Connection::open(&socket).ok());
            connection.call("PortReservation.Status", json!({})).unwrap()
        });
        site.start();
        asked.join().unwrap()
    });
    assert_eq!(after["guard"], before);
}

/// The records alone are left. They are in force before the daemon says it is ready.
#[test]
fn over_a_reboot() {
    let mut site = or_skip!(Site::started());
    let before = created(&site);
    site.reboot();
    assert!(!is_enforced(&site), "a reboot that took nothing away proves nothing");
    assert!(site.left_out().is_empty());
    site.start();
    assert!(is_enforced(&site));
    assert_eq!(site.left_out(), (START..START + COUNT).chain([7000]).collect());
    assert_eq!(listed(&site), before);
}

/// Runtime reservations were of sockets that no longer are.
#[test]
fn runtime_reservations_end_with_the_machine() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    let mut owner = site.stranger();
    owner.socket("owner", "tcp4");
    let parameters = json!({"socket": 0, "start_port": 8000, "number_of_ports": 8});
    owner.call(&site.socket(), "owner", "Acquire", parameters).unwrap();
    assert_eq!(site.reservations().len(), 2);
    owner.kill();
    site.reboot();
    site.start();
    assert_eq!(site.reservations().len(), 1);
    assert_eq!(site.stranger().try_bind("tcp4", 8000), "ok 8000");
}

#[test]
fn grants_outlive_the_daemon() {
    let mut site = or_skip!(Site::started());
    let reservation = site.create(Protocol::Tcp, START, COUNT);
    let token = reservation["token"].as_str().unwrap();
    let mut owner = site.stranger();
    for name in ["one", "two", "three"] {
        owner.socket(name, "tcp4");
        owner.associate(&site.socket(), name, token).unwrap();
    }
    site.host.kill();
    assert_eq!(owner.bind("one", "tcp4", START), format!("ok {START}"));
    site.start();
    assert_eq!(owner.bind("two", "tcp4", START + 1), format!("ok {}", START + 1));
    assert!(owner.bind("three", "tcp4", 0).starts_with("ok 50"));
    owner.socket("four", "tcp4");
    owner.associate(&site.socket(), "four", token).unwrap();
    assert_eq!(owner.bind("four", "tcp4", START + 5), format!("ok {}", START + 5));
}

#[test]
fn nothing_is_attached_without_a_reservation() {
    let mut site = or_skip!(Site::started());
    assert_eq!(site.pins(), []);
    let guard = site.guard();
    assert_eq!(guard["needed"], false, "{guard}");
    site.create(Protocol::Tcp, START, COUNT);
    let links: Vec<u32> =
        site.pins().into_iter().map(|(_, link)| link).filter(|l| *l != 0).collect();
    assert!(links.len() >= 3, "bind, twice, and the ends of sockets: {links:?}");
    site.delete(Protocol::Tcp, START, COUNT);
    assert!(site.host.stop().success());
    assert_eq!(site.pins(), []);
    site.wait_detached();

    // One that was killed takes nothing away; the next does, as there is nothing to guard.
    site.start();
    site.create(Protocol::Tcp, START, COUNT);
    site.delete(Protocol::Tcp, START, COUNT);
    site.pins();
    site.host.kill();
    site.start();
    assert_eq!(site.pins(), []);
    site.wait_detached();
}

/// A record is what makes a reservation: what the kernel has beyond that is removed.
#[test]
fn what_has_no_record_ends_at_the_next_start() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    let folder = site.host.state.join("ports");
    let before: Vec<_> = files(&folder);
    site.create(Protocol::Tcp, 6000, COUNT);
    site.host.kill();
    for file in files(&folder).into_iter().filter(|file| !before.contains(file)) {
        fs::remove_file(folder.join(file)).unwrap();
    }
    assert_eq!(site.stranger().try_bind("tcp4", 6000), "EACCES");
    site.start();
    assert_eq!(site.stranger().try_bind("tcp4", 6000), "ok 6000");
    assert_eq!(site.stranger().try_bind("tcp4", START), "EACCES");
    assert_eq!(site.left_out(), (START..START + COUNT).collect());
    assert_eq!(site.reservations().len(), 1);
}

fn files(folder: &std::path::Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// By hand: no program is left, and the daemon that comes puts everything back.
#[test]
fn unpinned_by_hand() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    assert!(site.host.stop().success());
    site.unpin();
    site.wait_detached();
    assert_eq!(site.stranger().try_bind("tcp4", START), format!("ok {START}"));
    site.start();
    assert_eq!(site.stranger().try_bind("tcp4", START), "EACCES");
}

/// Somebody took a port while nothing guarded it. The reservation stands; who sits there is left
/// alone, and said.
#[test]
fn a_port_was_taken_meanwhile() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    site.reboot();
    let mut holder = site.stranger();
    assert_eq!(holder.hold("holder", "tcp4", START), format!("ok {START}"));
    holder.ok("listen holder");
    site.start();
    let mut stranger = site.stranger();
    assert_eq!(stranger.try_bind("tcp4", START + 1), "EACCES");
    assert_eq!(site.reservations().len(), 1);
    let held = site.holders(json!({"reserved": true}));
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!((&held[0]["port"], &held[0]["granted"]), (&json!(START), &json!(false)));
    holder.ok("close holder");
    assert_eq!(stranger.try_bind("tcp4", START), "EACCES");
}

/// Two daemons with two networks and one machine: each has its own ports.
#[test]
fn two_networks() {
    let mut one = or_skip!(Site::new());
    let mut two = or_skip!(Site::beside(&one));
    one.start();
    two.start();
    one.create(Protocol::Tcp, START, COUNT);
    two.create(Protocol::Tcp, 6000, COUNT);
    let check = |one: &Site, two: &Site| {
        let (mut first, mut second) = (one.stranger(), two.stranger());
        assert_eq!(first.try_bind("tcp4", START), "EACCES");
        assert_eq!(first.try_bind("tcp4", 6000), "ok 6000");
        assert_eq!(second.try_bind("tcp4", START), format!("ok {START}"));
        assert_eq!(second.try_bind("tcp4", 6000), "EACCES");
    };
    check(&one, &two);
    assert_eq!(one.left_out(), (START..START + COUNT).collect());
    assert_eq!(two.left_out(), (6000..6000 + COUNT).collect());
    // A token is of its network: a socket of the other is told so.
    let mut wrong = two.stranger();
    wrong.socket("s", "tcp4");
    let token = one.reservations()[0]["token"].as_str().unwrap().to_owned();
    let error = wrong.associate(&one.socket(), "s", &token).unwrap_err();
    assert_eq!(error.name, "SocketNotSupported", "{error:?}");
    // Neither's end, start or kill touches the other's.
    for end in [kill as fn(&mut Site), stop] {
        end(&mut one);
        check(&one, &two);
        two.host.kill();
        one.start();
        check(&one, &two);
        two.start();
        check(&one, &two);
    }
    one.delete(Protocol::Tcp, START, COUNT);
    assert!(one.host.stop().success());
    assert_eq!(two.stranger().try_bind("tcp4", 6000), "EACCES");
    assert_eq!(one.stranger().try_bind("tcp4", START), format!("ok {START}"));
    one.start();
}

/// What was pinned for a network that is no more is removed by the next daemon of any other.
#[test]
fn a_network_that_is_gone() {
    let mut one = or_skip!(Site::new());
    one.start();
    let pinned = {
        let mut two = or_skip!(Site::beside(&one));
        two.start();
        two.create(Protocol::Tcp, START, COUNT);
        two.host.kill();
        let pinned = two.pins();
        assert!(!pinned.is_empty());
        two.abandon();
        pinned
    };
    one.create(Protocol::Tcp, START, COUNT);
    eventually("the end of the pins", || {
        if one.host.has_daemon() {
            one.host.kill();
        }
        one.start();
        let left = one.pins();
        pinned.iter().all(|pin| !left.contains(pin))
    });
    assert_eq!(one.stranger().try_bind("tcp4", START), "EACCES");
}

/// The time of a reservation comes, in the kernel as in the books.
#[test]
fn expiry() {
    let mut site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, COUNT, json!({"lifetime": 0.3}));
    site.create(Protocol::Tcp, 6000, COUNT);
    let mut stranger = site.stranger();
    eventually("the end in the kernel", || {
        stranger.try_bind("tcp4", START) == format!("ok {START}")
    });
    eventually("the end in the books", || site.reservations().len() == 1);
    eventually("the end of what is left out", || !site.left_out().contains(&START));
    assert_eq!(stranger.try_bind("tcp4", 6000), "EACCES");

    // Without a daemon, the kernel keeps the time.
    site.create_with(Protocol::Tcp, START, COUNT, json!({"lifetime": 0.5}));
    assert_eq!(stranger.try_bind("tcp4", START), "EACCES");
    site.host.kill();
    eventually("the end in the kernel", || {
        stranger.try_bind("tcp4", START) == format!("ok {START}")
    });
    site.start();
    assert_eq!(site.reservations().len(), 1);
    assert!(!site.left_out().contains(&START));
}

//! What can be reserved, and what the answer is to what cannot.

use std::collections::BTreeSet;
use std::time::Instant;

use iphelper_tests::eventually;
use iphelper_tests::ports::{Protocol, SOMEBODY, Site, block};
use lab::or_skip;
use serde_json::{Value, json};

#[test]
fn a_reservation_as_it_was_asked_for() {
    let site = or_skip!(Site::started());
    let more = json!({
        "purpose": "media relay", "owner": 65534, "lifetime": 3600, "refusal": "not_permitted",
        "dry_run": false, "low_ports": true, "users": [1000, 1001],
    });
    let made = site.create_with(Protocol::Tcp, 5000, 20, more);
    for (name, value) in [
        ("protocol", json!("tcp")),
        ("start_port", json!(5000)),
        ("number_of_ports", json!(20)),
        ("kind", json!("persistent")),
        ("purpose", json!("media relay")),
        ("refusal", json!("not_permitted")),
        ("dry_run", json!(false)),
        ("low_ports", json!(true)),
        ("users", json!([1000, 1001])),
        ("denials", json!(0)),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    assert_eq!(made["owner"]["uid"], 65534);
    assert_eq!(made["owner"]["user"], "nobody");
    assert!(made["created_at"].is_string() && made["expires_at"].is_string(), "{made}");
    let looked_up = site.call("Lookup", block(Protocol::Tcp, 5000, 20)).unwrap();
    assert_eq!(looked_up["reservation"], made);
    assert_eq!(site.reservations(), [made]);

    let status = site.call("Status", json!({})).unwrap();
    let count = |name: &str| status[name].clone();
    assert_eq!((count("reservations"), count("runtime_reservations")), (json!(1), json!(0)));
    assert_eq!(count("ports"), 20);

    let plain = site.create(Protocol::Udp, 5000, 1);
    assert_eq!((&plain["owner"]["uid"], &plain["refusal"]), (&json!(0), &json!("access_denied")));
    assert_eq!((&plain["expires_at"], &plain["purpose"]), (&Value::Null, &Value::Null));
}

#[test]
fn blocks_that_are_none() {
    let site = or_skip!(Site::started());
    let wrong = [
        (0, 1),
        (5000, 0),
        (0, 0),
        (65535, 2),
        (1, 65536),
        (65536, 1),
        (-1, 5),
        (5000, -1),
        (i64::from(u32::MAX), 1),
    ];
    for (start, count) in wrong {
        let block = json!({"protocol": "tcp", "start_port": start, "number_of_ports": count});
        for method in ["Create", "Delete", "Lookup"] {
            let error = site.call(method, block.clone()).unwrap_err();
            assert_eq!(error.name, "InvalidParameter", "{method} {start} {count}");
        }
    }
    assert_eq!(site.reservations(), [] as [Value; 0]);
    for more in [
        json!({"lifetime": -1}),
        json!({"lifetime": 0}),
        json!({"owner": -1}),
        json!({"owner": u32::MAX}),
        json!({"users": [u32::MAX]}),
        json!({"cgroups": ["/a/../b"]}),
        json!({"cgroups": [""]}),
        json!({"purpose": "x".repeat(100_000)}),
    ] {
        let error = site.try_create(Protocol::Tcp, 5000, 20, more).unwrap_err();
        assert_eq!(error.name, "InvalidParameter", "{error:?}");
    }
    // The edges are there.
    site.create(Protocol::Tcp, 65535, 1);
    site.create(Protocol::Udp, 1, 65535);
    let mut stranger = site.stranger();
    assert_eq!(stranger.try_bind("tcp4", 65535), "EACCES");
    assert_eq!(stranger.try_bind("tcp4", 65534), "ok 65534");
    for port in [2000, 65535] {
        assert_eq!(stranger.try_bind("udp6", port), "EADDRINUSE", "the block begins below 1024");
    }
}

#[test]
fn overlaps_name_the_reservation_that_is_there() {
    let site = or_skip!(Site::started());
    let there = json!({"purpose": "was here first", "owner": 1000});
    let there = site.create_with(Protocol::Tcp, 5000, 20, there);
    for (start, count) in [(5000, 20), (4990, 11), (5019, 1), (5005, 3), (4000, 2000)] {
        let error = site.try_create(Protocol::Tcp, start, count, json!({})).unwrap_err();
        assert_eq!(error.name, "SharingViolation", "{start} {count}");
        assert_eq!(error.parameters["reservation"]["id"], there["id"], "{error:?}");
        assert_eq!(error.parameters["reservation"]["purpose"], "was here first");
        assert_eq!(error.parameters["reservation"]["owner"]["uid"], 1000);
        let port = error.parameters["port"].as_u64().unwrap();
        assert!((5000..5020).contains(&port) && (start..start + count).contains(&(port as u16)));
    }
    for (start, count) in [(4990, 10), (5020, 10)] {
        site.create(Protocol::Tcp, start, count);
    }
    site.create(Protocol::Udp, 5000, 20);
    assert_eq!(site.reservations().len(), 4);
}

/// Whoever sits on a port of the block is named, in whatever state, and nothing is left behind.
#[test]
fn ports_in_use_name_their_holder() {
    let site = or_skip!(Site::started());
    let mut holder = site.stranger();
    holder.socket("peer", "tcp4");
    let ways: [(&str, Protocol, &str); 7] = [
        ("tcp4", Protocol::Tcp, "bound"),
        ("tcp4", Protocol::Tcp, "listen"),
        ("tcp6", Protocol::Tcp, "bound"),
        ("mptcp4", Protocol::Tcp, "listen"),
        ("udp4", Protocol::Udp, "bound"),
        ("udp6", Protocol::Udp, "bound"),
        ("udp4", Protocol::Udp, "connect"),
    ];
    for (kind, protocol, state) in ways {
        assert_eq!(holder.hold("h", kind, 5007), "ok 5007");
        match state {
            "listen" => drop(holder.ok("listen h")),
            "connect" => drop(holder.ok("connect h 127.0.0.1 9")),
            _ => {}
        }
        let what = format!("{kind} {state}");
        let error = site.try_create(protocol, 5000, 20, json!({})).unwrap_err();
        assert_eq!(error.name, "SharingViolation", "{what}: {error:?}");
        assert_eq!(error.parameters["port"], 5007, "{what}");
        let told = &error.parameters["holder"];
        assert_eq!(told["port"], 5007, "{what}: {told}");
        assert_eq!(told["who"]["pid"], holder.id(), "{what}: {told}");
        assert_eq!(told["who"]["program"], "stranger", "{what}: {told}");
        assert_eq!(told["who"]["uid"], 0, "{what}: {told}");
        assert_eq!(told["granted"], false, "{what}: {told}");
        // Nothing is reserved by that.
        assert_eq!(site.stranger().try_bind(kind, 5008), "ok 5008", "{what}");
        assert!(site.left_out().is_empty(), "{what}: {:?}", site.left_out());
        assert_eq!(site.reservations(), [] as [Value; 0]);
        let other = if protocol == Protocol::Tcp { Protocol::Udp } else { Protocol::Tcp };
        site.create(other, 5000, 20);
        site.delete(other, 5000, 20);
        holder.ok("close h");
        site.create(protocol, 5000, 20);
        site.delete(protocol, 5000, 20);
    }
}

#[test]
fn a_connection_holds_its_port() {
    let site = or_skip!(Site::started());
    let mut holder = site.stranger();
    assert_eq!(holder.hold("server", "tcp4", 3000), "ok 3000");
    holder.ok("listen server");
    assert_eq!(holder.hold("client", "tcp4", 5007), "ok 5007");
    holder.ok("connect client 127.0.0.1 3000");
    holder.ok("accept server accepted");
    let error = site.try_create(Protocol::Tcp, 5000, 20, json!({})).unwrap_err();
    assert_eq!(error.name, "SharingViolation");
    assert_eq!(error.parameters["port"], 5007);
    // Closed here first, it goes on in TIME_WAIT, which is nobody's: the block is free.
    holder.ok("close client");
    holder.ok("close accepted");
    eventually("TIME_WAIT", || {
        site.holders(json!({"start_port": 5007, "number_of_ports": 1}))
            .iter()
            .all(|row| row["state"] == "time-wait")
    });
    site.create(Protocol::Tcp, 5000, 20);
}

#[test]
fn delete_and_lookup_need_the_exact_block() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    for (start, count) in [(5000, 19), (5001, 19), (5000, 21), (5005, 1), (6000, 20)] {
        for method in ["Delete", "Lookup"] {
            let error = site.call(method, block(Protocol::Tcp, start, count)).unwrap_err();
            assert_eq!(error.name, "NotFound", "{method} {start} {count}");
        }
    }
    for method in ["Delete", "Lookup"] {
        let error = site.call(method, block(Protocol::Udp, 5000, 20)).unwrap_err();
        assert_eq!(error.name, "NotFound", "{method}");
    }
    site.delete(Protocol::Tcp, 5000, 20);
    let again = site.call("Delete", block(Protocol::Tcp, 5000, 20));
    assert_eq!(again.unwrap_err().name, "NotFound");
    assert_eq!(site.call("List", json!({})).unwrap(), json!({"reservations": []}));
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
}

#[test]
fn tokens_are_never_zero_and_never_the_same() {
    let site = or_skip!(Site::started());
    let mut tokens = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let numbers = 40;
    for _ in 0..numbers {
        let made = site.create(Protocol::Tcp, 5000, 1);
        let token: u64 = made["token"].as_str().unwrap().parse().unwrap();
        let id: u64 = made["id"].as_str().unwrap().parse().unwrap();
        assert!(token != 0 && id != 0);
        tokens.insert(token);
        ids.insert(id);
        site.delete(Protocol::Tcp, 5000, 1);
    }
    assert_eq!((tokens.len(), ids.len()), (numbers, numbers));
    // Random ones: no bit is the same in all.
    let ones = tokens.iter().fold(0, |bits, token| bits | token);
    let zeros = tokens.iter().fold(0, |bits, token| bits | !token);
    assert_eq!((ones, zeros), (u64::MAX, u64::MAX));
    // The log may be read by more people than the daemon's records.
    let log = site.host.log();
    assert!(tokens.iter().all(|token| !log.contains(&token.to_string())), "a token in the log");
}

#[test]
fn many_blocks() {
    let site = or_skip!(Site::started());
    let mut connection = site.host.connect();
    for number in 0..150_u16 {
        let block = block(Protocol::Tcp, 2000 + number * 3, 2);
        connection.call("PortReservation.Create", block).unwrap();
    }
    assert_eq!(site.reservations().len(), 150);
    let mut stranger = site.stranger();
    for number in (0..150).step_by(37) {
        let start = 2000 + number * 3;
        assert_eq!(stranger.try_bind("tcp4", start), "EACCES");
        assert_eq!(stranger.try_bind("tcp4", start + 1), "EACCES");
        assert_eq!(stranger.try_bind("tcp4", start + 2), format!("ok {}", start + 2));
    }
    assert_eq!(site.left_out().len(), 300);
    for number in 0..150_u16 {
        let block = block(Protocol::Tcp, 2000 + number * 3, 2);
        connection.call("PortReservation.Delete", block).unwrap();
    }
    assert!(site.left_out().is_empty());
}

#[test]
fn killed_holders() {
    let site = or_skip!(Site::started());
    let made = site.create(Protocol::Tcp, 5000, 20);
    let mut owner = site.stranger();
    owner.socket("s", "tcp4");
    owner.associate(&site.socket(), "s", made["token"].as_str().unwrap()).unwrap();
    assert_eq!(owner.bind("s", "tcp4", 5003), "ok 5003");
    owner.ok("listen s");
    let mut delete = block(Protocol::Tcp, 5000, 20);
    delete["kill"] = json!(true);
    let killed = site.call("Delete", delete).unwrap();
    assert_eq!(killed["killed"], 1);
    // Nobody listens any more; the port is the dead socket's until its program closes it.
    let mut peer = site.stranger();
    peer.socket("p", "tcp4");
    assert_eq!(peer.tell("connect p 127.0.0.1 5003"), "ECONNREFUSED");
    owner.ok("close s");
    assert_eq!(peer.try_bind("tcp4", 5003), "ok 5003");
}

/// Two connections, one block: one of the two gets it.
#[test]
fn at_the_same_time() {
    let site = or_skip!(Site::started());
    for _ in 0..10 {
        let create = || {
            let mut connection = site.host.connect();
            connection.call("PortReservation.Create", block(Protocol::Tcp, 5000, 20)).is_ok()
        };
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(create);
            (create(), one.join().unwrap())
        });
        assert!(one != two, "{one} {two}");
        site.delete(Protocol::Tcp, 5000, 20);
    }
}

/// Somebody binds a port in the very moment it is reserved: the port is the one's or the other's.
#[test]
fn a_bind_at_the_same_time() {
    const ROUNDS: u32 = 100;
    let site = or_skip!(Site::started());
    site.create(Protocol::Udp, 6000, 1);
    let begin = Instant::now();
    for _ in 0..5 {
        site.create(Protocol::Tcp, 5000, 20);
        site.delete(Protocol::Tcp, 5000, 20);
    }
    let change = begin.elapsed() / 10;
    let mut stranger = site.stranger();
    let mut won = 0;
    for round in 0..ROUNDS {
        // Somewhere in the middle of it: a moment later each time.
        let after = (change * round / ROUNDS).as_micros();
        let (created, got) = std::thread::scope(|scope| {
            let binder = scope.spawn(|| stranger.ok(&format!("insist tcp4 5003 {after} 2")));
            let created = site.try_create(Protocol::Tcp, 5000, 20, json!({}));
            (created, binder.join().unwrap())
        });
        let got = got.starts_with("got");
        match created {
            Ok(_) => {
                assert!(!got, "round {round}: both have the port");
                site.delete(Protocol::Tcp, 5000, 20);
            }
            Err(error) => {
                assert_eq!(error.name, "SharingViolation", "{error:?}");
                assert!(got, "round {round}: neither has the port");
                won += 1;
            }
        }
        if got {
            stranger.ok("close got");
        }
    }
    assert!((1..ROUNDS).contains(&won), "always the same was first: {won}");
}

#[test]
fn watched() {
    let site = or_skip!(Site::started());
    let there = site.create(Protocol::Tcp, 5000, 20);
    let mut monitor = site.host.connect();
    monitor.subscribe("PortReservation.Monitor", json!({}));
    let state = monitor.event("the present state", |event| event["kind"] == "state");
    assert_eq!(state["reservation"]["id"], there["id"]);
    site.create(Protocol::Udp, 6000, 1);
    let created = monitor.event("created", |event| event["kind"] == "created");
    assert_eq!(created["reservation"]["start_port"], 6000);
    let mut granted = block(Protocol::Udp, 6000, 1);
    granted["users"] = json!([SOMEBODY]);
    site.call("Grant", granted.clone()).unwrap();
    let changed = monitor.event("changed", |event| event["kind"] == "changed");
    assert_eq!(changed["users_added"], json!([SOMEBODY]));
    assert_eq!((&changed["users_removed"], &changed["cgroups_added"]), (&json!([]), &json!([])));
    site.call("Revoke", granted).unwrap();
    let changed = monitor.event("changed", |event| event["kind"] == "changed");
    assert_eq!(changed["users_removed"], json!([SOMEBODY]));
    site.delete(Protocol::Udp, 6000, 1);
    let deleted = monitor.event("deleted", |event| event["kind"] == "deleted");
    assert_eq!(deleted["killed"], 0);
    let mut owner = site.stranger();
    owner.socket("s", "tcp4");
    let wanted = json!({"socket": 0, "start_port": 7000, "number_of_ports": 2});
    owner.call(&site.socket(), "s", "Acquire", wanted).unwrap();
    monitor.event("acquired", |event| event["kind"] == "acquired");
    owner.ok("close s");
    let released = monitor.event("released", |event| event["kind"] == "released");
    assert_eq!(released["reservation"]["start_port"], 7000);
    assert_eq!(released["socket_closed"], true);
    site.create_with(Protocol::Udp, 6000, 1, json!({"lifetime": 0.1}));
    monitor.event("expired", |event| event["kind"] == "expired");
}

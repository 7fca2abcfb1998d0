//! Which sockets can be let into a reservation.

use std::sync::atomic::{AtomicU32, Ordering};

use iphelper_tests::eventually;
use iphelper_tests::ports::{Protocol, SOMEBODY, Site, Stranger, block};
use lab::{Namespace, or_skip};
use serde_json::json;

#[test]
fn what_cannot_be_associated() {
    let site = or_skip!(Site::started());
    let made = site.create(Protocol::Tcp, 5000, 20);
    let token = made["token"].as_str().unwrap();
    let daemon = site.socket();
    let mut owner = site.stranger();
    owner.socket("unix", "unix");
    owner.socket("udp", "udp4");
    assert_eq!(owner.hold("bound", "tcp4", 3000), "ok 3000");
    assert_eq!(owner.hold("listening", "tcp6", 3001), "ok 3001");
    owner.ok("listen listening");
    owner.socket("connected", "tcp4");
    owner.ok("connect connected 127.0.0.1 3001");
    for name in ["unix", "udp", "bound", "listening", "connected"] {
        let error = owner.associate(&daemon, name, token).unwrap_err();
        assert_eq!(error.name, "SocketNotSupported", "{name}");
        assert!(error.parameters["reason"].as_str().unwrap().len() > 5, "{error:?}");
    }
    // Nothing was passed, or something that is not there.
    for (sockets, index) in [("-", 0), ("unix", 1), ("unix", -1)] {
        let parameters = json!({"token": token, "socket": index});
        let error = owner.call(&daemon, sockets, "Associate", parameters).unwrap_err();
        assert_eq!(error.name, "InvalidParameter", "{sockets} {index}: {error:?}");
    }
    owner.socket("good", "tcp4");
    let parameters = json!({"token": token, "socket": 1});
    owner.call(&daemon, "unix,good", "Associate", parameters).expect("the index counts");
    assert_eq!(owner.bind("good", "tcp4", 5000), "ok 5000");
}

#[test]
fn tokens_that_are_none() {
    let site = or_skip!(Site::started());
    let made = site.create(Protocol::Tcp, 5000, 20);
    let token: u64 = made["token"].as_str().unwrap().parse().unwrap();
    let mut owner = site.stranger();
    owner.socket("s", "tcp4");
    for wrong in [token ^ 1, token.wrapping_add(1 << 63), 0, 1, u64::MAX] {
        let error = owner.associate(&site.socket(), "s", &wrong.to_string()).unwrap_err();
        assert_eq!(error.name, "InvalidToken", "{wrong}");
    }
    for wrong in ["", "x", "-1", "18446744073709551616", " 1"] {
        let error = owner.associate(&site.socket(), "s", wrong).unwrap_err();
        let names = ["InvalidToken", "InvalidParameter"];
        assert!(names.contains(&error.name.as_str()), "{wrong}: {error:?}");
    }
    assert_eq!(owner.bind("s", "tcp4", 5000), "EACCES");
}

/// The socket's network counts, which the kernel tells, and not what the caller is in.
#[test]
fn a_socket_of_another_network() {
    let site = or_skip!(Site::started());
    let elsewhere = or_skip!(Namespace::new());
    let made = site.create(Protocol::Tcp, 5000, 20);
    let token = made["token"].as_str().unwrap();
    let mut far = Stranger::start(&elsewhere);
    far.socket("s", "tcp4");
    let error = far.associate(&site.socket(), "s", token).unwrap_err();
    assert_eq!(error.name, "SocketNotSupported", "{error:?}");
}

#[test]
fn a_socket_of_another_network_acquires_nothing() {
    let site = or_skip!(Site::started());
    let elsewhere = or_skip!(Namespace::new());
    let mut far = Stranger::start(&elsewhere);
    far.socket("s", "tcp4");
    let wanted = json!({"socket": 0, "start_port": 5000, "number_of_ports": 4});
    let error = far.call(&site.socket(), "s", "Acquire", wanted).unwrap_err();
    assert_eq!(error.name, "SocketNotSupported", "{error:?}");
    assert!(site.reservations().is_empty());
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
}

/// Sockets are let in while what lets them in comes and goes: each bind works or is refused, and
/// the daemon lives.
#[test]
fn while_reservations_come_and_go() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Udp, 6000, 1);
    let daemon = site.socket();
    let strangers = [site.stranger(), site.stranger()];
    let let_in = AtomicU32::new(0);
    site.create(Protocol::Tcp, 5000, 20);
    std::thread::scope(|scope| {
        let users = strangers.map(|mut stranger| {
            let (daemon, let_in) = (&daemon, &let_in);
            scope.spawn(move || {
                for number in 0..150 {
                    stranger.socket("s", "tcp4");
                    let found =
                        stranger.call(daemon, "-", "Lookup", block(Protocol::Tcp, 5000, 20));
                    let found = match found {
                        Ok(reply) => reply["reservation"]["token"].as_str().unwrap().to_owned(),
                        Err(error) => {
                            assert_eq!(error.name, "NotFound");
                            stranger.ok("close s");
                            continue;
                        }
                    };
                    match stranger.associate(daemon, "s", &found) {
                        Ok(_) => {
                            let answer = stranger.bind("s", "tcp4", 5000 + number % 20);
                            let names = ["ok", "EACCES", "EADDRINUSE"];
                            assert!(names.contains(&answer.split(' ').next().unwrap()), "{answer}");
                            let_in.fetch_add(answer.starts_with("ok").into(), Ordering::Relaxed);
                        }
                        Err(error) => assert_eq!(error.name, "InvalidToken"),
                    }
                    stranger.ok("close s");
                }
            })
        });
        // The first stays until somebody was in time.
        eventually("a socket let in", || let_in.load(Ordering::Relaxed) > 0);
        site.delete(Protocol::Tcp, 5000, 20);
        while users.iter().any(|user| !user.is_finished()) {
            let made = site.try_create(Protocol::Tcp, 5000, 20, json!({}));
            match made {
                Ok(_) => site.delete(Protocol::Tcp, 5000, 20),
                // A socket that was let in still has its port.
                Err(error) => assert_eq!(error.name, "SharingViolation", "{error:?}"),
            }
        }
        for user in users {
            user.join().unwrap();
        }
    });
    assert_eq!(site.reservations().len(), 1);
}

/// The daemon keeps none of what it is sent.
#[test]
fn descriptors_are_closed_again() {
    let mut site = or_skip!(Site::started());
    let made = site.create(Protocol::Tcp, 5000, 20);
    let token = made["token"].as_str().unwrap().to_owned();
    let daemon = site.socket();
    let mut owner = site.stranger();
    let open = |site: &mut Site| {
        let pid = site.host.daemon().process().id();
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    };
    owner.socket("s", "tcp4");
    owner.socket("wrong", "unix");
    owner.associate(&daemon, "s", &token).unwrap();
    iphelper_tests::eventually("rest", || {
        let before = open(&mut site);
        open(&mut site) == before
    });
    let before = open(&mut site);
    for _ in 0..20 {
        owner.associate(&daemon, "s", &token).unwrap();
        owner.associate(&daemon, "wrong", &token).unwrap_err();
        // A method that takes none, with some; more than one where one is wanted.
        owner.call(&daemon, "s,wrong", "Status", json!({})).unwrap();
        let parameters = json!({"token": token, "socket": 0});
        owner.call(&daemon, "s,wrong,s", "Associate", parameters).unwrap();
    }
    iphelper_tests::eventually("as many as before", || open(&mut site) <= before);
}

#[test]
fn who_may_use_a_persistent_token() {
    let site = or_skip!(Site::started());
    let more = json!({"owner": SOMEBODY, "users": [SOMEBODY + 1]});
    let made = site.create_with(Protocol::Tcp, 5000, 20, more);
    let token = made["token"].as_str().unwrap();
    for (user, may) in [(0, true), (SOMEBODY, true), (SOMEBODY + 1, true), (SOMEBODY + 2, false)] {
        let mut stranger = site.stranger();
        stranger.become_user(user);
        stranger.socket("s", "tcp4");
        let got = stranger.associate(&site.socket(), "s", token);
        match may {
            true => assert_eq!(got.unwrap()["id"], made["id"]),
            false => assert_eq!(got.unwrap_err().name, "AccessDenied"),
        }
        let expected = if may { "ok 5002" } else { "EACCES" };
        assert_eq!(stranger.bind("s", "tcp4", 5002), expected, "{user}");
        stranger.kill();
    }
}

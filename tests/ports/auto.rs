//! Automatic assignment leaves reserved ports out, and what others left out stays left out.

use std::collections::BTreeSet;

use iphelper_tests::eventually;
use iphelper_tests::ports::{Protocol, Site, Stranger, leave_out};
use lab::or_skip;

/// Of twenty ports for automatic assignment ten are reserved.
const FIRST: u16 = 40_000;
const RESERVED: u16 = 10;
const LAST: u16 = 40_019;

fn reserved() -> lab::Result<Site> {
    let site = Site::started()?;
    site.set_range(FIRST, LAST);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        site.create(protocol, FIRST, RESERVED);
    }
    Ok(site)
}

/// Asks until there are none, with a new socket each time; returns the ports and the last error.
fn exhaust(
    stranger: &mut Stranger,
    kind: &str,
    mut ask: impl FnMut(&mut Stranger, &str) -> String,
) -> (BTreeSet<u16>, String) {
    let mut ports = BTreeSet::new();
    for number in 0..=LAST - FIRST + 1 {
        let name = format!("s{number}");
        stranger.socket(&name, kind);
        let answer = ask(stranger, &name);
        match answer.strip_prefix("ok ") {
            Some(port) => ports.insert(port.parse().unwrap()),
            None => {
                for number in 0..=number {
                    stranger.ok(&format!("close s{number}"));
                }
                return (ports, answer);
            }
        };
    }
    panic!("never exhausted: {ports:?}");
}

fn outside() -> BTreeSet<u16> {
    (FIRST + RESERVED..=LAST).collect()
}

#[test]
fn by_bind() {
    let site = or_skip!(reserved());
    let mut stranger = site.stranger();
    for kind in ["tcp4", "tcp6", "udp4", "udp6", "mptcp4"] {
        let got = exhaust(&mut stranger, kind, |stranger, name| stranger.bind(name, kind, 0));
        assert_eq!(got, (outside(), "EADDRINUSE".into()), "{kind}");
    }
}

#[test]
fn by_listen() {
    let site = or_skip!(reserved());
    let listen = |stranger: &mut Stranger, name: &str| stranger.tell(&format!("listen {name}"));
    let got = exhaust(&mut site.stranger(), "tcp4", listen);
    assert_eq!(got, (outside(), "EADDRINUSE".into()));
}

/// Connects to a listener until there are no more ports, each socket prepared before.
fn exhaust_by_connect(prepare: impl Fn(&mut Stranger, &str)) {
    let site = or_skip!(reserved());
    let mut server = site.stranger();
    assert_eq!(server.hold("server", "tcp4", 3000), "ok 3000");
    server.ok("listen server");
    let connect = |stranger: &mut Stranger, name: &str| {
        prepare(stranger, name);
        let answer = stranger.tell(&format!("connect {name} 127.0.0.1 3000"));
        if answer.starts_with("ok") {
            // Its place among those who wait is needed again.
            server.ok(&format!("accept server a-{name}"));
        }
        answer
    };
    let got = exhaust(&mut site.stranger(), "tcp4", connect);
    assert_eq!(got, (outside(), "EADDRNOTAVAIL".into()));
}

#[test]
fn by_connect() {
    exhaust_by_connect(|_, _| {});
}

#[test]
fn by_connect_after_a_bind_without_a_port() {
    exhaust_by_connect(|stranger, name| {
        stranger.ok(&format!("option {name} late"));
        assert_eq!(stranger.tell(&format!("bind {name} 127.0.0.1 0")), "ok 0");
    });
}

#[test]
fn by_sending_datagrams() {
    let site = or_skip!(reserved());
    let mut stranger = site.stranger();
    for (kind, address) in [("udp4", "127.0.0.1"), ("udp6", "::1")] {
        for verb in ["send", "connect"] {
            let ask = |stranger: &mut Stranger, name: &str| {
                stranger.tell(&format!("{verb} {name} {address} 9"))
            };
            let got = exhaust(&mut stranger, kind, ask);
            assert_eq!(got, (outside(), "EAGAIN".into()), "{kind} {verb}");
        }
    }
}

/// `IP_LOCAL_PORT_RANGE` narrows the choice and does not widen it.
#[test]
fn by_a_range_of_the_sockets_own() {
    let site = or_skip!(reserved());
    let mut stranger = site.stranger();
    for kind in ["tcp4", "udp4"] {
        let inside = exhaust(&mut stranger, kind, |stranger, name| {
            stranger.ok(&format!("range {name} {FIRST} {}", FIRST + RESERVED - 1));
            stranger.bind(name, kind, 0)
        });
        assert_eq!(inside, (BTreeSet::new(), "EADDRINUSE".into()), "{kind}");
        let (low, high) = (FIRST + RESERVED - 5, FIRST + RESERVED + 4);
        let across = exhaust(&mut stranger, kind, |stranger, name| {
            stranger.ok(&format!("range {name} {low} {high}"));
            stranger.bind(name, kind, 0)
        });
        assert_eq!(across.0, (FIRST + RESERVED..=high).collect(), "{kind}");
    }
}

#[test]
fn what_others_left_out_before() {
    let site = or_skip!(Site::started());
    site.leave_out("3000,3002-3004,5005,5030-5040");
    let foreign = site.left_out();
    site.create(Protocol::Tcp, 5000, 20);
    let mut both = foreign.clone();
    both.extend(5000..5020);
    assert_eq!(site.left_out(), both);
    site.create(Protocol::Udp, 5010, 30);
    both.extend(5020..5040);
    assert_eq!(site.left_out(), both);
    site.delete(Protocol::Tcp, 5000, 20);
    assert_eq!(site.left_out(), (5010..5040).chain(foreign.iter().copied()).collect());
    site.delete(Protocol::Udp, 5010, 30);
    assert_eq!(site.left_out(), foreign, "5005 and 5030 to 5039 were theirs as well");
}

#[test]
fn what_others_leave_out_later() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let ours: BTreeSet<u16> = (5000..5020).collect();
    for round in 0..50_u16 {
        let theirs = 30_000 + round;
        site.leave_out(&format!("{theirs},5003"));
        let mut both = ours.clone();
        both.insert(theirs);
        eventually("both", || site.left_out() == both);
    }
    // Somebody who takes everything out does not take ours out.
    site.leave_out("");
    eventually("ours", || site.left_out() == ours);
    site.leave_out("7000-7010,5003");
    eventually("both", || site.left_out().contains(&7000) && site.left_out().contains(&5000));
    site.delete(Protocol::Tcp, 5000, 20);
    let theirs: BTreeSet<u16> = (7000..=7010).chain([5003]).collect();
    assert_eq!(site.left_out(), theirs);
}

/// Somebody writes all the time while reservations come and go: in the end both have their ports.
///
/// A write between the daemon's reading and its writing is one that nobody else ever sees: the last
/// word is said when that cannot be.
#[test]
fn what_others_leave_out_at_the_same_time() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Udp, 9000, 1);
    std::thread::scope(|scope| {
        let namespace = &site.host.namespace;
        let writer = scope.spawn(move || {
            for round in 0..200_u16 {
                leave_out(namespace, &format!("{}", 30_000 + round));
            }
        });
        while !writer.is_finished() {
            site.create(Protocol::Tcp, 5000, 20);
            site.delete(Protocol::Tcp, 5000, 20);
        }
    });
    site.create(Protocol::Tcp, 6000, 10);
    let ours: BTreeSet<u16> = (6000..6010).chain([9000]).collect();
    eventually("ours", || site.left_out().is_superset(&ours));
    site.leave_out("30500");
    let both: BTreeSet<u16> = ours.into_iter().chain([30_500]).collect();
    eventually("both", || site.left_out() == both);
    site.delete(Protocol::Udp, 9000, 1);
    site.delete(Protocol::Tcp, 6000, 10);
    assert_eq!(site.left_out(), [30_500].into());
}

/// Longer than the kernel takes, or most programs read, at once.
#[test]
fn a_list_of_twelve_thousand_bytes() {
    let site = or_skip!(Site::started());
    let theirs: BTreeSet<u16> = (0..2000).map(|number| 20_001 + number * 2).collect();
    let text: Vec<String> = theirs.iter().map(u16::to_string).collect();
    let text = text.join(",");
    assert!(text.len() > 11_000);
    site.leave_out(&text);
    assert_eq!(site.left_out(), theirs);
    site.create(Protocol::Tcp, 5000, 20);
    site.create(Protocol::Udp, 30_000, 20_000);
    let both: BTreeSet<u16> =
        theirs.iter().copied().chain(5000..5020).chain(30_000..50_000).collect();
    assert_eq!(site.left_out(), both);
    site.delete(Protocol::Udp, 30_000, 20_000);
    site.delete(Protocol::Tcp, 5000, 20);
    assert_eq!(site.left_out(), theirs);
}

#[test]
fn over_restarts() {
    let mut site = or_skip!(Site::started());
    site.leave_out("3000,5001");
    site.create(Protocol::Tcp, 5000, 20);
    let ours: BTreeSet<u16> = (5000..5020).collect();
    site.host.kill();
    assert!(site.left_out().is_superset(&ours), "nobody is there, and it holds");
    site.start();
    assert_eq!(site.left_out(), ours.iter().copied().chain([3000]).collect());
    assert!(site.host.stop().success());
    // While no daemon is there, somebody else writes.
    site.leave_out("4000");
    site.start();
    assert_eq!(site.left_out(), ours.iter().copied().chain([4000]).collect());
    site.delete(Protocol::Tcp, 5000, 20);
    assert_eq!(site.left_out(), [4000].into());
}

/// Nothing of ours stays behind when the last reservation goes while no daemon is there.
#[test]
fn taken_out_by_the_next_daemon() {
    let mut site = or_skip!(Site::started());
    site.leave_out("3000");
    let mut owner = site.stranger();
    owner.socket("owner", "tcp4");
    let parameters = serde_json::json!({"socket": 0, "start_port": 5000, "number_of_ports": 8});
    owner.call(&site.socket(), "owner", "Acquire", parameters).unwrap();
    assert!(site.left_out().contains(&5007));
    site.host.kill();
    owner.kill();
    site.start();
    assert_eq!(site.left_out(), [3000].into());
}

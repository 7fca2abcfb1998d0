//! Port 0 on a granted socket: a free port of the block, until none is left.

use std::collections::{BTreeMap, BTreeSet};

use iphelper_tests::ports::{Protocol, Site, Stranger};
use lab::or_skip;
use serde_json::Value;

const START: u16 = 5000;
const COUNT: u16 = 64;

struct Taker<'a> {
    site: &'a Site,
    stranger: Stranger,
    kind: &'static str,
    token: String,
    made: usize,
}

impl Taker<'_> {
    fn new<'a>(site: &'a Site, kind: &'static str, reservation: &Value) -> Taker<'a> {
        let token = reservation["token"].as_str().unwrap().to_owned();
        Taker { site, stranger: site.stranger(), kind, token, made: 0 }
    }

    /// A new granted socket, by name.
    fn socket(&mut self) -> String {
        self.made += 1;
        let name = format!("s{}", self.made);
        self.stranger.socket(&name, self.kind);
        self.stranger.associate(&self.site.socket(), &name, &self.token).unwrap();
        name
    }

    /// Binds a new socket to port 0.
    fn take(&mut self) -> Result<(String, u16), String> {
        let name = self.socket();
        let answer = self.stranger.bind(&name, self.kind, 0);
        match answer.strip_prefix("ok ") {
            Some(port) => Ok((name, port.parse().unwrap())),
            None => {
                self.stranger.ok(&format!("close {name}"));
                Err(answer)
            }
        }
    }
}

fn whole_block() -> BTreeSet<u16> {
    (START..START + COUNT).collect()
}

/// All of them, each once; none then; freed ones again, and no others.
fn hands_out_every_port(kind: &'static str, protocol: Protocol, listening: bool) {
    let site = or_skip!(Site::started());
    let reservation = site.create(protocol, START, COUNT);
    let mut taker = Taker::new(&site, kind, &reservation);
    let mut taken: Vec<(String, u16)> = Vec::new();
    for _ in 0..COUNT {
        let (name, port) = taker.take().unwrap();
        if listening {
            taker.stranger.ok(&format!("listen {name}"));
        }
        taken.push((name, port));
    }
    let ports: BTreeSet<u16> = taken.iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, whole_block(), "each once");
    for _ in 0..2 {
        assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
    }
    for round in 0..3 {
        let mut freed = BTreeSet::new();
        for index in [3, 20, 60] {
            let (name, port) = taken.remove(index - round);
            taker.stranger.ok(&format!("close {name}"));
            freed.insert(port);
        }
        let mut again = BTreeSet::new();
        for _ in 0..freed.len() {
            let (name, port) = taker.take().unwrap();
            again.insert(port);
            taken.push((name, port));
        }
        assert_eq!(again, freed);
        assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
    }
}

#[test]
fn tcp_bound() {
    hands_out_every_port("tcp4", Protocol::Tcp, false);
}

#[test]
fn tcp_listening() {
    hands_out_every_port("tcp4", Protocol::Tcp, true);
}

#[test]
fn tcp_over_ipv6() {
    hands_out_every_port("tcp6", Protocol::Tcp, true);
}

#[test]
fn mptcp() {
    hands_out_every_port("mptcp4", Protocol::Tcp, true);
}

#[test]
fn udp() {
    hands_out_every_port("udp4", Protocol::Udp, false);
}

#[test]
fn udp_over_ipv6() {
    hands_out_every_port("udp6", Protocol::Udp, false);
}

/// Most of a long block is taken: the free ones are found all the same.
#[test]
fn a_long_block() {
    const PORTS: u16 = 3000;
    let site = or_skip!(Site::started());
    let reservation = site.create(Protocol::Udp, 10_000, PORTS);
    let mut taker = Taker::new(&site, "udp4", &reservation);
    let taken: BTreeMap<u16, String> =
        (0..PORTS).map(|_| taker.take().unwrap()).map(|(name, port)| (port, name)).collect();
    assert_eq!(taken.len(), usize::from(PORTS), "each once");
    assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
    for port in [10_000, 11_500, 12_999] {
        taker.stranger.ok(&format!("close {}", taken[&port]));
        assert_eq!(taker.take().unwrap().1, port);
    }
}

/// Who chose a port by itself has it, and what is bound elsewhere takes nothing away.
#[test]
fn explicit_binds_count() {
    let site = or_skip!(Site::started());
    let reservation = site.create(Protocol::Tcp, START, 8);
    site.create(Protocol::Udp, START, 8);
    let mut taker = Taker::new(&site, "tcp4", &reservation);
    for port in [START, START + 5] {
        let name = taker.socket();
        assert_eq!(taker.stranger.bind(&name, "tcp4", port), format!("ok {port}"));
    }
    let failed = taker.socket();
    assert_eq!(
        taker.stranger.bind(&failed, "tcp4", START),
        "EADDRINUSE",
        "no port is used by that"
    );
    let given: BTreeSet<u16> = (0..6).map(|_| taker.take().unwrap().1).collect();
    let expected: BTreeSet<u16> =
        (START..START + 8).filter(|port| ![START, START + 5].contains(port)).collect();
    assert_eq!(given, expected);
    assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
}

/// A port that two sockets share is free when both are gone.
#[test]
fn a_shared_port_is_one_port() {
    let site = or_skip!(Site::started());
    let reservation = site.create(Protocol::Tcp, START, 2);
    let mut taker = Taker::new(&site, "tcp4", &reservation);
    let mut shared = Vec::new();
    for _ in 0..2 {
        let name = taker.socket();
        taker.stranger.ok(&format!("option {name} reuseport"));
        assert_eq!(taker.stranger.bind(&name, "tcp4", START), format!("ok {START}"));
        shared.push(name);
    }
    assert_eq!(taker.take().unwrap().1, START + 1);
    taker.stranger.ok(&format!("close {}", shared[0]));
    assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
    taker.stranger.ok(&format!("close {}", shared[1]));
    assert_eq!(taker.take().unwrap().1, START);
}

/// The socket counts, not its descriptors, nor the program that made it.
#[test]
fn a_port_is_free_when_its_last_descriptor_is_closed() {
    let site = or_skip!(Site::started());
    let reservation = site.create(Protocol::Udp, START, 1);
    let mut taker = Taker::new(&site, "udp4", &reservation);
    let (name, _) = taker.take().unwrap();
    taker.stranger.ok(&format!("dup {name} copy"));
    let child = taker.stranger.number("fork");
    taker.stranger.ok(&format!("close {name}"));
    assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
    taker.stranger.ok("close copy");
    assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
    taker.stranger.ok(&format!("end {child}"));
    assert_eq!(taker.take().unwrap().1, START);
}

/// Ports were taken before the program that counts them was there, and stay taken.
#[test]
fn ports_are_counted_over_restarts() {
    let mut site = or_skip!(Site::started());
    let reservation = site.create(Protocol::Tcp, START, 4);
    let mut held = Taker::new(&site, "tcp4", &reservation);
    let (_, first) = held.take().unwrap();
    let mut stranger = held.stranger;
    site.host.kill();
    site.start();
    let mut taker = Taker::new(&site, "tcp4", &reservation);
    let given: BTreeSet<u16> = (0..3).map(|_| taker.take().unwrap().1).collect();
    assert!(!given.contains(&first), "{given:?}");
    assert_eq!(taker.take().unwrap_err(), "EADDRINUSE");
    stranger.ok("close s1");
    assert_eq!(taker.take().unwrap().1, first);
}

/// Automatic assignment goes on as ever for sockets without a grant.
#[test]
fn strangers_get_ports_outside() {
    let site = or_skip!(Site::started());
    site.set_range(START, START + COUNT + 9);
    site.create(Protocol::Tcp, START, COUNT);
    let mut stranger = site.stranger();
    for number in 0..10 {
        let answer = stranger.hold(&format!("s{number}"), "tcp4", 0);
        let port: u16 = answer.strip_prefix("ok ").expect(&answer).parse().unwrap();
        assert!(port >= START + COUNT, "{port}");
    }
    assert_eq!(stranger.hold("last", "tcp4", 0), "EADDRINUSE");
}
